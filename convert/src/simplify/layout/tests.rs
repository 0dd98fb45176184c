//! Tests of the layout pass: typical networks, and random ones.

use proptest::prelude::*;
use quaver_core::graph::op::{BinaryFn, Conv, Coordinates, PadMode, ReduceFn, ResizeMode, UnaryFn, Window};
use quaver_core::graph::{Dim, Network, Op, ValueId};
use quaver_core::tensor::DType;

use super::super::simplify;
use super::super::testing::{assert_same, count, ramp};
use super::*;

const TO_NHWC: [usize; 4] = [0, 2, 3, 1];
const TO_NCHW: [usize; 4] = [0, 3, 1, 2];

fn transpose(net: &mut Network, x: ValueId, perm: &[usize], name: &str) -> ValueId {
    net.push(Op::Transpose { perm: perm.to_vec() }, &[x], "", name).expect("valid")
}

/// A 1×1 convolution of an NCHW value, wrapped as importers do.
fn conv(net: &mut Network, x: ValueId, channels: usize, name: &str) -> ValueId {
    let input = net.graph.value(x).shape[1].fixed().expect("fixed");
    let w = net.constant("w", &[1, 1, input, channels], &ramp(input * channels));
    let x = transpose(net, x, &TO_NHWC, "");
    let op = Op::Conv(Conv { window: Window::unit(), groups: 1 });
    let y = net.push(op, &[x, w], name, "").expect("valid");
    transpose(net, y, &TO_NCHW, name)
}

fn unary(net: &mut Network, function: UnaryFn, x: ValueId) -> ValueId {
    net.push(Op::Unary { function }, &[x], "", "").expect("valid")
}

fn binary(net: &mut Network, function: BinaryFn, a: ValueId, b: ValueId) -> ValueId {
    net.push(Op::Binary { function }, &[a, b], "", "").expect("valid")
}

fn image(net: &mut Network) -> ValueId {
    net.input("x", DType::F32, vec![Dim::BATCH, 3.into(), 4.into(), 5.into()])
}

fn transposes(net: &Network) -> usize {
    count(net, |op| matches!(op, Op::Transpose { .. }))
}

#[track_caller]
fn moved(mut net: Network, y: ValueId) -> Network {
    if net.graph.value(y).name.is_empty() {
        net.graph.values[y.index()].name = "y".into();
    }
    net.output(y);
    let after = propagate(net.clone()).expect("valid");
    assert_same(&net, &after);
    after
}

#[test]
fn a_convolutional_network_keeps_one_transpose_at_its_input() {
    let mut net = Network::new("n");
    let x = image(&mut net);
    let a = conv(&mut net, x, 4, "t1");
    let scale = net.constant("", &[4, 1, 1], &ramp(4));
    let a = binary(&mut net, BinaryFn::Mul, a, scale);
    let a = unary(&mut net, UnaryFn::Relu, a);
    let b = conv(&mut net, a, 4, "t2");
    let s = binary(&mut net, BinaryFn::Add, a, b);
    // Squeeze and excite.
    let mean = Op::Reduce { function: ReduceFn::Mean, axes: vec![2, 3], keep_dims: true };
    let g = net.push(mean.clone(), &[s], "", "").expect("valid");
    let g = conv(&mut net, g, 4, "t3");
    let g = unary(&mut net, UnaryFn::Sigmoid, g);
    let s = binary(&mut net, BinaryFn::Mul, g, s);
    let c = net.push(Op::Concat { axis: 1 }, &[s, a], "", "t4").expect("valid");
    let p = net.push(mean, &[c], "", "").expect("valid");
    let f = net.push(Op::Reshape { shape: vec![Dim::BATCH, 8.into()] }, &[p], "", "").expect("valid");
    let w = net.constant("fc", &[8, 3], &ramp(24));
    let y = net.push(Op::Gemm, &[f, w], "", "").expect("valid");
    let after = moved(net, y);
    assert_eq!(transposes(&after), 1);
    let t4 = after.graph.value_named("t4").expect("keeps its name in NHWC");
    assert_eq!(after.graph.value(t4).shape, [Dim::BATCH, 4.into(), 5.into(), 8.into()]);
    assert!(after.graph.value_named("t1").is_some());
}

#[test]
fn a_flatten_reorders_the_rows_of_its_weights() {
    for mat_mul in [false, true] {
        let mut net = Network::new("n");
        let x = image(&mut net);
        let a = conv(&mut net, x, 4, "t1");
        let f = net.push(Op::Reshape { shape: vec![Dim::BATCH, 80.into()] }, &[a], "", "flat").expect("valid");
        let w = net.constant("fc", &[80, 3], &ramp(240));
        let op = if mat_mul { Op::MatMul } else { Op::Gemm };
        let y = net.push(op, &[f, w], "", "y").expect("valid");
        let after = moved(net, y);
        assert_eq!(transposes(&after), 1);
        assert_eq!(after.graph.value_named("flat"), None, "in another order it is not the model's tensor");
    }
}

#[test]
fn image_outputs_keep_layout_and_name() {
    let mut net = Network::new("n");
    let x = image(&mut net);
    let a = conv(&mut net, x, 4, "a");
    let y = conv(&mut net, a, 3, "y");
    net.output(a);
    let after = moved(net, y);
    assert_eq!(transposes(&after), 3);
    assert_eq!(after.graph.values.iter().filter(|v| v.name == "y").count(), 1);
}

#[test]
fn dimensions_are_followed() {
    let ops = [
        Op::Softmax { axis: 1 },
        Op::LogSoftmax { axis: 2 },
        Op::ChannelShuffle { axis: 1, groups: 2 },
        Op::Slice { cuts: vec![Cut::new(1, 1, 2, 2), Cut::new(3, 4, 3, -2)] },
        Op::Pad { before: vec![0, 1, 0, 2], after: vec![0, 0, 3, 1], mode: PadMode::Edge },
        Op::Resize(Resize {
            mode: ResizeMode::Linear,
            coordinates: Coordinates::HalfPixel,
            shape: vec![Dim::BATCH, 4.into(), 8.into(), 15.into()],
            scales: vec![1.0, 1.0, 2.0, 3.0],
        }),
        Op::Reduce { function: ReduceFn::Max, axes: vec![2], keep_dims: false },
        Op::Reduce { function: ReduceFn::Sum, axes: vec![1, 3], keep_dims: true },
        Op::Reshape { shape: vec![Dim::BATCH, 2.into(), 2.into(), 20.into()] },
        Op::Reshape { shape: vec![Dim::BATCH, 4.into(), 1.into(), 4.into(), 5.into()] },
        Op::Reshape { shape: vec![Dim::BATCH, 80.into()] },
    ];
    for op in ops {
        let mut net = Network::new("n");
        let x = image(&mut net);
        let a = conv(&mut net, x, 4, "a");
        let b = net.push(op, &[a], "", "").expect("valid");
        let y = unary(&mut net, UnaryFn::Tanh, b);
        let after = moved(net, y);
        assert!(transposes(&after) <= 2, "{}", quaver_core::graph::print::listing(&after.graph));
    }
}

#[test]
fn a_transpose_goes_ahead_of_what_prepares_an_image() {
    let mut net = Network::new("n");
    let x = image(&mut net);
    let mean = net.constant("mean", &[1, 3, 1, 1], &[0.5f32, 0.25, 1.0]);
    let n = binary(&mut net, BinaryFn::Sub, x, mean);
    let pad = Op::Pad { before: vec![0, 0, 1, 1], after: vec![0, 0, 2, 1], mode: PadMode::Constant(0.0) };
    let p = net.push(pad, &[n], "", "").expect("valid");
    let a = conv(&mut net, p, 4, "a");
    let y = net.push(Op::Reduce { function: ReduceFn::Max, axes: vec![2, 3], keep_dims: false }, &[a], "", "").expect("valid");
    let after = moved(net, y);
    assert_eq!(after.graph.nodes[0].inputs, after.graph.inputs);
    assert!(matches!(after.graph.nodes[0].op, Op::Transpose { .. }));
    assert_eq!(transposes(&after), 1);
}

#[test]
fn what_cannot_be_saved_stays() {
    let mut net = Network::new("n");
    let x = net.input("x", DType::F32, vec![Dim::BATCH, 3.into(), 4.into()]);
    let t = transpose(&mut net, x, &[0, 2, 1], "t");
    let y = net.push(Op::MatMul, &[x, t], "", "y").expect("valid");
    net.output(y);
    let before = net.graph.clone();
    assert_eq!(propagate(net).expect("valid").graph, before);
}

#[derive(Debug, Clone)]
enum Step {
    Transpose(usize),
    Unary,
    Constant(usize),
    AddOld(usize),
    Gate(usize),
    Fold,
    Unfold,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..6usize).prop_map(Step::Transpose),
        1 => Just(Step::Unary),
        1 => (0..4usize).prop_map(Step::Constant),
        2 => any::<usize>().prop_map(Step::AddOld),
        1 => (0..3usize).prop_map(Step::Gate),
        1 => Just(Step::Fold),
        1 => Just(Step::Unfold),
    ]
}

const PERMS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Elementwise operations, permutations of the dimensions behind the batch, and reshapes.
fn random_network(steps: &[Step]) -> (Network, ValueId) {
    let mut net = Network::new("n");
    let mut v = net.input("x", DType::F32, vec![Dim::BATCH, 2.into(), 3.into(), 1.into()]);
    let mut old = vec![v];
    for step in steps {
        let shape = net.graph.value(v).shape.clone();
        let fixed: Vec<usize> = shape.iter().map(|d| d.fixed().unwrap_or(1)).collect();
        v = match step {
            Step::Transpose(p) if shape.len() == 4 => {
                let perm: Vec<usize> = std::iter::once(0).chain(PERMS[*p].map(|i| i + 1)).collect();
                transpose(&mut net, v, &perm, "")
            }
            Step::Transpose(_) => transpose(&mut net, v, &[0, 2, 1], ""),
            Step::Unary => unary(&mut net, UnaryFn::Tanh, v),
            Step::Constant(rank) => {
                let extents = &fixed[fixed.len() - rank.min(&(fixed.len() - 1))..];
                let c = net.constant("", extents, &ramp(extents.iter().product()));
                binary(&mut net, BinaryFn::Add, c, v)
            }
            Step::AddOld(i) => {
                let fitting: Vec<ValueId> = old.iter().copied().filter(|&o| net.graph.value(o).shape == shape).collect();
                match fitting.len() {
                    0 => v,
                    n => binary(&mut net, BinaryFn::Sub, fitting[i % n], v),
                }
            }
            Step::Gate(axis) => {
                let axes = vec![1 + axis % (shape.len() - 1)];
                let op = Op::Reduce { function: ReduceFn::Mean, axes, keep_dims: true };
                let g = net.push(op, &[v], "", "").expect("valid");
                binary(&mut net, BinaryFn::Mul, v, g)
            }
            Step::Fold if shape.len() == 4 => {
                let shape = vec![shape[0].clone(), shape[1].clone(), (fixed[2] * fixed[3]).into()];
                net.push(Op::Reshape { shape }, &[v], "", "").expect("valid")
            }
            Step::Unfold if shape.len() == 3 => {
                let shape = vec![shape[0].clone(), shape[1].clone(), 1.into(), shape[2].clone()];
                net.push(Op::Reshape { shape }, &[v], "", "").expect("valid")
            }
            Step::Fold | Step::Unfold => v,
        };
        old.push(v);
    }
    let y = unary(&mut net, UnaryFn::Abs, v);
    (net, y)
}

proptest! {
    #[test]
    fn random_networks_keep_their_results(steps in prop::collection::vec(step(), 1..14)) {
        let (net, y) = random_network(&steps);
        // Every way of meeting, also where the pass would keep the graph as it was.
        for (keep_moved, at_inputs) in [(true, false), (false, false), (true, true), (false, true)] {
            let mut net = net.clone();
            net.graph.values[y.index()].name = "y".into();
            net.output(y);
            assert_same(&net, &Walk::run(net.clone(), keep_moved, at_inputs).expect("valid"));
        }
        let before = transposes(&net);
        let mut named = net.clone();
        named.output(y);
        assert_same(&named, &simplify(named.clone()).expect("valid"));
        prop_assert!(transposes(&moved(net, y)) <= before);
    }
}
