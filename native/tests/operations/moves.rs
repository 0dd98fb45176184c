//! Operations that move elements: joining, cutting, shuffling, transposing, resizing. u8 or f32.

use quaver_core::graph::op::{Coordinates, Cut, Resize, ResizeMode};
use quaver_core::graph::{Dim, Op, ValueId};
use quaver_core::quant::Affine;
use quaver_core::tensor::DType;

use crate::network::{Build, Node, check};

/// The type of a move, with the affine parameters of both sides.
fn kind(build: &mut Build) -> (DType, Option<Affine>) {
    let quant = (build.rng.below(3) > 0).then(|| build.rng.affine());
    (if quant.is_some() { DType::U8 } else { DType::F32 }, quant)
}

fn operand(build: &mut Build, shape: &[usize], quant: Option<Affine>) -> ValueId {
    match quant {
        Some(quant) => build.bytes(shape, quant),
        None => build.floats(shape),
    }
}

#[test]
fn concat() {
    check(0..400, 4, |build| {
        let (mut shape, (dtype, quant)) = (build.image(90), kind(build));
        let axis = [2, 2, 2, 1, 0][build.rng.below(5)];
        let inputs = (0..build.rng.between(1, 4)).map(|_| {
            shape[axis] = build.rng.between(1, [24, 24, 150][axis]);
            operand(build, &shape, quant)
        });
        Node { inputs: inputs.collect(), op: Op::Concat { axis: axis + 1 }, dtype, quant }
    });
}

#[test]
fn slice() {
    // Steps and single cuts of nothing are the definition's.
    check(1000..1400, 2, |build| {
        let (shape, (dtype, quant)) = (build.image(200), kind(build));
        let axis = [2, 2, 1, 0][build.rng.below(4)];
        let len = build.rng.between(1, shape[axis]);
        let start = build.rng.below(shape[axis] - len + 1);
        let cut = match build.rng.below(8) {
            0 => Cut::new(axis + 1, shape[axis] - 1, shape[axis], -1),
            _ => Cut::new(axis + 1, start, len, 1),
        };
        Node { op: Op::Slice { cuts: vec![cut] }, inputs: vec![operand(build, &shape, quant)], dtype, quant }
    });
}

#[test]
fn channel_shuffle() {
    check(2000..2240, 3, |build| {
        let ([h, w, n], (dtype, quant)) = (build.image(60), kind(build));
        let groups = build.rng.between(2, 5);
        let op = Op::ChannelShuffle { axis: 3, groups };
        Node { op, inputs: vec![operand(build, &[h, w, groups * n], quant)], dtype, quant }
    });
}

#[test]
fn transpose() {
    // Few elements in a row are the definition's.
    check(3000..3400, 2, |build| {
        let (shape, (dtype, quant)) = (build.image(90), kind(build));
        let perm = [[0, 3, 1, 2], [0, 2, 3, 1], [0, 2, 1, 3], [0, 1, 3, 2], [0, 3, 2, 1]][build.rng.below(5)].to_vec();
        Node { op: Op::Transpose { perm }, inputs: vec![operand(build, &shape, quant)], dtype, quant }
    });
}

#[test]
fn resize() {
    use Coordinates::{AlignCorners, Asymmetric, HalfPixel, PytorchHalfPixel};
    use ResizeMode::{Ceil, Floor, Linear, RoundPreferCeil, RoundPreferFloor};
    // Linear f32 is the definition's.
    check(4000..4480, 3, |build| {
        let (shape, (dtype, quant)) = (build.image(90), kind(build));
        let mut scale = || [1.0, 2.0, 0.5, 3.0, 1.7][build.rng.below(5)];
        let scales = vec![1.0, scale(), scale(), 1.0];
        let extents = shape.iter().zip(&scales[1..]).map(|(&extent, &scale)| Dim::Fixed(((extent as f32 * scale) as usize).max(1)));
        let resize = Resize {
            mode: [Linear, Linear, Linear, RoundPreferFloor, RoundPreferCeil, Floor, Ceil][build.rng.below(7)],
            coordinates: [HalfPixel, PytorchHalfPixel, AlignCorners, Asymmetric][build.rng.below(4)],
            shape: [Dim::BATCH].into_iter().chain(extents).collect(),
            scales,
        };
        Node { op: Op::Resize(resize), inputs: vec![operand(build, &shape, quant)], dtype, quant }
    });
}
