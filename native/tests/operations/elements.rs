//! Operations on elements and pixels: arithmetic, tables, pools, means, softmax, normalization, recurrences,
//! and between f32 and u8.

use quaver_core::arith::exp;
use quaver_core::graph::Op;
use quaver_core::graph::op::{BinaryFn, Pool, PoolFn, ReduceFn, UnaryFn, Window};
use quaver_core::graph::recurrent::{Cell, Recurrent};
use quaver_core::graph::shape::window_extent;
use quaver_core::quant::Affine;
use quaver_core::tensor::DType;

use crate::network::{Node, check};

#[test]
fn arithmetic() {
    // Few elements in a row are the definition's.
    check(0..720, 3, |build| {
        let [h, w, c] = build.image(90);
        let (qa, qb, qy) = (build.rng.affine(), build.rng.affine(), build.rng.affine());
        let a = build.bytes(&[h, w, c], qa);
        let b = match build.rng.below(5) {
            0 | 1 => build.bytes(&[h, w, c], qb),
            2 => build.bytes(&[1, 1, c], qb),
            3 => build.bytes(&[h, w, 1], qb),
            _ => {
                let shape = [c, 1][build.rng.below(2)];
                let b = build.net.constant("b", &[shape], &build.rng.bytes(shape, qb.q_max));
                build.net.graph.values[b.index()].quant = Some(qb);
                b
            }
        };
        let function = [BinaryFn::Add, BinaryFn::Sub, BinaryFn::Mul][build.rng.below(3)];
        let inputs = if build.rng.below(2) == 0 { vec![a, b] } else { vec![b, a] };
        Node { op: Op::Binary { function }, inputs, dtype: DType::U8, quant: Some(qy) }
    });
}

#[test]
fn tables() {
    check(1000..1160, 5, |build| {
        let (shape, qx, qy) = (build.image(90), build.rng.affine(), build.rng.affine());
        let x = build.bytes(&shape, qx);
        let table = build.net.constant("t", &[256], &build.rng.bytes(256, qy.q_max));
        Node { op: Op::Table, inputs: vec![x, table], dtype: DType::U8, quant: Some(qy) }
    });
}

#[test]
fn between_f32_and_u8() {
    check(2000..2240, 5, |build| {
        let (shape, q) = (build.image(90), build.rng.affine());
        if build.rng.below(2) == 0 {
            return Node {
                op: Op::Quantize { channels_last: false },
                inputs: vec![build.floats(&shape)],
                dtype: DType::U8,
                quant: Some(q),
            };
        }
        Node { op: Op::Dequantize, inputs: vec![build.bytes(&shape, q)], dtype: DType::F32, quant: None }
    });
}

#[test]
fn pools() {
    check(3000..3560, 5, |build| {
        let (shape, q) = (build.image(130), build.rng.affine());
        let (ceil_mode, count_include_pad) = (build.rng.below(2) == 0, build.rng.below(2) == 0);
        let mut two = |most: usize| [build.rng.between(1, most), build.rng.between(1, most)];
        let mut window = Window { kernel: two(4), strides: two(3), dilations: two(2), ..Window::unit() };
        window.pads_begin = [0, 1].map(|d| build.rng.below(window.reach(d)));
        window.pads_end = [0, 1].map(|d| build.rng.below(window.reach(d)));
        if (0..2).any(|d| window_extent(&window, d, shape[d], ceil_mode).is_none()) {
            window = Window::unit();
        }
        // Whether a last window is left out, no formula says.
        build.open &= !ceil_mode;
        let function = [PoolFn::Max, PoolFn::Average][build.rng.below(2)];
        let to = if function == PoolFn::Max { q } else { build.rng.affine() };
        let op = Op::Pool(Pool { function, window, ceil_mode, count_include_pad });
        Node { op, inputs: vec![build.bytes(&shape, q)], dtype: DType::U8, quant: Some(to) }
    });
}

#[test]
fn means() {
    check(4000..4320, 5, |build| {
        let [h, w, _] = build.image(1);
        let shape = [h, w, build.rng.between(1, 2000)];
        let (q, keep_dims) = (build.rng.affine(), build.rng.below(2) == 0);
        let to = (build.rng.below(3) > 0).then(|| build.rng.affine());
        let op = Op::Reduce { function: ReduceFn::Mean, axes: vec![1, 2], keep_dims };
        let dtype = if to.is_some() { DType::U8 } else { DType::F32 };
        Node { op, inputs: vec![build.bytes(&shape, q)], dtype, quant: to }
    });
}

#[test]
fn softmax() {
    // Along the last dimension; others are the definition's.
    check(5000..5400, 4, |build| {
        let shape = [build.rng.between(1, 20), build.rng.between(1, 300)];
        let axis = if build.rng.below(12) == 0 { 1 } else { 2 };
        let op = Op::Softmax { axis };
        if build.rng.below(3) == 0 {
            return Node { op, inputs: vec![build.floats(&shape)], dtype: DType::F32, quant: None };
        }
        let q = build.rng.affine();
        // Steps that probabilities fill, mostly.
        let scale = [1.0, 1.0 / 256.0, 1.0 / 2000.0][build.rng.below(3)];
        let to = (build.rng.below(2) > 0).then(|| Affine { scale, ..build.rng.affine() });
        let x = build.bytes(&shape, q);
        let table = build.net.constant("exp", &[256], &exp::build(q.scale));
        let dtype = if to.is_some() { DType::U8 } else { DType::F32 };
        Node { op, inputs: vec![x, table], dtype, quant: to }
    });
}

#[test]
fn layer_normalization() {
    check(9300..9400, 5, |build| {
        let [rows, len] = [build.rng.between(1, 9), build.rng.between(1, 400)];
        let x = build.floats(&[rows, len]);
        let [scale, bias] = [build.rng.floats(len), build.rng.floats(len)];
        let rms = build.rng.below(3) == 0;
        let inputs = vec![x, build.net.constant("scale", &[len], &scale), build.net.constant("bias", &[len], &bias)];
        Node { op: Op::LayerNorm { epsilon: 1e-5, rms }, inputs, dtype: DType::F32, quant: None }
    });
}

#[test]
fn recurrences() {
    check(9400..9480, 5, |build| {
        let cell = [Cell::Rnn, Cell::Gru, Cell::GruLinear, Cell::Lstm][build.rng.below(4)];
        let [batch, hidden] = [build.rng.between(1, 3), build.rng.between(1, 70)];
        let gates = cell.gates();
        // Steps are the batch, as in a network of one sequence.
        let mut inputs = vec![build.floats(&[batch, gates * hidden])];
        let r = build.rng.floats(gates * hidden * hidden).into_iter().map(|x| x / 8.0).collect::<Vec<f32>>();
        inputs.push(build.net.constant("r", &[hidden, gates * hidden], &r));
        for name in ["h", "c"].into_iter().take(cell.states()) {
            let state = build.rng.floats(batch * hidden);
            inputs.push(build.net.constant(name, &[batch, hidden], &state));
        }
        if cell == Cell::GruLinear {
            let bias = build.rng.floats(hidden);
            inputs.push(build.net.constant("bias", &[1, hidden], &bias));
        }
        let activations = match cell {
            Cell::Rnn => vec![UnaryFn::Tanh],
            Cell::Lstm => vec![UnaryFn::Sigmoid, UnaryFn::Tanh, UnaryFn::Tanh],
            _ => vec![UnaryFn::Sigmoid, UnaryFn::Tanh],
        };
        let reverse = build.rng.below(2) == 0;
        Node { op: Op::Recurrent(Recurrent { cell, activations, clip: None, reverse }), inputs, dtype: DType::F32, quant: None }
    });
}
