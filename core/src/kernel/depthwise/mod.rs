//! The depthwise kernel: one filter a channel, u8 × i8, NHWC, weights `[kh·kw][C]`.
//!
//! Rows of an image are interleaved into *quads*, four rows of one channel in the four bytes of a lane, so that one dot product
//! sums four vertical taps of 16 channels. A column of quads serves every output column that sees it, and every output row
//! whose taps lie within it, with weights shifted by a row. Where the image ends, rows and columns of padding take part.
//!
//! A block of channels is 64 wide, in interleaved order, or 16 wide, in natural order, for what is left over and for f32. Where
//! the quads slide, what is left over shares vectors among columns: two of 32 channels, or four of 16, in interleaved order.
//!
//! | module | what it holds |
//! |---|---|
//! | `columns` | square kernels of 3, 5 and 7, stride 1 and 2: quads of a run of columns, then sums |
//! | `slide` | 3×3 where an instruction set slides: what it makes of a window stays in registers |
//! | [`lines`] | the innermost loop of `slide`, which an instruction set may have its own form of |
//! | `points` | windows of one tap: a factor and a term for each channel |
//! | `taps` | all other windows: quads of any four taps |
//! | `finish` | the constants of a block, and from sums to the output |
//! | `windows` | all windows in one body, instead of all these, where kernels are compact |

#![allow(
    clippy::needless_range_loop,
    clippy::manual_memcpy,
    reason = "iterators and copies of slices are not reliably inlined, and arrays stay in registers only if indexed by constants"
)]
#![allow(clippy::too_many_arguments, reason = "a struct of vectors would be kept in memory")]

mod columns;
mod finish;
pub mod lines;
mod points;
mod slide;
mod taps;
mod windows;

pub use windows::takes_compactly;

use std::ops::Range;

use super::edge::bytes_at;
use super::epilogue::{Bounds, Finish, Rows};
use super::simd::{Kernel, Simd};
use crate::graph::op::Window;

/// Blocks of 16 channels that are left over are computed one by one if they are fewer; else some lanes go unused.
const WIDE_FROM: usize = 2;

/// Bytes of input and output of a strip, about: what a core keeps closest while it walks over the blocks.
const STRIP_AT_HAND: usize = 40 * 1024;

/// Output positions of a strip, at least: those that pay for the preparation of a block's weights.
const POSITIONS: usize = 196;

/// Channels from which on blocks share few cache lines, so that a strip may be larger than what is kept closest.
const FEW_SHARED: usize = 192;

/// A part of a depthwise convolution: output lines × blocks of 16 channels.
#[derive(Debug)]
pub struct Depthwise<'a, R> {
    /// Images, NHWC.
    pub input: &'a [u8],
    /// Rows, columns and channels of an image.
    pub extents: [usize; 3],
    /// The window.
    pub window: Window,
    /// Rows and columns of an output image.
    pub output: [usize; 2],
    /// `[kh·kw][C]`, C padded to a multiple of 16.
    pub weights: &'a [i8],
    /// Sums start with these, as many as padded channels.
    pub bias: &'a [i32],
    /// Of the requantization, as many as padded channels.
    pub multiplier: &'a [f32],
    /// Epilogue.
    pub finish: Finish<'a>,
    /// What padding holds.
    pub pad: u8,
    /// The output lines to compute; they count images, then rows.
    pub lines: Range<usize>,
    /// The blocks of 16 channels to compute.
    pub blocks: Range<usize>,
    /// The output, rows of C elements.
    pub to: R,
}

impl<'a> Depthwise<'a, ()> {
    /// The same with a place to write to.
    pub fn onto<R: Rows>(self, to: R) -> Depthwise<'a, R> {
        let Self { input, extents, window, output, weights, bias, multiplier, finish, pad, lines, blocks, to: () } = self;
        Depthwise { input, extents, window, output, weights, bias, multiplier, finish, pad, lines, blocks, to }
    }
}

impl<R: Rows> Kernel for Depthwise<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let Window { kernel, strides, dilations, .. } = self.window;
        let bounds = self.bounds().of_use::<S>();
        if const { S::COMPACT } {
            return self.in_one_body(s, bounds);
        }
        let of = &mut self;
        let to_table = matches!(of.finish, Finish::U8(how) if how.table.is_some());
        if bounds != Bounds::None && dilations == [1, 1] && kernel == [3, 3] && (S::SLIDES_TO_TABLES || !to_table) {
            match strides {
                [1, 1] if const { S::SLIDES[0] } => return s.vectorize(Walk::<R, SLIDE, 1>(of, bounds)),
                [2, 2] if const { S::SLIDES[1] } => return s.vectorize(Walk::<R, SLIDE, 2>(of, bounds)),
                _ => {}
            }
        }
        match (kernel, strides, dilations) {
            ([3, 3], [1, 1], [1, 1]) => s.vectorize(Walk::<R, 3, 1>(of, bounds)),
            ([5, 5], [1, 1], [1, 1]) => s.vectorize(Walk::<R, 5, 1>(of, bounds)),
            ([7, 7], [1, 1], [1, 1]) => s.vectorize(Walk::<R, 7, 1>(of, bounds)),
            ([3, 3], [2, 2], [1, 1]) => s.vectorize(Walk::<R, 3, 2>(of, bounds)),
            ([5, 5], [2, 2], [1, 1]) => s.vectorize(Walk::<R, 5, 2>(of, bounds)),
            ([7, 7], [2, 2], [1, 1]) => s.vectorize(Walk::<R, 7, 2>(of, bounds)),
            _ if points::takes(&of.window) => s.vectorize(Walk::<R, POINT, 1>(of, bounds)),
            _ => s.vectorize(Walk::<R, TAPS, 0>(of, bounds)),
        }
    }
}

/// [`Walk`]'s method for 3×3 that slides.
const SLIDE: usize = 1;
/// [`Walk`]'s method for any window.
const TAPS: usize = 0;
/// [`Walk`]'s method for windows of one tap.
const POINT: usize = 2;

/// A convolution by one method, for a square kernel of `K` taps a side, or [`SLIDE`], [`POINT`] or [`TAPS`], and stride `ST`. Each is
/// compiled by itself: of one large body the optimiser leaves arrays of vectors in memory.
struct Walk<'a, 'b, R, const K: usize, const ST: usize>(&'b mut Depthwise<'a, R>, Bounds);

impl<R: Rows, const K: usize, const ST: usize> Kernel for Walk<'_, '_, R, K, ST> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(of, bounds) = self;
        match (K, ST) {
            (SLIDE, 1) => of.walk(s, bounds, slide::Slide::<1>::new()),
            (SLIDE, _) => of.walk(s, bounds, slide::Slide::<2>::new()),
            (POINT, _) => of.walk(s, bounds, points::Points::new()),
            (3, 1) => of.walk(s, bounds, columns::Columns::<S, 1, 3, 1, 120, 24>::new(s)),
            (5, 1) => of.walk(s, bounds, columns::Columns::<S, 2, 5, 1, 256, 160>::new(s)),
            (7, 1) => of.walk(s, bounds, columns::Columns::<S, 2, 7, 1, 272, 112>::new(s)),
            (3, _) => of.walk(s, bounds, columns::Columns::<S, 1, 3, 2, 116, 12>::new(s)),
            (5, _) => of.walk(s, bounds, columns::Columns::<S, 2, 5, 2, 248, 80>::new(s)),
            (7, _) => of.walk(s, bounds, columns::Columns::<S, 2, 7, 2, 264, 56>::new(s)),
            _ => of.walk(s, bounds, taps::Taps::<S>::new(s)),
        }
    }
}

/// A way to compute lines of a block.
trait Method<S: Simd> {
    /// Whether a few columns of few channels may share its vectors.
    const SHARES: bool = false;
    /// Bytes of input and output of a strip, about.
    const STRIP: usize = STRIP_AT_HAND;
    /// Output positions of a strip, at least.
    const POSITIONS: usize = POSITIONS;

    /// Computes `V`·16 channels of `strip`, or where it shares vectors among `P` columns, `V`·16 / `P`.
    fn strip<R: Rows, const V: usize, const P: usize>(&mut self, s: S, of: &mut Depthwise<'_, R>, strip: Strip, block: &finish::Block);
}

/// A rectangle of an output image.
#[derive(Debug, Clone, Copy)]
struct Strip {
    image: usize,
    line: usize,
    lines: usize,
    column: usize,
    columns: usize,
}

impl<R: Rows> Depthwise<'_, R> {
    /// All strips, and in each all blocks.
    #[inline(always)]
    fn walk<S: Simd, M: Method<S>>(&mut self, s: S, bounds: Bounds, mut method: M) {
        let [height, width] = self.output;
        let [most_lines, most_columns] = self.strip_extents(M::STRIP, M::POSITIONS);
        let wide = matches!(self.finish, Finish::U8(_));
        // A pixel of only two blocks has neighbours behind it that would be read in vain.
        let least = match M::SHARES {
            true => 4,
            false if self.extents[2] > 32 => WIDE_FROM,
            false => 3,
        };
        let mut line = self.lines.start;
        while line < self.lines.end {
            let (image, y) = (line / height, line % height);
            let lines = most_lines.min(height - y).min(self.lines.end - line);
            let mut column = 0;
            while column < width {
                let strip = Strip { image, line: y, lines, column, columns: most_columns.min(width - column) };
                let mut block = self.blocks.start;
                while block < self.blocks.end {
                    if wide && block + least <= self.blocks.end {
                        let constants = self.block::<4, 1>(block, bounds);
                        method.strip::<R, 4, 1>(s, self, strip, &constants);
                        block += 4;
                    } else if M::SHARES && block + 2 <= self.blocks.end {
                        let constants = self.block::<4, 2>(block, bounds);
                        method.strip::<R, 4, 2>(s, self, strip, &constants);
                        block += 2;
                    } else if M::SHARES {
                        let constants = self.block::<4, 4>(block, bounds);
                        method.strip::<R, 4, 4>(s, self, strip, &constants);
                        block += 1;
                    } else {
                        let constants = self.block::<1, 1>(block, bounds);
                        method.strip::<R, 1, 1>(s, self, strip, &constants);
                        block += 1;
                    }
                }
                column += strip.columns;
            }
            line += lines;
        }
    }

    /// All strips, and in each all blocks, by one body.
    #[inline(always)]
    fn in_one_body<S: Simd>(&mut self, s: S, bounds: Bounds) {
        let [height, width] = self.output;
        let [most_lines, most_columns] = self.strip_extents(STRIP_AT_HAND, POSITIONS);
        let mut windows = windows::Windows::new(s, self);
        let mut line = self.lines.start;
        while line < self.lines.end {
            let (image, y) = (line / height, line % height);
            let lines = most_lines.min(height - y).min(self.lines.end - line);
            let mut column = 0;
            while column < width {
                let strip = Strip { image, line: y, lines, column, columns: most_columns.min(width - column) };
                for block in self.blocks.clone().step_by(windows::BLOCKS) {
                    let blocks = windows::BLOCKS.min(self.blocks.end - block);
                    windows.strip(s, self, bounds, strip, block * 16, blocks);
                }
                column += strip.columns;
            }
            line += lines;
        }
    }

    /// Most lines, and most columns of a strip.
    fn strip_extents(&self, at_hand: usize, positions: usize) -> [usize; 2] {
        let (channels, width) = (self.extents[2], self.output[1].max(1));
        let [sy, sx] = self.window.strides;
        let enough = positions.div_ceil(width).next_multiple_of(4);
        if channels > FEW_SHARED {
            return [enough, width];
        }
        // The lines'  input overlaps by what the window sees beyond a step.
        let bytes = |lines: usize, columns: usize| ((lines * sy + self.window.reach(0)) * columns * sx + lines * columns) * channels;
        let mut extents = [columns::LINES, width];
        while extents[1] > columns::RUN && bytes(extents[0], extents[1]) > at_hand {
            extents[1] = (extents[1] / 2).next_multiple_of(columns::RUN);
        }
        while extents[0] < enough && bytes(2 * extents[0], extents[1]) <= at_hand {
            extents[0] *= 2;
        }
        extents
    }
}

impl<'a, R> Depthwise<'a, R> {
    /// The input from an image's first pixel, `channel`, on.
    #[inline(always)]
    fn image(&self, image: usize, channel: usize) -> &'a [u8] {
        let [height, width, channels] = self.extents;
        self.input.get(image * height * width * channels + channel..).unwrap_or_default()
    }

    /// The input from a row's first column, `channel`, on; `None` outside of the image.
    #[inline(always)]
    fn row(&self, image: usize, y: usize, channel: usize) -> Option<&'a [u8]> {
        let [height, width, channels] = self.extents;
        let y = y.checked_sub(self.window.pads_begin[0]).filter(|&y| y < height)?;
        self.input.get((image * height + y) * width * channels + channel..)
    }
}

/// Four rows of input, from a block's first channel on.
#[derive(Clone, Copy)]
struct Four<'a> {
    /// Each row, and its distance of columns: 0 for padding.
    rows: [(&'a [u8], usize); 4],
    /// The rows cut to one length, if none is padding.
    inside: Option<[&'a [u8]; 4]>,
    /// Distance of columns.
    step: usize,
}

impl<'a> Four<'a> {
    #[inline(always)]
    fn new(rows: [(&'a [u8], usize); 4], step: usize) -> Self {
        let mut len = rows[0].0.len();
        let mut inside = true;
        for k in 0..4 {
            len = len.min(rows[k].0.len());
            inside &= rows[k].1 != 0;
        }
        let cut = [&rows[0].0[..len], &rows[1].0[..len], &rows[2].0[..len], &rows[3].0[..len]];
        Self { rows, inside: inside.then_some(cut), step }
    }

    /// The quads of column `x`.
    #[inline(always)]
    fn quads<S: Simd, const V: usize>(&self, s: S, x: usize) -> [S::B; V] {
        let at = x * self.step;
        if let Some([a, b, c, d]) = self.inside
            && let Some(a) = a.get(at..at + V * 16)
        {
            // One length: these do not check again.
            let (b, c, d) = (&b[at..at + V * 16], &c[at..at + V * 16], &d[at..at + V * 16]);
            return quads::<S, V>(s, [(a, 0), (b, 0), (c, 0), (d, 0)]);
        }
        let mut rows = self.rows;
        for k in 0..4 {
            rows[k].1 *= x;
        }
        quads::<S, V>(s, rows)
    }
}

/// Quads of a block: of each of four rows, `V`·16 channels at its distance.
#[inline(always)]
fn quads<S: Simd, const V: usize>(s: S, [a, b, c, d]: [(&[u8], usize); 4]) -> [S::B; V] {
    let mut to = [s.splat_b(0); V];
    if V == 4 {
        let rows = [bytes_at(a.0, a.1), bytes_at(b.0, b.1), bytes_at(c.0, c.1), bytes_at(d.0, d.1)];
        let of = s.interleave([s.load_b(&rows[0]), s.load_b(&rows[1]), s.load_b(&rows[2]), s.load_b(&rows[3])]);
        for v in 0..V {
            to[v] = of[v];
        }
    } else {
        to[0] = s.quads([&bytes_at(a.0, a.1), &bytes_at(b.0, b.1), &bytes_at(c.0, c.1), &bytes_at(d.0, d.1)]);
    }
    to
}

/// What is read as vectors in inner loops: no vector of it lies across two cache lines.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Aligned<T>(T);

/// Weights of a block, to meet quads of the same four taps; no tap weighs 0.
#[inline(always)]
fn weigh<S: Simd, const V: usize>(s: S, weights: &[i8], pitch: usize, channel: usize, taps: [Option<usize>; 4], to: &mut [[i8; 64]]) {
    let mut rows: [(&[u8], usize); 4] = [(&[0; 64], 0); 4];
    for k in 0..4 {
        if let Some(tap) = taps[k] {
            rows[k] = (bytemuck::cast_slice(&weights[tap * pitch..][..pitch]), channel);
        }
    }
    let of = quads::<S, V>(s, rows);
    for v in 0..V {
        s.store_b(of[v], bytemuck::cast_mut(&mut to[v]));
    }
}
