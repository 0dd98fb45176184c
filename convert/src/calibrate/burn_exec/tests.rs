//! What the calibration executor computes, beside numbers worked out by hand or by a plain loop; networks of files are checked elsewhere.

use quaver_core::graph::op::{Conv, ConvTranspose, Window};

use super::*;

fn ramp(shape: &[usize]) -> HostTensor {
    let data = (0..shape.iter().product()).map(|i: usize| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect();
    HostTensor { shape: shape.to_vec(), data }
}

fn fixed(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&n| n.into()).collect()
}

#[track_caller]
fn assert_close(got: &HostTensor, expected: &HostTensor) {
    assert_eq!(got.shape, expected.shape);
    let near = |(g, e): (&f32, &f32)| (g - e).abs() <= 1e-4 * (1.0 + e.abs());
    assert!(got.data.iter().zip(&expected.data).all(near), "{:?} {:?}", got.data, expected.data);
}

/// Weights that a run computes are laid out as constant ones are.
#[test]
fn weights_may_be_an_input() {
    let window = Window { kernel: [3, 2], ..Window::unit() };
    for (op, weights) in [
        (Op::Conv(Conv { window, groups: 2 }), [3, 2, 2, 6]),
        (Op::ConvTranspose(ConvTranspose { window, groups: 2, output_padding: [0, 0] }), [3, 2, 2, 6]),
    ] {
        let (x, w) = (ramp(&[1, 5, 4, 4]), ramp(&weights));
        let run = |constant: bool| {
            let mut net = Network::new("n");
            let input = net.input("x", DType::F32, fixed(&x.shape));
            let mut inputs = vec![x.clone()];
            let filter = if constant {
                net.constant("w", &w.shape, &w.data)
            } else {
                inputs.push(w.clone());
                net.input("w", DType::F32, fixed(&w.shape))
            };
            let y = net.push(op.clone(), &[input, filter], "conv", "y").expect("valid");
            net.output(y);
            FloatRunner::new(&net).and_then(|runner| runner.run(&inputs, &mut |_, _, _| {})).expect("runs").swap_remove(0)
        };
        assert_close(&run(false), &run(true));
    }
}

/// x → conv → relu → (+ x) → y, and relu itself.
fn branched() -> Network {
    let mut net = Network::new("n");
    let x = net.input("x", DType::F32, fixed(&[1, 4, 3, 2]));
    let w = net.constant("w", &[1, 1, 2, 2], &ramp(&[4]).data);
    let conv = net.push(Op::Conv(Conv { window: Window::unit(), groups: 1 }), &[x, w], "conv", "c").expect("valid");
    let relu = net.push(Op::Unary { function: UnaryFn::Relu }, &[conv], "relu", "r").expect("valid");
    let sum = net.push(Op::Binary { function: BinaryFn::Add }, &[relu, x], "add", "y").expect("valid");
    net.output(relu);
    net.output(sum);
    net
}

#[test]
fn a_change_is_followed_to_the_outputs() {
    let net = branched();
    let runner = FloatRunner::new(&net).expect("float");
    let inputs = [ramp(&[1, 4, 3, 2])];
    let record = runner.record(&inputs).expect("runs");
    let plain = runner.run(&inputs, &mut |_, _, _| {}).expect("runs");
    let (conv, relu) = (net.graph.nodes[0].outputs[0], net.graph.nodes[1].outputs[0]);
    let same = record.value(conv).expect("kept").clone();
    assert_eq!(runner.rerun(&record, conv, same.clone()).expect("runs"), plain);
    let other = HostTensor { data: same.data.iter().map(|c| c + 0.5).collect(), ..same };
    let changed = runner.rerun(&record, conv, other.clone()).expect("runs");
    let relued: Vec<f32> = other.data.iter().map(|c| c.max(0.0)).collect();
    let added: Vec<f32> = relued.iter().zip(&inputs[0].data).map(|(r, x)| r + x).collect();
    assert_eq!((&changed[0].data, &changed[1].data), (&relued, &added));
    // The changed value may be an output itself.
    assert_eq!(runner.rerun(&record, relu, other.clone()).expect("runs")[0], other);
}

#[test]
fn a_node_runs_with_other_weights() {
    let net = branched();
    let runner = FloatRunner::new(&net).expect("float");
    let inputs = [ramp(&[1, 4, 3, 2])];
    let record = runner.record(&inputs).expect("runs");
    let swapped = runner.with_weights(&record, 0, inputs[0].clone(), vec![0.0, 1.0, 1.0, 0.0]).expect("runs");
    let expected: Vec<f32> = inputs[0].data.chunks_exact(2).flat_map(|c| [c[1], c[0]]).collect();
    assert_eq!(swapped.data, expected);
}
