//! What picks elements by the values of others: Gather, comparisons, Where; and whole numbers as real ones.
//!
//! Truth is the real number 1, its opposite 0, so that logic is arithmetic.

use super::walk::{Walk, broadcast};
use super::{f32s, f32s_mut};
use crate::backend::{Operand, OutputMut};
use crate::graph::op::CompareFn;

/// `y[…, i…, …] = x[…, indices[i…], …]` along the axis. An index below 0 counts from the end; one that is outside even so takes the
/// element nearest to it, as a run has nowhere to refuse it.
pub(super) fn gather(axis: usize, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let Some(indices) = inputs[1].view.as_slice::<i64>() else { return };
    let (x, shape) = (inputs[0].view.bytes(), inputs[0].view.shape());
    let run = shape[axis + 1..].iter().product::<usize>() * output.view.dtype().size();
    let extent = shape[axis];
    if run == 0 || extent == 0 || indices.is_empty() {
        return;
    }
    let mut rows = output.view.bytes_mut().chunks_exact_mut(run);
    for block in x.chunks_exact(extent * run) {
        for &index in indices {
            if let Some(to) = rows.next() {
                to.copy_from_slice(&block[row(index, extent) * run..][..run]);
            }
        }
    }
}

/// The row of `extent` that an index names.
pub(crate) fn row(index: i64, extent: usize) -> usize {
    let at = if index < 0 { index.saturating_add(extent as i64) } else { index };
    at.clamp(0, extent as i64 - 1) as usize
}

/// i64 to the nearest f32, or f32 to the i64 next towards 0, limited to what there is; NaN becomes 0.
pub(super) fn cast(inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    if let (Some(x), Some(y)) = (inputs[0].view.as_slice::<i64>(), output.view.as_slice_mut::<f32>()) {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = x as f32);
    } else if let (Some(x), Some(y)) = (inputs[0].view.as_slice::<f32>(), output.view.as_slice_mut::<i64>()) {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = x as i64);
    }
}

/// y = 1 where the comparison holds, else 0.
pub(super) fn compare(function: CompareFn, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let walk = broadcast(inputs, output);
    if let (Some(a), Some(b)) = (inputs[0].view.as_slice::<i64>(), inputs[1].view.as_slice::<i64>()) {
        let holds = |[i, j]: [usize; 2]| match function {
            CompareFn::Equal => a[i] == b[j],
            CompareFn::Less => a[i] < b[j],
            CompareFn::LessOrEqual => a[i] <= b[j],
        };
        each(&walk, f32s_mut(output), &|at| f32::from(u8::from(holds(at))));
    } else {
        let (a, b) = (f32s(&inputs[0]), f32s(&inputs[1]));
        let holds = |[i, j]: [usize; 2]| match function {
            CompareFn::Equal => a[i] == b[j],
            CompareFn::Less => a[i] < b[j],
            CompareFn::LessOrEqual => a[i] <= b[j],
        };
        each(&walk, f32s_mut(output), &|at| f32::from(u8::from(holds(at))));
    }
}

/// y = a where the condition is not 0, else b.
pub(super) fn choose(inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let walk = broadcast(inputs, output);
    let [condition, a, b] = [0, 1, 2].map(|i| f32s(&inputs[i]));
    each(&walk, f32s_mut(output), &|[c, i, j]| if condition[c] != 0.0 { a[i] } else { b[j] });
}

/// Writes `f` of the operands' offsets, in row-major order.
fn each<const K: usize>(walk: &Walk<K>, to: &mut [f32], f: &dyn Fn([usize; K]) -> f32) {
    if to.is_empty() {
        return;
    }
    let (run, strides) = walk.dim(0);
    let mut rows = to.chunks_exact_mut(run);
    walk.outer(1, &mut |offsets| {
        let Some(row) = rows.next() else { return };
        for (i, y) in row.iter_mut().enumerate() {
            *y = f(std::array::from_fn(|k| (offsets[k] + i as isize * strides[k]) as usize));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tensor, call, call_f32};
    use super::*;
    use crate::graph::Op;
    use crate::tensor::DType;

    fn ints(shape: &[usize], data: &[i64]) -> Tensor {
        Tensor::new(shape, data)
    }

    #[test]
    fn rows_are_picked() {
        let x = Tensor::new(&[2, 3, 2], &[0.0f32, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
        let y = call_f32(&Op::Gather { axis: 1 }, &[&x, &ints(&[2, 2], &[2, 0, -1, 99])]);
        assert_eq!(y.shape, [2, 2, 2, 2]);
        assert_eq!(y.data::<f32>(), [4.0, 5.0, 0.0, 1.0, 4.0, 5.0, 4.0, 5.0, 10.0, 11.0, 6.0, 7.0, 10.0, 11.0, 10.0, 11.0]);
        let y = call_f32(&Op::Gather { axis: 2 }, &[&x, &ints(&[], &[-2])]);
        assert_eq!((&y.shape[..], y.data::<f32>()), (&[2, 3][..], &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0][..]));
    }

    #[test]
    fn numbers_are_compared_and_chosen() {
        let (a, b) = (ints(&[2, 1], &[1, 5]), ints(&[3], &[1, 3, 5]));
        for (function, expected) in [
            (CompareFn::Equal, [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]),
            (CompareFn::Less, [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]),
            (CompareFn::LessOrEqual, [1.0, 1.0, 1.0, 0.0, 0.0, 1.0]),
        ] {
            assert_eq!(call(&Op::Compare { function }, &[&a, &b], DType::F32, None).data::<f32>(), expected, "{function:?}");
        }
        let real = |shape: &[usize], data: &[f32]| Tensor::new(shape, data);
        let nan = call_f32(&Op::Compare { function: CompareFn::Equal }, &[&real(&[2], &[f32::NAN, 0.0]), &real(&[2], &[f32::NAN, -0.0])]);
        assert_eq!(nan.data::<f32>(), [0.0, 1.0]);
        let y = call_f32(&Op::Where, &[&real(&[2, 1], &[0.0, 1.0]), &real(&[2], &[1.0, 2.0]), &real(&[], &[9.0])]);
        assert_eq!((&y.shape[..], y.data::<f32>()), (&[2, 2][..], &[9.0, 9.0, 1.0, 2.0][..]));
    }

    #[test]
    fn casts_round_and_saturate() {
        let real = call(&Op::Cast { to: DType::F32 }, &[&ints(&[3], &[-7, 1 << 40, (1 << 24) + 1])], DType::F32, None);
        assert_eq!(real.data::<f32>(), [-7.0, 1_099_511_627_776.0, 16_777_216.0]);
        let whole = call(&Op::Cast { to: DType::I64 }, &[&Tensor::new(&[4], &[-1.9f32, 2.9, 1e30, f32::NAN])], DType::I64, None);
        assert_eq!(whole.data::<i64>(), [-1, 2, i64::MAX, 0]);
    }
}
