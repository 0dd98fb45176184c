//! The innermost loop of the matrix kernel: the products of some rows and some blocks of channels, added to sums that stay in
//! registers.
//!
//! What it reads is checked here, once for all its steps: [`TileRows`] and [`Panel`] can only be made such that every quad and
//! every weight that they name exists. An instruction set may rely on that and read them without further checks.

use super::gemm::{Bases, Source, Weights};
use super::simd::Simd;

/// The activations of a tile's rows: quad k of segment i of row m is at `base[m]` + `segments[i]` + 4k, for each k below `run`,
/// and lies within `bytes`.
#[derive(Debug, Clone, Copy)]
pub struct TileRows<'a, const MR: usize> {
    bytes: &'a [u8],
    base: [usize; MR],
    segments: &'a [usize],
    run: usize,
}

impl<'a, const MR: usize> TileRows<'a, MR> {
    /// The rows with these bases.
    ///
    /// # Panics
    /// If one of them ends outside of the source.
    #[inline(always)]
    pub fn new(source: &Source<'a>, base: [usize; MR]) -> Self {
        let mut last = 0;
        for m in 0..MR {
            last = base[m].max(last);
        }
        Self::up_to(source, base, last, extent(source))
    }

    /// The same, given the last base, and where a row ends that starts at 0.
    #[inline(always)]
    fn up_to(source: &Source<'a>, base: [usize; MR], last: usize, extent: usize) -> Self {
        let Source { bytes, segments, quads: run, .. } = *source;
        let end = extent.saturating_add(last);
        assert!(end <= bytes.len(), "a row ends at {end} of {}", bytes.len());
        Self { bytes, base, segments, run }
    }

    /// The source.
    #[inline(always)]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Of each row, its base.
    #[inline(always)]
    pub fn base(&self) -> &[usize; MR] {
        &self.base
    }

    /// Distances of segments from a base.
    #[inline(always)]
    pub fn segments(&self) -> &'a [usize] {
        self.segments
    }

    /// Quads of all segments together.
    #[inline(always)]
    pub fn quads(&self) -> usize {
        self.run * self.segments.len()
    }

    /// Quads of a segment.
    #[inline(always)]
    pub fn run(&self) -> usize {
        self.run
    }
}

/// Where a row ends that starts at 0.
#[inline(always)]
fn extent(source: &Source<'_>) -> usize {
    let segment = source.segments.iter().fold(0, |last, &segment| segment.max(last));
    source.quads.saturating_mul(4).saturating_add(segment)
}

/// Goes from tile to tile, without a division for each.
#[derive(Debug, Clone, Copy)]
pub struct Walk<'a> {
    source: Source<'a>,
    extent: usize,
    /// Columns that are left of the line, and the base of the next.
    left: usize,
    next: usize,
    /// The line, in its image.
    y: usize,
    image: usize,
}

impl<'a> Walk<'a> {
    /// From row `row` on.
    #[inline(always)]
    pub fn new(source: &Source<'a>, row: usize) -> Self {
        let Bases { extents: [height, width], steps, .. } = source.bases;
        let (line, column) = (row / width, row % width);
        let (image, y) = (line / height, line % height);
        let mut walk = Self { source: *source, extent: extent(source), left: width - column, next: 0, y, image };
        walk.next = walk.line() + column * steps[2];
        walk
    }

    /// The base of the line's first column.
    #[inline(always)]
    fn line(&self) -> usize {
        let Bases { start, steps, .. } = self.source.bases;
        start + self.image * steps[0] + self.y * steps[1]
    }

    /// The next rows.
    ///
    /// # Panics
    /// If one of them ends outside of the source.
    #[inline(always)]
    pub fn rows<const MR: usize>(&mut self) -> TileRows<'a, MR> {
        let Bases { extents: [height, width], steps, .. } = self.source.bases;
        let mut base = [0; MR];
        let mut last = 0;
        if self.left > MR {
            for m in 0..MR {
                base[m] = self.next + m * steps[2];
            }
            last = base[MR - 1];
            self.next += MR * steps[2];
            self.left -= MR;
        } else {
            for m in 0..MR {
                base[m] = self.next;
                last = self.next.max(last);
                self.next += steps[2];
                self.left -= 1;
                if self.left == 0 {
                    self.y += 1;
                    if self.y == height {
                        (self.y, self.image) = (0, self.image + 1);
                    }
                    (self.left, self.next) = (width, self.line());
                }
            }
        }
        TileRows::up_to(&self.source, base, last, self.extent)
    }
}

/// The weights of `NB` blocks: one after the other, of each one vector for every quad of every segment.
#[derive(Debug, Clone, Copy)]
pub struct Panel<'a, const NB: usize> {
    weights: &'a [[i8; 64]],
    quads: usize,
    ahead: &'a [[i8; 64]],
}

impl<'a, const NB: usize> Panel<'a, NB> {
    /// The blocks from `block` on, for rows of `quads` quads in all segments together. `ahead` will be asked for meanwhile.
    ///
    /// # Panics
    /// If there are no such weights.
    #[inline(always)]
    pub fn new(weights: &Weights<'a>, block: usize, quads: usize, ahead: &'a [[i8; 64]]) -> Self {
        assert_eq!(quads, weights.quads, "weights of another K");
        Self { weights: &weights.packed[block * quads..][..NB * quads], quads, ahead }
    }

    /// The weights of all blocks: `NB` times as many vectors as there are quads.
    #[inline(always)]
    pub fn weights(&self) -> &'a [[i8; 64]] {
        self.weights
    }

    /// Vectors of a block.
    #[inline(always)]
    pub fn quads(&self) -> usize {
        self.quads
    }

    /// Weights that will be needed soon.
    #[inline(always)]
    pub fn ahead(&self) -> &'a [[i8; 64]] {
        self.ahead
    }
}

/// [`Simd::products`], where an instruction set has no better way.
#[inline(always)]
pub fn products<S: Simd, const MR: usize, const NB: usize>(
    s: S,
    acc: &mut [[S::I; NB]; MR],
    rows: &TileRows<'_, MR>,
    panel: &Panel<'_, NB>,
) {
    let run = rows.run;
    let mut ahead = panel.ahead.iter();
    for (i, &segment) in rows.segments.iter().enumerate() {
        let mut a: [&[[u8; 4]]; MR] = [&[]; MR];
        let mut w: [&[[i8; 64]]; NB] = [&[]; NB];
        // This slicing tells the compiler that all lengths are one.
        for m in 0..MR {
            a[m] = &rows.bytes[rows.base[m] + segment..][..run * 4].as_chunks::<4>().0[..run];
        }
        for n in 0..NB {
            w[n] = &panel.weights[n * panel.quads + i * run..][..run];
        }
        for k in 0..run {
            if let Some(line) = ahead.next() {
                s.prefetch(line);
            }
            let mut weights = [s.weights(&w[0][k]); NB];
            for n in 1..NB {
                weights[n] = s.weights(&w[n][k]);
            }
            for m in 0..MR {
                let quad = s.quad(a[m][k]);
                for n in 0..NB {
                    acc[m][n] = s.dot4(acc[m][n], quad, weights[n]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source<'a>(bytes: &'a [u8], segments: &'a [usize], quads: usize, bases: Bases) -> Source<'a> {
        Source { bytes, segments, quads, bases }
    }

    #[test]
    fn a_walk_finds_the_bases() {
        let bytes = [0; 4096];
        for extents in [[1, 40], [3, 7], [2, 1], [1, 1], [5, 14], [4, 15]] {
            let steps = [extents[0] * extents[1] * 8 + 3, extents[1] * 8 + 1, 8];
            let bases = Bases { start: 5, extents, steps };
            let of = source(&bytes, &[0, 16], 3, bases);
            for first in 0..extents[0] * extents[1] {
                let mut walk = Walk::new(&of, first);
                for row in [first, first + 14, first + 28] {
                    let mut expected = [0; 14];
                    bases.fill(row, &mut expected);
                    assert_eq!(*walk.rows::<14>().base(), expected, "{extents:?} from {first}");
                }
            }
        }
    }

    #[test]
    fn rows_end_inside_of_the_source() {
        let bytes = [0; 100];
        let of = source(&bytes, &[8, 20], 5, Bases::matrix(4, 30));
        // The second row's second segment: 40 + 20 + 5 quads.
        assert_eq!(TileRows::new(&of, [0, 40]).quads(), 10);
        assert!(std::panic::catch_unwind(|| TileRows::new(&of, [61, 0])).is_err());
        assert!(std::panic::catch_unwind(|| TileRows::new(&of, [usize::MAX, 0])).is_err());
        assert!(std::panic::catch_unwind(|| Walk::new(&of, 2).rows::<2>()).is_err());
    }

    #[test]
    fn panels_have_the_weights_of_all_quads() {
        let weights = Weights { packed: &[[0; 64]; 12], bias: &[], multiplier: &[], quads: 4, channels: 48 };
        assert_eq!(Panel::<2>::new(&weights, 1, 4, &[]).weights().len(), 8);
        assert!(std::panic::catch_unwind(|| Panel::<2>::new(&weights, 2, 4, &[])).is_err());
        assert!(std::panic::catch_unwind(|| Panel::<1>::new(&weights, 0, 3, &[])).is_err());
    }
}
