//! How a matrix product is cut for tiles and caches, how much scratch that takes, and whether tiles pay at all: functions of
//! the shape alone.

use std::ops::Range;

use quaver_core::kernel::gemm::{Bases, Source};

use super::machine::{BYTES, ROWS, Shape, TILES};

/// Quads of K in a tile.
const QUADS: usize = BYTES / 4;
/// Weights that stay in a core's 2 MiB of L2 beside the activations and outputs that pass through it.
const WEIGHTS_AT_HAND: usize = 1 << 20;
/// Activations that stay there while weights pass through.
const ROWS_AT_HAND: usize = 1 << 20;
/// Most tiles of rows that meet a pair of blocks in turn. By then, reading the weights from memory costs little beside the
/// products, and places of more tiles would only take room.
pub(super) const MAX_TILES: usize = 32;

/// How a call is cut.
///
/// Per step, a pair of tiles by a pair of blocks loads 2 KiB of each side for four products. The side that stays for the inner
/// loop comes from L1 while its panel of 32 rows fits there, which takes K up to about a thousand; the other side streams
/// through. So the loop runs over *blocks* of rows, in each over pairs of weight blocks, in each over pairs of tiles:
///
/// * Weights that fit into L2 stay there. Then a block is one pair of tiles: its activations are read once, and kept in L1
///   while all weights pass by.
/// * More weights pass through L2 once for each block. Then a block has as many rows as fit beside them, so that each
///   weight that comes from L3 or memory meets many rows; in the inner loop it is the pair of weight blocks that L1 keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Rows of the call.
    rows: usize,
    /// Rows of a tile.
    pub height: usize,
    /// Tiles that cover all rows.
    pub tiles: usize,
    /// Most tiles of a block; even.
    pub block: usize,
    /// Quads of a step.
    pub depth: usize,
    /// Steps of K.
    pub steps: usize,
}

impl Plan {
    /// For at least one row.
    #[inline]
    pub fn new(rows: usize, blocks: usize, quads: usize) -> Self {
        let tiles = rows.div_ceil(ROWS);
        let steps = quads.div_ceil(QUADS);
        let block =
            if blocks * quads * BYTES <= WEIGHTS_AT_HAND { 2 } else { (ROWS_AT_HAND / (steps * ROWS * BYTES)).clamp(2, MAX_TILES) & !1 };
        Self { rows, height: rows.div_ceil(tiles), tiles, block: block.min(tiles.next_multiple_of(2)), depth: quads.clamp(1, QUADS), steps }
    }

    /// The row, from the first of the call, at which a tile starts. Only the last may overlap the one before.
    #[inline(always)]
    pub fn start(&self, tile: usize) -> usize {
        (tile * self.height).min(self.rows - self.height)
    }

    /// Extents of the tiles: four of sums, two of activations, two of weights.
    pub fn shapes(&self) -> [Shape; TILES] {
        let c = Shape::new(self.height, BYTES);
        let a = Shape::new(self.height, self.depth * 4);
        let b = Shape::new(self.depth, BYTES);
        [c, c, c, c, a, a, b, b]
    }

    /// Tiles of rows that each block should have, so that all have about as many.
    #[inline]
    pub fn tiles_of_a_block(&self) -> usize {
        self.tiles.div_ceil(self.tiles.div_ceil(self.block)).next_multiple_of(2)
    }
}

/// Bytes of scratch that a product needs, where its output has these rows and as many blocks of 16 channels. They are enough
/// for any part of the product too.
pub fn scratch(source: &Source<'_>, rows: &Range<usize>, blocks: usize) -> usize {
    let quads = source.quads * source.segments.len();
    if rows.is_empty() || blocks == 0 || quads == 0 {
        return 0;
    }
    let in_place = source.quads.is_multiple_of(QUADS) || (source.segments.len() == 1 && quads < QUADS);
    if in_place && equidistant(&source.bases, rows.end) {
        return 0;
    }
    let plan = Plan::new(rows.len(), blocks, quads);
    // The driver begins at a multiple of a row's length.
    plan.block * plan.steps * ROWS * BYTES + BYTES - 1
}

/// Whether any two neighbouring rows below `end` have one distance.
fn equidistant(bases: &Bases, end: usize) -> bool {
    let ([height, width], [image, line, column]) = (bases.extents, bases.steps);
    let lines = height == 1 || line == width * column;
    lines && (end <= height * width || image == height * width * column)
}

/// Whether tiles are likely to beat vectors at a product of m rows, n channels and K values.
///
/// A tile takes its time whether its 16 rows and 64 bytes are full or not: 16 cycles for what `vpdpbusd`, twice a cycle, takes
/// 128 for if they are. So below half of the rows, or half of a step of K, where loading the weights dominates for both, or
/// where the bias and the sums pass through memory for too few products, nothing is gained; nor for a product so small that
/// configuring the tiles shows. It is a rule from the instructions' throughput, to be replaced by measured ones.
pub fn pays(m: usize, n: usize, k: usize) -> bool {
    /// Four tiles full of sums, of a few steps.
    const LEAST_PRODUCTS: usize = 1 << 16;
    m >= ROWS / 2 && k >= BYTES / 2 && m.saturating_mul(n).saturating_mul(k) >= LEAST_PRODUCTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_rows_and_only_the_last_overlaps() {
        for rows in 1..600 {
            let plan = Plan::new(rows, 3, 20);
            assert!((1..=ROWS).contains(&plan.height), "{rows}");
            for tile in 0..plan.tiles {
                let start = plan.start(tile);
                assert!(start + plan.height <= rows);
                assert!(start <= tile * plan.height && start + plan.height > tile * plan.height, "{rows}: {tile} adds no row");
                assert!(start == tile * plan.height || tile + 1 == plan.tiles, "{rows}: {tile}");
            }
            assert_eq!(plan.start(plan.tiles - 1) + plan.height, rows);
            let block = plan.tiles_of_a_block();
            assert!(block.is_multiple_of(2) && block <= plan.block && plan.block <= MAX_TILES);
        }
    }

    #[test]
    fn many_weights_meet_many_rows() {
        assert_eq!(Plan::new(3136, 4, 144).block, 2, "weights that stay in L2");
        let plan = Plan::new(3136, 64, 1152);
        assert_eq!(plan.block, 14);
        assert!(plan.block * plan.steps * ROWS * BYTES <= ROWS_AT_HAND);
        assert_eq!(Plan::new(49, 64, 1152).block, 4, "no more than there are");
        assert_eq!(Plan::new(3136, 4096, 16).block, MAX_TILES);
        assert_eq!(Plan::new(3136, 64, 16384).block, 2, "a pair at least");
    }

    #[test]
    fn scratch_is_enough_for_every_part() {
        let bases = Bases { start: 0, extents: [7, 7], steps: [9 * 9 * 64, 9 * 64, 64] };
        let source = Source { bytes: &[], segments: &[0, 9 * 64, 18 * 64], quads: 48, bases };
        let whole = scratch(&source, &(0..490), 80);
        for from in (0..490).step_by(61) {
            for to in (from..490).step_by(17) {
                assert!((0..=80).all(|blocks| scratch(&source, &(from..to), blocks) <= whole));
            }
        }
    }

    #[test]
    fn what_is_loaded_in_place_takes_no_scratch() {
        let source = |segments: &'static [usize], quads, bases| Source { bytes: &[], segments, quads, bases };
        let matrix = Bases::matrix(100, 256);
        assert_eq!(scratch(&source(&[0], 64, matrix), &(0..100), 4), 0);
        assert_eq!(scratch(&source(&[0], 9, Bases::matrix(100, 36)), &(0..100), 4), 0);
        assert_ne!(scratch(&source(&[0], 65, matrix), &(0..100), 4), 0, "K ends within a step");
        assert_ne!(scratch(&source(&[0, 64], 8, matrix), &(0..100), 4), 0, "segments end within a step");
        let images = |image| Bases { start: 0, extents: [7, 7], steps: [image, 7 * 64, 64] };
        assert_eq!(scratch(&source(&[0], 16, images(49 * 64)), &(0..98), 4), 0);
        assert_ne!(scratch(&source(&[0], 16, images(50 * 64)), &(0..98), 4), 0);
        assert_eq!(scratch(&source(&[0], 16, images(50 * 64)), &(0..49), 4), 0);
    }

    #[test]
    fn few_rows_are_left_to_vectors() {
        assert!(!pays(1, 1000, 2048) && !pays(7, 1000, 2048));
        assert!(pays(8, 1000, 2048) && pays(49, 512, 4608) && pays(12544, 64, 147));
        assert!(!pays(12544, 32, 27), "half a step of K");
        assert!(!pays(16, 16, 64), "too small");
    }
}
