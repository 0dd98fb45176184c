//! Images at other extents.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::op::{Coordinates, Resize, ResizeMode};
use quaver_core::graph::{Dim, Op};
use quaver_core::kernel::resize::{LinearF32, LinearU8, Nearest};
use quaver_core::tensor::DType;

use crate::check::{Make, check};
use crate::common::Rng;
use crate::tensor::Tensor;

struct Near(Resize);

impl Make for Near {
    type Work<'a> = Nearest<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<Nearest<'a>> {
        Nearest::new(&self.0, inputs, output)
    }
}

struct Linear(Resize);

impl Make for Linear {
    type Work<'a> = LinearU8<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<LinearU8<'a>> {
        LinearU8::new(&self.0, inputs, output)
    }
}

struct Real(Resize);

impl Make for Real {
    type Work<'a> = LinearF32<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<LinearF32<'a>> {
        LinearF32::new(&self.0, inputs, output)
    }
}

#[test]
fn resize() {
    use Coordinates::{AlignCorners, Asymmetric, HalfPixel, PytorchHalfPixel};
    use ResizeMode::{Ceil, Floor, RoundPreferCeil, RoundPreferFloor};
    let mut rng = Rng(15);
    for c in (1..131).chain(1..131) {
        let shape = [rng.between(1, 2), rng.between(1, 6), rng.between(1, 7), c];
        let mut scale = || [1.0, 2.0, 0.5, 3.0, 1.7, 4.0][rng.below(6)];
        let scales = vec![1.0, scale(), scale(), 1.0];
        let extents: Vec<Dim> = shape.iter().zip(&scales).map(|(&e, &s)| Dim::Fixed(((e as f32 * s) as usize).max(1))).collect();
        let q = rng.affine();
        for coordinates in [HalfPixel, PytorchHalfPixel, AlignCorners, Asymmetric] {
            let resize = |mode| Resize { mode, coordinates, shape: extents.clone(), scales: scales.clone() };
            let mode = [RoundPreferFloor, RoundPreferCeil, Floor, Ceil][rng.below(4)];
            let (bytes, floats) = (Tensor::bytes(&shape, q, &mut rng), Tensor::floats(&shape, &mut rng));
            assert!(check(&Op::Resize(resize(mode)), &Near(resize(mode)), &[&bytes], DType::U8, Some(q)));
            assert!(check(&Op::Resize(resize(mode)), &Near(resize(mode)), &[&floats], DType::F32, None));
            let linear = resize(ResizeMode::Linear);
            assert!(check(&Op::Resize(linear.clone()), &Linear(linear.clone()), &[&bytes], DType::U8, Some(q)));
            let both = scales[1] != 1.0 && scales[2] != 1.0;
            assert_eq!(check(&Op::Resize(linear.clone()), &Real(linear), &[&floats], DType::F32, None), both);
        }
    }
}
