//! 3×3, stride 1 and 2, for instruction sets with 32 registers of 16 lanes: the quads of a window slide over the columns, and
//! sums become bytes, without leaving the registers.
//!
//! A step makes one column of a wide block, or four of a narrow one, at stride 1 of two lines at once.

use super::finish::{Block, Held, Ready, SUMS, place, requantize, way};
use super::{Aligned, Depthwise, Four, Method, Strip, weigh};
use crate::kernel::epilogue::{Finish, Requantize, Rows};
use crate::kernel::simd::{Kernel, Simd};

/// Stride `ST`, and the columns that a window of four outputs spans.
pub(super) struct Slide<S, const ST: usize, const SPAN: usize> {
    isa: std::marker::PhantomData<S>,
    /// `[line][column][vector]`.
    weights: Aligned<[[i8; 64]; 24]>,
    /// Of each line.
    held: [Held; 2],
}

impl<S: Simd, const ST: usize, const SPAN: usize> Slide<S, ST, SPAN> {
    /// Lines that are computed together.
    const LINES: usize = 3 - ST;

    #[inline(always)]
    pub(super) fn new() -> Self {
        const { assert!(SPAN == 3 * ST + 3) }
        Self { isa: std::marker::PhantomData, weights: Aligned([[0; 64]; 24]), held: [const { Held::new() }; 2] }
    }
}

/// One or two lines of a strip, `N` being the columns that a window spans and `G` the outputs of a step. Each is compiled by
/// itself: of one large body the optimiser leaves windows in memory.
struct Lines<'a, 'b, R, const ST: usize, const V: usize, const G: usize, const N: usize, const WAY: u8, const TABLE: bool> {
    of: &'b mut Depthwise<'a, R>,
    strip: Strip,
    block: &'b Block,
    bias: &'b [[i32; 16]; 4],
    how: &'b Requantize<'a>,
    weights: &'b [[i8; 64]; 24],
    held: &'b mut [Held; 2],
}

impl<R: Rows, const ST: usize, const V: usize, const G: usize, const N: usize, const WAY: u8, const TABLE: bool> Kernel
    for Lines<'_, '_, R, ST, V, G, N, WAY, TABLE>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { of, strip, block, bias, how, weights, held } = self;
        let ready = Ready::new::<V>(s, block, &of.finish);
        let constants = (block, &ready);
        let [height, width] = of.output;
        let [_, from_width, channels] = of.extents;
        let pad = s.splat_b(of.pad);
        let padding = [of.pad; 64];
        let mut rows: [(&[u8], usize); 4] = [(&padding, 0); 4];
        for k in 0..4 {
            // Rows that none of these lines sees may be any.
            let seen = k.min((strip.lines - 1) * ST + 2);
            if let Some(row) = of.row(strip.image, strip.line * ST + seen, block.channel) {
                rows[k] = (row, channels);
            }
        }
        let four = Four::new(rows, channels);
        let mut window = [[pad; V]; N];
        // What a step leaves for the next one.
        let kept = N - G * ST;
        let mut x = (strip.column * ST).wrapping_sub(of.window.pads_begin[1]);
        if x < from_width {
            window[G * ST] = four.quads::<S, V>(s, x);
        }
        x = x.wrapping_add(1);
        if kept == 2 {
            if x < from_width {
                window[(G * ST + 1) % N] = four.quads::<S, V>(s, x);
            }
            x = x.wrapping_add(1);
        }
        let row = (strip.image * height + strip.line) * width;
        let end = strip.column + strip.columns;
        let mut column = strip.column;
        // The first column of those that are held, and how many steps are.
        let (mut first, mut slot) = (column, 0);
        while column < end {
            // Written out: in a loop that is not unrolled, the window would be kept in memory.
            window[0] = window[G * ST];
            if kept == 2 {
                window[1] = window[(G * ST + 1) % N];
            }
            macro_rules! load {
                ($($i:literal)*) => {
                    $(if kept + $i < N {
                        window[(kept + $i) % N] = if x < from_width { four.quads::<S, V>(s, x) } else { [pad; V] };
                        x = x.wrapping_add(1);
                    })*
                };
            }
            load!(0 1 2 3 4 5 6 7);
            let count = G.min(end - column);
            for line in 0..3 - ST {
                if line < strip.lines {
                    let mut acc = [s.load_i32(&bias[0]); 4];
                    for v in 0..V {
                        for g in 0..G {
                            acc[g * V + v] = s.load_i32(&bias[v]);
                        }
                    }
                    for i in 0..3 {
                        for v in 0..V {
                            let w = s.weights(&weights[(line * 3 + i) * V + v]);
                            for g in 0..G {
                                acc[g * V + v] = s.dot4_lanes(acc[g * V + v], window[g * ST + i][v], w);
                            }
                        }
                    }
                    let row = row + line * width + column;
                    let bytes = requantize::<S, R, V, WAY>(s, constants, acc, row, count, how, of);
                    if TABLE {
                        held[line].hold(s, slot, bytes);
                    } else {
                        place::<S, R, V>(s, block, bytes, row, count, &mut of.to);
                    }
                }
            }
            column += count;
            slot += 1;
            if TABLE && (slot == SUMS || column == end) {
                for line in 0..strip.lines {
                    held[line].release::<S, R, V>(s, block, row + line * width + first, column - first, of);
                }
                (first, slot) = (column, 0);
            }
        }
    }
}

impl<S: Simd, const ST: usize, const SPAN: usize> Method<S> for Slide<S, ST, SPAN> {
    #[inline(always)]
    fn strip<R: Rows, const V: usize>(&mut self, s: S, of: &mut Depthwise<'_, R>, strip: Strip, block: &Block) {
        let pitch = of.extents[2].next_multiple_of(16);
        for line in 0..Self::LINES {
            for x in 0..3 {
                let mut taps = [None; 4];
                for k in line..line + 3 {
                    taps[k] = Some((k - line) * 3 + x);
                }
                weigh::<S, V>(s, of.weights, pitch, block.channel, taps, &mut self.weights.0[(line * 3 + x) * V..]);
            }
        }
        // The caller sends only those here that end with bytes.
        let Finish::U8(how) = of.finish else { return };
        let Aligned(bias) = &block.start::<S>();
        let way = Ready::new::<V>(s, block, &of.finish).way;
        let mut done = 0;
        while done < strip.lines {
            let lines = Self::LINES.min(strip.lines - done);
            let part = Strip { line: strip.line + done, lines, ..strip };
            macro_rules! lines {
                ($way:ident, $table:literal) => {
                    if V == 4 { lines!($way, $table, 1, 3) } else { lines!($way, $table, 4, SPAN) }
                };
                ($way:ident, $table:literal, $g:literal, $n:tt) => {{
                    let (bias, how, weights, held) = (bias, &how, &self.weights.0, &mut self.held);
                    s.vectorize(Lines::<R, ST, V, $g, $n, { way::$way }, $table> { of, strip: part, block, bias, how, weights, held })
                }};
            }
            match (way, how.table.is_some()) {
                (way::LIFTED_BYTE, false) => lines!(LIFTED_BYTE, false),
                (way::LIFTED, false) => lines!(LIFTED, false),
                (way::LIFTED_BYTE | way::LIFTED, true) => lines!(LIFTED, true),
                (way::BOUNDED, false) => lines!(BOUNDED, false),
                (way::BOUNDED, true) => lines!(BOUNDED, true),
                (_, false) => lines!(ANY, false),
                (_, true) => lines!(ANY, true),
            }
            done += lines;
        }
    }
}
