//! Layer normalization along the last dimension. The loops are plain ones, compiled for the instruction set that they run on.

use std::ops::Range;

use super::simd::Simd;
use super::split::Split;
use crate::backend::{Operand, OutputMut};
use crate::reference::normalize::row_norm;

/// Of f32. A unit is a row.
#[derive(Debug, Clone, Copy)]
pub struct LayerNormF32<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
    rms: bool,
}

impl<'a> LayerNormF32<'a> {
    /// `None` where rows are empty.
    pub fn new(epsilon: f32, rms: bool, inputs: &[Operand<'a>], _: &OutputMut<'_>) -> Option<Self> {
        let [x, scale, bias] = inputs else { return None };
        let [x, scale, bias] = [x.view.as_slice()?, scale.view.as_slice()?, bias.view.as_slice()?];
        (!scale.is_empty()).then_some(Self { x, scale, bias, epsilon, rms })
    }
}

impl Split for LayerNormF32<'_> {
    fn units(&self) -> usize {
        self.x.len() / self.scale.len()
    }

    fn unit_bytes(&self) -> usize {
        self.scale.len() * 4
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, _: S, units: Range<usize>, to: &mut [u8]) {
        let Ok(to) = bytemuck::try_cast_slice_mut::<u8, f32>(to) else { return };
        let len = self.scale.len();
        let rows = self.x[units.start * len..units.end * len].chunks_exact(len);
        for (row, to) in rows.zip(to.chunks_exact_mut(len)) {
            row_norm(row, self.scale, self.bias, self.epsilon, self.rms, to);
        }
    }
}
