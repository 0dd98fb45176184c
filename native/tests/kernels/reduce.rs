//! Means over pixels.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::graph::op::ReduceFn;
use quaver_core::kernel::reduce::MeanOfPixels;
use quaver_core::tensor::DType;

use crate::check::{Make, check};
use crate::common::Rng;
use crate::tensor::Tensor;

struct Axes(Vec<usize>);

impl Make for Axes {
    type Work<'a> = MeanOfPixels<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<MeanOfPixels<'a>> {
        MeanOfPixels::new(ReduceFn::Mean, &self.0, inputs, output)
    }
}

#[test]
fn means() {
    let mut rng = Rng(7);
    let mut checked = |shape: &[usize], axes: &[usize], applies: bool| {
        let (x, y) = (rng.affine(), rng.affine());
        let x = Tensor::bytes(shape, x, &mut rng);
        for keep_dims in [false, true] {
            let op = Op::Reduce { function: ReduceFn::Mean, axes: axes.to_vec(), keep_dims };
            assert_eq!(check(&op, &Axes(axes.to_vec()), &[&x], DType::U8, Some(y)), applies);
            assert_eq!(check(&op, &Axes(axes.to_vec()), &[&x], DType::F32, None), applies);
        }
    };
    for c in 1..131 {
        checked(&[1 + c % 3, 1 + c % 7, 1 + c % 5, c], &[1, 2], true);
        checked(&[1 + c % 4, 7, c], &[1], true);
    }
    checked(&[2, 300, 301, 3], &[1, 2], true);
    checked(&[7, 7, 1280], &[0, 1], true);
    checked(&[2, 3, 4, 5], &[1, 3], false);
    checked(&[2, 3, 4, 5], &[0, 2], false);
    checked(&[2, 3, 4, 5], &[1], false);
}
