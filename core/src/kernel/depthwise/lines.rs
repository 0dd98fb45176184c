//! Lines of output of a 3×3 window at stride 1 or 2, 64 bytes of two lines a step: the innermost loop of `slide`, as an order
//! that an instruction set may carry out in its own way.

use crate::kernel::hard_swish::hard_swish;
use crate::kernel::simd::Simd;

/// The order. Vectors are a column of 64 channels, or where there are fewer, of `P` pieces of 64 / `P` channels: piece p is for
/// lines 2p and 2p + 1 of a group of 2`P` lines, so that few channels take as few instructions as many.
#[derive(Debug)]
pub struct Lines<'a> {
    /// The input: row y from y·`row` on, from the first column on that it holds.
    pub input: &'a [u8],
    /// At stride 2, the same of the columns between.
    pub between: &'a [u8],
    /// Bytes from one row to the next.
    pub row: usize,
    /// How many rows there are. Those before and behind them are padding.
    pub height: usize,
    /// The row that the first line's windows begin with.
    pub first: isize,
    /// Bytes from one column that a step takes to the next.
    pub pitch: usize,
    /// Whether the first column of each row, and the last, is padding that the rows don't hold.
    pub pads: [bool; 2],
    /// What padding holds.
    pub padding: u8,
    /// Columns of the output.
    pub steps: usize,
    /// Lines of the output.
    pub lines: usize,
    /// `[line][column][vector]` of two lines, to meet quads of the first four rows, or at stride 2 of each line's, in
    /// interleaved order.
    pub weights: &'a [[[[i8; 64]; 4]; 3]; 2],
    /// What sums start with, and how they become bytes.
    pub scale: &'a Scale,
    /// The output.
    pub to: &'a mut [u8],
    /// Bytes from one of its columns to the next, and from one line to the next.
    pub to_pitch: [usize; 2],
}

/// Rows of input that `P` pairs of lines see at stride `ST`.
pub const fn rows<const P: usize, const ST: usize>() -> usize {
    (2 * P - 1) * ST + 3
}

/// How sums of 64 channels become bytes, in interleaved order.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub struct Scale {
    /// What sums start with.
    pub start: [[i32; 16]; 4],
    /// Multipliers.
    pub multiplier: [[f32; 16]; 4],
    /// Zero point, lower and upper limit.
    pub limits: [u8; 3],
    /// Slopes and shifts for [`Way::Swished`].
    pub swish: [[[f32; 16]; 4]; 2],
    /// What is known of the sums.
    pub way: Way,
}

/// What is known of sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// They are lifted, for [`Simd::scale_lifted`]; limits and zero point are those of a byte.
    LiftedByte,
    /// They are lifted, and no limit is below the zero point.
    Lifted,
    /// Rounding needs no limit.
    Bounded,
    /// That, and HardSwish is applied before.
    Swished,
}

/// [`Scale`] in vectors.
#[derive(Debug)]
pub struct Ready<S: Simd> {
    m: [S::F; 4],
    /// 2²³·`m`.
    lifted: [S::F; 4],
    swish: [[S::F; 2]; 4],
    limits: S::Limits,
}

impl<S: Simd> Ready<S> {
    /// Loads it.
    #[inline(always)]
    pub fn new(s: S, scale: &Scale) -> Self {
        let mut m = [s.splat_f32(0.0); 4];
        let (mut lifted, mut swish) = (m, [[m[0]; 2]; 4]);
        for v in 0..4 {
            m[v] = s.load_f32(&scale.multiplier[v]);
            let [slope, shift] = &scale.swish;
            swish[v] = [s.load_f32(&slope[v]), s.load_f32(&shift[v])];
            lifted[v] = s.mul(m[v], s.splat_f32(8_388_608.0));
        }
        let [zero_point, lo, hi] = scale.limits;
        Self { m, lifted, swish, limits: s.limits(zero_point, lo, hi) }
    }

    /// The bytes of sums: `WAY` is a [`Way`].
    #[inline(always)]
    pub fn bytes<const WAY: u8>(&self, s: S, acc: [S::I; 4]) -> S::B {
        let mut q = acc;
        for v in 0..4 {
            let t = if WAY == Way::Bounded as u8 {
                s.mul(s.to_f32(acc[v]), self.m[v])
            } else if WAY == Way::Swished as u8 {
                hard_swish(s, s.mul(s.to_f32(acc[v]), self.m[v]), self.swish[v])
            } else {
                s.scale_lifted(acc[v], self.m[v], self.lifted[v])
            };
            q[v] = s.round(t);
        }
        if WAY == Way::LiftedByte as u8 {
            s.saturate_interleaved(q)
        } else if WAY == Way::Lifted as u8 {
            s.narrow_above_interleaved(q, self.limits)
        } else {
            s.narrow_interleaved(q, self.limits)
        }
    }
}

/// Bytes in which `count` columns of 64 / `P` channels lie at such a distance.
#[inline(always)]
fn extent<const P: usize>(count: usize, pitch: usize) -> Option<usize> {
    let Some(before) = count.checked_sub(1) else { return Some(0) };
    before.checked_mul(pitch)?.checked_add(64 / P)
}

impl Lines<'_> {
    /// The row of input that is `k` rows behind the first that line `line` sees; `None` for padding.
    #[inline(always)]
    pub fn row_at<const ST: usize>(&self, line: usize, k: usize) -> Option<usize> {
        let y = usize::try_from(self.first.checked_add_unsigned(line * ST + k)?).ok()?;
        (y < self.height).then_some(y)
    }

    /// Columns of a row, those between not counted.
    pub fn columns<const ST: usize>(&self) -> usize {
        self.steps + if ST == 1 { 2 } else { 1 }
    }

    /// Whether all that it names is there, for vectors of `P` pieces.
    #[inline(always)]
    pub fn is_covered<const P: usize, const ST: usize>(&self) -> bool {
        self.is_input_covered::<P, ST>().is_some() && self.is_output_covered::<P>().is_some()
    }

    #[inline(always)]
    fn is_input_covered<const P: usize, const ST: usize>(&self) -> Option<()> {
        let held = self.columns::<ST>().checked_sub(self.pads.iter().map(|&pad| usize::from(pad)).sum())?;
        // The last row of all that are read.
        let last = (0..rows::<P, ST>()).rev().find_map(|k| self.row_at::<ST>(self.lines.saturating_sub(1) / (2 * P) * 2 * P, k));
        let Some(last) = last.or(self.height.checked_sub(1)) else { return Some(()) };
        let at = self.row.checked_mul(last)?;
        self.input.get(..at.checked_add(extent::<P>(held, self.pitch)?)?)?;
        if ST == 2 {
            self.between.get(..at.checked_add(extent::<P>(self.steps, self.pitch)?)?)?;
        }
        Some(())
    }

    #[inline(always)]
    fn is_output_covered<const P: usize>(&self) -> Option<()> {
        let line = self.to_pitch[1].checked_mul(self.lines.saturating_sub(1))?;
        self.to.get(..line.checked_add(extent::<P>(self.steps, self.to_pitch[0])?)?).map(|_| ())
    }

    /// Carries it out in the vocabulary.
    #[inline(always)]
    pub fn run<S: Simd, const P: usize, const ST: usize>(&mut self, s: S) {
        let ready = Ready::new(s, self.scale);
        for group in (0..self.lines).step_by(2 * P) {
            for step in 0..self.steps {
                for line in 0..2 {
                    let window = match ST {
                        1 => [0, 1, 2].map(|i| self.quads::<S, P, ST>(s, [group, line], step + i, false)),
                        _ => [(0, false), (0, true), (1, false)].map(|(i, b)| self.quads::<S, P, ST>(s, [group, line], step + i, b)),
                    };
                    let mut acc = [s.splat_i32(0); 4];
                    for v in 0..4 {
                        acc[v] = s.load_i32(&self.scale.start[v]);
                        for i in 0..3 {
                            acc[v] = s.dot4_lanes(acc[v], window[i][v], s.weights(&self.weights[line][i][v]));
                        }
                    }
                    let bytes = match self.scale.way {
                        Way::LiftedByte => ready.bytes::<{ Way::LiftedByte as u8 }>(s, acc),
                        Way::Lifted => ready.bytes::<{ Way::Lifted as u8 }>(s, acc),
                        Way::Bounded => ready.bytes::<{ Way::Bounded as u8 }>(s, acc),
                        Way::Swished => ready.bytes::<{ Way::Swished as u8 }>(s, acc),
                    };
                    let mut whole = [0; 64];
                    s.store_b(bytes, &mut whole);
                    for (p, piece) in whole.chunks_exact(64 / P).enumerate() {
                        let line = group + 2 * p + line;
                        if line < self.lines {
                            let at = line * self.to_pitch[1] + step * self.to_pitch[0];
                            self.to[at..at + 64 / P].copy_from_slice(piece);
                        }
                    }
                }
            }
        }
    }

    /// The quads of a column, for the first or the second line of each pair.
    #[inline(always)]
    fn quads<S: Simd, const P: usize, const ST: usize>(&self, s: S, [group, line]: [usize; 2], at: usize, between: bool) -> [S::B; 4] {
        let mut of = [s.splat_b(self.padding); 4];
        let last = self.columns::<ST>() - 1;
        if !between && (at == 0 && self.pads[0] || at == last && self.pads[1]) {
            return of;
        }
        for k in 0..4 {
            // At stride 1 both lines see the same four rows, with weights of their own.
            let behind = if ST == 2 { 2 * line + k.min(2) } else { k };
            let mut whole = [self.padding; 64];
            for (p, piece) in whole.chunks_exact_mut(64 / P).enumerate() {
                if let Some(y) = self.row_at::<ST>(group + 2 * p, behind) {
                    let before = usize::from(!between && self.pads[0]);
                    let from = if between { self.between } else { self.input };
                    let at = y * self.row + (at - before) * self.pitch;
                    piece.copy_from_slice(&from[at..at + 64 / P]);
                }
            }
            of[k] = s.load_b(&whole);
        }
        s.interleave(of)
    }
}
