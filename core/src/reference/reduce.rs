//! Reductions over any dimensions.
//!
//! The elements that meet in one result are numbered in row-major order; element i belongs to lane i mod 16, each lane
//! is added up by itself in that order, and the lanes meet in the tree of [`crate::arith::float::LaneSum`]. A mean is the
//! sum divided by n, L2 its root. A product is multiplied in row-major order. The largest and smallest depend on no
//! order: NaN where an element is NaN, and a zero is +0.
//!
//! On u8 the sum of (q − z) is exact, then requantized or scaled, see [`crate::arith::requant`].

use super::walk::{Walk, strides};
use crate::arith::float::{LANES, LaneSum};
use crate::arith::requant::Mean;
use crate::backend::{Operand, OutputMut};
use crate::graph::op::ReduceFn;

/// Neighbouring results that are worked on at once, where the innermost dimension stays.
const BLOCK: usize = 32;

/// The mean of u8, as u8 or f32.
pub(super) fn mean_u8(axes: &[usize], inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let Some(x) = inputs[0].quant else { return };
    let fold = Fold::new(axes, inputs[0].view.shape());
    let from = inputs[0].view.bytes();
    let count = fold.reduced.len();
    let zero = count as i32 * i32::from(x.zero_point);
    let add = |sum: i32, q: u8| sum + i32::from(q);
    let acc = |lanes: [i32; LANES]| lanes.iter().sum::<i32>() - zero;
    if let Some(y) = output.quant {
        let mean = Mean::new(x, y, count);
        let to = output.view.bytes_mut();
        fold.run(from, to.len(), LANES, 0, add, &mut |i, lanes| to[i] = mean.apply(acc(lanes)));
    } else if let Some(to) = output.view.as_slice_mut::<f32>() {
        let scale = Mean::real(x, count);
        fold.run(from, to.len(), LANES, 0, add, &mut |i, lanes| to[i] = acc(lanes) as f32 * scale);
    }
}

/// Any function of f32.
pub(super) fn reduce_f32(function: ReduceFn, axes: &[usize], inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let fold = Fold::new(axes, inputs[0].view.shape());
    let (Some(from), Some(to)) = (inputs[0].view.as_slice::<f32>(), output.view.as_slice_mut::<f32>()) else { return };
    let count = fold.reduced.len() as f32;
    let tree = LaneSum::tree;
    // One body for all functions, by pointers to their steps.
    let (init, step, finish): (f32, Step, &dyn Fn([f32; LANES]) -> f32) = match function {
        ReduceFn::Mean => (0.0, |s, x| s + x, &|lanes| tree(lanes) / count),
        ReduceFn::Sum => (0.0, |s, x| s + x, &tree),
        ReduceFn::L1 => (0.0, |s, x| s + x.abs(), &tree),
        ReduceFn::L2 => (0.0, |s, x| s + x * x, &|lanes| tree(lanes).sqrt()),
        ReduceFn::SumSquare => (0.0, |s, x| s + x * x, &tree),
        ReduceFn::Prod => (1.0, |p, x| p * x, &|[product, ..]| product),
        ReduceFn::Max => (f32::NEG_INFINITY, larger, &|lanes| only(lanes, larger)),
        ReduceFn::Min => (f32::INFINITY, smaller, &|lanes| only(lanes, smaller)),
    };
    let lanes = if function == ReduceFn::Prod { 1 } else { LANES };
    fold.run(from, to.len(), lanes, init, step, &mut |i, lanes| to[i] = finish(lanes));
}

/// From what a lane holds and the next element to what it then holds.
type Step = fn(f32, f32) -> f32;

fn larger(m: f32, x: f32) -> f32 {
    if m.is_nan() || x <= m { m } else { x }
}

fn smaller(m: f32, x: f32) -> f32 {
    if m.is_nan() || x >= m { m } else { x }
}

/// The extreme of all lanes, with one bit pattern for every NaN and every zero.
fn only(lanes: [f32; LANES], step: Step) -> f32 {
    let m = lanes.into_iter().fold(lanes[0], step);
    if m.is_nan() { f32::NAN } else { m + 0.0 }
}

/// The dimensions of the input: those that stay, and those that are reduced.
struct Fold {
    kept: Walk<1>,
    reduced: Walk<1>,
}

impl Fold {
    fn new(axes: &[usize], shape: &[usize]) -> Self {
        let strides = strides(shape);
        let mut fold = Self { kept: Walk::new(), reduced: Walk::new() };
        for (d, &extent) in shape.iter().enumerate() {
            let walk = if axes.contains(&d) { &mut fold.reduced } else { &mut fold.kept };
            walk.push(extent, [strides[d]]);
        }
        fold
    }

    /// Folds by `step` into so many `lanes` that start at `init`, and visits each of the `results`: its index, and its lanes.
    fn run<T: Copy, A: Copy>(
        &self,
        from: &[T],
        results: usize,
        lanes: usize,
        init: A,
        step: impl Fn(A, T) -> A,
        visit: &mut dyn FnMut(usize, [A; LANES]),
    ) {
        if results == 0 {
            return;
        }
        let (neighbours, [stride]) = self.kept.dim(0);
        if stride == 1 && neighbours > 1 {
            return self.run_blocks(from, lanes, init, step, visit);
        }
        let (run, [run_stride]) = self.reduced.dim(0);
        let mut result = 0;
        self.kept.outer(0, &mut |[base]| {
            let mut sums = [init; LANES];
            let mut i = 0;
            self.reduced.outer(1, &mut |[offset]| {
                let start = (base + offset) as usize;
                if run_stride == 1 && lanes == LANES && i % LANES == 0 {
                    let (whole, rest) = from[start..start + run].as_chunks::<LANES>();
                    whole.iter().for_each(|chunk| sums.iter_mut().zip(chunk).for_each(|(a, &x)| *a = step(*a, x)));
                    sums.iter_mut().zip(rest).for_each(|(a, &x)| *a = step(*a, x));
                } else {
                    for k in 0..run {
                        let a = &mut sums[(i + k) % lanes];
                        *a = step(*a, from[start + k * run_stride as usize]);
                    }
                }
                i += run;
            });
            visit(result, sums);
            result += 1;
        });
    }

    /// As [`Fold::run`] where neighbouring results come from neighbouring elements: they are the inner loop.
    fn run_blocks<T: Copy, A: Copy>(
        &self,
        from: &[T],
        lanes: usize,
        init: A,
        step: impl Fn(A, T) -> A,
        visit: &mut dyn FnMut(usize, [A; LANES]),
    ) {
        let (neighbours, _) = self.kept.dim(0);
        let mut result = 0;
        self.kept.outer(1, &mut |[base]| {
            for first in (0..neighbours).step_by(BLOCK) {
                let (base, count) = (base as usize + first, BLOCK.min(neighbours - first));
                let mut sums = [[init; BLOCK]; LANES];
                let mut i = 0;
                self.reduced.outer(0, &mut |[offset]| {
                    let start = base + offset as usize;
                    for (a, &x) in sums[i % lanes].iter_mut().zip(&from[start..start + count]) {
                        *a = step(*a, x);
                    }
                    i += 1;
                });
                (0..count).for_each(|c| visit(result + c, std::array::from_fn(|lane| sums[lane][c])));
                result += count;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rng, Tensor, call, call_f32, ravel, unravel};
    use super::*;
    use crate::graph::Op;
    use crate::quant::Affine;
    use crate::tensor::DType;

    /// For each result, its elements in row-major order.
    fn members<T: Copy>(data: &[T], shape: &[usize], axes: &[usize]) -> Vec<Vec<T>> {
        let kept: Vec<usize> = (0..shape.len()).map(|d| if axes.contains(&d) { 1 } else { shape[d] }).collect();
        let mut members = vec![Vec::new(); kept.iter().product()];
        for (i, &v) in data.iter().enumerate() {
            let index: Vec<usize> = unravel(i, shape).iter().zip(&kept).map(|(&i, &k)| i.min(k - 1)).collect();
            members[ravel(&index, &kept)].push(v);
        }
        members
    }

    fn cases() -> Vec<(Vec<usize>, Vec<usize>)> {
        let mut rng = Rng(5);
        let mut cases = vec![
            (vec![2, 7, 7, 70], vec![1, 2]),
            (vec![3, 100], vec![1]),
            (vec![3, 5, 37], vec![0, 2]),
            (vec![], vec![]),
            (vec![4, 33], vec![0]),
        ];
        for round in 0..60 {
            let rank = 1 + round % 6;
            let axes = (0..rank).filter(|_| rng.below(2) == 0).collect();
            cases.push((rng.shape(rank, 6), axes));
        }
        cases
    }

    #[test]
    fn sums_run_in_sixteen_lanes() {
        for (seed, (shape, axes)) in cases().into_iter().enumerate() {
            let data = Rng(seed as u64).floats(shape.iter().product());
            let x = Tensor::new(&shape, &data);
            let lanes = |v: &[f32], f: fn(f32) -> f32| {
                let mut lanes = [0.0f32; 16];
                v.iter().enumerate().for_each(|(i, &x)| lanes[i % 16] += f(x));
                for width in [8, 4, 2, 1] {
                    (0..width).for_each(|i| lanes[i] += lanes[i + width]);
                }
                lanes[0]
            };
            for keep_dims in [false, true] {
                let run = |function| call_f32(&Op::Reduce { function, axes: axes.clone(), keep_dims }, &[&x]).data::<f32>().to_vec();
                let expect = |f: &dyn Fn(&[f32]) -> f32| members(&data, &shape, &axes).iter().map(|v| f(v)).collect::<Vec<f32>>();
                assert_eq!(run(ReduceFn::Sum), expect(&|v| lanes(v, |x| x)), "{shape:?} {axes:?}");
                assert_eq!(run(ReduceFn::Mean), expect(&|v| lanes(v, |x| x) / v.len() as f32));
                assert_eq!(run(ReduceFn::L1), expect(&|v| lanes(v, f32::abs)));
                assert_eq!(run(ReduceFn::L2), expect(&|v| lanes(v, |x| x * x).sqrt()));
                assert_eq!(run(ReduceFn::SumSquare), expect(&|v| lanes(v, |x| x * x)));
                assert_eq!(run(ReduceFn::Prod), expect(&|v| v.iter().product()));
                assert_eq!(run(ReduceFn::Max), expect(&|v| v.iter().fold(f32::MIN, |m, &x| m.max(x))));
                assert_eq!(run(ReduceFn::Min), expect(&|v| v.iter().fold(f32::MAX, |m, &x| m.min(x))));
            }
        }
    }

    #[test]
    fn sums_are_near_the_true_ones() {
        let data = Rng(9).floats(10_000);
        let y = call_f32(&Op::Reduce { function: ReduceFn::Mean, axes: vec![0], keep_dims: false }, &[&Tensor::new(&[10_000], &data)]);
        let exact = data.iter().map(|&x| f64::from(x)).sum::<f64>() / 10_000.0;
        assert!((f64::from(y.data::<f32>()[0]) - exact).abs() < 1e-6);
    }

    #[test]
    fn extremes_keep_nan_and_forget_the_sign_of_zero() {
        for shape in [[1, 3], [3, 1]] {
            let axes = vec![usize::from(shape[0] == 1)];
            let run = |function, data: [f32; 3]| {
                call_f32(&Op::Reduce { function, axes: axes.clone(), keep_dims: false }, &[&Tensor::new(&shape, &data)]).data::<f32>()[0]
            };
            for function in [ReduceFn::Max, ReduceFn::Min] {
                assert_eq!(run(function, [1.0, -f32::NAN, 2.0]).to_bits(), f32::NAN.to_bits());
                assert_eq!(run(function, [-0.0, 0.0, -0.0]).to_bits(), 0);
                assert_eq!(run(function, [0.0, -0.0, -0.0]).to_bits(), 0);
            }
            assert_eq!(run(ReduceFn::Max, [f32::NEG_INFINITY; 3]), f32::NEG_INFINITY);
        }
    }

    #[test]
    fn bytes_equal_the_formula_in_f64() {
        let x = Affine { scale: 0.031, zero_point: 117, q_max: 255 };
        let y = Affine { scale: 0.02, zero_point: 90, q_max: 127 };
        for (seed, (shape, axes)) in cases().into_iter().enumerate() {
            let data = Rng(seed as u64).bytes(shape.iter().product(), 255);
            let input = Tensor::quantized(&shape, &data, x);
            let op = Op::Reduce { function: ReduceFn::Mean, axes: axes.clone(), keep_dims: true };
            let (bytes, floats) = (call(&op, &[&input], DType::U8, Some(y)), call(&op, &[&input], DType::F32, None));
            for (i, members) in members(&data, &shape, &axes).iter().enumerate() {
                let sum: f64 = members.iter().map(|&q| f64::from(q) - 117.0).sum();
                let real = f64::from(x.scale) * sum / members.len() as f64;
                let t = (real / f64::from(y.scale)).clamp(-90.0, 37.0);
                let q = f64::from(bytes.data::<u8>()[i]) - 90.0;
                // Half a step, and what the f32 steps can move a tie by.
                assert!((q - t).abs() <= 0.5 + 1e-4, "{q} for {t}: {shape:?} {axes:?}");
                assert!((f64::from(floats.data::<f32>()[i]) - real).abs() <= real.abs() * 2e-7);
            }
        }
    }
}
