//! Operations that move elements.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::graph::op::Cut;
use quaver_core::kernel::layout::rows::{Concat, Slice};
use quaver_core::kernel::layout::shuffle::ChannelShuffle;
use quaver_core::kernel::layout::transpose::Transpose;
use quaver_core::tensor::DType;

use crate::check::{Make, check};
use crate::common::Rng;
use crate::tensor::Tensor;

struct Join(usize);

impl Make for Join {
    type Work<'a> = Concat<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<Concat<'a>> {
        Concat::new(self.0, inputs, output)
    }
}

struct Take(Vec<Cut>);

impl Make for Take {
    type Work<'a> = Slice<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<Slice<'a>> {
        Slice::new(&self.0, inputs, output)
    }
}

struct Shuffle(usize, usize);

impl Make for Shuffle {
    type Work<'a> = ChannelShuffle<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<ChannelShuffle<'a>> {
        ChannelShuffle::new(self.0, self.1, inputs, output)
    }
}

struct Permute(Vec<usize>);

impl Make for Permute {
    type Work<'a> = Transpose<'a>;
    fn make<'a>(&self, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<Transpose<'a>> {
        Transpose::new(&self.0, inputs, output)
    }
}

#[test]
fn concat() {
    let mut rng = Rng(9);
    for c in 1..400 {
        let q = rng.affine();
        let (axis, count) = ([2, 2, 1, 0][c % 4], rng.between(1, 4));
        let mut shape = [rng.between(1, 4), rng.between(1, 4), c % 140];
        let inputs: Vec<Tensor> = (0..count)
            .map(|_| {
                shape[axis] = rng.below(if axis == 2 { 300 } else { 4 });
                Tensor::bytes(&shape, q, &mut rng)
            })
            .collect();
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        check(&Op::Concat { axis }, &Join(axis), &inputs, DType::U8, Some(q));
        let (a, b) = (Tensor::floats(&[2, 3, c], &mut rng), Tensor::floats(&[2, 3, 7], &mut rng));
        assert!(check(&Op::Concat { axis: 2 }, &Join(2), &[&a, &b], DType::F32, None));
    }
}

#[test]
fn slice() {
    let mut rng = Rng(10);
    for c in 1..200 {
        let q = rng.affine();
        let shape = [rng.between(1, 4), rng.between(1, 5), c];
        let axis = [2, 1, 0][c % 3];
        let len = rng.between(1, shape[axis]);
        // With and without gaps; a single element may have any step.
        let step = if len == 1 { [1, 2, isize::MAX][rng.below(3)] } else { rng.between(1, (shape[axis] - 1) / (len - 1)) as isize };
        let reach = if len == 1 { 1 } else { (len - 1) * step as usize + 1 };
        let cut = Cut::new(axis, rng.below(shape[axis] - reach + 1), len, step);
        let whole = Cut::new((axis + 1) % 3, 0, shape[(axis + 1) % 3], 1);
        let cuts = vec![cut, whole];
        let op = Op::Slice { cuts: cuts.clone() };
        let applies = len < shape[axis] || step != 1;
        assert_eq!(check(&op, &Take(cuts.clone()), &[&Tensor::bytes(&shape, q, &mut rng)], DType::U8, Some(q)), applies);
        assert_eq!(check(&op, &Take(cuts), &[&Tensor::floats(&shape, &mut rng)], DType::F32, None), applies);
    }
    let backwards = vec![Cut::new(0, 4, 3, -1)];
    let x = Tensor::floats(&[6, 2], &mut rng);
    assert!(!check(&Op::Slice { cuts: backwards.clone() }, &Take(backwards), &[&x], DType::F32, None));
}

#[test]
fn channel_shuffle() {
    let mut rng = Rng(11);
    for n in 1..131 {
        for groups in [2, 3, 4, 8] {
            let q = rng.affine();
            let x = Tensor::bytes(&[rng.between(1, 3), rng.between(1, 9), groups * n], q, &mut rng);
            assert!(check(&Op::ChannelShuffle { axis: 2, groups }, &Shuffle(2, groups), &[&x], DType::U8, Some(q)));
        }
    }
}

#[test]
fn transpose() {
    let mut rng = Rng(12);
    for c in 1..131 {
        let q = rng.affine();
        let (n, h, w) = (rng.between(1, 3), rng.between(1, 9), rng.between(2, 20));
        let mut checked = |shape: &[usize], perm: &[usize], must: bool| {
            let (bytes, floats) = (Tensor::bytes(shape, q, &mut rng), Tensor::floats(shape, &mut rng));
            let op = Op::Transpose { perm: perm.to_vec() };
            assert!(check(&op, &Permute(perm.to_vec()), &[&bytes], DType::U8, Some(q)) || !must, "{shape:?} {perm:?}");
            let applies = check(&op, &Permute(perm.to_vec()), &[&floats], DType::F32, None);
            assert!(applies || !must || c < 4 || h * w < 4 || w < 4, "{shape:?} {perm:?}");
        };
        checked(&[n, h, w, c], &[0, 3, 1, 2], c >= 8);
        checked(&[n, c, h, w], &[0, 2, 3, 1], c > 1 && h * w >= 8);
        checked(&[w, c], &[1, 0], c >= 8);
        checked(&[n, h, w, c], &[0, 2, 1, 3], false);
        checked(&[n, h, w, c], &[3, 2, 1, 0], false);
    }
}
