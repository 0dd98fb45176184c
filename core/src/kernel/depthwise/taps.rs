//! Windows of any kernel, strides and dilations: any four taps make a quad.

use super::finish::{Block, Held, Ready, SUMS, write};
use super::{Aligned, Depthwise, Method, Strip, quads, weigh};
use crate::graph::op::Window;
use crate::kernel::epilogue::Rows;
use crate::kernel::simd::Simd;

/// The sums of a run of columns.
pub(super) struct Taps<S: Simd> {
    /// `[column][vector]`.
    sums: [S::I; SUMS],
    held: Held,
}

impl<S: Simd> Taps<S> {
    #[inline(always)]
    pub(super) fn new(s: S) -> Self {
        Self { sums: [s.splat_i32(0); SUMS], held: Held::new() }
    }

    /// Adds four taps, from `tap` on, to the sums of `count` columns.
    #[inline(always)]
    fn add<R: Rows, const V: usize>(&mut self, s: S, of: &Depthwise<'_, R>, at: [usize; 3], count: usize, tap: usize, channel: usize) {
        let [image, line, column] = at;
        let Window { kernel, strides, dilations, pads_begin, .. } = of.window;
        let [_, width, channels] = of.extents;
        let padding = [of.pad; 64];
        let mut taps = [None; 4];
        // Where a tap has no row, all its columns are padding.
        let mut rows: [(Option<&[u8]>, usize); 4] = [(None, 0); 4];
        for k in 0..4 {
            let tap = tap + k;
            if tap < kernel[0] * kernel[1] {
                taps[k] = Some(tap);
                let row = of.row(image, line * strides[0] + tap / kernel[1] * dilations[0], channel);
                rows[k] = (row, column * strides[1] + tap % kernel[1] * dilations[1]);
            }
        }
        let Aligned(weights) = &mut Aligned([[0; 64]; V]);
        weigh::<S, V>(s, of.weights, channels.next_multiple_of(16), channel, taps, weights);
        for (i, sums) in self.sums.chunks_exact_mut(V).take(count).enumerate() {
            let mut four: [(&[u8], usize); 4] = [(&padding, 0); 4];
            for k in 0..4 {
                let x = (rows[k].1 + i * strides[1]).wrapping_sub(pads_begin[1]);
                if let (Some(row), true) = (rows[k].0, x < width) {
                    four[k] = (row, x * channels);
                }
            }
            let of_column = quads::<S, V>(s, four);
            for v in 0..V {
                sums[v] = s.dot4_lanes(sums[v], of_column[v], s.weights(&weights[v]));
            }
        }
    }
}

impl<S: Simd> Method<S> for Taps<S> {
    #[inline(always)]
    fn strip<R: Rows, const V: usize, const P: usize>(&mut self, s: S, of: &mut Depthwise<'_, R>, strip: Strip, block: &Block) {
        let [height, width] = of.output;
        let Aligned(bias) = &block.start::<S>();
        let ready = Ready::new::<V>(s, block, &of.finish);
        for line in strip.line..strip.line + strip.lines {
            let (mut column, end) = (strip.column, strip.column + strip.columns);
            while column < end {
                let count = (SUMS / V).min(end - column);
                for sums in self.sums.chunks_exact_mut(V).take(count) {
                    for v in 0..V {
                        sums[v] = s.load_i32(&bias[v]);
                    }
                }
                for tap in (0..of.window.kernel[0] * of.window.kernel[1]).step_by(4) {
                    self.add::<R, V>(s, of, [strip.image, line, column], count, tap, block.channel);
                }
                let row = (strip.image * height + line) * width + column;
                write::<S, R, V>(s, (block, &ready), &self.sums[..count * V], row, &mut self.held, of);
                column += count;
            }
        }
    }
}
