//! Convolutions of f32, also transposed ones, which the quantizer left real.
//!
//! Each sum takes its products in the definition's order (kernel row, kernel column, input channel), rounding both; so only
//! positions and output channels are worked on at once. Sixteen channels are a vector; the last ones of a group may be computed
//! twice, and where a group has fewer, only those of the vector's lanes are stored that are its own. Positions whose windows all lie
//! within the image's width share a walk over the taps; the others walk alone, and so do those of transposed convolutions, whose
//! neighbours see other taps.

#![allow(clippy::needless_range_loop, reason = "arrays stay in registers only if indexed by constants")]

use std::ops::Range;

use super::simd::{Simd, Tile};
use super::split::Split;
use crate::backend::{Operand, OutputMut};
use crate::graph::op::{Conv, ConvTranspose, Window};

/// Channels of a vector.
const LANES: usize = 16;
/// Positions between good places to cut: the most that share a walk.
const GRAIN: usize = 8;

/// Of NHWC images with weights `[rows, columns, IC, OC]`. A unit is a position of the output.
#[derive(Debug, Clone, Copy)]
pub struct ConvF32<'a> {
    x: &'a [f32],
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    window: Window,
    /// Rows and columns of the images.
    from: [usize; 2],
    to: [usize; 2],
    /// Channels of a pixel of the input and of the output, and of a group's.
    channels: [usize; 2],
    of_group: [usize; 2],
    positions: usize,
    transposed: bool,
}

/// Positions that are worked on at once.
#[derive(Clone, Copy)]
struct At {
    /// The image's number.
    image: usize,
    /// Row and first column of the output.
    row: usize,
    column: usize,
}

impl<'a> ConvF32<'a> {
    /// `None` for other types, and where there is nothing to compute.
    pub fn new(conv: &Conv, inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        Self::any((conv.window, conv.groups), inputs, output)
    }

    /// The same of a transposed convolution.
    pub fn transposed(conv: &ConvTranspose, inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        Some(Self { transposed: true, ..Self::any((conv.window, conv.groups), inputs, output)? })
    }

    fn any((window, groups): (Window, usize), inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let [x, w, bias @ ..] = inputs else { return None };
        let (&[n, h, width, c], &[_, to_h, to_w, oc]) = (x.view.shape(), output.view.shape()) else { return None };
        let of_group = [c.checked_div(groups)?, oc.checked_div(groups)?];
        let mut new = Self {
            x: x.view.as_slice()?,
            w: w.view.as_slice()?,
            bias: bias.first().and_then(|bias| bias.view.as_slice()),
            window,
            from: [h, width],
            to: [to_h, to_w],
            channels: [c, oc],
            of_group,
            positions: n * to_h * to_w,
            transposed: false,
        };
        if window == Window::unit() && new.from == new.to {
            // Rows and images don't matter: one long row.
            (new.from, new.to) = ([1, new.positions], [1, new.positions]);
        }
        (new.positions > 0 && of_group[0] > 0 && of_group[1] > 0).then_some(new)
    }

    /// Whether a vector has channels of as many groups.
    fn is_depthwise(&self) -> bool {
        self.of_group == [1, 1] && self.channels[1] >= LANES
    }

    /// Whether every tap of `count` positions lies within the image's width.
    fn is_inside(&self, column: usize, count: usize) -> bool {
        if self.transposed {
            return false;
        }
        let last = self.window.kernel[1] - 1;
        let is_there = |column, tap| self.window.input_at(1, column, tap, self.from[1]).is_some();
        is_there(column, 0) && is_there(column + count - 1, last)
    }

    /// The taps of a row that a position sees, which are neighbours, and the column that the first of them is on.
    #[inline(always)]
    fn columns(&self, column: usize) -> (Range<usize>, usize) {
        let last = self.window.kernel[1];
        let at = |tap| self.window.input_at(1, column, tap, self.from[1]);
        let (first, last) = if self.is_inside(column, 1) {
            (0, last)
        } else {
            let first = (0..last).find(|&tap| at(tap).is_some()).unwrap_or(last);
            (first, (first..last).rfind(|&tap| at(tap).is_some()).map_or(first, |tap| tap + 1))
        };
        (first..last, at(first).unwrap_or(0))
    }

    /// The rows of the window that a position sees, in order, each with the number of its first tap that is seen and with where the
    /// pixel lies that it meets.
    #[inline(always)]
    fn rows(&self, at: At, first: usize, column: usize) -> impl Iterator<Item = (usize, usize)> {
        let Window { kernel, .. } = self.window;
        (0..kernel[0]).filter_map(move |i| {
            let y = self.window.input_at(0, at.row, i, self.from[0])?;
            let pixel = (at.image * self.from[0] + y) * self.from[1] + column;
            Some((i * kernel[1] + first, pixel * self.channels[0]))
        })
    }

    /// The taps that a position of a transposed convolution sees, in order, each with where the pixel lies that it meets.
    #[inline(always)]
    fn taps(&self, at: At) -> impl Iterator<Item = (usize, usize)> {
        let Window { kernel, .. } = self.window;
        (0..kernel[0]).filter_map(move |i| Some((i, self.window.input_of(0, at.row, i, self.from[0])?))).flat_map(move |(i, y)| {
            (0..kernel[1]).filter_map(move |j| {
                let x = self.window.input_of(1, at.column, j, self.from[1])?;
                Some((i * kernel[1] + j, ((at.image * self.from[0] + y) * self.from[1] + x) * self.channels[0]))
            })
        })
    }

    /// Sixteen channels of `R` positions, from `channel` on, of a group whose inputs begin at `input`. Where `R` is more than one,
    /// all positions are inside.
    #[inline(always)]
    fn dense<S: Simd, const R: usize>(&self, s: S, at: At, input: usize, channel: usize) -> [S::F; R] {
        let ([c, oc], [ic, _]) = (self.channels, self.of_group);
        let step = self.window.strides[1] * c;
        let mut sums = [s.splat_f32(0.0); R];
        if self.transposed {
            for (tap, pixel) in self.taps(at) {
                self.walk(s, &mut sums, [&self.x[pixel + input..][..ic]; R], &self.w[tap * ic * oc + channel..]);
            }
            return sums;
        }
        let (taps, column) = self.columns(at.column);
        // Taps of which all channels are seen lie one behind the other, in the image as in the weights.
        let whole = ic == c && self.window.dilations[1] == 1;
        let (walks, len) = if whole { (taps.len().min(1), taps.len() * ic) } else { (taps.len(), ic) };
        for (tap, pixel) in self.rows(at, taps.start, column) {
            for walk in 0..walks {
                let x = pixel + walk * self.window.dilations[1] * c + input;
                let mut rows = [&self.x[x..][..len]; R];
                for r in 1..R {
                    rows[r] = &self.x[x + r * step..][..len];
                }
                self.walk(s, &mut sums, rows, &self.w[(tap + walk) * ic * oc + channel..]);
            }
        }
        sums
    }

    /// Adds the products of positions' inputs with the weights of sixteen channels.
    #[inline(always)]
    fn walk<S: Simd, const R: usize>(&self, s: S, sums: &mut [S::F; R], rows: [&[f32]; R], weights: &[f32]) {
        let (oc, len) = (self.channels[1], rows[0].len());
        // Behind the last ones there may be fewer than a vector has.
        let whole = weights.len().checked_sub(LANES).map_or(0, |behind| (behind / oc + 1).min(len));
        for i in 0..whole {
            let Some(w) = weights.get(i * oc..).and_then(|w| w.first_chunk()) else { break };
            let w = s.load_f32(w);
            for r in 0..R {
                sums[r] = s.add(sums[r], s.mul(s.splat_f32(rows[r][i]), w));
            }
        }
        for i in whole..len {
            let w = s.load_f32(&some(&weights[i * oc..]));
            for r in 0..R {
                sums[r] = s.add(sums[r], s.mul(s.splat_f32(rows[r][i]), w));
            }
        }
    }

    /// Sixteen channels of `R` positions of a depthwise convolution; see [`Self::dense`].
    #[inline(always)]
    fn depthwise<S: Simd, const R: usize>(&self, s: S, at: At, channel: usize) -> [S::F; R] {
        let c = self.channels[0];
        let step = self.window.strides[1] * c;
        let mut sums = [s.splat_f32(0.0); R];
        if self.transposed {
            for (tap, pixel) in self.taps(at) {
                if let (Some(w), Some(x)) = (self.w[tap * c + channel..].first_chunk(), self.x[pixel + channel..].first_chunk()) {
                    sums[0] = s.add(sums[0], s.mul(s.load_f32(x), s.load_f32(w)));
                }
            }
            return sums;
        }
        let (taps, column) = self.columns(at.column);
        for (tap, pixel) in self.rows(at, taps.start, column) {
            for i in 0..taps.len() {
                let Some(w) = self.w[(tap + i) * c + channel..].first_chunk() else { break };
                let w = s.load_f32(w);
                for r in 0..R {
                    let x = pixel + i * self.window.dilations[1] * c + r * step + channel;
                    let Some(x) = self.x[x..].first_chunk() else { break };
                    sums[r] = s.add(sums[r], s.mul(s.load_f32(x), w));
                }
            }
        }
        sums
    }

    /// All channels of `R` positions of a row.
    #[inline(always)]
    fn block<S: Simd, const R: usize>(&self, s: S, at: At, to: &mut [f32]) {
        let oc = self.channels[1];
        let depthwise = self.is_depthwise();
        let (of_group, groups) = if depthwise { (oc, 1) } else { (self.of_group[1], oc / self.of_group[1]) };
        for group in 0..groups {
            let mut column = 0;
            while column < of_group {
                // The last vector ends with the group.
                let channel = group * of_group + column.min(of_group.saturating_sub(LANES));
                let sums: [S::F; R] =
                    if depthwise { self.depthwise(s, at, channel) } else { self.dense(s, at, group * self.of_group[0], channel) };
                for r in 0..R {
                    let mut sum = sums[r];
                    if let Some(bias) = self.bias {
                        sum = s.add(sum, s.load_f32(&some(&bias[channel..])));
                    }
                    let to = &mut to[r * oc + channel..];
                    match to.first_chunk_mut::<LANES>() {
                        Some(to) if of_group >= LANES => s.store_f32(sum, bytemuck::cast_mut(to)),
                        _ => {
                            let mut lanes = [0.0; LANES];
                            s.store_f32(sum, bytemuck::cast_mut(&mut lanes));
                            for l in 0..of_group.min(LANES) {
                                to[l] = lanes[l];
                            }
                        }
                    }
                }
                column += LANES;
            }
        }
    }
}

/// The first numbers, and zeros where there are fewer than a vector has.
#[inline(always)]
fn some(from: &[f32]) -> [f32; LANES] {
    if let Some(whole) = from.first_chunk() {
        return *whole;
    }
    let mut lanes = [0.0; LANES];
    for l in 0..from.len().min(LANES) {
        lanes[l] = from[l];
    }
    lanes
}

impl Split for ConvF32<'_> {
    fn units(&self) -> usize {
        self.positions
    }

    fn unit_bytes(&self) -> usize {
        self.channels[1] * 4
    }

    fn grain(&self) -> usize {
        GRAIN
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, to: &mut [u8]) {
        let Ok(mut to) = bytemuck::try_cast_slice_mut::<u8, f32>(to) else { return };
        let [height, width] = self.to;
        let mut position = units.start;
        while position < units.end {
            let (line, column) = (position / width, position % width);
            let at = At { image: line / height, row: line % height, column };
            let left = (width - column).min(units.end - position);
            let done = match const { S::TILE } {
                Tile::Rows14Blocks2 if left >= 8 && self.is_inside(column, 8) => {
                    self.block::<S, 8>(s, at, to);
                    8
                }
                _ if const { !S::COMPACT } && left >= 4 && self.is_inside(column, 4) => {
                    self.block::<S, 4>(s, at, to);
                    4
                }
                _ if left >= 2 && self.is_inside(column, 2) => {
                    self.block::<S, 2>(s, at, to);
                    2
                }
                _ => {
                    self.block::<S, 1>(s, at, to);
                    1
                }
            };
            to = &mut to[done * self.channels[1]..];
            position += done;
        }
    }
}
