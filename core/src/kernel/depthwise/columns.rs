//! Square kernels of 3, 5 and 7, stride 1 and 2.
//!
//! A few lines of output are computed together: their taps are within the 4·`NQ` rows of a column's quads. Of a run of
//! columns the quads are made first; then each line sums them with weights shifted by its distance from the first one.

use super::finish::{Block, Held, Ready, SUMS, write};
use super::{Aligned, Depthwise, Four, Method, Strip, weigh};
use crate::kernel::epilogue::Rows;
use crate::kernel::simd::{Simd, Tile};

/// Output columns of a run at stride 1.
pub(super) const RUN: usize = 28;

/// A multiple of the lines that any kernel computes together.
pub(super) const LINES: usize = 4;

/// A square kernel of `K` taps a side in `NQ` vertical quads, stride `ST`; `QUADS` and `WEIGHTS` are the most that a run needs.
pub(super) struct Columns<S: Simd, const NQ: usize, const K: usize, const ST: usize, const QUADS: usize, const WEIGHTS: usize> {
    /// `[column][quad][vector]`.
    quads: [S::B; QUADS],
    /// `[line][quad][column][vector]`.
    weights: Aligned<[[i8; 64]; WEIGHTS]>,
    /// `[column][vector]`.
    sums: [S::I; SUMS],
    held: Held,
}

impl<S: Simd, const NQ: usize, const K: usize, const ST: usize, const QUADS: usize, const WEIGHTS: usize>
    Columns<S, NQ, K, ST, QUADS, WEIGHTS>
{
    /// Lines that are computed together.
    const LINES: usize = (4 * NQ - K) / ST + 1;

    #[inline(always)]
    pub(super) fn new(s: S) -> Self {
        const { assert!(QUADS == ((RUN / ST - 1) * ST + K) * NQ * 4 && WEIGHTS == Self::LINES * NQ * K * 4) }
        Self { quads: [s.splat_b(0); QUADS], weights: Aligned([[0; 64]; WEIGHTS]), sums: [s.splat_i32(0); SUMS], held: Held::new() }
    }

    /// The weights of each line that is computed together.
    #[inline(always)]
    fn weigh<R, const V: usize>(&mut self, s: S, of: &Depthwise<'_, R>, channel: usize) {
        let pitch = of.extents[2].next_multiple_of(16);
        for line in 0..Self::LINES {
            for q in 0..NQ {
                for x in 0..K {
                    let mut taps = [None; 4];
                    for k in 0..4 {
                        taps[k] = (4 * q + k).checked_sub(line * ST).filter(|&y| y < K).map(|y| y * K + x);
                    }
                    let to = &mut self.weights.0[((line * NQ + q) * K + x) * V..];
                    weigh::<S, V>(s, of.weights, pitch, channel, taps, to);
                }
            }
        }
    }

    /// The quads of the columns from `first` on, which counts padding; row k of them is in `rows[k]`, a step a column.
    #[inline(always)]
    fn interleave<R, const V: usize>(&mut self, s: S, of: &Depthwise<'_, R>, rows: &[(&[u8], usize); 8], first: usize, count: usize) {
        let [_, width, channels] = of.extents;
        let pad = of.window.pads_begin[1];
        let before = pad.saturating_sub(first).min(count);
        let x = first + before - pad.min(first + before);
        let inside = width.saturating_sub(x).min(count - before);
        let to = &mut self.quads[..count * NQ * V];
        let (left, to) = to.split_at_mut(before * NQ * V);
        let (to, right) = to.split_at_mut(inside * NQ * V);
        left.fill(s.splat_b(of.pad));
        right.fill(s.splat_b(of.pad));
        for q in 0..NQ {
            let four = Four::new([rows[4 * q], rows[4 * q + 1], rows[4 * q + 2], rows[4 * q + 3]], channels);
            for (i, to) in to.chunks_exact_mut(NQ * V).enumerate() {
                let of = four.quads::<S, V>(s, x + i);
                for v in 0..V {
                    to[q * V + v] = of[v];
                }
            }
        }
    }

    /// The sums of `P` columns of a line.
    #[inline(always)]
    fn sum<const V: usize, const P: usize>(&mut self, s: S, line: usize, column: usize, bias: &[[i32; 16]; 4], to: usize) {
        let weights = &self.weights.0[line * NQ * K * V..][..NQ * K * V];
        let quads = &self.quads[column * ST * NQ * V..][..((P - 1) * ST + K) * NQ * V];
        let to = &mut self.sums[to * V..][..P * V];
        for v in 0..V {
            let mut sums = [s.load_i32(&bias[v]); P];
            for q in 0..NQ {
                for x in 0..K {
                    let w = s.weights(&weights[(q * K + x) * V + v]);
                    for p in 0..P {
                        sums[p] = s.dot4_lanes(sums[p], quads[((p * ST + x) * NQ + q) * V + v], w);
                    }
                }
            }
            for p in 0..P {
                to[p * V + v] = sums[p];
            }
        }
    }

    /// As [`Columns::sum`], of as many columns as registers hold, at most `left`; returns their number.
    #[inline(always)]
    fn group<const V: usize>(&mut self, s: S, line: usize, column: usize, left: usize, bias: &[[i32; 16]; 4], to: usize) -> usize {
        if S::TILE == Tile::Rows14Blocks2 && left >= 7 {
            self.sum::<V, 7>(s, line, column, bias, to);
            7
        } else if matches!(S::TILE, Tile::Rows14Blocks2 | Tile::Rows6Blocks1) && left >= 4 {
            self.sum::<V, 4>(s, line, column, bias, to);
            4
        } else if left >= 2 {
            self.sum::<V, 2>(s, line, column, bias, to);
            2
        } else {
            self.sum::<V, 1>(s, line, column, bias, to);
            1
        }
    }
}

impl<S: Simd, const NQ: usize, const K: usize, const ST: usize, const QUADS: usize, const WEIGHTS: usize> Method<S>
    for Columns<S, NQ, K, ST, QUADS, WEIGHTS>
{
    #[inline(always)]
    fn strip<R: Rows, const V: usize, const P: usize>(&mut self, s: S, of: &mut Depthwise<'_, R>, strip: Strip, block: &Block) {
        self.weigh::<R, V>(s, of, block.channel);
        let [height, width] = of.output;
        let end = strip.column + strip.columns;
        let padding = [of.pad; 64];
        let Aligned(bias) = &block.start::<S>();
        let ready = Ready::new::<V>(s, block, &of.finish);
        let mut done = 0;
        while done < strip.lines {
            let lines = Self::LINES.min(strip.lines - done);
            let line = strip.line + done;
            let mut rows: [(&[u8], usize); 8] = [(&padding, 0); 8];
            for k in 0..4 * NQ {
                // Rows that none of these lines sees may be any.
                let k_seen = k.min((lines - 1) * ST + K - 1);
                if let Some(row) = of.row(strip.image, line * ST + k_seen, block.channel) {
                    rows[k] = (row, of.extents[2]);
                }
            }
            let mut column = strip.column;
            while column < end {
                let count = (RUN / ST).min(end - column);
                self.interleave::<R, V>(s, of, &rows, column * ST, (count - 1) * ST + K);
                for l in 0..lines {
                    let row = (strip.image * height + line + l) * width + column;
                    let mut at = 0;
                    while at < count {
                        // The sums of a wide block are few columns', those of a narrow one a whole run's.
                        let to = if V == 4 { 0 } else { at };
                        let group = self.group::<V>(s, l, at, count - at, bias, to);
                        if V == 4 {
                            write::<S, R, V>(s, (block, &ready), &self.sums[..group * V], row + at, &mut self.held, of);
                        }
                        at += group;
                    }
                    if V != 4 {
                        write::<S, R, V>(s, (block, &ready), &self.sums[..count * V], row, &mut self.held, of);
                    }
                }
                column += count;
            }
            done += lines;
        }
    }
}
