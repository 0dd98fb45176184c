//! Softmax and its logarithm along one dimension.

use super::{affine_out, f32s, f32s_mut};
use crate::arith::float::{LaneSum, exp, ln};
use crate::arith::requant::round_to_u8;
use crate::backend::{Operand, OutputMut};
use crate::tensor::DType;

/// The rows along `axis`: their length, the distance of two elements, and where each row starts.
fn rows(shape: &[usize], axis: usize) -> (usize, usize, impl Iterator<Item = usize> + use<>) {
    let len = shape[axis];
    let stride: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    (len, stride, (0..outer).flat_map(move |o| (0..stride).map(move |i| o * len * stride + i)))
}

/// NaN is passed over here, and fills its row by way of the sum.
fn larger(m: f32, x: f32) -> f32 {
    if x > m { x } else { m }
}

/// e = exp(x − max), e / Σe.
pub(super) fn softmax_f32(axis: usize, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let (x, shape) = (f32s(&inputs[0]), inputs[0].view.shape());
    let y = f32s_mut(output);
    let (len, stride, starts) = rows(shape, axis);
    for start in starts {
        let at = |i: usize| start + i * stride;
        let max = (0..len).fold(f32::NEG_INFINITY, |m, i| larger(m, x[at(i)]));
        let mut sum = LaneSum::default();
        for i in 0..len {
            y[at(i)] = exp(x[at(i)] - max);
            sum.push(y[at(i)]);
        }
        let sum = sum.finish();
        (0..len).for_each(|i| y[at(i)] /= sum);
    }
}

/// (x − max) − ln Σ exp(x − max).
pub(super) fn log_softmax_f32(axis: usize, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let (x, shape) = (f32s(&inputs[0]), inputs[0].view.shape());
    let y = f32s_mut(output);
    let (len, stride, starts) = rows(shape, axis);
    for start in starts {
        let at = |i: usize| start + i * stride;
        let max = (0..len).fold(f32::NEG_INFINITY, |m, i| larger(m, x[at(i)]));
        let mut sum = LaneSum::default();
        (0..len).for_each(|i| sum.push(exp(x[at(i)] - max)));
        let log = ln(sum.finish());
        (0..len).for_each(|i| y[at(i)] = (x[at(i)] - max) - log);
    }
}

/// By the table of integer exponentials, see [`crate::arith::exp`].
pub(super) fn softmax_u8(axis: usize, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let (x, shape) = (inputs[0].view.bytes(), inputs[0].view.shape());
    let table = inputs[1].view.as_slice::<i32>().unwrap_or_default();
    let (len, stride, starts) = rows(shape, axis);
    let affine = (output.view.dtype() == DType::U8).then(|| affine_out(output));
    for start in starts {
        let at = |i: usize| start + i * stride;
        let max = (0..len).fold(0, |m, i| x[at(i)].max(m));
        let e = |i: usize| table[usize::from(max - x[at(i)])];
        let sum: u64 = (0..len).map(|i| e(i) as u64).sum();
        if let Some(affine) = affine {
            let inverse = 1.0 / (sum as f32 * affine.scale);
            for i in 0..len {
                output.view.bytes_mut()[at(i)] = round_to_u8(e(i) as f32 * inverse, affine.zero_point, 0, affine.q_max);
            }
        } else {
            let y = f32s_mut(output);
            (0..len).for_each(|i| y[at(i)] = e(i) as f32 / sum as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::arith::exp;
    use crate::graph::Op;
    use crate::quant::Affine;
    use crate::reference::testing::{Tensor, call, call_f32};
    use crate::tensor::DType;

    #[test]
    fn rows_sum_to_one_along_any_axis() {
        let data: Vec<f32> = (0..60).map(|i| ((i * 37) % 23) as f32 / 5.0).collect();
        let x = Tensor::new(&[3, 4, 5], &data);
        let y = call_f32(&Op::Softmax { axis: 1 }, &[&x]);
        let log = call_f32(&Op::LogSoftmax { axis: 1 }, &[&x]);
        for (o, i) in (0..3).flat_map(|o| (0..5).map(move |i| (o, i))) {
            let at = |k: usize| o * 20 + k * 5 + i;
            let exact: f64 = (0..4).map(|k| f64::from(data[at(k)]).exp()).sum();
            for k in 0..4 {
                let p = f64::from(data[at(k)]).exp() / exact;
                assert!((f64::from(y.data::<f32>()[at(k)]) - p).abs() < 1e-6);
                assert!((f64::from(log.data::<f32>()[at(k)]) - p.ln()).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn u8_is_within_half_a_step_of_the_real_softmax() {
        let from = Affine { scale: 0.07, zero_point: 30, q_max: 255 };
        let to = Affine { scale: 1.0 / 256.0, zero_point: 0, q_max: 255 };
        let data: Vec<u8> = (0..40u32).map(|i| (i * 97 % 256) as u8).collect();
        let x = Tensor::quantized(&[4, 10], &data, from);
        let table = Tensor::new(&[256], &exp::build(from.scale));
        let y = call(&Op::Softmax { axis: 1 }, &[&x, &table], DType::U8, Some(to));
        let real = call(&Op::Softmax { axis: 1 }, &[&x, &table], DType::F32, None);
        for r in 0..4 {
            let row = &data[r * 10..r * 10 + 10];
            let e: Vec<f64> = row.iter().map(|&q| (f64::from(from.scale) * f64::from(q)).exp()).collect();
            let sum: f64 = e.iter().sum();
            for (k, e) in e.iter().enumerate() {
                let p = (e / sum * 256.0).min(255.0);
                assert!((f64::from(y.data::<u8>()[r * 10 + k]) - p).abs() <= 0.51);
                assert!((f64::from(real.data::<f32>()[r * 10 + k]) - e / sum).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn rows_with_nan_or_without_a_largest_are_nan() {
        let infinity = f32::INFINITY;
        let x = Tensor::new(&[4, 2], &[f32::NAN, 1.0, -infinity, -infinity, infinity, 0.0, -infinity, 3.0]);
        let y = call_f32(&Op::Softmax { axis: 1 }, &[&x]);
        assert!(y.data::<f32>()[..5].iter().all(|p| p.is_nan()));
        assert_eq!(y.data::<f32>()[6..], [0.0, 1.0]);
    }

    #[test]
    fn long_rows_sum_beyond_32_bits() {
        // 100 000 times 2²³; the sum is 8.4e11.
        let from = Affine { scale: 0.1, zero_point: 0, q_max: 255 };
        let x = Tensor::quantized(&[100_000], &vec![9; 100_000], from);
        let y = call(&Op::Softmax { axis: 0 }, &[&x, &Tensor::new(&[256], &exp::build(0.1))], DType::F32, None);
        assert!(y.data::<f32>().iter().all(|&p| p == 1e-5));
    }

    #[test]
    fn nothing_is_nothing() {
        let none: [f32; 0] = [];
        for shape in [[0, 3], [3, 0]] {
            assert!(call_f32(&Op::Softmax { axis: 1 }, &[&Tensor::new(&shape, &none)]).bytes.is_empty());
            assert!(call_f32(&Op::LogSoftmax { axis: 1 }, &[&Tensor::new(&shape, &none)]).bytes.is_empty());
        }
    }
}
