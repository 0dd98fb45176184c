//! Add, Sub and Mul on u8, with ONNX's broadcasting: the float steps of [`crate::arith::requant`], 64 elements at a time.
//!
//! What an operand contributes to a float step, its *term*, is computed once where it is used often: f32(b − z_b)·m_b of a
//! sum, f32(b − z_b) of a product, whose product with f32(a − z_a) has at most 17 bits and is exact. So the second operand
//! of a per-channel operation becomes a line of numbers that repeats, and a single number makes the operation a table.

use std::ops::Range;

use super::broadcast;
use super::table::look_up;
use crate::arith::requant::{AddU8, MulU8, round_to_u8};
use crate::backend::{Operand, OutputMut};
use crate::graph::op::BinaryFn;
use crate::kernel::edge;
use crate::kernel::simd::Simd;
use crate::kernel::split::Split;
use crate::quant::Affine;
use crate::reference::walk::Walk;

/// Longest line that is repeated; a line of terms is on the stack.
const LONGEST: usize = 2048;
/// Shortest run that is worth a call: below, the reference is as good.
const SHORTEST: usize = 16;
/// So far from 2²² that what the comparison's own steps round does not matter.
const LARGE: f32 = 4e6;
/// Elements from which on a table of all results is cheaper than the results.
const MANY: usize = 1024;

/// y = function(a, b). A unit is an element, or a row where neither operand is in one piece.
#[derive(Debug, Clone, Copy)]
pub struct BinaryU8<'a> {
    /// The operands, exchanged where the first one repeats.
    x: [&'a [u8]; 2],
    steps: Steps,
    shape: Shape,
    len: usize,
}

/// The constants of an operation.
#[derive(Debug, Clone, Copy)]
struct Steps {
    product: bool,
    zeros: [u8; 2],
    /// Of a sum, one for each operand; of a product, the first.
    multipliers: [f32; 2],
    y: Affine,
}

/// How the second operand meets the first.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// Element by element.
    Same,
    /// Line `i / every` of `period` elements, again and again.
    Lines { period: usize, every: usize },
    /// One element for all; of each byte, the result.
    Table([u8; 256]),
    /// Rows of `run` elements, which start where the walk says; whether a row meets one element of the second operand.
    Rows { rows: Walk<2>, run: usize, stays: bool },
}

impl<'a> BinaryU8<'a> {
    /// `None` for other functions, and where rows are short.
    pub fn new(function: BinaryFn, inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let [a, b] = inputs else { return None };
        let (qa, qb, y) = (a.quant?, b.quant?, output.quant?);
        let (product, multipliers) = match function {
            BinaryFn::Add => (false, AddU8::new(qa, qb, y).multipliers()),
            BinaryFn::Sub => (false, AddU8::subtract(qa, qb, y).multipliers()),
            BinaryFn::Mul => (true, [MulU8::new(qa, qb, y).multiplier(); 2]),
            _ => return None,
        };
        let mut walk = broadcast(inputs, output)?;
        let mut steps = Steps { product, zeros: [qa.zero_point, qb.zero_point], multipliers, y };
        let mut x = [a.view.bytes(), b.view.bytes()];
        // Both functions are symmetric in their terms, so the operand that repeats can always be the second.
        let (_, [step_a, step_b]) = walk.dim(0);
        if step_a < step_b || step_a == step_b && x[0].len() < x[1].len() {
            walk = walk.swapped();
            x.reverse();
            steps.zeros.reverse();
            steps.multipliers.reverse();
        }
        let len = walk.len();
        let ((run, inner), (repeats, outer)) = (walk.dim(0), walk.dim(1));
        // Whether the first is in one piece, and the second consists of lines of `period` elements that last for `every`.
        let lines = |period: usize, every: usize| {
            x[0].len() == len && x[1].len() == period * (len / every) && walk.rank() <= 3 && period <= LONGEST
        };
        let shape = if x[1].len() == len && x[0].len() == len {
            Shape::Same
        } else if lines(1, len) && len >= MANY {
            Shape::Table(steps.table(x[1][0]))
        } else if lines(1, len) {
            Shape::Lines { period: 1, every: len }
        } else if inner == [1, 1] && outer[1] == 0 && lines(run, run * repeats) {
            Shape::Lines { period: run, every: run * repeats }
        } else if run >= SHORTEST {
            Shape::Rows { rows: walk, run, stays: inner[1] == 0 }
        } else {
            return None;
        };
        Some(Self { x, steps, shape, len })
    }
}

impl Steps {
    /// The results for each byte of the first operand.
    fn table(&self, b: u8) -> [u8; 256] {
        let mut table = [0; 256];
        let b = f32::from(b) - f32::from(self.zeros[1]);
        for (a, y) in table.iter_mut().enumerate() {
            let a = a as f32 - f32::from(self.zeros[0]);
            let t = if self.product { a * b * self.multipliers[0] } else { a * self.multipliers[0] + b * self.multipliers[1] };
            *y = round_to_u8(t, self.y.zero_point, 0, self.y.q_max);
        }
        table
    }
}

impl Split for BinaryU8<'_> {
    fn units(&self) -> usize {
        match self.shape {
            Shape::Rows { run, .. } => self.len / run,
            _ => self.len,
        }
    }

    fn unit_bytes(&self) -> usize {
        match self.shape {
            Shape::Rows { run, .. } => run,
            _ => 1,
        }
    }

    fn grain(&self) -> usize {
        match self.shape {
            Shape::Rows { .. } => 1,
            _ => 64,
        }
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, to: &mut [u8]) {
        if const { S::COMPACT } {
            self.compute_of::<S, EITHER>(s, units, to);
        } else if self.steps.product {
            self.compute_of::<S, PRODUCT>(s, units, to);
        } else {
            self.compute_of::<S, SUM>(s, units, to);
        }
    }
}

impl BinaryU8<'_> {
    #[inline(always)]
    fn compute_of<S: Simd, const KIND: u8>(&self, s: S, units: Range<usize>, to: &mut [u8]) {
        let v = Vectors::<S, KIND>::new(s, &self.steps);
        let [a, b] = self.x;
        match &self.shape {
            Shape::Same => v.pairs(s, &a[units.clone()], &b[units], to),
            Shape::Table(table) => look_up(s, table, &a[units], to),
            &Shape::Lines { period, every } => {
                let mut line = [0.0; LONGEST + 64];
                let mut start = units.start;
                let mut to = to;
                while start < units.end {
                    let (i, end) = (start / every, units.end.min((start / every + 1) * every));
                    v.line(s, &b[i * period..][..period], &mut line);
                    let (part, rest) = to.split_at_mut(end - start);
                    v.repeat(s, &a[start..end], &line, period, (start - i * every) % period, part);
                    (start, to) = (end, rest);
                }
            }
            &Shape::Rows { rows, run, stays } => {
                for (i, to) in units.zip(to.chunks_exact_mut(run)) {
                    let [at_a, at_b] = rows.at(1, i);
                    let (a, b) = (&a[at_a as usize..][..run], &b[at_b as usize..]);
                    if stays {
                        v.repeat(s, a, &[v.term(b[0]); 65], 1, 0, to);
                    } else {
                        v.pairs(s, a, &b[..run], to);
                    }
                }
            }
        }
    }
}

/// What is compiled for: sums, products, or whichever [`Steps`] says.
const SUM: u8 = 0;
const PRODUCT: u8 = 1;
const EITHER: u8 = 2;

/// The constants in vectors.
struct Vectors<S: Simd, const KIND: u8> {
    product: bool,
    zeros: [S::Zero; 2],
    multipliers: [S::F; 2],
    scalars: (f32, f32),
    /// Whether no result before rounding is above 2²² in magnitude.
    bounded: bool,
    top: S::F,
    limits: S::Limits,
}

impl<S: Simd, const KIND: u8> Vectors<S, KIND> {
    #[inline(always)]
    fn new(s: S, steps: &Steps) -> Self {
        let Steps { product, zeros: [za, zb], multipliers: [ma, mb], y } = *steps;
        Self {
            product,
            zeros: [s.zero(za), s.zero(zb)],
            multipliers: [s.splat_f32(ma), s.splat_f32(mb)],
            scalars: (f32::from(zb), mb),
            // NaN is not below anything.
            bounded: if product { 65025.0 * ma.abs() < LARGE } else { 255.0 * ma.abs() + 255.0 * mb.abs() < LARGE },
            top: s.splat_f32(f32::from(y.q_max) - f32::from(y.zero_point)),
            limits: s.limits(y.zero_point, 0, y.q_max),
        }
    }

    #[inline(always)]
    fn is_product(&self) -> bool {
        KIND == PRODUCT || KIND == EITHER && self.product
    }

    /// The term of one element of the second operand.
    #[inline(always)]
    fn term(&self, b: u8) -> f32 {
        let difference = f32::from(b) - self.scalars.0;
        if self.is_product() { difference } else { difference * self.scalars.1 }
    }

    /// The terms of sixteen.
    #[inline(always)]
    fn terms(&self, s: S, b: &[u8; 16]) -> S::F {
        let difference = s.widen_from(b, self.zeros[1]);
        if self.is_product() { difference } else { s.mul(difference, self.multipliers[1]) }
    }

    /// Sixteen results before rounding.
    #[inline(always)]
    fn join(&self, s: S, a: &[u8; 16], term: S::F) -> S::F {
        let difference = s.widen_from(a, self.zeros[0]);
        if self.is_product() {
            s.mul(s.mul(difference, term), self.multipliers[0])
        } else {
            s.add(s.mul(difference, self.multipliers[0]), term)
        }
    }

    /// 64 results.
    #[inline(always)]
    fn round(&self, s: S, t: [S::F; 4]) -> S::B {
        if const { S::COMPACT } && self.bounded {
            return s.round_narrow(t, self.limits);
        }
        let below = |t| s.round_below(t, self.top);
        s.narrow([below(t[0]), below(t[1]), below(t[2]), below(t[3])], self.limits)
    }

    /// 64 results of pairs.
    #[inline(always)]
    fn pair(&self, s: S, a: &[u8; 64], b: &[u8; 64]) -> S::B {
        let mut t = [self.top; 4];
        for j in 0..4 {
            t[j] = self.join(s, edge::quarter(a, j), self.terms(s, edge::quarter(b, j)));
        }
        self.round(s, t)
    }

    /// 64 results of elements and terms.
    #[inline(always)]
    fn known(&self, s: S, a: &[u8; 64], terms: &[f32; 64]) -> S::B {
        let mut t = [self.top; 4];
        for j in 0..4 {
            t[j] = self.join(s, edge::quarter(a, j), s.load_f32(&terms.as_chunks::<16>().0[j]));
        }
        self.round(s, t)
    }

    /// Element by element.
    #[inline(always)]
    fn pairs(&self, s: S, a: &[u8], b: &[u8], to: &mut [u8]) {
        if const { S::COMPACT } { self.pairs_apart(s, a, b, to) } else { self.pairs_here(s, a, b, to) }
    }

    /// For all shapes.
    #[inline(never)]
    fn pairs_apart(&self, s: S, a: &[u8], b: &[u8], to: &mut [u8]) {
        self.pairs_here(s, a, b, to);
    }

    #[inline(always)]
    fn pairs_here(&self, s: S, a: &[u8], b: &[u8], to: &mut [u8]) {
        let mut rests = [[0; 64]; 2];
        let [a_rest, b_rest] = &mut rests;
        for (i, to) in to.chunks_mut(64).enumerate() {
            let (a, b) = (edge::chunk(s, a, 64 * i, a_rest), edge::chunk(s, b, 64 * i, b_rest));
            edge::store(s, self.pair(s, a, b), to);
        }
    }

    /// The terms of a line, and behind them those of the 64 elements that follow when it repeats.
    #[inline(always)]
    fn line(&self, s: S, b: &[u8], to: &mut [f32; LONGEST + 64]) {
        let mut place = [0; 64];
        let (whole, rest) = b.as_chunks::<16>();
        let mut rest_of_16 = [0; 16];
        rest_of_16[..rest.len()].copy_from_slice(rest);
        for (i, to) in to.as_chunks_mut::<16>().0.iter_mut().enumerate().take(b.len().div_ceil(16)) {
            s.store_f32(self.terms(s, whole.get(i).unwrap_or(&rest_of_16)), &mut place);
            let place = place.as_chunks::<4>().0;
            for k in 0..16 {
                to[k] = f32::from_le_bytes(place[k]);
            }
        }
        for i in 0..64 {
            to[b.len() + i] = to[i];
        }
    }

    /// Elements and the terms of a line that repeats, from its element `at` on.
    #[inline(always)]
    fn repeat(&self, s: S, a: &[u8], line: &[f32], period: usize, at: usize, to: &mut [u8]) {
        if const { S::COMPACT } { self.repeat_apart(s, a, line, period, at, to) } else { self.repeat_here(s, a, line, period, at, to) }
    }

    /// For all shapes.
    #[inline(never)]
    fn repeat_apart(&self, s: S, a: &[u8], line: &[f32], period: usize, at: usize, to: &mut [u8]) {
        self.repeat_here(s, a, line, period, at, to);
    }

    #[inline(always)]
    fn repeat_here(&self, s: S, a: &[u8], line: &[f32], period: usize, mut at: usize, to: &mut [u8]) {
        let step = 64 % period;
        let mut rest = [0; 64];
        for (i, to) in to.chunks_mut(64).enumerate() {
            if let Some(terms) = line[at..].first_chunk::<64>() {
                edge::store(s, self.known(s, edge::chunk(s, a, 64 * i, &mut rest), terms), to);
            }
            at += step;
            if at >= period {
                at -= period;
            }
        }
    }
}
