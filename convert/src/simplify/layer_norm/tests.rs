//! The ways in which exporters spell it out.

use quaver_core::tensor::DType;

use super::*;
use crate::simplify::testing::{assert_same, count, ramp};
use crate::simplify::{PASSES, simplify};

struct Build(Network);

impl Build {
    fn new(shape: &[usize]) -> (Self, ValueId) {
        let mut net = Network::new("n");
        let shape = std::iter::once(Dim::BATCH).chain(shape.iter().map(|&d| d.into())).collect();
        let x = net.input("x", DType::F32, shape);
        (Self(net), x)
    }
    fn op(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.0.push(op, inputs, "", "").expect("valid")
    }
    fn b(&mut self, function: BinaryFn, a: ValueId, b: ValueId) -> ValueId {
        self.op(Op::Binary { function }, &[a, b])
    }
    fn u(&mut self, function: UnaryFn, a: ValueId) -> ValueId {
        self.op(Op::Unary { function }, &[a])
    }
    fn c(&mut self, x: f32) -> ValueId {
        self.0.constant("", &[], &[x])
    }
    fn reduce(&mut self, function: ReduceFn, axis: usize, keep_dims: bool, x: ValueId) -> ValueId {
        self.op(Op::Reduce { function, axes: vec![axis], keep_dims }, &[x])
    }
    fn mean(&mut self, axis: usize, x: ValueId) -> ValueId {
        self.reduce(ReduceFn::Mean, axis, true, x)
    }
    fn epsilon(&mut self, x: ValueId) -> ValueId {
        let e = self.c(1e-5);
        self.b(BinaryFn::Add, x, e)
    }
    /// What is left of the network with that output, which has to be the same.
    fn left(mut self, y: ValueId) -> Network {
        self.0.graph.values[y.index()].name = "y".into();
        self.0.output(y);
        let pass = PASSES.iter().find(|p| p.name == "layer_norm").expect("there is one");
        assert_same(&self.0, &pass.apply(self.0.clone()).expect("valid"));
        let short = simplify(self.0.clone()).expect("valid");
        assert_same(&self.0, &short);
        short
    }
}

fn names(net: &Network) -> Vec<&'static str> {
    net.graph.nodes.iter().map(|n| n.op.name()).collect()
}

/// As PyTorch's exporter and Paddle's write it: with two differences or one, and Pow or Mul.
#[test]
fn the_usual_spelling_with_scale_and_bias() {
    for (twice, pow) in [(false, true), (true, false)] {
        let (mut n, x) = Build::new(&[5, 12]);
        let m = n.mean(2, x);
        let c = n.b(BinaryFn::Sub, x, m);
        let d = if twice { n.b(BinaryFn::Sub, x, m) } else { c };
        let two = n.c(2.0);
        let square = if pow { n.b(BinaryFn::Pow, c, two) } else { n.b(BinaryFn::Mul, c, c) };
        let v = n.mean(2, square);
        let v = n.epsilon(v);
        let s = n.u(UnaryFn::Sqrt, v);
        let y = n.b(BinaryFn::Div, d, s);
        let (scale, bias) = (n.0.constant("", &[12], &ramp(12)), n.0.constant("", &[1, 12], &ramp(12)));
        let y = n.b(BinaryFn::Mul, y, scale);
        let y = n.b(BinaryFn::Add, y, bias);
        assert_eq!(names(&n.left(y)), ["LayerNormalization"]);
    }
}

/// As JAX writes it for TensorFlow: sums, the mean of squares, Reshapes and Expands, the scale beside the root.
#[test]
fn the_mean_of_squares_less_the_square_of_the_mean() {
    for axis in [1, 2] {
        let (mut n, x) = Build::new(&[6, 10]);
        let extents = [6, 10];
        let len = extents[axis - 1];
        let mut kept = vec![Dim::BATCH, 6.into(), 10.into()];
        kept[axis] = 1.into();
        let square = n.b(BinaryFn::Mul, x, x);
        let [sum, sums] = [x, square].map(|x| n.reduce(ReduceFn::Sum, axis, false, x));
        let part = n.c(1.0 / len as f32);
        let [m, e] = [sum, sums].map(|s| n.b(BinaryFn::Mul, s, part));
        let mm = n.b(BinaryFn::Mul, m, m);
        let v = n.b(BinaryFn::Sub, e, mm);
        let zero = n.c(0.0);
        let v = n.b(BinaryFn::Max, zero, v);
        let [m, v] = [m, v].map(|x| {
            let x = n.op(Op::Reshape { shape: kept.clone() }, &[x]);
            n.op(Op::Expand { shape: kept.clone() }, &[x])
        });
        let v = n.epsilon(v);
        let s = n.u(UnaryFn::Sqrt, v);
        let i = n.u(UnaryFn::Reciprocal, s);
        let shape = if axis == 2 { vec![10] } else { vec![6, 1] };
        let (scale, bias) = (n.0.constant("", &shape, &ramp(len)), n.0.constant("", &shape, &ramp(len)));
        let k = n.b(BinaryFn::Mul, i, scale);
        let c = n.b(BinaryFn::Sub, x, m);
        let y = n.b(BinaryFn::Mul, c, k);
        let y = n.b(BinaryFn::Add, y, bias);
        let wanted: &[&str] = if axis == 2 { &["LayerNormalization"] } else { &["Transpose", "LayerNormalization", "Transpose"] };
        assert_eq!(names(&n.left(y)), wanted);
    }
}

#[test]
fn the_mean_may_be_taken_off_afterwards() {
    let (mut n, x) = Build::new(&[5, 12]);
    let m = n.mean(2, x);
    let c = n.b(BinaryFn::Sub, x, m);
    let square = n.b(BinaryFn::Mul, c, c);
    let v = n.mean(2, square);
    let v = n.epsilon(v);
    let s = n.u(UnaryFn::Sqrt, v);
    let i = n.u(UnaryFn::Reciprocal, s);
    let (scale, bias) = (n.0.constant("", &[12], &ramp(12)), n.0.constant("", &[12], &ramp(12)));
    let k = n.b(BinaryFn::Mul, i, scale);
    let mk = n.b(BinaryFn::Mul, m, k);
    let rest = n.b(BinaryFn::Sub, bias, mk);
    let xk = n.b(BinaryFn::Mul, x, k);
    let y = n.b(BinaryFn::Add, xk, rest);
    assert_eq!(names(&n.left(y)), ["LayerNormalization"]);
}

#[test]
fn rms_normalization() {
    for form in 0..3 {
        let (mut n, x) = Build::new(&[5, 12]);
        let square = n.b(BinaryFn::Mul, x, x);
        let v = n.mean(2, square);
        let v = n.epsilon(v);
        let y = if form == 0 {
            let half = n.c(-0.5);
            let r = n.b(BinaryFn::Pow, v, half);
            n.b(BinaryFn::Mul, x, r)
        } else {
            let s = n.u(UnaryFn::Sqrt, v);
            let one = n.c(1.0);
            let r = n.b(BinaryFn::Div, one, s);
            if form == 1 { n.b(BinaryFn::Mul, r, x) } else { n.b(BinaryFn::Div, x, s) }
        };
        let scale = n.0.constant("", &[12], &ramp(12));
        let y = n.b(BinaryFn::Mul, scale, y);
        assert_eq!(names(&n.left(y)), ["RMSNormalization"]);
    }
}

/// Of images: channels are the second dimension in the model, and the last one between convolutions.
#[test]
fn channels_of_images_need_no_transposes() {
    use quaver_core::graph::op::{Conv, Window};
    for spelled in [true, false] {
        let (mut n, x) = Build::new(&[8, 4, 4]);
        let w = n.0.constant("w", &[1, 1, 8, 8], &ramp(64));
        let conv = |n: &mut Build, x| {
            let x = n.op(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x]);
            let x = n.op(Op::Conv(Conv { window: Window::unit(), groups: 1 }), &[x, w]);
            n.op(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[x])
        };
        let x = conv(&mut n, x);
        let (scale, bias) = (ramp(8), ramp(8));
        let y = if spelled {
            let m = n.mean(1, x);
            let c = n.b(BinaryFn::Sub, x, m);
            let two = n.c(2.0);
            let square = n.b(BinaryFn::Pow, c, two);
            let v = n.mean(1, square);
            let v = n.epsilon(v);
            let s = n.u(UnaryFn::Sqrt, v);
            let y = n.b(BinaryFn::Div, c, s);
            let (scale, bias) = (n.0.constant("", &[8, 1, 1], &scale), n.0.constant("", &[8, 1, 1], &bias));
            let y = n.b(BinaryFn::Mul, scale, y);
            n.b(BinaryFn::Add, y, bias)
        } else {
            let (scale, bias) = (n.0.constant("", &[8], &scale), n.0.constant("", &[8], &bias));
            let t = n.op(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x]);
            let y = n.op(Op::LayerNorm { epsilon: 1e-6, rms: false }, &[t, scale, bias]);
            n.op(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[y])
        };
        let y = conv(&mut n, y);
        let left = n.left(y);
        assert_eq!(names(&left), ["Transpose", "Conv", "LayerNormalization", "Conv", "Transpose"]);
    }
}

#[test]
fn near_misses_stay() {
    // The variance of another value, and a mean over another dimension.
    let (mut n, x) = Build::new(&[12, 12]);
    let other = n.u(UnaryFn::Tanh, x);
    let (m, wrong) = (n.mean(2, x), n.mean(1, x));
    let c = n.b(BinaryFn::Sub, x, m);
    let square = n.b(BinaryFn::Mul, c, c);
    let v = n.mean(2, square);
    let v = n.epsilon(v);
    let s = n.u(UnaryFn::Sqrt, v);
    let a = n.b(BinaryFn::Div, other, s);
    let d = n.b(BinaryFn::Sub, x, wrong);
    let b = n.b(BinaryFn::Div, d, s);
    let y = n.op(Op::Concat { axis: 2 }, &[a, b]);
    assert_eq!(count(&n.left(y), |op| matches!(op, Op::LayerNorm { .. })), 0);
}
