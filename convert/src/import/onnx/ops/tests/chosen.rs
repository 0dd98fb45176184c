//! What a run decides: branches, limits; and what it doesn't, as an input has been given a value.

use super::{constant, graph, holding, int, long, text};
use crate::import::ImportOptions;
use crate::import::onnx::proto::NodeProto;
use crate::import::onnx::proto::tensor_proto::DataType;
use crate::import::onnx::testing::*;

/// y = then(x) or otherwise(x).
fn branches(condition: &str, then: &str, otherwise: &str) -> NodeProto {
    let branch = |op: &str, out: &str| graph(&[], vec![node(op, &["x"], out)], &[out]);
    with(with(node("If", &[condition], "y"), holding("then_branch", branch(then, "a"))), holding("else_branch", branch(otherwise, "b")))
}

#[test]
fn a_run_chooses_between_branches() {
    let sum = node("ReduceSum", &["x"], "sum");
    let choice = |otherwise| vec![sum.clone(), node("Less", &["sum", "zero"], "less"), branches("less", "Neg", otherwise)];
    let zero = || vec![floats("zero", &[], &[0.0])];
    let network = import(value("x", DataType::Float, &[1, 3]), choice("Abs"), zero()).expect("both branches are known");
    for (x, y) in [([1.0, -4.0, 2.0], [-1.0, 4.0, -2.0]), ([1.0, -2.0, 2.0], [1.0, 2.0, 2.0])] {
        assert_eq!(run(&network, &[(&[1, 3], &x)]).data, y);
    }
    // A condition of a higher rank than the results.
    let nodes = vec![
        with(node("ReduceSum", &["x"], "sum"), int("keepdims", 1)),
        node("Less", &["sum", "zero"], "less"),
        node("ReduceSum", &["x"], "total"),
        node("Squeeze", &["total"], "one"),
    ];
    let one = |op: &str, out: &str| graph(&[], vec![node(op, &["one"], out)], &[out]);
    let chosen = with(node("If", &["less"], "y"), holding("then_branch", one("Neg", "a")));
    let nodes = [nodes, vec![with(chosen, holding("else_branch", one("Abs", "b")))]].concat();
    let network = import(value("x", DataType::Float, &[1, 3]), nodes, zero()).expect("valid");
    let y = run(&network, &[(&[1, 3], &[1.0, -4.0, 2.0])]);
    assert!(y.shape.is_empty() && y.data == [1.0], "{:?} {:?}", y.shape, y.data);

    // Results of another shape, and a branch that nobody knows.
    for otherwise in ["Size", "Unknown"] {
        let error = import(value("x", DataType::Float, &[1, 3]), choice(otherwise), zero()).expect_err("no choice");
        assert!(error.to_string().contains("--input-value"), "{error}");
    }
}

#[test]
fn an_input_with_a_value_decides_at_import() {
    let inputs = |rate: &[i64]| vec![value("x", DataType::Float, &[1, 2]), value("rate", DataType::Int64, rate)];
    let nodes = vec![node("Equal", &["rate", "usual"], "is"), branches("is", "Relu", "Unknown")];
    let usual = || vec![long(constant("usual", DataType::Int64, &[], &[16000]))];
    let given = |name: &str, number| ImportOptions { input_values: [(name.to_owned(), number)].into(), ..ImportOptions::default() };
    let network = parsed(inputs(&[]), nodes.clone(), usual(), given("rate", 16000.0)).expect("one branch is left");
    assert_eq!(network.graph.inputs.len(), 1);
    assert_eq!(run(&network, &[(&[1, 2], &[-1.0, 2.0])]).data, [0.0, 2.0]);
    for (name, number, rate, expected) in [
        ("rate", 8000.0, &[][..], "Unknown"),
        ("rate", 0.5, &[], "no whole number"),
        ("rate", f64::NAN, &[], "no whole number"),
        ("rate", 1.0, &[1 << 30], "more than"),
        ("speed", 1.0, &[], "the model's inputs are x, rate"),
    ] {
        let error = parsed(inputs(rate), nodes.clone(), usual(), given(name, number)).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn limits_may_be_computed() {
    let x = [-3.0, 1.0, 5.0];
    for (limits, expected) in [(["lo", "hi"], [-1.0, 1.0, 2.0]), (["lo", ""], [-1.0, 1.0, 5.0]), (["", "hi"], [-3.0, 1.0, 2.0])] {
        let inputs = vec![value("x", DataType::Float, &[3]), value("hi", DataType::Float, &[])];
        let nodes = vec![node("Sub", &["one", "hi"], "lo"), node("Clip", &["x", limits[0], limits[1]], "y")];
        let network = import_all(inputs, nodes, vec![floats("one", &[], &[1.0])]).expect("valid");
        assert_eq!(run(&network, &[(&[3], &x), (&[], &[2.0])]).data, expected);
    }
}

#[test]
fn weights_of_a_quantized_lstm_are_integers() {
    let (directions, width, hidden, columns) = (2, 3, 2, 8);
    let numbers = |n: usize, by: i32| (0..n as i32).map(|i| i * by % 251).collect::<Vec<_>>();
    let (w, r) = (numbers(directions * width * columns, 37), numbers(directions * hidden * columns, 59));
    let (scales, zeros) = ([0.01, 0.02], [120, 131]);
    // As an LSTM has them: gates first.
    let real = |q: &[i32], rows: usize| -> Vec<f32> {
        let at = |i: usize| (i / (rows * columns), i % rows, i / rows % columns);
        let element = |(d, row, column): (usize, usize, usize)| (q[(d * rows + row) * columns + column] - zeros[d]) as f32 * scales[d];
        (0..q.len()).map(|i| element(at(i))).collect()
    };
    let dims = |rows: usize| [directions as i64, rows as i64, columns as i64];
    let float_dims = |rows: usize| [directions as i64, columns as i64, rows as i64];
    let bytes = |name, dims: &[i64], q: &[i32]| ints(name, DataType::Uint8, dims, q);
    let quantized =
        vec![bytes("w", &dims(width), &w), bytes("r", &dims(hidden), &r), floats("scale", &[2], &scales), bytes("zero", &[2], &zeros)];
    let float = vec![floats("w", &float_dims(width), &real(&w, width)), floats("r", &float_dims(hidden), &real(&r, hidden))];
    let x = ramp(4 * width);
    let result = |op: &str, operands: &[&str], constants| {
        let mut lstm = with(node(op, operands, "y"), text("direction", "bidirectional"));
        if op != "LSTM" {
            lstm.domain = "com.microsoft".into();
        }
        let network = import(value("x", DataType::Float, &[4, 1, width as i64]), vec![lstm], constants).expect(op);
        run(&network, &[(&[4, 1, width], &x)]).data
    };
    let operands = ["x", "w", "r", "", "", "", "", "", "scale", "zero", "scale", "zero"];
    assert_close(&result("DynamicQuantizeLSTM", &operands, quantized), &result("LSTM", &operands[..3], float));
}
