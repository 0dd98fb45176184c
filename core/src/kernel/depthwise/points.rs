//! Windows of one tap: a factor and a term for each channel, as a normalization is that could not be folded.
//!
//! Four columns make the quads, and each meets weights that leave the other three out. So four columns take one interleaving, and a
//! sum one dot product.

use super::finish::{Block, Held, Ready, write};
use super::{Aligned, Depthwise, Method, Strip, quads, weigh};
use crate::graph::op::Window;
use crate::kernel::epilogue::Rows;
use crate::kernel::simd::Simd;

/// Columns that share quads.
const COLUMNS: usize = 4;

/// Whether these are such windows, each on a pixel of its own.
pub(super) fn takes(window: &Window) -> bool {
    *window == Window { dilations: window.dilations, ..Window::unit() }
}

/// The method.
pub(super) struct Points {
    /// `[column][vector]`.
    weights: Aligned<[[i8; 64]; 4 * COLUMNS]>,
    held: Held,
}

impl Points {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { weights: Aligned([[0; 64]; 4 * COLUMNS]), held: Held::new() }
    }

    /// The sums of four columns, `[column][vector]`.
    #[inline(always)]
    fn sum<S: Simd, const V: usize>(&self, s: S, columns: [(&[u8], usize); COLUMNS], bias: &[[i32; 16]; 4]) -> [S::I; 4 * COLUMNS] {
        let of = quads::<S, V>(s, columns);
        let mut sums = [s.load_i32(&bias[0]); 4 * COLUMNS];
        for v in 0..V {
            let start = s.load_i32(&bias[v]);
            for p in 0..COLUMNS {
                sums[p * V + v] = s.dot4_lanes(start, of[v], s.weights(&self.weights.0[p * V + v]));
            }
        }
        sums
    }
}

impl<S: Simd> Method<S> for Points {
    #[inline(always)]
    fn strip<R: Rows, const V: usize, const P: usize>(&mut self, s: S, of: &mut Depthwise<'_, R>, strip: Strip, block: &Block) {
        let ([height, width], channels) = (of.output, of.extents[2]);
        for p in 0..COLUMNS {
            let mut taps = [None; COLUMNS];
            taps[p] = Some(0);
            weigh::<S, V>(s, of.weights, channels.next_multiple_of(16), block.channel, taps, &mut self.weights.0[p * V..]);
        }
        let Aligned(bias) = &block.start::<S>();
        let ready = Ready::new::<V>(s, block, &of.finish);
        for line in strip.line..strip.line + strip.lines {
            let Some(row) = of.row(strip.image, line, block.channel) else { continue };
            let (first, end) = (strip.column, strip.column + strip.columns);
            for column in (first..end).step_by(COLUMNS) {
                let count = COLUMNS.min(end - column);
                let mut columns = [(row, 0); COLUMNS];
                for p in 0..COLUMNS {
                    // Columns that are not there repeat the last one, and are not written.
                    columns[p].1 = (column + p.min(count - 1)) * channels;
                }
                let sums = self.sum::<S, V>(s, columns, bias);
                let to = (strip.image * height + line) * width + column;
                write::<S, R, V>(s, (block, &ready), &sums[..count * V], to, &mut self.held, of);
            }
        }
    }
}
