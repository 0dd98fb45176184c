//! Matrix products: `[…,K] × [K,N]` with constant weights, packed or f32, and of two activations.

use super::packed::{Input, Packed};
use super::{affine_in, f32s, f32s_mut};
use crate::arith::requant::{ProductU8, scale};
use crate::backend::{Operand, OutputMut};
use crate::format::weights::PackedShape;
use crate::graph::op::Epilogue;
use crate::tensor::MAX_RANK;

/// u8 × i8, packed weights.
pub(super) fn q_gemm(channels: usize, epilogue: Option<&Epilogue>, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let k = inputs[0].view.shape().last().copied().unwrap_or_default();
    let Some(shape) = PackedShape::grouped([1, 1], k, channels, 1) else { return };
    let packed = Packed::new(shape, epilogue, inputs);
    let rows = inputs[0].view.bytes().len() / k;
    packed.run(&Input::new(&inputs[0], 0), rows, output, &|row, _tap| Some(row));
}

/// f32, constant weights.
pub(super) fn gemm_f32(inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let (x, w, bias) = (f32s(&inputs[0]), f32s(&inputs[1]), inputs.get(2).map(f32s));
    let [k, n] = *inputs[1].view.shape() else { return };
    product(x, w, f32s_mut(output), k, n);
    if let Some(bias) = bias {
        f32s_mut(output).chunks_exact_mut(n.max(1)).for_each(|y| y.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
    }
}

/// Both operands activations, f32.
pub(super) fn mat_mul_f32(inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let (a, b) = (f32s(&inputs[0]), f32s(&inputs[1]));
    each_matrix(inputs, output, |[a_at, b_at, y_at], [m, k, n], output| {
        product(&a[a_at..][..m * k], &b[b_at..][..k * n], &mut f32s_mut(output)[y_at..][..m * n], k, n);
    });
}

/// Both operands activations, u8 → u8 or f32.
pub(super) fn mat_mul_u8(inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let (a, b) = (inputs[0].view.bytes(), inputs[1].view.bytes());
    let [za, zb] = [0, 1].map(|i| i32::from(affine_in(&inputs[i]).zero_point));
    let requantize = ProductU8::new(affine_in(&inputs[0]), affine_in(&inputs[1]), output.quant);
    each_matrix(inputs, output, |[a_at, b_at, y_at], [m, k, n], output| {
        let mut sums = vec![0i32; n];
        for row in 0..m {
            sums.fill(0);
            for (i, &x) in a[a_at + row * k..][..k].iter().enumerate() {
                let x = i32::from(x) - za;
                sums.iter_mut().zip(&b[b_at + i * n..][..n]).for_each(|(sum, &w)| *sum = sum.wrapping_add(x * (i32::from(w) - zb)));
            }
            let y_at = y_at + row * n;
            if output.quant.is_some() {
                let y = &mut output.view.bytes_mut()[y_at..][..n];
                y.iter_mut().zip(&sums).for_each(|(y, &sum)| *y = requantize.apply(sum));
            } else {
                let y = &mut f32s_mut(output)[y_at..][..n];
                y.iter_mut().zip(&sums).for_each(|(y, &sum)| *y = scale(sum, requantize.multiplier()));
            }
        }
    });
}

/// For each matrix of the output: where it and its operands begin, and M, K and N.
fn each_matrix(inputs: &[Operand<'_>], output: &mut OutputMut<'_>, mut f: impl FnMut([usize; 3], [usize; 3], &mut OutputMut<'_>)) {
    let ([a_batch @ .., m, k], [b_batch @ .., _, n]) = (inputs[0].view.shape(), inputs[1].view.shape()) else { return };
    let (m, k, n) = (*m, *k, *n);
    let mut batch = [1; MAX_RANK];
    let rank = output.view.shape().len() - 2;
    batch[..rank].copy_from_slice(&output.view.shape()[..rank]);
    if m * n == 0 {
        return;
    }
    for i in 0..batch[..rank].iter().product() {
        let [a_at, b_at] = [matrix(i, &batch[..rank], a_batch), matrix(i, &batch[..rank], b_batch)];
        f([a_at * m * k, b_at * k * n, i * m * n], [m, k, n], output);
    }
}

/// y[·,n] = x[·,k] · w[k,n]: sums start at +0 and take their products in the order of k.
fn product(x: &[f32], w: &[f32], y: &mut [f32], k: usize, n: usize) {
    y.fill(0.0);
    if k == 0 || n == 0 {
        return;
    }
    for (x, y) in x.chunks_exact(k).zip(y.chunks_exact_mut(n)) {
        for (x, w) in x.iter().zip(w.chunks_exact(n)) {
            y.iter_mut().zip(w).for_each(|(y, w)| *y += x * w);
        }
    }
}

/// Which of an operand's matrices belongs to matrix `i` of the output, where both have these leading dimensions.
pub(crate) fn matrix(mut i: usize, batch: &[usize], own: &[usize]) -> usize {
    let (mut index, mut stride) = (0, 1);
    for (&extent, &own) in batch.iter().rev().zip(own.iter().rev()) {
        if own != 1 {
            index += i % extent * stride;
        }
        i /= extent;
        stride *= own;
    }
    index
}

#[cfg(test)]
mod tests {
    use crate::graph::Op;
    use crate::reference::testing::{Rng, Tensor, call_f32};

    #[test]
    fn products_broadcast_their_leading_dimensions() {
        let fill = |n: usize| -> Vec<f32> { (0..n).map(|i| ((i * 7) % 13) as f32 - 6.0).collect() };
        let (a, b) = (fill(2 * 3 * 4 * 5), fill(3 * 5 * 2));
        let y = call_f32(&Op::MatMul, &[&Tensor::new(&[2, 3, 4, 5], &a), &Tensor::new(&[3, 5, 2], &b)]);
        assert_eq!(y.shape, [2, 3, 4, 2]);
        for i in 0..48 {
            let (o, g, m, n) = (i / 24, i / 8 % 3, i / 2 % 4, i % 2);
            let exact: f32 = (0..5).map(|k| a[((o * 3 + g) * 4 + m) * 5 + k] * b[(g * 5 + k) * 2 + n]).sum();
            assert_eq!(y.data::<f32>()[i], exact);
        }
    }

    #[test]
    fn gemm_adds_its_bias() {
        let y = call_f32(
            &Op::Gemm,
            &[
                &Tensor::new(&[1, 2], &[2.0f32, 3.0]),
                &Tensor::new(&[2, 2], &[1.0f32, 10.0, 100.0, 1000.0]),
                &Tensor::new(&[2], &[0.5f32, 0.25]),
            ],
        );
        assert_eq!(y.data::<f32>(), [302.5, 3020.25]);
    }

    #[test]
    fn an_operand_without_leading_dimensions_meets_every_matrix() {
        let data = Rng(5).floats(2 * 3 * 4 + 4 * 2);
        let (a, b) = data.split_at(24);
        let y = call_f32(&Op::MatMul, &[&Tensor::new(&[2, 3, 4], a), &Tensor::new(&[4, 2], b)]);
        let flat = call_f32(&Op::Gemm, &[&Tensor::new(&[6, 4], a), &Tensor::new(&[4, 2], b)]);
        assert_eq!(y.data::<f32>(), flat.data::<f32>());
        assert_eq!(y.shape, [2, 3, 2]);
    }

    #[test]
    fn products_are_added_in_order() {
        // 2²⁴ + 1 is not an f32: each 1 is lost behind it, and kept before it.
        let big = 16_777_216.0f32;
        let w = Tensor::new(&[3, 1], &[1.0f32; 3]);
        let y = call_f32(&Op::Gemm, &[&Tensor::new(&[2, 3], &[big, 1.0, 1.0, 1.0, 1.0, big]), &w]);
        assert_eq!(y.data::<f32>(), [big, big + 2.0]);
    }

    #[test]
    fn empty_sums_are_zero_and_empty_tensors_stay_empty() {
        let none: [f32; 0] = [];
        let bias = Tensor::new(&[2], &[1.0f32, -1.0]);
        let y = call_f32(&Op::Gemm, &[&Tensor::new(&[3, 0], &none), &Tensor::new(&[0, 2], &none), &bias]);
        assert_eq!(y.data::<f32>(), [1.0, -1.0, 1.0, -1.0, 1.0, -1.0]);
        let y = call_f32(&Op::MatMul, &[&Tensor::new(&[2, 2, 0], &none), &Tensor::new(&[0, 1], &none)]);
        assert_eq!(y.data::<f32>(), [0.0; 4]);
        for (a, b) in [([0usize, 2, 3], [0, 3, 1]), ([2, 0, 3], [1, 3, 4]), ([2, 3, 1], [2, 1, 0])] {
            let tensor = |shape: [usize; 3]| Tensor::new(&shape, &vec![1.0f32; shape.iter().product()]);
            assert!(call_f32(&Op::MatMul, &[&tensor(a), &tensor(b)]).bytes.is_empty());
        }
    }
}
