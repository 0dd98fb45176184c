//! What depends on the order of numbers: TopK and NonMaxSuppression. It takes no memory, so that a run allocates nothing.
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

/// For each class of a sample, boxes in the order of their scores, but those that overlap one taken before; then rows of −1.
pub(super) fn suppress(most: usize, overlap: f32, score: f32, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let (Some(boxes), Some(scores)) = (inputs[0].view.as_slice::<f32>(), inputs[1].view.as_slice::<f32>()) else { return };
    let (Some(y), &[_, classes, count]) = (output.view.as_slice_mut::<i64>(), inputs[1].view.shape()) else { return };
    y.fill(-1);
    let mut row = 0;
    for (line, scores) in scores.chunks_exact(count.max(1)).enumerate() {
        let sample = line / classes;
        let corners = |i: usize| &boxes[(sample * count + i) * 4..][..4];
        let (first, mut last) = (row, None);
        while row < first + most {
            last = next(count, last, &|i| scores[i]);
            let Some(i) = last else { break };
            if scores[i] <= score {
                break;
            }
            let taken = &mut y[first * 3..];
            let covered = |seen: &[i64]| overlaps(corners(i), corners(seen[2] as usize), overlap);
            if scores[i].is_nan() || taken.chunks_exact(3).take(row - first).any(covered) {
                continue;
            }
            taken[(row - first) * 3..][..3].copy_from_slice(&[sample as i64, (line % classes) as i64, i as i64]);
            row += 1;
        }
    }
}

/// Whether the intersection of two boxes over their union is above a limit.
fn overlaps(a: &[f32], b: &[f32], limit: f32) -> bool {
    let low = |x: &[f32], d: usize| x[d].min(x[d + 2]);
    let high = |x: &[f32], d: usize| x[d].max(x[d + 2]);
    let side = |d: usize| high(a, d).min(high(b, d)) - low(a, d).max(low(b, d));
    let (height, width) = (side(0), side(1));
    if !(height > 0.0 && width > 0.0) {
        return false;
    }
    let area = |x: &[f32]| (high(x, 0) - low(x, 0)) * (high(x, 1) - low(x, 1));
    let both = height * width;
    both / (area(a) + area(b) - both) > limit
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

    #[test]
    fn boxes_are_taken_by_their_scores() {
        // The second overlaps the first by 9/11, the third by 1/3 and is given by other corners; NaN is never taken.
        let boxes = [[0.0f32, 0.0, 1.0, 10.0], [0.0, 1.0, 1.0, 11.0], [1.0, 15.0, 0.0, 5.0], [5.0, 5.0, 6.0, 6.0], [0.0; 4]].concat();
        let scores = [[0.7f32, 0.8, 0.5, 0.2, f32::NAN], [0.1, 0.9, 0.1, 0.6, 0.1]].concat();
        let op = |most, overlap, score| Op::NonMaxSuppression { most, overlap, score };
        let inputs = [Tensor::new(&[1, 5, 4], &boxes), Tensor::new(&[1, 2, 5], &scores)];
        let run = |op| call(&op, &[&inputs[0], &inputs[1]], DType::I64, None).data::<i64>().to_vec();
        let taken = run(op(3, 0.5, 0.2));
        assert_eq!(taken, [[0, 0, 1], [0, 0, 2], [0, 1, 1], [0, 1, 3], [-1; 3], [-1; 3]].concat());
        assert_eq!(run(op(1, 0.9, f32::MIN)), [[0, 0, 1], [0, 1, 1]].concat());
        let all = run(op(5, 0.9, f32::MIN));
        assert_eq!(all[..12], [[0, 0, 1], [0, 0, 0], [0, 0, 2], [0, 0, 3]].concat());
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
            for start in (0..84).filter(|i| (i / stride).is_multiple_of(shape[axis])) {
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
