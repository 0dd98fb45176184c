//! The matrix kernel: rows of activations times packed weights.
//!
//! An output row is a position; its activations are a few *segments*, runs of quads at fixed distances from the row's base.
//! A matrix product has one segment, a convolution one for each kernel row (or tap). So no activation is copied to be
//! multiplied, and one body serves products, 1×1 and k×k convolutions, the first layer, groups and transposed ones. Padding
//! is the caller's: where a window leaves the image, the source is a padded copy.

use std::ops::Range;

use super::epilogue::{Bounds, Finish, Rows, Sums, finish, look_up};
use super::gemv;
use super::pairing::Orders;
use super::simd::{Kernel, Simd, Tile};
use super::tile::{Panel, TileRows};

/// Rows of the highest tile, and three.
pub(super) const MOST_ROWS: usize = 17;
/// Bytes of weights that a core keeps at hand while it walks over rows; more, and it walks over channels first.
pub(super) const WEIGHTS_AT_HAND: usize = 768 * 1024;

/// Where activations are.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The bytes. From the last quad of the last row, up to 3 may not belong to it: they meet zero weights.
    pub bytes: &'a [u8],
    /// Of each segment, the distance from a row's base.
    pub segments: &'a [usize],
    /// Quads of a segment.
    pub quads: usize,
    /// Where bases are.
    pub bases: Bases,
}

/// Bytes of activations that are likely to be in a cache of this core.
const ROWS_AT_HAND: usize = 1 << 20;

impl Source<'_> {
    /// Whether each row begins where the one before it ends, and they are so many that they may come from far away. Rows of a tile are
    /// as many streams to a processor, which foresees only some of them; so who computes one asks for the next.
    #[inline(always)]
    pub(super) fn adjoins_afar(&self) -> bool {
        self.segments.len() == 1 && self.bases.steps[2] == 4 * self.quads && self.bytes.len() > ROWS_AT_HAND
    }
}

/// From an output row to its base: rows count images, then image rows, then columns.
#[derive(Debug, Clone, Copy)]
pub struct Bases {
    /// The base of row 0.
    pub start: usize,
    /// Rows and columns of an output image.
    pub extents: [usize; 2],
    /// Distance of two images, two rows, two columns.
    pub steps: [usize; 3],
}

impl Bases {
    /// Rows of a matrix whose rows are `pitch` bytes apart.
    pub fn matrix(rows: usize, pitch: usize) -> Self {
        Self { start: 0, extents: [1, rows.max(1)], steps: [0, 0, pitch] }
    }

    /// The bases of `to.len()` rows from `row` on.
    #[inline(always)]
    pub fn fill(&self, row: usize, to: &mut [usize]) {
        let [height, width] = self.extents;
        let (line, mut column) = (row / width, row % width);
        let (mut image, mut y) = (line / height, line % height);
        for to in to {
            *to = self.start + image * self.steps[0] + y * self.steps[1] + column * self.steps[2];
            column += 1;
            if column == width {
                (y, column) = (y + 1, 0);
                if y == height {
                    (image, y) = (image + 1, 0);
                }
            }
        }
    }
}

/// The constants of a packed operation's group.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// `[N/16][K/4]` rows of 16 channels × 4.
    pub packed: &'a [[i8; 64]],
    /// Sums start with these.
    pub bias: &'a [[i32; 16]],
    /// Of the requantization.
    pub multiplier: &'a [[f32; 16]],
    /// Orders for products in pairs; none where others are faster.
    pub orders: Option<Orders<'a>>,
    /// Quads of K.
    pub quads: usize,
    /// Output channels.
    pub channels: usize,
}

/// A part of a product: output rows × blocks of 16 channels.
#[derive(Debug)]
pub struct Gemm<'a, R> {
    /// Activations.
    pub source: Source<'a>,
    /// Weights.
    pub weights: Weights<'a>,
    /// Epilogue.
    pub finish: Finish<'a>,
    /// The output rows to compute.
    pub rows: Range<usize>,
    /// The blocks to compute.
    pub blocks: Range<usize>,
    /// Channels of the output before this group's.
    pub channel: usize,
    /// Elements of a row of the output.
    pub width: usize,
    /// The output.
    pub to: R,
}

impl<R: Rows> Kernel for Gemm<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        if self.rows.len() <= gemv::ROWS && !self.rows.is_empty() {
            return match const { S::TILE.blocks_of_a_row() } {
                8 => self.row_by_row::<S, 8>(s),
                4 => self.row_by_row::<S, 4>(s),
                _ => self.row_by_row::<S, 2>(s),
            };
        }
        // Conditions that are constants: what an instruction set doesn't take is not compiled for it.
        if const { S::PAIRS }
            && let Some(orders) = self.weights.orders
        {
            self.paired::<S, 6, 96, 99>(s, orders);
        } else if const { matches!(S::TILE, Tile::Rows14Blocks2) } {
            self.walk_whole::<S, 14, 2>(s);
        } else if const { matches!(S::TILE, Tile::Rows6Blocks1) } {
            self.walk_whole::<S, 6, 1>(s);
        } else if const { matches!(S::TILE, Tile::Rows6Halves) } {
            self.walk::<S, 6>(s);
        } else if const { matches!(S::TILE, Tile::Rows4Blocks1) } {
            self.staged::<S, 4, 32, 35>(s);
        } else if const { matches!(S::TILE, Tile::Rows4HalvesStaged) } {
            self.staged::<S, 4, 64, 64>(s);
        } else {
            self.walk::<S, 4>(s);
        }
    }
}

/// Where tile `tile` starts: all are full but the last two, which share what is left, so that none is too low to hide the
/// latency of its products.
#[inline(always)]
pub(super) fn starts(rows: usize, most: usize, tile: usize) -> usize {
    let tiles = rows.div_ceil(most);
    match tiles - tile.min(tiles) {
        0 => rows,
        1 if tiles > 1 && !rows.is_multiple_of(most) => rows - (rows - (tiles - 2) * most) / 2,
        _ => tile * most,
    }
}

/// Rows of the lowest tile, where the highest has `most`: of two tiles that share what is left, or of one by itself, which has
/// more rows than are multiplied one by one.
const fn least_rows(most: usize) -> usize {
    let shared = most.div_ceil(2);
    if shared < gemv::ROWS + 1 { shared } else { gemv::ROWS + 1 }
}

impl<'a> Gemm<'a, ()> {
    /// The same with a place to write to.
    pub fn onto<R: Rows>(self, to: R) -> Gemm<'a, R> {
        let Self { source, weights, finish, rows, blocks, channel, width, to: () } = self;
        Gemm { source, weights, finish, rows, blocks, channel, width, to }
    }
}

/// Vectors that cross no cache line: a store that does costs twice, and is not forwarded to a load.
#[repr(align(64))]
pub(super) struct Lines<T>(pub T);

/// Sums of a tile in memory. Rows are written out by four vectors at a time, so there is room for three more.
pub(super) type Acc<const NB: usize> = Lines<[[[i32; 16]; NB]; MOST_ROWS]>;

/// What a tile works on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiled<'a> {
    /// Of each row, its base.
    pub base: &'a [usize],
    pub row: usize,
    pub block: usize,
    pub bounds: Bounds,
    /// Weights that the next panel needs.
    pub ahead: &'a [[i8; 64]],
}

impl<'a, R: Rows> Gemm<'a, R> {
    /// All tiles, a block of channels wide: over rows first where the weights stay in cache, else over channels first.
    #[inline(always)]
    fn walk<S: Simd, const MR: usize>(&mut self, s: S) {
        let tiles = self.rows.len().div_ceil(MR);
        let bounds = self.bounds().of_use::<S>();
        let rows_first = self.rows_first();
        let (outer, inner) = if rows_first { (tiles, self.blocks.len()) } else { (self.blocks.len(), tiles) };
        let mut base = [0; MR];
        let mut acc: Acc<1> = Lines([[[0; 16]; 1]; MOST_ROWS]);
        for o in 0..outer {
            let ahead = if rows_first { Ahead::default() } else { self.ahead(self.blocks.start + o, 1, inner) };
            for i in 0..inner {
                let (tile, panel) = if rows_first { (o, i) } else { (i, o) };
                let start = |tile: usize| self.rows.start + starts(self.rows.len(), MR, tile);
                let (row, height) = (start(tile), start(tile + 1) - start(tile));
                if !rows_first || i == 0 {
                    self.source.bases.fill(row, &mut base[..height]);
                }
                let tiled = Tiled { base: &base[..height], row, block: self.blocks.start + panel, bounds, ahead: ahead.of(i) };
                self.tile::<S, MR, 1>(s, &tiled, &mut acc);
                if rows_first && i + 1 == inner {
                    look_up(s, &self.finish, row..row + height, self.channels(), &mut self.to);
                }
            }
        }
        if !rows_first {
            look_up(s, &self.finish, self.rows.clone(), self.channels(), &mut self.to);
        }
    }

    /// Whether the weights stay at hand while rows go by.
    #[inline(always)]
    pub(super) fn rows_first(&self) -> bool {
        self.blocks.len() * self.weights.quads * 64 <= WEIGHTS_AT_HAND
    }

    /// The weights of the panel behind the one of `width` blocks at `block`, for the `tiles` tiles of that one to ask for.
    #[inline(always)]
    pub(super) fn ahead(&self, block: usize, width: usize, tiles: usize) -> Ahead<'a> {
        let at = |block: usize| block.min(self.blocks.end) * self.weights.quads;
        let lines = &self.weights.packed[at(block + width)..at(block + 2 * width)];
        Ahead { lines, each: lines.len().div_ceil(tiles.max(1)) }
    }

    /// The channels of the output that these blocks are.
    pub fn channels(&self) -> Range<usize> {
        let before = |block: usize| self.channel + (block * 16).min(self.weights.channels);
        before(self.blocks.start)..before(self.blocks.end)
    }

    /// What is known of the sums of these blocks.
    pub fn bounds(&self) -> Bounds {
        let reach = self.weights.quads as u64 * 4 * 255 * 128;
        Bounds::of(reach, &self.weights.bias[self.blocks.clone()], &self.weights.multiplier[self.blocks.clone()], &self.finish)
    }

    /// One tile of up to `MR` rows.
    #[inline(always)]
    pub(super) fn tile<S: Simd, const MR: usize, const NB: usize>(&mut self, s: S, tiled: &Tiled<'_>, acc: &mut Acc<NB>) {
        macro_rules! heights {
            ($($n:literal)*) => {
                match tiled.base.len() {
                    $($n if const { $n >= least_rows(MR) && $n <= MR } => self.sums::<S, $n, NB>(s, tiled, &mut acc.0),)*
                    _ => {}
                }
            };
        }
        heights!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        let channel = tiled.block * 16;
        let sums = Sums {
            acc: &acc.0[..],
            block: tiled.block,
            row: tiled.row,
            rows: tiled.base.len(),
            channel: self.channel + channel,
            channels: (self.weights.channels - channel).min(NB * 16),
            bias: None,
            multiplier: &self.weights.multiplier[tiled.block..tiled.block + NB],
            width: self.width,
            bounds: tiled.bounds,
        };
        finish(s, &sums, &self.finish, &mut self.to);
    }

    /// The sums of a tile of exactly `MR` rows.
    #[inline(always)]
    fn sums<S: Simd, const MR: usize, const NB: usize>(&self, s: S, tiled: &Tiled<'_>, to: &mut [[[i32; 16]; NB]]) {
        let mut base = [0; MR];
        base.copy_from_slice(&tiled.base[..MR]);
        let rows = TileRows::new(&self.source, base);
        let panel = Panel::new(&self.weights, tiled.block, rows.quads(), tiled.ahead);
        if let Some(to) = to.first_chunk_mut() {
            s.sums(self.starts::<S, NB>(s, tiled.block, tiled.bounds), &rows, &panel, to);
        }
    }

    /// What the sums of any row of a tile start with.
    #[inline(always)]
    pub(super) fn starts<S: Simd, const NB: usize>(&self, s: S, block: usize, bounds: Bounds) -> [S::I; NB] {
        // Loops instead of `array::map`: closures in there are not reliably inlined, and a call costs all registers.
        let lift = s.splat_i32(if bounds == Bounds::Lifts { S::LIFT } else { 0 });
        let mut starts = [lift; NB];
        for n in 0..NB {
            starts[n] = s.add_i32(s.load_i32(&self.weights.bias[block + n]), lift);
        }
        starts
    }
}

/// Weights that come from far away are asked for a panel ahead, a part of them during each tile.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ahead<'a> {
    lines: &'a [[i8; 64]],
    each: usize,
}

impl<'a> Ahead<'a> {
    /// Those that tile `tile` asks for.
    #[inline(always)]
    pub(super) fn of(&self, tile: usize) -> &'a [[i8; 64]] {
        let from = (tile * self.each).min(self.lines.len());
        &self.lines[from..(from + self.each).min(self.lines.len())]
    }

    /// Those that the next tile asks for.
    #[inline(always)]
    pub(super) fn next(&mut self) -> &'a [[i8; 64]] {
        let (next, rest) = self.lines.split_at(self.each.min(self.lines.len()));
        self.lines = rest;
        next
    }

    /// Those of the tiles from `tile` on.
    #[inline(always)]
    pub(super) fn behind(&self, tile: usize) -> Self {
        Self { lines: &self.lines[(tile * self.each).min(self.lines.len())..], each: self.each }
    }
}
