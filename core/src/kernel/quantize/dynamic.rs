//! Parameters of activations that each run chooses, and quantization by them: rows, or larger parts, each under its own.

use std::ops::Range;

use super::{Steps, padded};
use crate::backend::{Operand, OutputMut};
use crate::kernel::edge;
use crate::kernel::simd::Simd;
use crate::kernel::split::Split;
use crate::quant::{affine_of, choose_qparams, qparams_of};

/// f32 → pairs of scale and zero point. A unit is a pair.
#[derive(Debug, Clone, Copy)]
pub struct Choose<'a> {
    x: &'a [f32],
    /// Elements that a pair is for.
    len: usize,
}

impl<'a> Choose<'a> {
    /// Of the operand of [`Op::ChooseQparams`](crate::graph::Op::ChooseQparams); `None` where parts are empty.
    pub fn new(kept: usize, inputs: &[Operand<'a>], _: &OutputMut<'_>) -> Option<Self> {
        let x = inputs.first()?;
        let len = x.view.shape()[kept..].iter().product();
        (len > 0).then_some(Self { x: x.view.as_slice()?, len })
    }
}

impl Split for Choose<'_> {
    fn units(&self) -> usize {
        self.x.len() / self.len
    }

    fn unit_bytes(&self) -> usize {
        8
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, to: &mut [u8]) {
        let Ok(to) = bytemuck::try_cast_slice_mut::<u8, [f32; 2]>(to) else { return };
        let parts = self.x[units.start * self.len..units.end * self.len].chunks_exact(self.len);
        for (part, to) in parts.zip(to) {
            if const { S::COMPACT } {
                // Of vectors whose first is no NaN, the compiler makes relaxed minima, which may return any NaN.
                *to = choose_qparams(part);
                continue;
            }
            // Which zero is the least doesn't matter, as zero points are integers.
            let (blocks, rest) = part.as_chunks::<64>();
            let zero = s.splat_f32(0.0);
            let (mut least, mut most) = ([zero; 4], [zero; 4]);
            for block in blocks {
                for (i, x) in block.as_chunks::<16>().0.iter().enumerate() {
                    let x = s.load_f32(x);
                    least[i] = s.lesser(least[i], x);
                    most[i] = s.greater(most[i], x);
                }
            }
            for (i, x) in padded(s, rest).as_chunks::<16>().0.iter().enumerate() {
                let x = s.load_f32(x);
                least[i] = s.lesser(least[i], x);
                most[i] = s.greater(most[i], x);
            }
            let least = s.lesser(s.lesser(least[0], least[1]), s.lesser(least[2], least[3]));
            let most = s.greater(s.greater(most[0], most[1]), s.greater(most[2], most[3]));
            let mut rows = [[0f32; 16]; 2];
            for (v, row) in [least, most].into_iter().zip(&mut rows) {
                s.store_f32(v, bytemuck::cast_mut(row));
            }
            let min = rows[0].into_iter().fold(0.0, |a, b| if b < a { b } else { a });
            let max = rows[1].into_iter().fold(0.0, |a, b| if b > a { b } else { a });
            *to = qparams_of(min, max);
        }
    }
}

/// f32 → u8, each part under its pair. A unit is a row.
#[derive(Debug, Clone, Copy)]
pub struct QuantizeRows<'a> {
    x: &'a [f32],
    qparams: &'a [[f32; 2]],
    /// Elements of a row.
    len: usize,
    /// Rows that have a pair in common.
    rows: usize,
}

impl<'a> QuantizeRows<'a> {
    /// Of the operands of [`Op::DynamicQuantize`](crate::graph::Op::DynamicQuantize); `None` where rows are empty.
    pub fn new(inputs: &[Operand<'a>], _: &OutputMut<'_>) -> Option<Self> {
        let [x, qparams] = inputs else { return None };
        let qparams: &[[f32; 2]] = bytemuck::try_cast_slice(qparams.view.bytes()).ok()?;
        let (x, &len) = (x.view.as_slice()?, x.view.shape().last()?);
        let rows = x.len().checked_div(len)?.checked_div(qparams.len())?;
        (rows > 0).then_some(Self { x, qparams, len, rows })
    }
}

impl Split for QuantizeRows<'_> {
    fn units(&self) -> usize {
        self.x.len() / self.len
    }

    fn unit_bytes(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, to: &mut [u8]) {
        for (row, to) in units.zip(to.chunks_exact_mut(self.len)) {
            let Some(pair) = self.qparams.get(row / self.rows) else { return };
            let steps = Steps::new(s, affine_of(pair));
            let x = self.x[row * self.len..][..self.len].chunks(64);
            for (x, to) in x.zip(to.chunks_mut(64)) {
                match (x.as_array::<64>(), to.as_mut_array::<64>()) {
                    (Some(x), Some(to)) => s.store_b(steps.quantize(s, x), to),
                    _ => edge::store(s, steps.quantize(s, &padded(s, x)), to),
                }
            }
        }
    }
}
