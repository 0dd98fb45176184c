//! Parameters of activations that each run chooses, and quantization by them: rows, or larger parts, each under its own.

use std::ops::Range;

use super::{Steps, padded};
use crate::backend::{Operand, OutputMut};
use crate::kernel::edge;
use crate::kernel::simd::Simd;
use crate::kernel::split::Split;
use crate::quant::{affine_of, choose_qparams};

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
    fn compute<S: Simd>(&self, _: S, units: Range<usize>, to: &mut [u8]) {
        let Ok(to) = bytemuck::try_cast_slice_mut::<u8, [f32; 2]>(to) else { return };
        let parts = self.x[units.start * self.len..units.end * self.len].chunks_exact(self.len);
        for (part, to) in parts.zip(to) {
            *to = choose_qparams(part);
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
