//! Softmax along the last axis.

use quaver_core::arith::exp;
use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::kernel::softmax::{SoftmaxF32, SoftmaxU8};
use quaver_core::tensor::DType;

use crate::check::{Make, check};
use crate::common::Rng;
use crate::tensor::Tensor;

struct U8(usize);

impl Make for U8 {
    type Work<'a> = SoftmaxU8<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<SoftmaxU8<'a>> {
        SoftmaxU8::new(self.0, inputs, output)
    }
}

struct F32(usize);

impl Make for F32 {
    type Work<'a> = SoftmaxF32<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<SoftmaxF32<'a>> {
        SoftmaxF32::new(self.0, inputs, output)
    }
}

#[test]
fn softmax() {
    let mut rng = Rng(13);
    for len in (1..200).chain([255, 256, 257, 1000, 3001]) {
        let shape = [rng.between(1, 3), rng.between(1, 4), len];
        let (x, y) = (rng.affine(), rng.affine());
        let (bytes, table) = (Tensor::bytes(&shape, x, &mut rng), Tensor::new(&[256], &exp::build(x.scale)));
        let op = Op::Softmax { axis: 2 };
        assert!(check(&op, &U8(2), &[&bytes, &table], DType::U8, Some(y)));
        assert!(check(&op, &U8(2), &[&bytes, &table], DType::F32, None));
        assert!(check(&op, &F32(2), &[&Tensor::floats(&shape, &mut rng)], DType::F32, None));
        let tame: Vec<f32> = (0..shape.iter().product()).map(|_| rng.below(4000) as f32 / 100.0 - 20.0).collect();
        assert!(check(&op, &F32(2), &[&Tensor::new(&shape, &tame)], DType::F32, None));
        assert!(!check(&Op::Softmax { axis: 1 }, &F32(1), &[&Tensor::new(&shape, &tame)], DType::F32, None));
    }
}
