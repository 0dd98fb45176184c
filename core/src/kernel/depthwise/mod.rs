//! The depthwise kernel: one filter a channel, u8 × i8, NHWC, weights `[kh·kw][C]`.
//!
//! Rows of an image are interleaved into *quads*, four rows of one channel in the four bytes of a lane, so that one dot product
//! sums four vertical taps of 16 channels. A column of quads serves every output column that sees it, and every output row
//! whose taps lie within it, with weights shifted by a row. Where the image ends, rows and columns of padding take part.
//!
//! A block of channels is 64 wide, in interleaved order, or 16 wide, in natural order, for what is left over and for f32.
//!
//! | module | what it holds |
//! |---|---|
//! | `columns` | square kernels of 3, 5 and 7, stride 1 and 2: quads of a few columns, then sums |
//! | `taps` | all other windows: quads of any four taps |
//! | `finish` | the constants of a block, and from sums to the output |

mod columns;
mod finish;
mod taps;

use std::ops::Range;

use super::epilogue::{Finish, Rows};
use super::simd::{Kernel, Simd};
use crate::graph::op::Window;

/// Blocks of 16 channels that are left over are computed one by one if they are fewer.
const WIDE_FROM: usize = 4;

/// Output columns between two preparations of a block's weights, about.
const COLUMNS_PER_STRIP: usize = 112;

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
        match (kernel, strides, dilations) {
            ([3, 3], [1, 1], [1, 1]) => self.walk(s, columns::Columns::<S, 1, 3, 1, 120, 24>::new(s)),
            ([5, 5], [1, 1], [1, 1]) => self.walk(s, columns::Columns::<S, 2, 5, 1, 256, 160>::new(s)),
            ([7, 7], [1, 1], [1, 1]) => self.walk(s, columns::Columns::<S, 2, 7, 1, 272, 112>::new(s)),
            ([3, 3], [2, 2], [1, 1]) => self.walk(s, columns::Columns::<S, 1, 3, 2, 116, 12>::new(s)),
            ([5, 5], [2, 2], [1, 1]) => self.walk(s, columns::Columns::<S, 2, 5, 2, 248, 80>::new(s)),
            ([7, 7], [2, 2], [1, 1]) => self.walk(s, columns::Columns::<S, 2, 7, 2, 264, 56>::new(s)),
            _ => self.walk(s, taps::Taps::<S>::new(s)),
        }
    }
}

/// A way to compute lines of a block.
trait Method<S: Simd> {
    /// Computes `V`·16 channels of `strip`.
    fn strip<R: Rows, const V: usize>(&mut self, s: S, of: &mut Depthwise<'_, R>, strip: Strip, block: &finish::Block);
}

/// Output lines of one image.
#[derive(Debug, Clone, Copy)]
struct Strip {
    image: usize,
    line: usize,
    lines: usize,
}

impl<R: Rows> Depthwise<'_, R> {
    /// All strips, and in each all blocks.
    #[inline(always)]
    fn walk<S: Simd, M: Method<S>>(&mut self, s: S, mut method: M) {
        let [height, width] = self.output;
        let most = COLUMNS_PER_STRIP.div_ceil(width.max(1)).next_multiple_of(4);
        let wide = matches!(self.finish, Finish::U8(_));
        let mut line = self.lines.start;
        while line < self.lines.end {
            let (image, y) = (line / height, line % height);
            let strip = Strip { image, line: y, lines: most.min(height - y).min(self.lines.end - line) };
            let mut block = self.blocks.start;
            while block < self.blocks.end {
                if wide && block + WIDE_FROM <= self.blocks.end {
                    let constants = self.block::<4>(block);
                    method.strip::<R, 4>(s, self, strip, &constants);
                    block += 4;
                } else {
                    let constants = self.block::<1>(block);
                    method.strip::<R, 1>(s, self, strip, &constants);
                    block += 1;
                }
            }
            self.look_up(s, line * width..(line + strip.lines) * width);
            line += strip.lines;
        }
    }

    /// The input from a row's first column, `channel`, on; `None` outside of the image.
    #[inline(always)]
    fn row(&self, image: usize, y: usize, channel: usize) -> Option<&[u8]> {
        let [height, width, channels] = self.extents;
        let y = y.checked_sub(self.window.pads_begin[0]).filter(|&y| y < height)?;
        self.input.get((image * height + y) * width * channels + channel..)
    }
}

/// `N` bytes from `at` on. What is behind the end is 0, and `spare` holds it.
#[inline(always)]
fn bytes_at<'a, const N: usize>(bytes: &'a [u8], at: usize, spare: &'a mut [u8; N]) -> &'a [u8; N] {
    match bytes.get(at..at + N).and_then(|b| b.first_chunk()) {
        Some(b) => b,
        None => {
            fill(bytes, at, spare);
            spare
        }
    }
}

/// What there is from `at` on, then zeros.
#[cold]
fn fill(bytes: &[u8], at: usize, to: &mut [u8]) {
    for (i, to) in to.iter_mut().enumerate() {
        *to = bytes.get(at + i).copied().unwrap_or_default();
    }
}

/// Quads of a block: of each of four rows, `V`·16 channels at its distance.
#[inline(always)]
fn quads<S: Simd, const V: usize>(s: S, rows: [(&[u8], usize); 4], to: &mut [S::B]) {
    let to = &mut to[..V];
    if V == 4 {
        let mut spare = [0; 64];
        let mut b = [s.splat_b(0); 4];
        for k in 0..4 {
            b[k] = s.load_b(bytes_at(rows[k].0, rows[k].1, &mut spare));
        }
        let b = s.interleave(b);
        for v in 0..V {
            to[v] = b[v];
        }
    } else {
        let mut spare = [[0; 16]; 4];
        let [s0, s1, s2, s3] = &mut spare;
        let [r0, r1, r2, r3] = rows;
        to[0] = s.quads([bytes_at(r0.0, r0.1, s0), bytes_at(r1.0, r1.1, s1), bytes_at(r2.0, r2.1, s2), bytes_at(r3.0, r3.1, s3)]);
    }
}

/// Weights of a block, to meet quads of the same four taps; no tap weighs 0.
#[inline(always)]
fn weigh<S: Simd, const V: usize>(s: S, weights: &[i8], pitch: usize, channel: usize, taps: [Option<usize>; 4], to: &mut [[i8; 64]]) {
    let mut rows: [(&[u8], usize); 4] = [(&[0; 64], 0); 4];
    for k in 0..4 {
        if let Some(tap) = taps[k] {
            rows[k] = (bytemuck::cast_slice(&weights[tap * pitch..][..pitch]), channel);
        }
    }
    let mut of = [s.splat_b(0); V];
    quads::<S, V>(s, rows, &mut of);
    for v in 0..V {
        s.store_b(of[v], bytemuck::cast_mut(&mut to[v]));
    }
}
