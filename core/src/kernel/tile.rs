//! The innermost loop of the matrix kernel: the products of some rows and some blocks of channels, added to sums that stay in
//! registers.
//!
//! What it reads is checked here, once for all its steps: [`TileRows`] and [`Panel`] can only be made such that every quad and
//! every weight that they name exists. An instruction set may rely on that and read them without further checks.

use super::gemm::{Bases, Source, Weights};
use super::simd::Simd;

/// The activations of a tile's rows: quad k of segment i of row m is at `base[m]` + `segments[i]` + 4k, for each k below `run`,
/// and lies within `bytes`. There is at least one.
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
    /// If one of them ends outside of the source, or there are no quads.
    #[inline(always)]
    pub fn new(source: &Source<'a>, base: [usize; MR]) -> Self {
        let mut last = 0;
        for m in 0..MR {
            last = base[m].max(last);
        }
        let Source { bytes, segments, quads: run, .. } = *source;
        let end = extent(source).saturating_add(last);
        assert!(end <= bytes.len(), "a row ends at {end} of {}", bytes.len());
        Self { bytes, base, segments, run }
    }

    /// The source, from where bases count.
    #[inline(always)]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Of each row, its base.
    #[inline(always)]
    pub fn base(&self) -> &[usize; MR] {
        &self.base
    }

    /// Lines of as many bytes behind those of this tile, which has so many.
    #[inline(always)]
    pub fn behind(&self, bytes: usize) -> &'a [[i8; 64]] {
        let start = self.base[0].saturating_add(bytes);
        let next = self.bytes.get(start..start.saturating_add(bytes)).unwrap_or_default();
        bytemuck::cast_slice(next.as_chunks::<64>().0)
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
///
/// # Panics
/// If rows are of no quads.
#[inline(always)]
fn extent(source: &Source<'_>) -> usize {
    assert!(!source.segments.is_empty() && source.quads > 0, "rows of no quads");
    let segment = source.segments.iter().fold(0, |last, &segment| segment.max(last));
    source.quads.saturating_mul(4).saturating_add(segment)
}

/// Finds the rows of tiles, without a division for each.
#[derive(Debug, Clone, Copy)]
pub struct Walk<'a> {
    source: Source<'a>,
    /// Where a row ends that starts at 0.
    extent: usize,
    /// Rows and columns of an image; lines that follow each other without a gap are one.
    extents: [usize; 2],
}

/// A place on a [`Walk`].
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Columns that are left of the line, and the base of the next.
    left: usize,
    next: usize,
    /// The line, in its image.
    y: usize,
    image: usize,
}

impl<'a> Walk<'a> {
    /// All rows of a source.
    #[inline(always)]
    pub fn new(source: &Source<'a>) -> Self {
        let Bases { extents: [height, width], steps, .. } = source.bases;
        let extents = if steps[1] == width * steps[2] { [1, height * width] } else { [height, width] };
        Self { source: *source, extent: extent(source), extents }
    }

    /// Row `row`.
    #[inline(always)]
    pub fn place(&self, row: usize) -> Place {
        let [height, width] = self.extents;
        let (line, column) = (row / width, row % width);
        let mut place = Place { left: width - column, next: 0, y: line % height, image: line / height };
        place.next = self.line(&place) + column * self.source.bases.steps[2];
        place
    }

    /// The next tiles, as many as are alike: those within a line, or the one that goes on in the next line; at most so many,
    /// which are at least one.
    ///
    /// # Panics
    /// If one of them ends outside of the source.
    #[inline(always)]
    pub fn run<const MR: usize>(&self, place: &mut Place, most: usize) -> Run<'a, MR> {
        if place.left < MR {
            let mut base = [0; MR];
            self.across(place, &mut base);
            return Run { rows: TileRows::new(&self.source, base), step: 0, tiles: 1 };
        }
        let Source { bytes, segments, quads, bases: Bases { steps: [_, _, step], .. } } = self.source;
        let tiles = most.min(place.left / MR);
        let mut base = [0; MR];
        for m in 0..MR {
            base[m] = m.wrapping_mul(step);
        }
        let start = place.next;
        // Of the last row; where that did not saturate, nothing has overflowed.
        let end = start.saturating_add((tiles * MR - 1).saturating_mul(step)).saturating_add(self.extent);
        assert!(end <= bytes.len(), "a row ends at {end} of {}", bytes.len());
        self.take(place, tiles * MR);
        Run { rows: TileRows { bytes: &bytes[start..], base, segments, run: quads }, step: MR.wrapping_mul(step), tiles }
    }

    /// The next rows, which are of two lines or more. Apart, since it is rare where there is little time.
    #[inline(never)]
    fn across(&self, place: &mut Place, base: &mut [usize]) {
        for base in base {
            *base = place.next;
            self.take(place, 1);
        }
    }

    /// Goes on by so many columns, at most to the next line.
    #[inline(always)]
    fn take(&self, place: &mut Place, columns: usize) {
        place.next += columns * self.source.bases.steps[2];
        place.left -= columns;
        if place.left == 0 {
            let [height, width] = self.extents;
            place.y += 1;
            if place.y == height {
                (place.y, place.image) = (0, place.image + 1);
            }
            (place.left, place.next) = (width, self.line(place));
        }
    }

    /// The base of the line's first column.
    #[inline(always)]
    fn line(&self, place: &Place) -> usize {
        let Bases { start, steps, .. } = self.source.bases;
        start + place.image * steps[0] + place.y * steps[1]
    }
}

/// Tiles that are equally far apart, of alike rows.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a, const MR: usize> {
    rows: TileRows<'a, MR>,
    /// Bytes from one tile to the next.
    step: usize,
    tiles: usize,
}

impl<'a, const MR: usize> Run<'a, MR> {
    /// Tiles that are left.
    pub fn tiles(&self) -> usize {
        self.tiles
    }
}

impl<'a, const MR: usize> Iterator for Run<'a, MR> {
    type Item = TileRows<'a, MR>;

    #[inline(always)]
    fn next(&mut self) -> Option<TileRows<'a, MR>> {
        self.tiles = self.tiles.checked_sub(1)?;
        let rows = self.rows;
        // Behind the last tile there may be less than a step.
        self.rows.bytes = rows.bytes.get(self.step..).unwrap_or_default();
        Some(rows)
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

    /// The same with other weights to ask for.
    #[inline(always)]
    pub fn asking_for(self, ahead: &'a [[i8; 64]]) -> Self {
        Self { ahead, ..self }
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
        for (extents, gap) in [([1, 40], 1), ([3, 7], 1), ([2, 1], 1), ([1, 1], 1), ([5, 14], 1), ([4, 15], 1), ([4, 15], 0), ([5, 2], 0)] {
            let steps = [extents[0] * extents[1] * 8 + 3, extents[1] * 8 + gap, 8];
            let bases = Bases { start: 5, extents, steps };
            let of = source(&bytes, &[0, 16], 3, bases);
            for first in 0..extents[0] * extents[1] {
                let walk = Walk::new(&of);
                let check = |row: usize, base: &[usize], rest: &[u8]| {
                    let mut expected = vec![0; base.len()];
                    bases.fill(row, &mut expected);
                    let start = bytes.len() - rest.len();
                    let found: Vec<usize> = base.iter().map(|base| start + base).collect();
                    assert_eq!(found, expected, "{extents:?} from {first}, {row}");
                };
                let mut place = walk.place(first);
                for row in [first, first + 14, first + 28] {
                    let mut run = walk.run::<14>(&mut place, 1);
                    let rows = run.next().expect("one");
                    check(row, rows.base(), rows.bytes());
                    assert!(run.next().is_none());
                }
                let (mut place, mut row) = (walk.place(first), first);
                while row < first + 3 * 20 {
                    let run = walk.run::<3>(&mut place, (first + 3 * 20 - row) / 3);
                    assert!((1..=20).contains(&run.tiles()));
                    for rows in run {
                        check(row, rows.base(), rows.bytes());
                        row += 3;
                    }
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
        assert!(
            std::panic::catch_unwind(|| {
                let walk = Walk::new(&of);
                walk.run::<2>(&mut walk.place(2), 1)
            })
            .is_err()
        );
    }

    #[test]
    fn what_is_behind_a_tile_is_the_next_ones() {
        let bytes: Vec<u8> = (0..=255).cycle().take(3 * 192 + 100).collect();
        let of = source(&bytes, &[0], 24, Bases::matrix(6, 96));
        let rows = |start: usize| TileRows::new(&of, [start, start + 96]);
        assert_eq!(bytemuck::cast_slice::<_, u8>(rows(0).behind(192)), &bytes[192..384]);
        assert_eq!(rows(384).behind(192).len(), 0, "there are no two more rows");
        assert_eq!(rows(0).behind(0).len(), 0);
        assert_eq!(rows(0).behind(usize::MAX).len(), 0);
    }

    #[test]
    fn panels_have_the_weights_of_all_quads() {
        let weights = Weights { packed: &[[0; 64]; 12], bias: &[], multiplier: &[], orders: None, quads: 4, channels: 48 };
        assert_eq!(Panel::<2>::new(&weights, 1, 4, &[]).weights().len(), 8);
        assert!(std::panic::catch_unwind(|| Panel::<2>::new(&weights, 2, 4, &[])).is_err());
        assert!(std::panic::catch_unwind(|| Panel::<1>::new(&weights, 0, 3, &[])).is_err());
    }
}
