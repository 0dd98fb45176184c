//! Lines of output of a 3×3 window at stride 1 or 2, 64 bytes of two lines a step: the innermost loop of `slide`, as an order
//! that an instruction set may carry out in its own way.

use crate::kernel::simd::Simd;

/// The order. Vectors are a column of 64 channels each, or `P` columns of 64 / `P`; at stride 2, of every second column.
#[derive(Debug)]
pub struct Lines<'a> {
    /// The input: row y from y·`row` on, from the first vector on that it holds.
    pub input: &'a [u8],
    /// At stride 2, the same of the columns between.
    pub between: &'a [u8],
    /// Bytes from one row to the next.
    pub row: usize,
    /// How many rows there are. Those before and behind them are padding.
    pub height: usize,
    /// The row that the first line's windows begin with.
    pub first: isize,
    /// The rows' distance of columns within a vector, and of vectors.
    pub pitch: [usize; 2],
    /// Where `P` is 1: whether the first vector of each row, and the last, is padding that the rows don't hold.
    pub pads: [bool; 2],
    /// What padding holds.
    pub padding: u8,
    /// Where `P` is more, what the rows from `first` on don't hold: the first vector of each, the last, and the last of the
    /// columns between.
    pub ends: &'a [[[u8; 64]; 5]; 3],
    /// Vectors of a line of output.
    pub steps: usize,
    /// Lines of output, at most two where `P` is more than 1.
    pub lines: usize,
    /// `[line][column][vector]` of two lines, to meet quads of the first four rows, or at stride 2 of each line's, in
    /// interleaved order.
    pub weights: &'a [[[[i8; 64]; 4]; 3]; 2],
    /// What sums start with, and how they become bytes.
    pub scale: &'a Scale,
    /// The output.
    pub to: &'a mut [u8],
    /// Its distance of columns within a vector, of vectors, and of lines.
    pub to_pitch: [usize; 3],
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
}

/// [`Scale`] in vectors.
#[derive(Debug)]
pub struct Ready<S: Simd> {
    m: [S::F; 4],
    /// 2²³·`m`.
    lifted: [S::F; 4],
    limits: S::Limits,
}

impl<S: Simd> Ready<S> {
    /// Loads it.
    #[inline(always)]
    pub fn new(s: S, scale: &Scale) -> Self {
        let mut m = [s.splat_f32(0.0); 4];
        let mut lifted = m;
        for v in 0..4 {
            m[v] = s.load_f32(&scale.multiplier[v]);
            lifted[v] = s.mul(m[v], s.splat_f32(8_388_608.0));
        }
        let [zero_point, lo, hi] = scale.limits;
        Self { m, lifted, limits: s.limits(zero_point, lo, hi) }
    }

    /// The bytes of sums: `WAY` is a [`Way`].
    #[inline(always)]
    pub fn bytes<const WAY: u8>(&self, s: S, acc: [S::I; 4]) -> S::B {
        let mut q = acc;
        for v in 0..4 {
            let t = if WAY == Way::Bounded as u8 {
                s.mul(s.to_f32(acc[v]), self.m[v])
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

impl Lines<'_> {
    /// The row of input that `k` rows behind the first of the lines from `line` on, which is even, are; `None` for padding.
    #[inline(always)]
    pub fn row_at<const ST: usize>(&self, line: usize, k: usize) -> Option<usize> {
        let y = usize::try_from(self.first.checked_add_unsigned(line * ST + k)?).ok()?;
        (y < self.height).then_some(y)
    }

    /// Vectors of a row, those of columns between not counted.
    pub fn vectors<const P: usize, const ST: usize>(&self) -> usize {
        self.steps + if P == 1 && ST == 1 { 2 } else { 1 }
    }

    /// Carries it out in the vocabulary.
    #[inline(always)]
    pub fn run<S: Simd, const P: usize, const ST: usize>(&mut self, s: S) {
        let ready = Ready::new(s, self.scale);
        for step in 0..self.steps {
            for line in 0..self.lines {
                let mut window = [self.quads::<S, P, ST>(s, line, step, false); 3];
                let next = self.quads::<S, P, ST>(s, line, step + 1, false);
                if ST == 2 {
                    window[1] = self.quads::<S, P, ST>(s, line, step, true);
                } else {
                    window[1] = shift::<S>(s, window[0], next, 4 / P);
                }
                window[2] = match (P, ST) {
                    (1, 1) => self.quads::<S, P, ST>(s, line, step + 2, false),
                    _ => shift::<S>(s, window[0], next, 4 * (3 - ST) / P),
                };
                let mut acc = [s.splat_i32(0); 4];
                for v in 0..4 {
                    acc[v] = s.load_i32(&self.scale.start[v]);
                    for i in 0..3 {
                        acc[v] = s.dot4_lanes(acc[v], window[i][v], s.weights(&self.weights[line % 2][i][v]));
                    }
                }
                let bytes = match self.scale.way {
                    Way::LiftedByte => ready.bytes::<{ Way::LiftedByte as u8 }>(s, acc),
                    Way::Lifted => ready.bytes::<{ Way::Lifted as u8 }>(s, acc),
                    Way::Bounded => ready.bytes::<{ Way::Bounded as u8 }>(s, acc),
                };
                let mut whole = [0; 64];
                s.store_b(bytes, &mut whole);
                for (p, column) in whole.chunks_exact(64 / P).enumerate() {
                    let at = line * self.to_pitch[2] + step * self.to_pitch[1] + p * self.to_pitch[0];
                    self.to[at..at + 64 / P].copy_from_slice(column);
                }
            }
        }
    }

    /// The quads of a vector.
    #[inline(always)]
    fn quads<S: Simd, const P: usize, const ST: usize>(&self, s: S, line: usize, at: usize, between: bool) -> [S::B; 4] {
        let mut of = [s.splat_b(self.padding); 4];
        let last = if between { self.steps - 1 } else { self.vectors::<P, ST>() - 1 };
        if P == 1 && !between && (at == 0 && self.pads[0] || at == last && self.pads[1]) {
            return of;
        }
        for k in 0..4 {
            let k_of = if ST == 2 { 2 * (line % 2) + k.min(2) } else { k };
            let mut whole = [self.padding; 64];
            if P > 1 && at == last {
                whole = self.ends[if between { 2 } else { 1 }][k_of];
            } else if P > 1 && at == 0 && !between {
                whole = self.ends[0][k_of];
            } else if let Some(y) = self.row_at::<ST>(line / 2 * 2, k_of) {
                let before = if between { 0 } else { usize::from(P > 1 || self.pads[0]) };
                let from = if between { self.between } else { self.input };
                for (p, column) in whole.chunks_exact_mut(64 / P).enumerate() {
                    let at = y * self.row + (at - before) * self.pitch[1] + p * self.pitch[0];
                    column.copy_from_slice(&from[at..at + 64 / P]);
                }
            }
            of[k] = s.load_b(&whole);
        }
        s.interleave(of)
    }
}

/// Vectors that begin so many quarters behind those of `a`, which `b` follow.
#[inline(always)]
fn shift<S: Simd>(s: S, a: [S::B; 4], b: [S::B; 4], quarters: usize) -> [S::B; 4] {
    let mut of = b;
    if quarters < 4 {
        for v in 0..4 {
            of[v] = s.shift_in(a[v], b[v], quarters);
        }
    }
    of
}
