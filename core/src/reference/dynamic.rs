//! What has quantized weights and activations that are real, or whose parameters each run chooses by what they are.

use super::gemm::q_gemm;
use super::{f32s, f32s_mut};
use crate::backend::{Operand, OutputMut};
use crate::quant::{affine_of, choose_qparams};

/// What a byte of weights that are real where they are multiplied stands for: q − 128.
const MIDDLE: u8 = 128;

/// For each part of x, its scale and zero point.
pub(super) fn choose(kept: usize, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let x = f32s(&inputs[0]);
    let len = inputs[0].view.shape()[kept..].iter().product::<usize>();
    for (i, to) in f32s_mut(output).as_chunks_mut().0.iter_mut().enumerate() {
        *to = choose_qparams(&x[i * len..][..len]);
    }
}

/// Each part of x under its own parameters.
pub(super) fn quantize(inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let (x, qparams) = (f32s(&inputs[0]), f32s(&inputs[1]).as_chunks().0);
    let y = output.view.bytes_mut();
    let len = (x.len() / qparams.len().max(1)).max(1);
    for ((x, y), pair) in x.chunks_exact(len).zip(y.chunks_exact_mut(len)).zip(qparams) {
        let affine = affine_of(pair);
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = affine.quantize(x));
    }
}

/// t = f32(acc)·m, then y = (t + f32(128 − z)·Σw)·s + offset.
pub(super) fn gemm(channels: usize, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    q_gemm(channels, None, &inputs[..4], output);
    let qparams = f32s(&inputs[4]).as_chunks().0;
    let (sums, offset) = (&f32s(&inputs[5])[..channels], &f32s(&inputs[6])[..channels]);
    let y = f32s_mut(output);
    let rows = (y.len() / channels / qparams.len().max(1)).max(1);
    for (y, pair) in y.chunks_exact_mut(rows * channels).zip(qparams) {
        let (zero, scale) = (offset_of(pair), pair[0]);
        for y in y.chunks_exact_mut(channels) {
            for ((y, sum), offset) in y.iter_mut().zip(sums).zip(offset) {
                *y = (*y + zero * sum) * scale + offset;
            }
        }
    }
}

/// f32(128 − z).
pub(crate) fn offset_of(qparams: &[f32; 2]) -> f32 {
    f32::from(MIDDLE) - f32::from(affine_of(qparams).zero_point)
}

/// y = (Σ x·f32(w − 128))·scale, sums in the order of K as those of a Gemm; then the bias.
pub(super) fn weight_only_gemm(inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let (x, w, scale, bias) = (f32s(&inputs[0]), inputs[1].view.bytes(), f32s(&inputs[2]), inputs.get(3).map(f32s));
    let &[k, n] = inputs[1].view.shape() else { return };
    let y = f32s_mut(output);
    if n == 0 {
        return;
    }
    for (row, y) in y.chunks_exact_mut(n).enumerate() {
        y.fill(0.0);
        for (x, w) in x[row * k..][..k].iter().zip(w.chunks_exact(n)) {
            y.iter_mut().zip(w).for_each(|(y, &w)| *y += x * real(w));
        }
        y.iter_mut().zip(scale).for_each(|(y, scale)| *y *= scale);
        if let Some(bias) = bias {
            y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
    }
}

/// Rows of a table that indices name, as Gather picks them: y = f32(q − 128)·scale of the row.
pub(super) fn embedding(inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let (table, scale) = (inputs[0].view.bytes(), f32s(&inputs[1]));
    let (&[rows, width], Some(indices)) = (inputs[0].view.shape(), inputs[2].view.as_slice::<i64>()) else { return };
    if rows == 0 || width == 0 {
        return;
    }
    for (y, &index) in f32s_mut(output).chunks_exact_mut(width).zip(indices) {
        let row = super::select::row(index, rows);
        y.iter_mut().zip(&table[row * width..]).for_each(|(y, &q)| *y = real(q) * scale[row]);
    }
}

/// f32(q − 128), which is exact.
fn real(q: u8) -> f32 {
    f32::from(q) - f32::from(MIDDLE)
}

#[cfg(test)]
mod tests {
    use crate::format::weights::PackedShape;
    use crate::graph::Op;
    use crate::reference::testing::{Rng, Tensor, call, call_f32};
    use crate::tensor::DType;

    #[test]
    fn parameters_are_those_of_dynamic_quantize_linear() {
        // ONNX's own examples of DynamicQuantizeLinear.
        let x =
            Tensor::new(&[3, 6], &[0.0f32, 2.0, -3.0, -2.5, 1.34, 0.5, -1.0, -2.1, -1.3, -2.5, -3.34, -4.0, 1.0, 2.1, 1.3, 2.5, 3.34, 4.0]);
        let pairs = call_f32(&Op::ChooseQparams { kept: 1 }, &[&x]);
        assert_eq!(pairs.shape, [3, 2]);
        assert_eq!(pairs.data::<f32>(), [5.0 / 255.0, 153.0, 4.0 / 255.0, 255.0, 4.0 / 255.0, 0.0]);
        let q = call(&Op::DynamicQuantize, &[&x, &pairs], DType::U8, None);
        assert_eq!(q.data::<u8>(), [153, 255, 0, 26, 221, 179, 191, 121, 172, 96, 42, 0, 64, 134, 83, 159, 213, 255]);
        let whole = call_f32(&Op::ChooseQparams { kept: 0 }, &[&x]);
        assert_eq!((&whole.shape[..], whole.data::<f32>()), (&[2][..], &[8.0 / 255.0, 127.0][..]));
        let nothing = call_f32(&Op::ChooseQparams { kept: 1 }, &[&Tensor::new(&[2, 2], &[0.0f32, f32::NAN, 0.0, f32::INFINITY])]);
        assert_eq!(nothing.data::<f32>(), [1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_dynamic_product_is_near_the_real_one() {
        let (k, n, mut rng) = (37, 21, Rng(3));
        let (x, w) = (Tensor::new(&[5, k], &rng.floats(5 * k)), rng.floats(k * n));
        let bias = rng.floats(n);
        let shape = PackedShape::grouped([1, 1], k, n, 1).expect("small");
        let most = w.iter().fold(0f32, |most, w| most.max(w.abs()));
        let scale = most / 127.0;
        let integers: Vec<i8> = w.iter().map(|w| (w / scale).round() as i8).collect();
        let sum = |c: usize| integers.iter().skip(c).step_by(n).map(|&w| i32::from(w)).sum::<i32>();
        let padded = |f: &dyn Fn(usize) -> f32| -> Vec<f32> { (0..32).map(|c| if c < n { f(c) } else { 0.0 }).collect() };
        let folded: Vec<i32> = (0..32).map(|c| if c < n { -128 * sum(c) } else { 0 }).collect();
        let packed = Tensor::new(&shape.weights(), &shape.pack(&integers).expect("fits"));
        let pairs = call_f32(&Op::ChooseQparams { kept: 1 }, &[&x]);
        let q = call(&Op::DynamicQuantize, &[&x, &pairs], DType::U8, None);
        let (m, sums, offset) = (padded(&|_| scale), padded(&|c| sum(c) as f32 * scale), padded(&|c| bias[c]));
        let [m, sums, offset] = [m, sums, offset].map(|v| Tensor::new(&[32], &v));
        let operands = [&q, &packed, &Tensor::new(&[32], &folded), &m, &pairs, &sums, &offset];
        let y = call(&Op::DynamicGemm { channels: n }, &operands, DType::F32, None);
        let exact = call_f32(&Op::Gemm, &[&x, &Tensor::new(&[k, n], &w), &Tensor::new(&[n], &bias)]);
        let most = exact.data::<f32>().iter().fold(0f32, |most, y| most.max(y.abs()));
        for (y, exact) in y.data::<f32>().iter().zip(exact.data::<f32>()) {
            assert!((y - exact).abs() < 0.03 * most, "{y} {exact}");
        }
    }

    #[test]
    fn bytes_of_weights_stand_for_numbers_around_128() {
        let w = Tensor::new(&[2, 2], &[129u8, 127, 255, 0]);
        let operands = [&Tensor::new(&[1, 2], &[2.0f32, 0.5]), &w, &Tensor::new(&[2], &[0.5f32, 2.0]), &Tensor::new(&[2], &[1.0f32, -1.0])];
        assert_eq!(call_f32(&Op::WeightOnlyGemm, &operands).data::<f32>(), [(2.0 + 63.5) * 0.5 + 1.0, (-2.0 - 64.0) * 2.0 - 1.0]);
        let operands = [&w, &Tensor::new(&[2], &[0.5f32, 2.0]), &Tensor::new(&[3], &[1i64, -2, 9])];
        let y = call(&Op::Embedding, &operands, DType::F32, None);
        assert_eq!((&y.shape[..], y.data::<f32>()), (&[3, 2][..], &[254.0, -256.0, 0.5, -0.5, 254.0, -256.0][..]));
    }
}
