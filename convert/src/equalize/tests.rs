//! Where factors move, and that results stay the same.

use quaver_core::graph::op::{Conv, Window};
use quaver_core::graph::{Dim, Node};
use quaver_core::tensor::DType;

use super::*;
use crate::calibrate::burn_exec::{FloatRunner, HostTensor};
use crate::quantize::qconfig::QConfigMapping;
use crate::quantize::quantize;

const CHANNELS: usize = 8;

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| (((i + seed) * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
}

/// x → convolution → what `between` puts there → depthwise convolution → convolution → y. Of the first one's channels each is twice
/// as large as the one before.
fn network(between: &dyn Fn(&mut Network, ValueId) -> ValueId) -> Network {
    let mut net = Network::new("n");
    let x = net.input("x", DType::F32, vec![Dim::BATCH, 4.into(), 4.into(), CHANNELS.into()]);
    let mut weights = numbers(CHANNELS * CHANNELS, 1);
    weights.iter_mut().enumerate().for_each(|(i, w)| *w *= 0.1 * (1 << (i % CHANNELS)) as f32);
    let conv = |net: &mut Network, x, name: &str, weights: &[f32], groups: usize| {
        let w = net.constant(format!("{name}.w"), &[1, 1, CHANNELS / groups, CHANNELS], weights);
        let op = Op::Conv(Conv { window: Window::unit(), groups });
        net.push(op, &[x, w], name, name).expect("fits")
    };
    let first = conv(&mut net, x, "first", &weights, 1);
    let v = between(&mut net, first);
    let depthwise = conv(&mut net, v, "depthwise", &numbers(CHANNELS, 2), CHANNELS);
    let y = conv(&mut net, depthwise, "last", &numbers(CHANNELS * CHANNELS, 3), 1);
    net.output(y);
    net
}

fn swish(net: &mut Network, x: ValueId) -> ValueId {
    net.push(Op::Unary { function: UnaryFn::HardSwish }, &[x], "swish", "swish").expect("fits")
}

fn number(net: &mut Network, x: ValueId, function: BinaryFn, number: f32, name: &str) -> ValueId {
    let c = net.constant("number", &[1], &[number]);
    net.push(Op::Binary { function }, &[x, c], name, name).expect("fits")
}

fn samples() -> Vec<Sample> {
    (0..8).map(|i| vec![HostTensor { shape: vec![1, 4, 4, CHANNELS], data: numbers(16 * CHANNELS, 100 + i) }]).collect()
}

/// Equalized by the default mapping.
fn equalized(net: &Network) -> (Network, Vec<Equalized>) {
    let mapping = QConfigMapping::default();
    let configs: Vec<NodeConfig> = net.graph.nodes.iter().map(|n| mapping.of(n)).collect();
    equalize(net, &configs, &samples()).expect("runs")
}

#[test]
fn factors_move_through_hard_swish_into_its_epilogue() {
    let lined = |net: &mut Network, x| {
        let v = swish(net, x);
        let v = number(net, v, BinaryFn::Mul, 1.5, "times");
        number(net, v, BinaryFn::Add, -0.25, "plus")
    };
    for between in [&swish as &dyn Fn(&mut Network, ValueId) -> ValueId, &lined] {
        let net = network(between);
        let (out, done) = equalized(&net);
        let [one] = &done[..] else { panic!("{done:?}") };
        let name = if net.graph.nodes.len() == 4 { "swish" } else { "plus" };
        assert!(one.value == name && !one.in_front && one.gain_db > 3.0, "{one:?}");
        assert_eq!(one.divided, [format!("{name}:equalized")]);
        assert!(one.factors[CHANNELS - 1] > 4.0 * one.factors[0], "{:?}", one.factors);

        // The results are the same, and what is divided is.
        let run = |net: &Network, name: &str| {
            let record = FloatRunner::new(net).expect("runs").record(&samples()[0]).expect("fits");
            let id = net.graph.values.iter().position(|v| v.name == name).expect("there");
            record.value(ValueId(id as u32)).expect("computed").data.clone()
        };
        for (name, other, divided) in [("last", "last", false), (name, one.divided[0].as_str(), true)] {
            let mut found = run(&out, other);
            if divided {
                found.iter_mut().enumerate().for_each(|(i, x)| *x *= one.factors[i % CHANNELS]);
            }
            for (a, b) in run(&net, name).iter().zip(&found) {
                assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "{name}: {a} {b}");
            }
        }

        // The multiplication is part of the first convolution.
        let quantized = quantize(&out, &QConfigMapping::default(), &|_| Some((-2.0, 4.0))).expect("it has all ranges").network;
        let ops: Vec<&str> = quantized.graph.nodes.iter().map(|n| n.op.name()).collect();
        assert_eq!(ops, ["Quantize", "QConv", "QConv", "QConv"]);
        let Op::QConv(conv) = quantized.graph.nodes[1].op else { panic!("a convolution") };
        assert!(conv.epilogue.is_some_and(|e| e.hard_swish));
    }
}

#[test]
fn factors_move_from_a_product_to_a_depthwise_one() {
    let relu = |net: &mut Network, x| net.push(Op::Unary { function: UnaryFn::Relu }, &[x], "relu", "relu").expect("fits");
    for (between, divided) in [(&(|_: &mut Network, x| x) as &dyn Fn(&mut Network, ValueId) -> ValueId, 1), (&relu, 2)] {
        let net = network(between);
        let (out, done) = equalized(&net);
        // Not to the last one, whose weights have scales of another dimension.
        let [one] = &done[..] else { panic!("{done:?}") };
        assert!(one.divided.len() == divided && !one.in_front && one.gain_db > 3.0, "{one:?}");
        let run = |net: &Network| FloatRunner::new(net).expect("runs").run(&samples()[0], &mut |_, _, _| {}).expect("fits");
        for (a, b) in run(&net)[0].data.iter().zip(&run(&out)[0].data) {
            assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "{a} {b}");
        }
    }
}

#[test]
fn factors_do_not_move_where_another_reads_the_value_or_it_is_of_another_kind() {
    let read_twice = |net: &mut Network, x| {
        let v = swish(net, x);
        net.output(v);
        v
    };
    let negated = |net: &mut Network, x| {
        let v = swish(net, x);
        number(net, v, BinaryFn::Mul, -1.0, "negated")
    };
    let silu = |net: &mut Network, x| net.push(Op::Unary { function: UnaryFn::Silu }, &[x], "silu", "silu").expect("fits");
    let added = |net: &mut Network, x| {
        let v = net.push(Op::Binary { function: BinaryFn::Add }, &[x, x], "add", "add").expect("fits");
        swish(net, v)
    };
    for between in [&read_twice as &dyn Fn(&mut Network, ValueId) -> ValueId, &negated, &silu, &added] {
        let net = network(between);
        let (out, done) = equalized(&net);
        assert!(done.is_empty() && out.graph.nodes == net.graph.nodes, "{done:?}");
    }
}

#[test]
fn the_mapping_can_leave_channels_as_they_are() {
    let net = network(&swish);
    let mapping = QConfigMapping::default();
    let config = |n: &Node| NodeConfig { equalization: Equalization::None, ..mapping.of(n) };
    let configs: Vec<NodeConfig> = net.graph.nodes.iter().map(config).collect();
    assert!(equalize(&net, &configs, &samples()).expect("runs").1.is_empty());
}
