//! Tiles in software: the same sums, by loops, and a panic for whatever the processor would answer with a fault.
//!
//! It serves tests, and is slow.

use super::machine::{Activations, BYTES, ROWS, Shape, TILES, TileMachine};

/// Eight tiles in memory.
#[derive(Debug)]
pub struct Soft {
    shapes: [Shape; TILES],
    rows: [[[u8; BYTES]; ROWS]; TILES],
}

impl Soft {
    /// A tile's extents and rows. A load zeroes what is outside of the extents, as the processor does.
    fn cleared(&mut self, tile: u8) -> (Shape, &mut [[u8; BYTES]; ROWS]) {
        let rows = &mut self.rows[usize::from(tile)];
        *rows = [[0; BYTES]; ROWS];
        (self.shapes[usize::from(tile)], rows)
    }

    fn lane(&self, tile: u8, row: usize, lane: usize) -> [u8; 4] {
        std::array::from_fn(|i| self.rows[usize::from(tile)][row][lane * 4 + i])
    }
}

impl TileMachine for Soft {
    type Proof = ();

    fn configure((): (), shapes: [Shape; TILES]) -> Self {
        Self { shapes, rows: [[[0; BYTES]; ROWS]; TILES] }
    }

    fn load_a<const T: u8>(&mut self, rows: &Activations<'_>, distance: usize) {
        let (shape, tile) = self.cleared(T);
        let (rows, pitch) = rows.at(distance, shape);
        for (i, to) in tile.iter_mut().enumerate().take(shape.rows()) {
            to[..shape.bytes()].copy_from_slice(&rows[i * pitch..][..shape.bytes()]);
        }
    }

    fn load_b<const T: u8>(&mut self, rows: &[[i8; BYTES]], first: usize) {
        let (shape, tile) = self.cleared(T);
        for (to, row) in tile.iter_mut().zip(&rows[first..][..shape.rows()]) {
            for (to, &w) in to.iter_mut().zip(&row[..shape.bytes()]) {
                *to = w as u8;
            }
        }
    }

    fn fill<const T: u8>(&mut self, row: &[i32; BYTES / 4]) {
        let (shape, tile) = self.cleared(T);
        assert_eq!(shape.bytes(), BYTES, "sums have 16 channels");
        for to in tile.iter_mut().take(shape.rows()) {
            for (to, value) in to.as_chunks_mut::<4>().0.iter_mut().zip(row) {
                *to = value.to_le_bytes();
            }
        }
    }

    fn dot<const C: u8, const A: u8, const B: u8>(&mut self) {
        let [c, a, b] = [C, A, B].map(|tile| self.shapes[usize::from(tile)]);
        assert!(C != A && C != B && A != B, "the three tiles of a product differ");
        assert!(c.bytes() % 4 == 0 && a.bytes() % 4 == 0, "rows are whole lanes");
        assert_eq!((c.rows(), c.bytes(), a.bytes() / 4), (a.rows(), b.bytes(), b.rows()), "the extents of a product agree");
        for row in 0..c.rows() {
            for lane in 0..c.bytes() / 4 {
                let mut sum = i32::from_le_bytes(self.lane(C, row, lane));
                for k in 0..b.rows() {
                    for (x, w) in self.lane(A, row, k).into_iter().zip(self.lane(B, k, lane)) {
                        sum = sum.wrapping_add(i32::from(x) * i32::from(w as i8));
                    }
                }
                self.rows[usize::from(C)][row][lane * 4..][..4].copy_from_slice(&sum.to_le_bytes());
            }
        }
    }

    fn store<const T: u8>(&mut self, to: &mut [i32], pitch: usize) {
        let shape = self.shapes[usize::from(T)];
        for row in 0..shape.rows() {
            for (lane, to) in to[row * pitch..][..shape.bytes() / 4].iter_mut().enumerate() {
                *to = i32::from_le_bytes(self.lane(T, row, lane));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(a: Shape, b: Shape, c: Shape) -> Soft {
        Soft::configure((), [c, c, c, c, a, a, b, b])
    }

    #[test]
    fn a_product_is_that_of_unsigned_and_signed_bytes() {
        let mut soft = machine(Shape::new(2, 8), Shape::new(2, 64), Shape::new(2, 64));
        let mut weights = [[0i8; 64]; 2];
        weights[0][4..8].copy_from_slice(&[-128, 1, 2, 3]);
        weights[1][4..8].copy_from_slice(&[0, 0, 0, 127]);
        let rows = [99, 255, 0, 0, 0, 0, 0, 0, 255, 99, 1, 1, 1, 1, 0, 0, 0, 0];
        soft.load_a::<4>(&Activations::new(&rows, 9, Shape::new(2, 8)), 1);
        soft.load_b::<6>(&weights, 0);
        soft.fill::<0>(&std::array::from_fn(|n| n as i32 * 10));
        soft.dot::<0, 4, 6>();
        let mut sums = [0; 40];
        soft.store::<0>(&mut sums, 24);
        assert_eq!(sums[..3], [0, 10 - 255 * 128 + 255 * 127, 20]);
        assert_eq!(sums[24..27], [0, 10 - 128 + 1 + 2 + 3, 20]);
        assert_eq!(sums[16..24], [0; 8], "between the rows");
    }

    #[test]
    #[should_panic(expected = "extents of a product agree")]
    fn extents_that_disagree_are_found() {
        machine(Shape::new(2, 8), Shape::new(3, 64), Shape::new(2, 64)).dot::<0, 4, 6>();
    }

    #[test]
    #[should_panic(expected = "behind its rows")]
    fn rows_that_are_not_there_are_found() {
        Activations::new(&[0; 16], 9, Shape::new(2, 8));
    }

    #[test]
    #[should_panic(expected = "behind its rows")]
    fn a_load_behind_its_rows_is_found() {
        let rows = Activations::new(&[0; 20], 9, Shape::new(2, 8));
        machine(Shape::new(2, 8), Shape::new(2, 64), Shape::new(2, 64)).load_a::<4>(&rows, 4);
    }

    #[test]
    #[should_panic(expected = "behind its rows")]
    fn rows_of_another_shape_are_found() {
        let rows = Activations::new(&[0; 20], 9, Shape::new(2, 4));
        machine(Shape::new(2, 8), Shape::new(2, 64), Shape::new(2, 64)).load_a::<4>(&rows, 0);
    }

    #[test]
    #[should_panic(expected = "no tile is 17")]
    fn no_tile_has_seventeen_rows() {
        Shape::new(17, 64);
    }
}
