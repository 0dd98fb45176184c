//! Operations on one element at a time: f32 and u8 arithmetic with broadcasting, unary functions, tables.
//!
//! f32: one IEEE operation; Pow is [`crate::arith::float::pow`]. Min gives a where a < b or a is NaN, else b; Max likewise
//! where a > b; so NaN stays, and of two zeros the second is taken. u8: see [`crate::arith::requant`].

use super::walk::{Walk, broadcast};
use crate::arith::float::pow;
use crate::arith::requant::{AddU8, MulU8};
use crate::arith::table::unary_f32 as unary;
use crate::backend::{Operand, OutputMut};
use crate::graph::op::{BinaryFn, UnaryFn};

/// y = function(a, b) on u8, under the affine parameters of all three.
pub(super) fn binary_u8(function: BinaryFn, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let (Some(a), Some(b), Some(y)) = (inputs[0].quant, inputs[1].quant, output.quant) else { return };
    let walk = broadcast(inputs, output);
    let (x0, x1, to) = (inputs[0].view.bytes(), inputs[1].view.bytes(), output.view.bytes_mut());
    match function {
        BinaryFn::Add => {
            let add = AddU8::new(a, b, y);
            each(&walk, x0, x1, to, &|a, b| add.apply(a, b));
        }
        BinaryFn::Sub => {
            let sub = AddU8::subtract(a, b, y);
            each(&walk, x0, x1, to, &|a, b| sub.apply(a, b));
        }
        // The graph's check lets no other function onto u8.
        _ => {
            let mul = MulU8::new(a, b, y);
            each(&walk, x0, x1, to, &|a, b| mul.apply(a, b));
        }
    }
}

/// y = function(a, b) on f32.
pub(super) fn binary_f32(function: BinaryFn, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let walk = broadcast(inputs, output);
    let (a, b) = (inputs[0].view.as_slice::<f32>(), inputs[1].view.as_slice::<f32>());
    let (Some(a), Some(b), Some(y)) = (a, b, output.view.as_slice_mut::<f32>()) else { return };
    let function: fn(f32, f32) -> f32 = match function {
        BinaryFn::Add => |a, b| a + b,
        BinaryFn::Sub => |a, b| a - b,
        BinaryFn::Mul => |a, b| a * b,
        BinaryFn::Div => |a, b| a / b,
        BinaryFn::Min => |a, b| if a < b || a.is_nan() { a } else { b },
        BinaryFn::Max => |a, b| if a > b || a.is_nan() { a } else { b },
        BinaryFn::Pow => pow,
    };
    each(&walk, a, b, y, &function);
}

/// y = function(x).
pub(super) fn unary_f32(function: UnaryFn, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let (Some(x), Some(y)) = (inputs[0].view.as_slice::<f32>(), output.view.as_slice_mut::<f32>()) else { return };
    y.copy_from_slice(x);
    apply(function, y);
}

/// x = function(x). It has the code of all functions, so it is there once.
#[inline(never)]
pub(super) fn apply(function: UnaryFn, x: &mut [f32]) {
    for x in x {
        *x = unary(function, *x);
    }
}

/// y = table[x].
pub(super) fn table(inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let table = inputs[1].view.bytes();
    for (y, &x) in output.view.bytes_mut().iter_mut().zip(inputs[0].view.bytes()) {
        *y = table[usize::from(x)];
    }
}

/// Applies `f` in row-major order of the output. The innermost dimension of a broadcast walk has strides 0 or 1.
fn each<T: Copy>(walk: &Walk<2>, a: &[T], b: &[T], to: &mut [T], f: &dyn Fn(T, T) -> T) {
    if to.is_empty() {
        return;
    }
    let (run, inner) = walk.dim(0);
    let mut rows = to.chunks_exact_mut(run);
    walk.outer(1, &mut |[at_a, at_b]| {
        let (Some(row), a, b) = (rows.next(), &a[at_a as usize..], &b[at_b as usize..]) else { return };
        match inner {
            [1, 1] => row.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = f(a, b)),
            [1, _] => row.iter_mut().zip(a).for_each(|(y, &a)| *y = f(a, b[0])),
            [_, 1] => row.iter_mut().zip(b).for_each(|(y, &b)| *y = f(a[0], b)),
            _ => row.fill(f(a[0], b[0])),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rng, Tensor, call, call_f32, ravel, unravel};
    use super::*;
    use crate::graph::Op;
    use crate::quant::Affine;
    use crate::tensor::DType;

    const FUNCTIONS: [BinaryFn; 6] = [BinaryFn::Add, BinaryFn::Sub, BinaryFn::Mul, BinaryFn::Div, BinaryFn::Min, BinaryFn::Max];

    /// Pairs of shapes that broadcast: those that networks have, and random ones of unequal rank.
    fn shapes() -> Vec<(Vec<usize>, Vec<usize>)> {
        let mut rng = Rng(11);
        let mut shapes = vec![
            (vec![2, 3, 4, 5], vec![2, 3, 4, 5]),
            (vec![2, 3, 4, 5], vec![]),
            (vec![], vec![]),
            (vec![1], vec![7]),
            (vec![2, 3, 4, 5], vec![5]),
            (vec![2, 3, 4, 5], vec![2, 1, 1, 5]),
            (vec![2, 3, 4, 5], vec![2, 3, 4, 1]),
            (vec![3, 1], vec![1, 4]),
        ];
        for _ in 0..80 {
            let (rank, cut) = (rng.below(9), rng.below(4));
            let full = rng.shape(rank, 4);
            let mut thin = || -> Vec<usize> { full.iter().map(|&e| if rng.below(3) == 0 { 1 } else { e }).collect() };
            let (a, b) = (thin(), thin()[cut.min(rank)..].to_vec());
            shapes.push(if cut % 2 == 0 { (a, b) } else { (b, a) });
        }
        shapes
    }

    /// The elements of both operands that meet in each element of the result.
    fn meet<T: Copy>(a: &Tensor, b: &Tensor, shape: &[usize], of: impl Fn(&Tensor, usize) -> T) -> Vec<(T, T)> {
        let at = |t: &Tensor, index: &[usize]| {
            let tail = &index[index.len() - t.shape.len()..];
            let index: Vec<usize> = tail.iter().zip(&t.shape).map(|(&i, &e)| if e == 1 { 0 } else { i }).collect();
            of(t, ravel(&index, &t.shape))
        };
        (0..shape.iter().product()).map(|i| unravel(i, shape)).map(|index| (at(a, &index), at(b, &index))).collect()
    }

    #[test]
    fn shapes_broadcast() {
        for (seed, (sa, sb)) in shapes().into_iter().enumerate() {
            let mut rng = Rng(seed as u64);
            let a = Tensor::new(&sa, &rng.floats(sa.iter().product()));
            let b = Tensor::new(&sb, &rng.floats(sb.iter().product()));
            for function in FUNCTIONS {
                let y = call_f32(&Op::Binary { function }, &[&a, &b]);
                let expected: Vec<f32> = meet(&a, &b, &y.shape, |t, i| t.data::<f32>()[i])
                    .into_iter()
                    .map(|(a, b)| match function {
                        BinaryFn::Add => a + b,
                        BinaryFn::Sub => a - b,
                        BinaryFn::Mul => a * b,
                        BinaryFn::Div => a / b,
                        BinaryFn::Min => a.min(b),
                        _ => a.max(b),
                    })
                    .collect();
                assert_eq!(y.data::<f32>(), expected, "{function:?} {sa:?} {sb:?}");
            }
        }
    }

    #[test]
    fn extremes_keep_nan() {
        let a = Tensor::new(&[4], &[f32::NAN, 1.0, -0.0, 0.0]);
        let b = Tensor::new(&[4], &[1.0, f32::NAN, 0.0, -0.0]);
        for function in [BinaryFn::Min, BinaryFn::Max] {
            let y = call_f32(&Op::Binary { function }, &[&a, &b]);
            let y = y.data::<f32>();
            assert!(y[0].is_nan() && y[1].is_nan());
            assert_eq!([y[2].to_bits(), y[3].to_bits()], [0.0f32.to_bits(), (-0.0f32).to_bits()]);
        }
    }

    #[test]
    fn powers() {
        let (a, b) = (Tensor::new(&[5], &[2.0f32, 9.0, -2.0, 0.0, 10.0]), Tensor::new(&[5], &[10.0f32, 0.5, 3.0, 0.0, -2.0]));
        let y = call_f32(&Op::Binary { function: BinaryFn::Pow }, &[&a, &b]);
        for (y, expected) in y.data::<f32>().iter().zip([1024.0f32, 3.0, -8.0, 1.0, 0.01]) {
            assert!((y - expected).abs() <= expected.abs() * 1e-6, "{y} for {expected}");
        }
    }

    #[test]
    fn bytes_equal_the_formula_in_f64() {
        let qa = Affine { scale: 0.021, zero_point: 130, q_max: 255 };
        let qb = Affine { scale: 0.013, zero_point: 7, q_max: 127 };
        let qy = Affine { scale: 0.04, zero_point: 99, q_max: 255 };
        for (seed, (sa, sb)) in shapes().into_iter().enumerate() {
            let mut rng = Rng(seed as u64);
            let a = Tensor::quantized(&sa, &rng.bytes(sa.iter().product(), 255), qa);
            let b = Tensor::quantized(&sb, &rng.bytes(sb.iter().product(), 127), qb);
            for function in [BinaryFn::Add, BinaryFn::Sub, BinaryFn::Mul] {
                let y = call(&Op::Binary { function }, &[&a, &b], DType::U8, Some(qy));
                let real = |t: &Tensor, i: usize| {
                    let q = t.quant.expect("quantized");
                    f64::from(q.scale) * (f64::from(t.data::<u8>()[i]) - f64::from(q.zero_point))
                };
                for ((a, b), &q) in meet(&a, &b, &y.shape, real).into_iter().zip(y.data::<u8>()) {
                    let r = match function {
                        BinaryFn::Add => a + b,
                        BinaryFn::Sub => a - b,
                        _ => a * b,
                    };
                    let t = (r / f64::from(qy.scale)).clamp(-99.0, 156.0);
                    // Half a step, and what the f32 steps can move a tie by.
                    assert!((f64::from(q) - 99.0 - t).abs() <= 0.5 + 1e-4, "{function:?} gives {q} for {t}");
                }
            }
        }
    }

    #[test]
    fn functions_and_tables_map_each_element() {
        let x = Tensor::new(&[2, 2], &[-1.0f32, 2.0, -0.5, 0.0]);
        assert_eq!(call_f32(&Op::Unary { function: UnaryFn::Relu }, &[&x]).data::<f32>(), [0.0, 2.0, 0.0, 0.0]);
        assert_eq!(call_f32(&Op::Unary { function: UnaryFn::Abs }, &[&x]).data::<f32>(), [1.0, 2.0, 0.5, 0.0]);
        let all: Vec<u8> = (0..=255).collect();
        let table: Vec<u8> = all.iter().map(|&i| i.wrapping_mul(7).wrapping_add(3)).collect();
        let (x, t) = (Tensor::new(&[4, 64], &all), Tensor::new(&[256], &table));
        assert_eq!(call(&Op::Table, &[&x, &t], DType::U8, None).data::<u8>(), table);
    }
}
