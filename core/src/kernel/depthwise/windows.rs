//! Windows of any kernel, strides and dilations in one body, for instruction sets whose kernels are compact.
//!
//! Blocks are of 16 channels in natural order, a few of which are walked over together, as they share cache lines. Lines whose
//! taps are within the same quads of a column are computed together. Of a run of columns the quads are made first; then each line
//! sums them with weights shifted by its distance from the first one.

use super::{Aligned, Depthwise, Strip};
use crate::graph::op::Window;
use crate::kernel::edge;
use crate::kernel::epilogue::{Bounds, Finish, Requantize, Rows};
use crate::kernel::hard_swish::hard_swish;
use crate::kernel::simd::Simd;

/// Blocks of 16 channels that are walked over together.
pub(super) const BLOCKS: usize = 4;
/// Output columns of a run, an even number: those of strides above 1 see more columns each.
const RUN: usize = 28;
/// Most rows or columns that a window reaches over or moves by.
const MOST: usize = 64;

/// Whether compact kernels take a window: there are some that no network has, whose quads would need much memory.
pub fn takes_compactly(window: &Window) -> bool {
    [0, 1].into_iter().all(|d| window.reach(d) <= MOST && window.strides[d] <= MOST)
}

/// What the blocks of a strip are computed with.
pub(super) struct Windows<S: Simd> {
    /// Quads of a column, one above the other.
    depth: usize,
    /// Lines that are computed together.
    lines: usize,
    /// Output columns of a run.
    run: usize,
    /// Columns that a run sees.
    columns: usize,
    /// Quads that follow each other in [`Windows::quads`] as their weights do: so many, so many times, that far apart.
    segment: usize,
    segments: usize,
    apart: usize,
    /// `[block][column][quad]`.
    quads: Vec<S::B>,
    /// `[line][block][kernel column][quad]`.
    weights: Vec<Aligned<[i8; 64]>>,
    /// A row of padding.
    padding: Vec<u8>,
    /// Of the columns of a run.
    sums: [S::I; RUN],
    bytes: [[u8; 16]; RUN],
}

impl<S: Simd> Windows<S> {
    pub(super) fn new<R>(s: S, of: &Depthwise<'_, R>) -> Self {
        let Window { kernel: [height, width], strides: [down, right], dilations: [dy, dx], .. } = of.window;
        let depth = height.div_ceil(4);
        let lines = if dy == 1 { (4 * depth - height) / down + 1 } else { 1 };
        let run = (RUN / right).max(2).min(of.output[1] + 1) & !1;
        let run = run.max(2);
        let columns = (run - 1) * right + of.window.reach(1);
        let (segment, segments) = if dx == 1 { (width * depth, 1) } else { (depth, width) };
        Self {
            depth,
            lines,
            run,
            columns,
            segment,
            segments,
            apart: dx * depth,
            quads: vec![s.splat_b(0); BLOCKS * columns * depth],
            weights: vec![Aligned([0; 64]); lines * BLOCKS * width * depth],
            padding: vec![of.pad; of.extents[1] * of.extents[2] + 64],
            sums: [s.splat_i32(0); RUN],
            bytes: [[0; 16]; RUN],
        }
    }

    /// Computes `blocks` blocks from channel `channel` on.
    #[inline(always)]
    pub(super) fn strip<R: Rows>(&mut self, s: S, of: &mut Depthwise<'_, R>, bounds: Bounds, strip: Strip, channel: usize, blocks: usize) {
        self.weigh(s, of, channel, blocks);
        let [height, width] = of.output;
        let end = strip.column + strip.columns;
        let mut done = 0;
        while done < strip.lines {
            let lines = self.lines.min(strip.lines - done);
            let line = strip.line + done;
            let mut column = strip.column;
            while column < end {
                let count = self.run.min(end - column);
                self.interleave(s, of, [strip.image, line, column], lines, channel, blocks);
                for l in 0..lines {
                    let row = (strip.image * height + line + l) * width + column;
                    for block in 0..blocks {
                        self.sum(s, of, l * BLOCKS + block, count, channel + 16 * block);
                        self.write(s, of, bounds, row, count, channel + 16 * block);
                    }
                }
                column += count;
            }
            done += lines;
        }
    }

    /// The weights of each line that is computed together.
    #[inline(always)]
    fn weigh<R>(&mut self, s: S, of: &Depthwise<'_, R>, channel: usize, blocks: usize) {
        let Window { kernel: [height, width], strides: [down, _], .. } = of.window;
        let pitch = of.extents[2].next_multiple_of(16);
        let taps = width * self.depth;
        for (i, to) in self.weights.chunks_exact_mut(taps).enumerate() {
            let (line, block) = (i / BLOCKS, i % BLOCKS);
            if block >= blocks {
                continue;
            }
            for (tap, Aligned(to)) in to.iter_mut().enumerate() {
                let (x, q) = (tap / self.depth, tap % self.depth);
                let mut rows = [&[0; 16]; 4];
                for k in 0..4 {
                    let y = (4 * q + k).wrapping_sub(line * down);
                    if y < height
                        && let Some(row) = bytemuck::cast_slice(&of.weights[(y * width + x) * pitch + channel + 16 * block..]).first_chunk()
                    {
                        rows[k] = row;
                    }
                }
                s.store_b(s.quads(rows), bytemuck::cast_mut(to));
            }
        }
    }

    /// The quads of the columns that a run from output column `column` on sees, of some lines.
    #[inline(always)]
    fn interleave<R>(
        &mut self,
        s: S,
        of: &Depthwise<'_, R>,
        [image, line, column]: [usize; 3],
        lines: usize,
        channel: usize,
        blocks: usize,
    ) {
        let Window { kernel: [height, _], strides: [down, right], dilations: [dy, _], pads_begin: [_, pad], .. } = of.window;
        let [_, width, channels] = of.extents;
        let first = column * right;
        let before = pad.saturating_sub(first).min(self.columns);
        let x = (first + before).saturating_sub(pad);
        let inside = width.saturating_sub(x).min(self.columns - before);
        let pitch = self.columns * self.depth;
        for quads in self.quads.chunks_exact_mut(pitch).take(blocks) {
            quads[..before * self.depth].fill(s.splat_b(of.pad));
            quads[(before + inside) * self.depth..].fill(s.splat_b(of.pad));
        }
        // Rows that none of these lines sees may be any.
        let last = (lines - 1) * down + height - 1;
        for q in 0..self.depth {
            let mut rows: [&[u8]; 4] = [&self.padding; 4];
            for k in 0..4 {
                if let Some(row) = of.row(image, line * down + (4 * q + k).min(last) * dy, channel) {
                    rows[k] = row;
                }
            }
            let len = rows[0].len().min(rows[1].len()).min(rows[2].len()).min(rows[3].len());
            let [a, b, c, d] = rows;
            let (a, b, c, d) = (&a[..len], &b[..len], &c[..len], &d[..len]);
            let mut ends = [[0; 16 * BLOCKS]; 4];
            for i in 0..inside {
                let at = (x + i) * channels;
                let range = at..at + 16 * blocks;
                let [a, b, c, d] = match a.get(range.clone()) {
                    Some(a) => [a, &b[range.clone()], &c[range.clone()], &d[range]],
                    None => {
                        for (end, row) in ends.iter_mut().zip(rows) {
                            let rest = row.get(at..).unwrap_or_default();
                            edge::copy(&rest[..rest.len().min(16 * blocks)], end);
                        }
                        [&ends[0][..16 * blocks], &ends[1][..16 * blocks], &ends[2][..16 * blocks], &ends[3][..16 * blocks]]
                    }
                };
                let (a, b, c, d) = (a.as_chunks().0, b.as_chunks().0, c.as_chunks().0, d.as_chunks().0);
                let n = a.len();
                let (b, c, d) = (&b[..n], &c[..n], &d[..n]);
                let to = &mut self.quads[(before + i) * self.depth + q..];
                for block in 0..n {
                    to[block * pitch] = s.quads([&a[block], &b[block], &c[block], &d[block]]);
                }
            }
        }
        s.lessen(&mut self.quads[..blocks * pitch]);
    }

    /// The sums of `count` columns, of block `of_line` of the lines' blocks.
    #[inline(always)]
    fn sum<R>(&mut self, s: S, of: &Depthwise<'_, R>, of_line: usize, count: usize, channel: usize) {
        let Some(bias) = of.bias[channel..].first_chunk() else { return };
        match self.segment * self.segments {
            // Few taps in a loop of their own, without its steps.
            3 if self.segments == 1 => self.sum_all::<3>(s, bias, of_line, count, of.window.strides[1]),
            _ => self.sum_all::<0>(s, bias, of_line, count, of.window.strides[1]),
        }
    }

    /// The same of `N` taps in a row, or of any where that is 0.
    #[inline(always)]
    fn sum_all<const N: usize>(&mut self, s: S, bias: &[i32; 16], of_line: usize, count: usize, stride: usize) {
        let n = if N == 0 { self.segment } else { N };
        let taps = self.segment * self.segments;
        let weights = &self.weights[of_line * taps..][..taps];
        let pitch = self.columns * self.depth;
        let quads = &self.quads[of_line % BLOCKS * pitch..][..pitch];
        let step = stride * self.depth;
        // Of an odd run's last two columns, one is not used.
        for (i, to) in self.sums.as_chunks_mut::<2>().0.iter_mut().take(count.div_ceil(2)).enumerate() {
            let quads = &quads[2 * i * step..];
            let mut sums = [s.load_i32(bias); 2];
            let mut at = 0;
            for weights in weights.chunks_exact(n) {
                let (a, b) = (&quads[at..][..n], &quads[at + step..][..n]);
                for t in 0..n {
                    let w = s.weights(&weights[t].0);
                    sums[0] = s.dot4_lanes(sums[0], a[t], w);
                    sums[1] = s.dot4_lanes(sums[1], b[t], w);
                }
                at += self.apart;
            }
            *to = sums;
        }
    }

    /// Writes the sums of columns from output row `row` on.
    #[inline(always)]
    fn write<R: Rows>(&mut self, s: S, of: &mut Depthwise<'_, R>, bounds: Bounds, row: usize, count: usize, channel: usize) {
        let Some(multiplier) = of.multiplier[channel..].first_chunk() else { return };
        let m = s.load_f32(multiplier);
        let [_, _, channels] = of.extents;
        let n = (channels - channel).min(16);
        let Finish::U8(how) = of.finish else {
            for (i, &sums) in self.sums[..count].iter().enumerate() {
                let mut bytes = [0; 64];
                s.store_f32(s.mul(s.to_f32(sums), m), &mut bytes);
                edge::copy(&bytes[..4 * n], of.to.at(row + i, 4 * channel, 4 * n));
            }
            return;
        };
        let limits = s.limits(how.zero_point, how.lo, how.hi);
        let sums = self.sums[..count].iter();
        // Each four times, of which one is stored.
        if bounds == Bounds::None || how.hard_swish.is_some() {
            let top = s.splat_f32(f32::from(how.hi) - f32::from(how.zero_point));
            let swish = how.hard_swish.map(|swish| swish.of(s, channel / 16));
            for (i, (to, &sums)) in self.bytes.iter_mut().zip(sums).enumerate() {
                let mut t = s.mul(s.to_f32(sums), m);
                if let Some(residual) = &how.residual {
                    let from = &residual.bytes[(row + i) * channels + channel..];
                    let zero = s.zero(residual.zero_point);
                    let r = match from.first_chunk() {
                        Some(from) => s.widen_from(from, zero),
                        None => s.widen_some_from(from, zero),
                    };
                    t = s.add(t, s.mul(r, s.splat_f32(residual.multiplier)));
                } else if let Some(swish) = swish {
                    t = hard_swish(s, t, swish);
                }
                s.store_quarter(s.narrow([s.round_below(t, top); 4], limits), 0, to);
            }
        } else {
            for (to, &sums) in self.bytes.iter_mut().zip(sums) {
                s.store_quarter(s.round_narrow([s.mul(s.to_f32(sums), m); 4], limits), 0, to);
            }
        }
        let bytes = &mut self.bytes[..count];
        if let Requantize { table: Some(table), .. } = how {
            s.lookup(table, bytes.as_flattened_mut());
        }
        for (i, bytes) in bytes.iter().enumerate() {
            let place = of.to.at(row + i, channel, n);
            match place.as_mut_array() {
                Some(place) => *place = *bytes,
                None => edge::copy(&bytes[..n], place),
            }
        }
    }
}
