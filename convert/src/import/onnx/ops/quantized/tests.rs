//! Small graphs of quantized operations, and what is wrong with others.

use quaver_core::graph::op::UnaryFn;
use quaver_core::graph::{Network, Op};
use quaver_core::quant::Affine;

use crate::import::onnx::proto::attribute_proto::AttributeType;
use crate::import::onnx::proto::tensor_proto::DataType;
use crate::import::onnx::proto::{AttributeProto, TensorProto};
use crate::import::onnx::testing::{floats, import, ints, node, value, with};

fn affines(network: &Network) -> Vec<Affine> {
    network.graph.values.iter().filter(|v| v.constant.is_none()).filter_map(|v| v.quant).collect()
}

fn ops(network: &Network) -> Vec<&'static str> {
    network.graph.nodes.iter().map(|n| n.op.name()).collect()
}

#[test]
fn signed_activations_become_unsigned() {
    let nodes = vec![node("QuantizeLinear", &["x", "s", "z"], "q"), node("DequantizeLinear", &["q", "s", "z"], "y")];
    let constants = vec![floats("s", &[], &[0.5]), ints("z", DataType::Int8, &[], &[-3])];
    let network = import(value("x", DataType::Float, &[2, 3]), nodes, constants).expect("valid");
    assert_eq!(ops(&network), ["Quantize", "Dequantize"]);
    assert_eq!(affines(&network), [Affine { scale: 0.5, zero_point: 125, q_max: 255 }]);
}

#[test]
fn other_parameters_behind_than_before_are_a_factor_and_an_offset() {
    let nodes = vec![node("QuantizeLinear", &["x", "s", "z"], "q"), node("DequantizeLinear", &["q", "t", "u"], "y")];
    let constants = vec![
        floats("s", &[], &[0.5]),
        ints("z", DataType::Uint8, &[], &[3]),
        floats("t", &[], &[2.0]),
        ints("u", DataType::Uint8, &[], &[1]),
    ];
    let network = import(value("x", DataType::Float, &[2, 3]), nodes, constants).expect("valid");
    assert_eq!(ops(&network), ["Quantize", "Dequantize", "Mul", "Add"]);
    let constants: Vec<&[f32]> =
        (0..network.graph.values.len() as u32).filter_map(|i| network.elements::<f32>(quaver_core::graph::ValueId(i))).collect();
    // (q − 1)·2 = ((q − 3)·0.5)·4 + 2·2
    assert_eq!(constants, [&[4.0], &[4.0]]);
}

#[test]
fn integers_are_moved_as_they_are() {
    let mut transpose = node("Transpose", &["q"], "t");
    transpose.attribute.push(AttributeProto {
        name: "perm".into(),
        ints: vec![1, 0],
        r#type: AttributeType::Ints as i32,
        ..AttributeProto::default()
    });
    let nodes = vec![node("QuantizeLinear", &["x", "s", "z"], "q"), transpose, node("DequantizeLinear", &["t", "s", "z"], "y")];
    let constants = vec![floats("s", &[], &[0.5]), ints("z", DataType::Int8, &[], &[7])];
    let network = import(value("x", DataType::Float, &[2, 3]), nodes, constants).expect("valid");
    assert_eq!(ops(&network), ["Quantize", "Dequantize", "Transpose", "Quantize", "Dequantize"]);
    assert!(affines(&network).iter().all(|a| a.zero_point == 135));
}

/// PyTorch's export of integers of fewer bits.
#[test]
fn limits_of_integers_are_limits_of_what_they_stand_for() {
    let clip = node("Clip", &["q", "lo", "hi"], "c");
    let nodes = vec![node("QuantizeLinear", &["x", "s", "z"], "q"), clip, node("DequantizeLinear", &["c", "s", "z"], "y")];
    let import = |kind: DataType, lo: i32, hi: i32| {
        let limits = [ints("lo", kind, &[], &[lo]), ints("hi", kind, &[], &[hi])];
        let constants = [floats("s", &[], &[0.5]), ints("z", kind, &[], &[7])].into_iter().chain(limits).collect();
        import(value("x", DataType::Float, &[2, 3]), nodes.clone(), constants)
    };
    for (kind, lo, hi) in [(DataType::Uint8, 3, 127), (DataType::Int8, -100, 63)] {
        let network = import(kind, lo, hi).expect("valid");
        let real = |q: i32| (q - 7) as f32 * 0.5;
        let limits = network.graph.nodes.iter().find_map(|n| match n.op {
            Op::Unary { function: UnaryFn::Clip { lo, hi } } => Some((lo, hi)),
            _ => None,
        });
        assert_eq!(limits, Some((real(lo), real(hi))));
    }
    let error = import(DataType::Uint8, 0, 300).expect_err("refused").to_string();
    assert!(error.contains("operand 'hi' is not an 8-bit number"), "{error}");
}

#[test]
fn limits_of_weights_hold() {
    let clip = node("Clip", &["w", "lo", "hi"], "c");
    let nodes = vec![clip, node("DequantizeLinear", &["c", "s"], "d"), node("Add", &["x", "d"], "y")];
    let of = |name, data: &[i32]| ints(name, DataType::Int8, if data.len() == 1 { &[] } else { &[4] }, data);
    let constants = vec![of("w", &[-128, -127, 5, 127]), of("lo", &[-127]), of("hi", &[100]), floats("s", &[], &[0.5])];
    let network = import(value("x", DataType::Float, &[4]), nodes, constants).expect("valid");
    assert_eq!(network.elements::<f32>(network.graph.nodes[0].inputs[1]), Some(&[-63.5f32, -63.5, 2.5, 50.0][..]));
}

#[test]
fn the_type_of_a_zero_point_comes_by_what_casts_or_renames_it() {
    let to = |kind: DataType| AttributeProto { name: "to".into(), i: kind as i64, r#type: AttributeType::Int as i32, ..Default::default() };
    for (kind, zero_point) in [(DataType::Uint8, 5), (DataType::Int8, 133)] {
        let nodes = vec![
            with(node("Cast", &["wide"], "cast"), to(kind)),
            node("Identity", &["cast"], "z"),
            node("QuantizeLinear", &["x", "s", "z"], "q"),
            node("DequantizeLinear", &["q", "s", "z"], "y"),
        ];
        let constants = vec![floats("s", &[], &[0.5]), ints("wide", DataType::Int32, &[], &[5])];
        let network = import(value("x", DataType::Float, &[2, 3]), nodes, constants).expect("valid");
        assert_eq!(affines(&network), [Affine { scale: 0.5, zero_point, q_max: 255 }]);
    }
}

#[test]
fn weights_and_bias_are_the_models_numbers() {
    let nodes = vec![node("QLinearConv", &["x", "s", "z", "w", "ws", "wz", "t", "z", "b"], "y")];
    let constants = vec![
        floats("s", &[], &[0.5]),
        ints("z", DataType::Uint8, &[], &[3]),
        ints("w", DataType::Uint8, &[2, 1, 1, 1], &[10, 200]),
        floats("ws", &[2], &[0.25, 2.0]),
        ints("wz", DataType::Uint8, &[2], &[12, 100]),
        floats("t", &[], &[4.0]),
        ints("b", DataType::Int32, &[2], &[-8, 16]),
    ];
    let network = import(value("x", DataType::Uint8, &[1, 1, 2, 2]), nodes, constants).expect("valid");
    let conv = network.graph.nodes.iter().find(|n| matches!(n.op, Op::Conv(_))).expect("a convolution");
    assert_eq!(network.elements::<f32>(conv.inputs[1]), Some(&[-0.5f32, 200.0][..]));
    assert_eq!(network.elements::<f32>(conv.inputs[2]), Some(&[-1.0f32, 16.0][..]));
    let affine = |scale| Affine { scale, zero_point: 3, q_max: 255 };
    assert_eq!(affines(&network), [affine(0.5), affine(4.0)]);
}

#[test]
fn what_is_quantized_dynamically_stays_real() {
    let mut dynamic = node("DynamicQuantizeLinear", &["x"], "q");
    dynamic.output.extend(["qs".to_owned(), "qz".to_owned()]);
    let nodes = vec![dynamic, node("MatMulInteger", &["q", "w", "qz", "wz"], "y")];
    let constants = vec![ints("w", DataType::Int8, &[3, 1], &[5, -7, 9]), ints("wz", DataType::Int8, &[], &[1])];
    let network = import(value("x", DataType::Float, &[2, 3]), nodes, constants).expect("valid");
    assert_eq!(ops(&network), ["MatMul"]);
    assert_eq!(network.elements::<f32>(network.graph.nodes[0].inputs[1]), Some(&[4.0f32, -8.0, 8.0][..]));
}

/// What importing a QuantizeLinear of such a scale and zero point says.
fn refusal(scale: TensorProto, zero: TensorProto) -> String {
    let nodes = vec![node("QuantizeLinear", &["x", "s", "z"], "q"), node("DequantizeLinear", &["q", "s", "z"], "y")];
    let error = import(value("x", DataType::Float, &[2, 3]), nodes, vec![scale, zero]).expect_err("refused").to_string();
    assert!(error.contains("the_QuantizeLinear"), "{error}");
    error
}

#[test]
fn mistakes_are_named_with_a_remedy() {
    let zero = || ints("z", DataType::Uint8, &[], &[0]);
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-45] {
        assert!(refusal(floats("s", &[], &[bad]), zero()).contains("calibrate the model anew"), "{bad}");
    }
    assert!(refusal(floats("s", &[3], &[1.0, 2.0, 3.0]), zero()).contains("quantize activations per tensor"));
    assert!(refusal(floats("s", &[], &[1.0]), ints("z", DataType::Uint8, &[], &[300])).contains("300 is no 8-bit integer"));
    assert!(refusal(floats("s", &[], &[1.0]), ints("z", DataType::Uint8, &[2], &[1, 2])).contains("2 numbers instead of one"));
    assert!(refusal(floats("s", &[], &[1.0]), ints("z", DataType::Int32, &[], &[0])).contains("quantize to uint8 or int8"));
    let nodes = vec![node("DequantizeLinear", &["w", "s"], "d"), node("Add", &["x", "d"], "y")];
    let constants = vec![ints("w", DataType::Int8, &[2, 3], &[1; 6]), floats("s", &[2], &[1.0, 2.0])];
    let error = import(value("x", DataType::Float, &[2, 3]), nodes, constants).expect_err("refused").to_string();
    assert!(error.contains("the_DequantizeLinear") && error.contains("one for each channel"), "{error}");
}
