//! Tiles in software: the same sums, by loops, and a panic for whatever the processor would answer with a fault.
//!
//! It serves tests, and is slow.

use std::ops::Range;

use super::machine::{Ahead, BYTES, Course, Extents, Lines, ROWS, SUMS, Shape, TileMachine};

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
        a: &[Lines<'_>; MT],
        b: &[&[[i8; BYTES]]; NB],
        part: Range<usize>,
        _: &mut Ahead<'_>,
    ) {
        let course = Course::of(self.extents, a, b, &part);
        for step in part {
            let (run, within) = (step / course.steps, step % course.steps);
            let last = self.extents.tail().filter(|_| within + 1 == course.steps);
            let extents = last.unwrap_or(self.extents);
            let done = within * self.extents.quads();
            for (m, a) in a.iter().enumerate() {
                let a = load(extents.activations(), &a.bytes[a.distance(run) + done * 4..], a.pitch);
                for (n, b) in b.iter().enumerate() {
                    let b = load(extents.weights(), bytemuck::cast_slice(&b[run * course.quads + done..]), BYTES);
                    for (sums, a) in self.sums[m * NB + n].iter_mut().zip(&a).take(extents.rows()) {
                        for (lane, sum) in sums.iter_mut().enumerate() {
                            for (a, b) in a.as_chunks::<4>().0.iter().zip(&b).take(extents.quads()) {
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
    use crate::amx::machine::Runs;

    #[test]
    fn a_product_is_that_of_unsigned_and_signed_bytes() {
        let extents = Extents::new(2, 2, 1);
        let mut soft = Soft::configure((), extents);
        let mut weights = [[0i8; 64]; 6];
        weights[0][4..8].copy_from_slice(&[-128, 1, 2, 3]);
        weights[1][4..8].copy_from_slice(&[0, 0, 0, 127]);
        weights[5][4..8].copy_from_slice(&[1; 4]);
        // Runs of three quads, in two steps: of the first row from 1 and from 24 on, of the second from 15 and from 38 on.
        let mut bytes = [7; 50];
        bytes[1..9].copy_from_slice(&[255, 0, 0, 0, 0, 0, 0, 255]);
        bytes[15..23].copy_from_slice(&[1, 1, 1, 1, 0, 0, 0, 0]);
        let runs = Runs::at(&[1, 24], 2);
        let rows = Lines::new(&bytes, 14, extents, runs);
        let mut sums = [0; 40];
        soft.multiply(&[rows], &[&weights], 0..1, &mut Ahead::default());
        soft.store::<0>(&mut sums, 24);
        assert_eq!(sums[..3], [0, -255 * 128 + 255 * 127, 0]);
        assert_eq!(sums[24..27], [0, -128 + 1 + 2 + 3, 0]);
        assert_eq!(sums[16..24], [0; 8], "between the rows");
        soft.multiply(&[rows, rows], &[&weights], 0..1, &mut Ahead::default());
        soft.store::<0>(&mut sums, 24);
        assert_eq!(sums[25], 2 * (-128 + 1 + 2 + 3), "added to what was there");
        soft.store::<1>(&mut sums, 24);
        assert_eq!(sums[25], -128 + 1 + 2 + 3, "the second tile's");
        soft.load::<0>(&sums, 24);
        soft.multiply(&[rows], &[&weights], 0..1, &mut Ahead::default());
        soft.store::<0>(&mut sums, 24);
        assert_eq!(sums[25], 2 * (-128 + 1 + 2 + 3), "added to what was loaded");
        soft.zero();
        soft.multiply(&[rows], &[&weights], 3..4, &mut Ahead::default());
        soft.store::<0>(&mut sums, 24);
        assert_eq!([sums[1], sums[25]], [4 * 7; 2], "the last step of the second run");
        soft.zero();
        soft.store::<0>(&mut sums, 24);
        assert_eq!(sums, [0; 40]);
    }

    #[test]
    fn rows_that_are_not_there_are_found() {
        let found = |len: usize, runs: Runs<'_>| {
            let bytes = vec![0; len];
            std::panic::catch_unwind(|| Lines::new(&bytes, 9, Extents::new(2, 2, 1), runs).distance(0)).is_err()
        };
        // Nine bytes to the second row, and a run of 12 there.
        assert!(!found(21, Runs::adjoining(1, 2)) && found(20, Runs::adjoining(1, 2)));
        assert!(!found(45, Runs::adjoining(3, 2)) && found(44, Runs::adjoining(3, 2)));
        assert!(!found(28, Runs::at(&[7, 3], 2)) && found(27, Runs::at(&[7, 3], 2)));
        assert!(found(usize::from(u16::MAX), Runs::adjoining(usize::MAX, usize::MAX)));
        assert!(found(usize::from(u16::MAX), Runs::at(&[usize::MAX], 1)));
    }

    /// A product of one tile by one, over two runs of two steps.
    fn product<M: TileMachine>(proof: M::Proof, weights: usize, of: Extents, runs: Runs<'_>, part: Range<usize>) {
        let (bytes, weights) = (vec![0; 1024], vec![[0; 64]; weights]);
        let lines = Lines::new(&bytes, 128, of, runs);
        M::configure(proof, Extents::new(2, 16, 0)).multiply(&[lines], &[&weights], part, &mut Ahead::default());
    }

    #[test]
    fn what_is_not_there_is_found_by_both_machines() {
        let (extents, runs) = (Extents::new(2, 16, 0), Runs::adjoining(2, 2));
        product::<Soft>((), 64, extents, runs, 0..4);
        for (weights, of, part) in [(63, extents, 0..4), (64, extents, 0..5), (64, extents, 5..5), (64, Extents::new(1, 16, 0), 0..4)] {
            let fails = |case: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(case)).is_err();
            assert!(fails(&|| product::<Soft>((), weights, of, runs, part.clone())), "{weights}, {part:?}");
            if let Some(amx) = Amx::detect() {
                product::<Hardware>(amx, 64, extents, runs, 0..4);
                assert!(fails(&|| product::<Hardware>(amx, weights, of, runs, part.clone())), "{weights}, {part:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "no tile is 17")]
    fn no_tile_has_seventeen_rows() {
        Extents::new(17, 16, 0);
    }
}
