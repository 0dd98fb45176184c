//! What depends on the order of numbers: TopK. It takes no memory, so that a run allocates nothing.
//!
//! NaN comes before every number, whichever are asked for; both zeros are the same; of what is equal, the first comes first.

use crate::backend::{Operand, OutputMut};

/// Along the axis, the `k` (the output's extent) largest or smallest elements, in that order: their indices (i64), or themselves (f32).
pub(super) fn top_k(axis: usize, largest: bool, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let Some(x) = inputs[0].view.as_slice::<f32>() else { return };
    let shape = inputs[0].view.shape();
    let (extent, k) = (shape[axis], output.view.shape()[axis]);
    let inner: usize = shape[axis + 1..].iter().product();
    for line in 0..x.len() / extent.max(1) {
        let (from, to) = (line / inner * extent * inner + line % inner, line / inner * k * inner + line % inner);
        let at = |i: usize| x[from + i * inner];
        let mut last = None;
        for i in 0..k {
            last = next(extent, last, &|i| if largest { at(i) } else { -at(i) });
            let Some(found) = last else { break };
            if let Some(y) = output.view.as_slice_mut::<i64>() {
                y[to + i * inner] = found as i64;
            } else if let Some(y) = output.view.as_slice_mut::<f32>() {
                y[to + i * inner] = at(found);
            }
        }
    }
}

/// The index behind `last` in descending order; the first one where there is no last.
fn next(count: usize, last: Option<usize>, at: &dyn Fn(usize) -> f32) -> Option<usize> {
    let equal = |a: f32, b: f32| a == b || (a.is_nan() && b.is_nan());
    let above = |a: f32, b: f32| a > b || (a.is_nan() && !b.is_nan());
    if let Some(last) = last {
        let same = (last + 1..count).find(|&i| equal(at(i), at(last)));
        if same.is_some() {
            return same;
        }
    }
    let mut best = None;
    for i in (0..count).filter(|&i| last.is_none_or(|last| above(at(last), at(i)))) {
        if best.is_none_or(|best| above(at(i), at(best))) {
            best = Some(i);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use crate::graph::Op;
    use crate::reference::testing::{Rng, Tensor, call};
    use crate::tensor::DType;

    fn op(axis: usize, k: usize, largest: bool) -> Op {
        Op::TopK { axis, k: k.into(), largest }
    }

    #[test]
    fn equal_ones_keep_their_order_and_nan_comes_first() {
        let x = Tensor::new(&[6], &[1.0f32, 3.0, f32::NAN, 3.0, -0.0, 0.0]);
        for (largest, expected) in [(true, [2, 1, 3, 0, 4, 5]), (false, [2, 4, 5, 0, 1, 3])] {
            let y = call(&op(0, 6, largest), &[&x], DType::I64, None);
            assert_eq!(y.data::<i64>(), expected);
        }
    }

    /// Against a stable sort, along each dimension, of numbers of which many are equal.
    #[test]
    fn as_a_stable_sort() {
        let mut rng = Rng(5);
        let shape = [3, 7, 4];
        let x: Vec<f32> = rng.floats(84).into_iter().map(|x| (x * 3.0).round()).collect();
        for (axis, largest) in (0..3).flat_map(|axis| [(axis, true), (axis, false)]) {
            let stride: usize = shape[axis + 1..].iter().product();
            let k = shape[axis] - 1;
            let input = Tensor::new(&shape, &x);
            let indices = call(&op(axis, k, largest), &[&input], DType::I64, None);
            let values = call(&op(axis, k, largest), &[&input], DType::F32, None);
            for start in (0..84).filter(|i| i / stride % shape[axis] == 0) {
                let line: Vec<f32> = (0..shape[axis]).map(|i| x[start + i * stride]).collect();
                let mut order: Vec<usize> = (0..line.len()).collect();
                order.sort_by(|&a, &b| if largest { line[b].total_cmp(&line[a]) } else { line[a].total_cmp(&line[b]) });
                let to = start / (stride * shape[axis]) * stride * k + start % stride;
                for (i, &from) in order[..k].iter().enumerate() {
                    assert_eq!(values.data::<f32>()[to + i * stride], line[from]);
                    assert_eq!(line[indices.data::<i64>()[to + i * stride] as usize], line[from]);
                }
            }
        }
    }
}
