//! The matrix kernel: rows of activations times packed weights.
//!
//! An output row is a position; its activations are a few *segments*, runs of quads at fixed distances from the row's base.
//! A matrix product has one segment, a convolution one for each kernel row (or tap). So no activation is copied to be
//! multiplied, and one body serves products, 1×1 and k×k convolutions, the first layer, groups and transposed ones. Padding
//! is the caller's: where a window leaves the image, the source is a padded copy.

use std::ops::Range;

use super::epilogue::{Bounds, Finish, Rows, Sums, finish, finish_registers, look_up};
use super::gemv;
use super::resident::QUADS;
use super::simd::{Kernel, Simd, Tile};

/// Rows of the highest tile, and three.
const MOST_ROWS: usize = 17;
/// Steps of K between two looks at what is to be asked for.
const STEPS: usize = 16;
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
        let (mut line, mut column) = (row / width, row % width);
        for to in to {
            let (image, y) = if height == 1 { (line, 0) } else { (line / height, line % height) };
            *to = self.start + image * self.steps[0] + y * self.steps[1] + column * self.steps[2];
            column += 1;
            if column == width {
                (line, column) = (line + 1, 0);
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
            return if const { S::TILE.blocks() == 2 } { self.row_by_row::<S, 8>(s) } else { self.row_by_row::<S, 4>(s) };
        }
        // Conditions that are constants: what an instruction set doesn't take is not compiled for it.
        if const { matches!(S::TILE, Tile::Rows14Blocks2) } {
            if self.weights.quads > QUADS || !self.resident(s) {
                self.walk::<S, 14, 2>(s);
            }
        } else if const { matches!(S::TILE, Tile::Rows6Blocks1) } {
            self.walk::<S, 6, 1>(s);
        } else if const { matches!(S::TILE, Tile::Rows4Blocks1) } {
            self.staged::<S, 4>(s);
        } else {
            self.walk::<S, 2, 1>(s);
        }
    }
}

/// Where tile `tile` starts: all are full but the last two, which share what is left, so that none is too low to hide the
/// latency of its products.
#[inline(always)]
fn starts(rows: usize, most: usize, tile: usize) -> usize {
    let tiles = rows.div_ceil(most);
    match tiles - tile.min(tiles) {
        0 => rows,
        1 if tiles > 1 && !rows.is_multiple_of(most) => rows - (rows - (tiles - 2) * most) / 2,
        _ => tile * most,
    }
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
struct Lines<T>(T);

/// What a tile works on.
#[derive(Debug, Clone, Copy)]
struct Tiled<'a> {
    /// Of each row, its base.
    base: &'a [usize],
    /// Of each row, the first segment.
    first: &'a [&'a [[u8; 4]]],
    row: usize,
    block: usize,
    bounds: Bounds,
    /// Weights that the next panel needs.
    ahead: &'a [[i8; 64]],
}

impl<'a, R: Rows> Gemm<'a, R> {
    /// All tiles: over rows first where the weights stay in cache, else over channels first.
    #[inline(always)]
    fn walk<S: Simd, const MR: usize, const NB: usize>(&mut self, s: S) {
        let Source { bytes, quads: run, segments, .. } = self.source;
        let tiles = self.rows.len().div_ceil(MR);
        let panels = self.blocks.len().div_ceil(NB);
        let bounds = self.bounds();
        let rows_first = self.blocks.len() * self.weights.quads * 64 <= WEIGHTS_AT_HAND;
        let (outer, inner) = if rows_first { (tiles, panels) } else { (panels, tiles) };
        let mut base = [0; MR];
        let mut first: [&[[u8; 4]]; MR] = [&[]; MR];
        // Rows are written out by four vectors at a time, so there is room for three more.
        let mut sums = (Lines([[[0; 16]; NB]; MOST_ROWS]), Lines([[[0; 16]; 1]; MOST_ROWS]));
        for o in 0..outer {
            for i in 0..inner {
                let (tile, panel) = if rows_first { (o, i) } else { (i, o) };
                let start = |tile: usize| self.rows.start + starts(self.rows.len(), MR, tile);
                let (row, height) = (start(tile), start(tile + 1) - start(tile));
                if !rows_first || i == 0 {
                    self.source.bases.fill(row, &mut base[..height]);
                    for m in 0..height {
                        first[m] = &bytes[base[m] + segments[0]..][..run * 4].as_chunks::<4>().0[..run];
                    }
                }
                let block = self.blocks.start + panel * NB;
                // Weights that come from far away are asked for a panel ahead, a part of them during each tile.
                let ahead = if rows_first {
                    &[][..]
                } else {
                    let quads = self.weights.quads;
                    let next = (block + NB).min(self.blocks.end) * quads..(block + 2 * NB).min(self.blocks.end) * quads;
                    let lines = &self.weights.packed[next];
                    &lines[lines.len() * i / inner..lines.len() * (i + 1) / inner]
                };
                let tiled = Tiled { base: &base[..height], first: &first[..height], row, block, bounds, ahead };
                if const { NB == 1 } || block + NB <= self.blocks.end {
                    self.tile::<S, MR, NB>(s, &tiled, &mut sums.0.0);
                } else {
                    self.tile::<S, MR, 1>(s, &tiled, &mut sums.1.0);
                }
                if rows_first && i + 1 == inner {
                    look_up(s, &self.finish, row..row + height, self.channels(), &mut self.to);
                }
            }
        }
        if !rows_first {
            look_up(s, &self.finish, self.rows.clone(), self.channels(), &mut self.to);
        }
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
    fn tile<S: Simd, const MR: usize, const NB: usize>(&mut self, s: S, tiled: &Tiled<'_>, acc: &mut [[[i32; 16]; NB]; MOST_ROWS]) {
        let height = tiled.base.len();
        let channel = tiled.block * 16;
        let mut sums = Sums {
            acc: &[],
            row: tiled.row,
            rows: height,
            channel: self.channel + channel,
            channels: (self.weights.channels - channel).min(NB * 16),
            multiplier: &self.weights.multiplier[tiled.block..tiled.block + NB],
            width: self.width,
            bounds: tiled.bounds,
        };
        macro_rules! heights {
            ($($n:literal)*) => {
                match height {
                    $($n if const { $n <= MR } => {
                        let registers = self.sums::<S, $n, NB>(s, tiled);
                        if const { $n == MR && MR % 2 == 0 && NB == 2 }
                            && finish_registers(s, &registers, &sums, &self.finish, &mut self.to)
                        {
                            return;
                        }
                        for m in 0..$n {
                            for n in 0..NB {
                                s.store_i32(registers[m][n], &mut acc[m][n]);
                            }
                        }
                    })*
                    _ => {}
                }
            };
        }
        heights!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        sums.acc = acc;
        finish(s, &sums, &self.finish, &mut self.to);
    }

    /// The sums of a tile of exactly `MR` rows.
    #[inline(always)]
    fn sums<S: Simd, const MR: usize, const NB: usize>(&self, s: S, tiled: &Tiled<'_>) -> [[S::I; NB]; MR] {
        let Weights { packed, bias, quads, .. } = self.weights;
        let Source { bytes, segments, quads: run, .. } = self.source;
        let block = tiled.block;
        // Loops instead of `array::map`: closures in there are not reliably inlined, and a call costs all registers.
        let mut acc = [[s.splat_i32(0); NB]; MR];
        let lift = s.splat_i32(if tiled.bounds == Bounds::Lifts { S::LIFT } else { 0 });
        for n in 0..NB {
            let bias = s.add_i32(s.load_i32(&bias[block + n]), lift);
            for row in &mut acc {
                row[n] = bias;
            }
        }
        let mut ahead = tiled.ahead.iter();
        let share = (tiled.ahead.len() * STEPS).div_ceil(quads.max(1));
        let mut a: [&[[u8; 4]]; MR] = [&[]; MR];
        for m in 0..MR {
            // This slicing tells the compiler that all lengths are one.
            a[m] = &tiled.first[m][..run];
        }
        for (i, &segment) in segments.iter().enumerate() {
            if i > 0 {
                for m in 0..MR {
                    a[m] = &bytes[tiled.base[m] + segment..][..run * 4].as_chunks::<4>().0[..run];
                }
            }
            let mut w: [&[[i8; 64]]; NB] = [&[]; NB];
            for n in 0..NB {
                w[n] = &packed[(block + n) * quads + i * run..][..run];
            }
            for first in (0..run).step_by(STEPS) {
                for line in ahead.by_ref().take(share) {
                    s.prefetch(line);
                }
                for k in first..run.min(first + STEPS) {
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
        acc
    }
}
