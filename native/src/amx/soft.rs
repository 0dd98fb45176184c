//! Tiles in software: the same sums, by loops, and a panic for whatever the processor would answer with a fault.
//!
//! It serves tests, and is slow.

use super::machine::{Ahead, BYTES, Extents, Lines, Panel, ROWS, SUMS, Shape, TileMachine};

/// A tile's rows. What is outside of its extents is zero, as in the processor's.
type Tile = [[u8; BYTES]; ROWS];

/// Tiles in memory.
#[derive(Debug)]
pub struct Soft {
    extents: Extents,
    sums: [[[i32; BYTES / 4]; ROWS]; SUMS],
}

/// A tile from rows `pitch` bytes apart.
fn load(shape: Shape, bytes: &[u8], pitch: usize) -> Tile {
    let mut tile = [[0; BYTES]; ROWS];
    for (i, to) in tile.iter_mut().enumerate().take(shape.rows) {
        to[..shape.bytes].copy_from_slice(&bytes[i * pitch..][..shape.bytes]);
    }
    tile
}

impl Soft {
    fn products<const MT: usize, const NB: usize>(
        &mut self,
        extents: Extents,
        a: [(&Lines<'_>, usize); MT],
        b: [Panel<'_>; NB],
        steps: usize,
    ) {
        assert!(MT * NB <= SUMS, "there are two tiles of sums");
        let (rows, quads) = (extents.rows(), extents.quads());
        for step in 0..steps {
            for (m, (a, distance)) in a.iter().enumerate() {
                assert_eq!(a.extents, self.extents, "rows are checked for other tiles");
                let a = load(extents.activations(), &a.bytes[distance + step * quads * 4..], a.pitch);
                for (n, b) in b.iter().enumerate() {
                    let b = load(extents.weights(), bytemuck::cast_slice(&b.rows[b.first + step * quads..]), BYTES);
                    for (sums, a) in self.sums[m * NB + n].iter_mut().zip(&a).take(rows) {
                        for (lane, sum) in sums.iter_mut().enumerate() {
                            for (a, b) in a.as_chunks::<4>().0.iter().zip(&b).take(quads) {
                                for (&x, &w) in a.iter().zip(&b[lane * 4..][..4]) {
                                    *sum = sum.wrapping_add(i32::from(x) * i32::from(w as i8));
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

impl TileMachine for Soft {
    type Proof = ();

    fn configure((): (), extents: Extents) -> Self {
        Self { extents, sums: [[[0; BYTES / 4]; ROWS]; SUMS] }
    }

    fn zero(&mut self) {
        self.sums = [[[0; BYTES / 4]; ROWS]; SUMS];
    }

    fn multiply<const MT: usize, const NB: usize>(
        &mut self,
        a: [(&Lines<'_>, usize); MT],
        b: [Panel<'_>; NB],
        steps: usize,
        _: &mut Ahead<'_>,
    ) {
        self.products(self.extents, a, b, steps);
    }

    fn multiply_tail<const MT: usize, const NB: usize>(&mut self, a: [(&Lines<'_>, usize); MT], b: [Panel<'_>; NB], _: &mut Ahead<'_>) {
        self.products(self.extents.tail().expect("there is such a step"), a, b, 1);
    }

    fn load<const T: u8>(&mut self, from: &[i32], pitch: usize) {
        for (i, sums) in self.sums[usize::from(T)].iter_mut().enumerate().take(self.extents.rows()) {
            sums.copy_from_slice(&from[i * pitch..][..BYTES / 4]);
        }
    }

    fn store<const T: u8>(&mut self, to: &mut [i32], pitch: usize) {
        for (i, sums) in self.sums[usize::from(T)].iter().enumerate().take(self.extents.rows()) {
            to[i * pitch..][..BYTES / 4].copy_from_slice(sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amx::Amx;
    use crate::amx::hardware::Hardware;

    #[test]
    fn a_product_is_that_of_unsigned_and_signed_bytes() {
        let extents = Extents::new(2, 2, 1);
        let mut soft = Soft::configure((), extents);
        let mut weights = [[0i8; 64]; 3];
        weights[1][4..8].copy_from_slice(&[-128, 1, 2, 3]);
        weights[2][4..8].copy_from_slice(&[0, 0, 0, 127]);
        let bytes = [7, 255, 0, 0, 0, 0, 0, 0, 255, 99, 1, 1, 1, 1, 0, 0, 0, 0];
        let (rows, panel) = (Lines::new(&bytes, 9, extents), Panel { rows: &weights, first: 1 });
        soft.multiply([(&rows, 1)], [panel], 1, &mut Ahead::default());
        let mut sums = [0; 40];
        soft.store::<0>(&mut sums, 24);
        assert_eq!(sums[..3], [0, -255 * 128 + 255 * 127, 0]);
        assert_eq!(sums[24..27], [0, -128 + 1 + 2 + 3, 0]);
        assert_eq!(sums[16..24], [0; 8], "between the rows");
        soft.multiply([(&rows, 1), (&rows, 1)], [panel], 1, &mut Ahead::default());
        soft.store::<0>(&mut sums, 24);
        assert_eq!(sums[25], 2 * (-128 + 1 + 2 + 3), "added to what was there");
        soft.store::<1>(&mut sums, 24);
        assert_eq!(sums[25], -128 + 1 + 2 + 3, "the second tile's");
        soft.load::<0>(&sums, 24);
        soft.multiply([(&rows, 1)], [panel], 1, &mut Ahead::default());
        soft.store::<0>(&mut sums, 24);
        assert_eq!(sums[25], 2 * (-128 + 1 + 2 + 3), "added to what was loaded");
        soft.zero();
        soft.multiply_tail([(&rows, 5)], [Panel { rows: &weights, first: 1 }], &mut Ahead::default());
        soft.store::<0>(&mut sums, 24);
        assert_eq!(sums[25], 0, "the second quad's is a zero");
        soft.zero();
        soft.store::<0>(&mut sums, 24);
        assert_eq!(sums, [0; 40]);
    }

    #[test]
    #[should_panic(expected = "behind its rows")]
    fn rows_that_are_not_there_are_found() {
        Lines::new(&[0; 16], 9, Extents::new(2, 2, 0));
    }

    /// A product of one tile by one, of more steps than there are.
    fn beyond<M: TileMachine>(proof: M::Proof, [bytes, rows]: [usize; 2], of: Extents) {
        let (bytes, weights) = (vec![0; bytes], vec![[0; 64]; rows]);
        let lines = Lines::new(&bytes, 128, of);
        M::configure(proof, Extents::new(2, 16, 0)).multiply([(&lines, 0)], [Panel { rows: &weights, first: 0 }], 2, &mut Ahead::default());
    }

    #[test]
    fn what_is_not_there_is_found_by_both_machines() {
        let extents = Extents::new(2, 16, 0);
        let enough = [256, 32];
        beyond::<Soft>((), enough, extents);
        for (sizes, of) in [([255, 32], extents), ([256, 31], extents), (enough, Extents::new(1, 16, 0))] {
            assert!(std::panic::catch_unwind(|| beyond::<Soft>((), sizes, of)).is_err(), "{sizes:?}");
            if let Some(amx) = Amx::detect() {
                beyond::<Hardware>(amx, enough, extents);
                assert!(std::panic::catch_unwind(|| beyond::<Hardware>(amx, sizes, of)).is_err(), "{sizes:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "no tile is 17")]
    fn no_tile_has_seventeen_rows() {
        Extents::new(17, 16, 0);
    }
}
