//! Between f32 and u8, see [`crate::quant::Affine`].

use super::{affine_in, affine_out};
use crate::backend::{Operand, OutputMut};

/// f32 → u8.
pub(super) fn quantize(inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let affine = affine_out(output);
    let x = inputs[0].view.as_slice::<f32>().unwrap_or_default();
    for (q, &x) in output.view.bytes_mut().iter_mut().zip(x) {
        *q = affine.quantize(x);
    }
}

/// u8 → f32.
pub(super) fn dequantize(inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let affine = affine_in(&inputs[0]);
    let Some(y) = output.view.as_slice_mut::<f32>() else { return };
    for (y, &q) in y.iter_mut().zip(inputs[0].view.bytes()) {
        *y = affine.dequantize(q);
    }
}
