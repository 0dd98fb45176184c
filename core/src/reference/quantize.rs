//! Between f32 and u8, see [`crate::quant::Affine`].

use super::{affine_in, affine_out};
use crate::backend::{Operand, OutputMut};

/// f32 → u8, with `channels_last` from `[N,C,H,W]` to `[N,H,W,C]`.
pub(super) fn quantize(channels_last: bool, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let affine = affine_out(output);
    let x = inputs[0].view.as_slice::<f32>().unwrap_or_default();
    if channels_last {
        let &[_, c, h, w] = inputs[0].view.shape() else { return };
        for (i, q) in output.view.bytes_mut().iter_mut().enumerate() {
            let (pixel, channel) = (i / c, i % c);
            let (image, at) = (pixel / (h * w), pixel % (h * w));
            *q = affine.quantize(x[(image * c + channel) * h * w + at]);
        }
        return;
    }
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

#[cfg(test)]
mod tests {
    use crate::graph::Op;
    use crate::quant::Affine;
    use crate::reference::testing::{Rng, Tensor, call};
    use crate::tensor::DType;

    const AFFINE: Affine = Affine { scale: 0.031, zero_point: 77, q_max: 200 };

    #[test]
    fn every_byte_in_use_survives() {
        let bytes: Vec<u8> = (0..=AFFINE.q_max).collect();
        let real = call(&Op::Dequantize, &[&Tensor::quantized(&[201], &bytes, AFFINE)], DType::F32, None);
        assert!(real.data::<f32>().iter().zip(&bytes).all(|(&x, &q)| x == (f32::from(q) - 77.0) * 0.031));
        assert_eq!(call(&Op::Quantize { channels_last: false }, &[&real], DType::U8, Some(AFFINE)).data::<u8>(), bytes);
    }

    #[test]
    fn real_numbers_are_rounded_then_limited() {
        let mut x = Rng(21).floats(5000);
        x.extend([f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 1e30, -1e30, -0.0]);
        let y = call(&Op::Quantize { channels_last: false }, &[&Tensor::new(&[x.len()], &x)], DType::U8, Some(AFFINE));
        for (&x, &q) in x.iter().zip(y.data::<u8>()) {
            let exact = f64::from(x / 0.031).round_ties_even() + 77.0;
            assert_eq!(q, if x.is_nan() { 0 } else { exact.clamp(0.0, 200.0) as u8 }, "{x}");
        }
    }
}
