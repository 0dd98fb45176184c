//! Binary and unary functions, tables.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::graph::op::{BinaryFn, UnaryFn};
use quaver_core::kernel::elementwise::{binary_f32::BinaryF32, binary_u8::BinaryU8, table::Table, unary_f32::UnaryF32};
use quaver_core::tensor::DType;

use crate::check::{Make, check};
use crate::common::Rng;
use crate::tensor::Tensor;

struct U8(BinaryFn);

impl Make for U8 {
    type Work<'a> = BinaryU8<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<BinaryU8<'a>> {
        BinaryU8::new(self.0, inputs, output)
    }
}

struct F32(BinaryFn);

impl Make for F32 {
    type Work<'a> = BinaryF32<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<BinaryF32<'a>> {
        BinaryF32::new(self.0, inputs, output)
    }
}

struct Unary(UnaryFn);

impl Make for Unary {
    type Work<'a> = UnaryF32<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<UnaryF32<'a>> {
        UnaryF32::new(self.0, inputs, output)
    }
}

struct Look;

impl Make for Look {
    type Work<'a> = Table<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<Table<'a>> {
        Table::new(inputs, output)
    }
}

/// Pairs of shapes that must have a kernel, and random ones that may.
fn shapes(rng: &mut Rng) -> Vec<(Vec<usize>, Vec<usize>, bool)> {
    let mut shapes = Vec::new();
    for n in (0..200).chain([1000, 5003]) {
        shapes.push((vec![n], vec![n], n > 0));
        shapes.push((vec![n], vec![], n >= 16));
    }
    for c in 1..131 {
        let (n, h, w) = (rng.between(1, 3), rng.between(1, 6), rng.between(2, 6));
        shapes.push((vec![n, h, w, c], vec![n, 1, 1, c], c >= 16));
        shapes.push((vec![n, h, w, c], vec![c], c >= 16));
        shapes.push((vec![n, h, w, c], vec![n, h, w, 1], c >= 16));
        shapes.push((vec![n, h, 1, c], vec![n, 1, w, c], c >= 16));
        shapes.push((vec![w, 1], vec![c], c >= 16));
    }
    shapes.push((vec![2, 3, 2500], vec![2, 1, 2500], true));
    shapes.push((vec![40, 70], vec![1, 1, 1], true));
    for round in 0..300 {
        let rank = rng.between(1, 6);
        let mut full: Vec<usize> = (0..rank).map(|_| rng.between(1, 4)).collect();
        full[rank - 1] = rng.between(1, 40);
        let mut thin = || -> Vec<usize> { full.iter().map(|&e| if rng.below(3) == 0 { 1 } else { e }).collect() };
        let (a, b) = (thin(), thin()[round % rank..].to_vec());
        shapes.push((a, b, false));
    }
    shapes
}

#[test]
fn binary_u8() {
    let mut rng = Rng(1);
    let mut applied = 0;
    for (a, b, must) in shapes(&mut rng) {
        for function in [BinaryFn::Add, BinaryFn::Sub, BinaryFn::Mul] {
            let (qa, qb, qy) = (rng.affine(), rng.affine(), rng.affine());
            let (a, b) = (Tensor::bytes(&a, qa, &mut rng), Tensor::bytes(&b, qb, &mut rng));
            for inputs in [[&a, &b], [&b, &a]] {
                let applies = check(&Op::Binary { function }, &U8(function), &inputs, DType::U8, Some(qy));
                assert!(applies || !must, "{inputs:?}");
                applied += usize::from(applies);
            }
        }
    }
    assert!(applied > 4000, "{applied}");
}

#[test]
fn binary_f32() {
    let mut rng = Rng(2);
    let functions = [BinaryFn::Add, BinaryFn::Sub, BinaryFn::Mul, BinaryFn::Div, BinaryFn::Min, BinaryFn::Max];
    for (a, b, must) in shapes(&mut rng) {
        for function in functions {
            let (a, b) = (Tensor::floats(&a, &mut rng), Tensor::floats(&b, &mut rng));
            for inputs in [[&a, &b], [&b, &a]] {
                assert!(check(&Op::Binary { function }, &F32(function), &inputs, DType::F32, None) || !must);
            }
        }
    }
}

#[test]
fn unary_f32() {
    use UnaryFn as F;
    let mut rng = Rng(3);
    let (alpha, gamma, beta) = (0.3, 1.1, 0.4);
    let functions = [
        F::Relu,
        F::LeakyRelu { alpha },
        F::Clip { lo: -1.0, hi: 2.5 },
        F::Sigmoid,
        F::HardSigmoid { alpha, beta },
        F::HardSwish,
        F::Silu,
        F::Tanh,
        F::Gelu,
        F::GeluTanh,
        F::Elu { alpha },
        F::Selu { alpha, gamma },
        F::Celu { alpha },
        F::Softsign,
        F::ThresholdedRelu { alpha },
        F::Shrink { lambda: 0.5, bias: 0.2 },
        F::Exp,
        F::Log,
        F::Reciprocal,
        F::Abs,
        F::Neg,
        F::Sign,
        F::Erf,
    ];
    for function in functions {
        for n in (0..100).chain([10_000]) {
            let x = Tensor::floats(&[n], &mut rng);
            assert!(check(&Op::Unary { function }, &Unary(function), &[&x], DType::F32, None), "{function:?}");
        }
    }
}

#[test]
fn tables() {
    let mut rng = Rng(4);
    let q = rng.affine();
    let table = rng.bytes(256, 255);
    for n in (0..200).chain([4096, 10_001]) {
        let x = rng.bytes(n, 255);
        assert!(check(&Op::Table, &Look, &[&Tensor::new(&[n], &x), &Tensor::new(&[256], &table)], DType::U8, Some(q)));
    }
}
