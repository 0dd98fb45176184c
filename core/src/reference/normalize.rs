//! Layer normalization: rows of mean 0 and variance 1, then scaled and moved.

use super::{f32s, f32s_mut};
use crate::arith::float::{LANES, LaneSum};
use crate::backend::{Operand, OutputMut};

/// y = ((x − mean)·r)·scale + bias along the last dimension, r = 1 / √(variance + ε); with `rms` the mean is 0.
pub(super) fn layer_norm(epsilon: f32, rms: bool, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let [x, scale, bias] = [0, 1, 2].map(|i| f32s(&inputs[i]));
    let rows = x.chunks_exact(scale.len().max(1));
    for (row, to) in rows.zip(f32s_mut(output).chunks_exact_mut(scale.len().max(1))) {
        row_norm(row, scale, bias, epsilon, rms, to);
    }
}

/// One row. Mean and variance are sums in the order of `ARITHMETIC.md` over the number of elements.
#[inline(always)]
pub(crate) fn row_norm(x: &[f32], scale: &[f32], bias: &[f32], epsilon: f32, rms: bool, to: &mut [f32]) {
    let count = x.len() as f32;
    let mean = if rms { 0.0 } else { sum(x, |x| x) / count };
    let variance = sum(x, |x| (x - mean) * (x - mean)) / count;
    let r = 1.0 / (variance + epsilon).sqrt();
    for (((to, &x), &scale), &bias) in to.iter_mut().zip(x).zip(scale).zip(bias) {
        *to = ((x - mean) * r) * scale + bias;
    }
}

#[inline(always)]
fn sum(x: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for x in whole {
        for i in 0..LANES {
            lanes[i] += of(x[i]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += of(x);
    }
    LaneSum::tree(lanes)
}

#[cfg(test)]
mod tests {
    use crate::graph::Op;
    use crate::reference::testing::{Rng, Tensor, call_f32};

    #[test]
    fn rows_have_mean_0_and_variance_1() {
        let mut rng = Rng(3);
        for (len, rms) in [1usize, 3, 16, 40, 385].into_iter().flat_map(|len| [(len, false), (len, true)]) {
            let (x, scale, bias) = (rng.floats(3 * len), rng.floats(len), rng.floats(len));
            let op = Op::LayerNorm { epsilon: 1e-5, rms };
            let y = call_f32(&op, &[&Tensor::new(&[3, len], &x), &Tensor::new(&[len], &scale), &Tensor::new(&[len], &bias)]);
            for (row, y) in x.chunks(len).zip(y.data::<f32>().chunks(len)) {
                let mean = if rms { 0.0 } else { row.iter().map(|&x| f64::from(x)).sum::<f64>() / len as f64 };
                let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / len as f64;
                for (i, &y) in y.iter().enumerate() {
                    let exact = (f64::from(row[i]) - mean) / (variance + 1e-5).sqrt() * f64::from(scale[i]) + f64::from(bias[i]);
                    assert!((f64::from(y) - exact).abs() < 1e-4 * (1.0 + exact.abs()), "{len}: {y} for {exact}");
                }
            }
        }
    }
}
