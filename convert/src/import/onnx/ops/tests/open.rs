//! Operations on extents that inputs leave open, and what exporters compute about them, against loops of another shape.

use super::long;
use crate::calibrate::HostTensor;
use crate::calibrate::data::Samples;
use crate::import::onnx::ops::compose::int;
use crate::import::onnx::proto::tensor_proto::DataType;
use crate::import::onnx::testing::{assert_close, floats, import, import_any_batch, ints as constant, node, open, ramp, run, value, with};
use crate::pipeline;
use crate::quantize::qconfig::QConfigMapping;
use crate::simplify::simplify;
use quaver_core::graph::Network;

fn scalar(name: &str, n: i32) -> crate::import::onnx::proto::TensorProto {
    long(constant(name, DataType::Int64, &[], &[n]))
}

fn list(name: &str, n: &[i32]) -> crate::import::onnx::proto::TensorProto {
    long(constant(name, DataType::Int64, &[n.len() as i64], n))
}

/// Real numbers, which grids of anchors are, to an extent that is open; from a limit that is cast, as exporters write it.
#[test]
fn a_real_range_to_an_open_extent() {
    let real = |name: &str| with(node("Cast", &[name], "limit"), int("to", DataType::Float as i64));
    let nodes = vec![
        node("Shape", &["x"], "shape"),
        node("Gather", &["shape", "one"], "length"),
        real("length"),
        node("Range", &["zero", "limit", "step"], "count"),
        node("Div", &["count", "two"], "halves"),
        node("Add", &["x", "halves"], "y"),
    ];
    let constants = vec![
        long(constant("one", DataType::Int64, &[], &[1])),
        floats("zero", &[], &[0.0]),
        floats("step", &[], &[1.0]),
        floats("two", &[], &[2.0]),
    ];
    let network = simplify(import(open("x", &["N", "L"]), nodes, constants).expect("valid")).expect("valid");
    for length in [1, 5] {
        let x = ramp(2 * length);
        let expected: Vec<f32> = x.iter().enumerate().map(|(i, x)| x + (i % length) as f32 / 2.0).collect();
        assert_close(&run(&network, &[(&[2, length], &x)]).data, &expected);
    }
}

/// Every second element of an extent that is open, as a detector's first layer takes apart an image.
#[test]
fn a_slice_by_steps_of_an_open_extent() {
    for (start, step) in [(0, 2), (1, 2), (2, 3)] {
        let numbers = [("start", start), ("end", i32::MAX), ("axis", 1), ("step", step)];
        let constants = numbers.iter().map(|(name, n)| long(constant(name, DataType::Int64, &[1], &[*n]))).collect();
        let nodes = vec![node("Slice", &["x", "start", "end", "axis", "step"], "y")];
        let network = import(open("x", &["N", "L", "2"]), nodes, constants).expect("valid");
        for length in [3, 4, 8] {
            let x = ramp(2 * length * 2);
            let y = run(&network, &[(&[2, length, 2], &x)]);
            let rows = x.chunks(2).enumerate().filter(|(i, _)| {
                let at = i % length;
                at >= start as usize && (at - start as usize).is_multiple_of(step as usize)
            });
            assert_eq!(y.data, rows.flat_map(|(_, row)| row.to_vec()).collect::<Vec<f32>>(), "{start} {step} {length}");
        }
    }
}

/// Weights that are standardized by a normalization in training mode, whose operands are known.
#[test]
fn normalization_by_its_own_statistics() {
    let weights = ramp(3 * 8);
    let constants = vec![
        floats("w", &[1, 3, 8], &weights),
        floats("scale", &[3], &[0.5, 1.0, 2.0]),
        floats("zero", &[3], &[0.0; 3]),
        floats("one", &[3], &[1.0; 3]),
    ];
    let mut norm = with(node("BatchNormalization", &["w", "scale", "zero", "zero", "one"], "v"), int("training_mode", 1));
    norm.output.extend(["mean".into(), "variance".into()]);
    let nodes = vec![norm, node("Add", &["x", "v"], "y")];
    let network = import(value("x", DataType::Float, &[1, 3, 8]), nodes, constants).expect("valid");
    let y = run(&network, &[(&[1, 3, 8], &[0.0; 24])]);
    let expected = weights.chunks(8).zip([0.5, 1.0, 2.0]).flat_map(|(row, scale)| {
        let mean = row.iter().sum::<f32>() / 8.0;
        let variance = row.iter().map(|w| (w - mean) * (w - mean)).sum::<f32>() / 8.0;
        row.iter().map(move |w| scale * (w - mean) / (variance + 1e-5).sqrt()).collect::<Vec<f32>>()
    });
    assert_close(&y.data, &expected.collect::<Vec<f32>>());
}

/// Opset 18 scales groups, opset 21 their channels.
#[test]
fn groups_that_are_scaled_as_one() {
    let of = |n: i64, data: &[f32]| floats("s", &[n], data);
    let group = |scale: &crate::import::onnx::proto::TensorProto| {
        let nodes = vec![with(node("GroupNormalization", &["x", "s", "s"], "y"), int("num_groups", 2))];
        let network = import(value("x", DataType::Float, &[1, 4, 3]), nodes, vec![scale.clone()]).expect("valid");
        run(&network, &[(&[1, 4, 3], &ramp(12))]).data
    };
    assert_eq!(group(&of(2, &[0.5, 3.0])), group(&of(4, &[0.5, 0.5, 3.0, 3.0])));
}

/// An extent as a number among others, as masks are numbered by exporters.
#[test]
fn an_extent_is_an_operand() {
    let nodes = vec![
        node("Shape", &["x"], "shape"),
        node("Gather", &["shape", "one"], "length"),
        node("Sub", &["length", "one"], "less"),
        node("Mul", &["x", "less"], "scaled"),
        node("Add", &["scaled", "length"], "y"),
    ];
    let network = simplify(import(open("x", &["N", "L"]), nodes, vec![scalar("one", 1)]).expect("valid")).expect("valid");
    for length in [1usize, 5, 70] {
        let x = ramp(2 * length);
        let expected: Vec<f32> = x.iter().map(|x| x * (length - 1) as f32 + length as f32).collect();
        assert_close(&run(&network, &[(&[2, length], &x)]).data, &expected);
    }
}

#[test]
fn extents_alone_are_an_output() {
    let nodes = vec![node("Shape", &["x"], "y")];
    let network = import(open("x", &["N", "L", "3"]), nodes, vec![]).expect("valid");
    let y = run(&network, &[(&[2, 7, 3], &ramp(42))]);
    assert_eq!((&y.shape[..], &y.data[..]), (&[3][..], &[2.0, 7.0, 3.0][..]));
}

#[test]
fn sums_along_an_open_extent() {
    for (exclusive, reverse) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let mut sums = with(node("CumSum", &["x", "axis"], "y"), int("exclusive", exclusive));
        sums.attribute.push(int("reverse", reverse));
        let network = import(open("x", &["N", "L", "2"]), vec![sums], vec![scalar("axis", 1)]).expect("valid");
        let network = simplify(network).expect("valid");
        for length in [1, 6] {
            let x = ramp(2 * length * 2);
            let mut expected = vec![0f32; x.len()];
            for (i, sum) in expected.iter_mut().enumerate() {
                let (sample, at, column) = (i / (2 * length), i / 2 % length, i % 2);
                let counts = |from: usize| if from == at { exclusive == 0 } else { (from < at) != (reverse == 1) };
                *sum = (0..length).filter(|&from| counts(from)).map(|from| x[(sample * length + from) * 2 + column]).sum();
            }
            assert_close(&run(&network, &[(&[2, length, 2], &x)]).data, &expected);
        }
    }
}

#[test]
fn triangles_of_open_extents() {
    for (upper, k) in [(1, 0), (1, 1), (0, 0), (0, -1)] {
        let nodes = vec![with(node("Trilu", &["x", "k"], "y"), int("upper", upper))];
        let network = simplify(import(open("x", &["N", "L", "M"]), nodes, vec![scalar("k", k)]).expect("valid")).expect("valid");
        let x: Vec<f32> = (1..=2 * 4 * 5).map(|i| i as f32).collect();
        let keeps = |i: usize| {
            let diagonal = (i % 5) as i32 - (i / 5 % 4) as i32;
            if upper == 1 { diagonal >= k } else { diagonal <= k }
        };
        let expected: Vec<f32> = x.iter().enumerate().map(|(i, &x)| if keeps(i) { x } else { 0.0 }).collect();
        assert_eq!(run(&network, &[(&[2, 4, 5], &x)]).data, expected);
    }
}

/// As often as an extent says, and as often as a number does.
#[test]
fn tiles_of_open_extents() {
    let nodes = vec![
        node("Shape", &["x"], "shape"),
        with(node("Gather", &["shape", "middle"], "length"), int("axis", 0)),
        with(node("Concat", &["one", "two", "length"], "repeats"), int("axis", 0)),
        node("Tile", &["x", "repeats"], "y"),
    ];
    let constants = vec![list("middle", &[1]), list("one", &[1]), list("two", &[2])];
    let network = import(open("x", &["N", "L", "3"]), nodes, constants).expect("valid");
    for length in [1, 4] {
        let x = ramp(2 * length * 3);
        let y = run(&network, &[(&[2, length, 3], &x)]);
        assert_eq!(y.shape, [2, 2 * length, 3 * length]);
        let expected = |i: usize| {
            let (sample, row, column) = (i / (6 * length * length), i / (3 * length) % (2 * length), i % (3 * length));
            x[(sample * length + row % length) * 3 + column % 3]
        };
        assert_eq!(y.data, (0..y.data.len()).map(expected).collect::<Vec<f32>>());
    }
}

/// What −1 stands for, beside an extent that is a sum.
#[test]
fn what_remains_beside_a_sum() {
    let nodes = vec![
        node("Slice", &["x", "one", "end", "one"], "shorter"),
        node("Shape", &["shorter"], "shape"),
        node("Slice", &["shape", "zero", "two"], "lead"),
        with(node("Concat", &["lead", "heads"], "target"), int("axis", 0)),
        node("Reshape", &["shorter", "target"], "y"),
    ];
    let constants = vec![list("zero", &[0]), list("one", &[1]), list("two", &[2]), list("end", &[i32::MAX]), list("heads", &[-1, 2])];
    let network = import(open("x", &["N", "L", "6"]), nodes, constants).expect("valid");
    let x = ramp(2 * 5 * 6);
    let y = run(&network, &[(&[2, 5, 6], &x)]);
    assert_eq!(y.shape, [2, 4, 3, 2]);
    assert_eq!(y.data, x.chunks(30).flat_map(|sample| sample[6..].to_vec()).collect::<Vec<f32>>());
}

/// Elements by tuples of places in extents that are open, of which some count from the end.
#[test]
fn picking_along_open_extents() {
    let nodes = vec![node("GatherND", &["x", "places"], "y")];
    let places = constant("places", DataType::Int64, &[3, 2], &[0, 1, 1, -1, -1, 0]);
    let network = import(open("x", &["N", "L", "2"]), nodes, vec![long(places)]).expect("valid");
    for length in [2, 5] {
        let x = ramp(3 * length * 2);
        let row = |sample: usize, at: usize| x[(sample * length + at) * 2..][..2].to_vec();
        let expected = [row(0, 1), row(1, length - 1), row(2, 0)].concat();
        assert_eq!(run(&network, &[(&[3, length, 2], &x)]).data, expected);
    }
}

/// Scores that a mask makes infinite are no fault of the samples; the softmax behind them makes them 0.
#[test]
fn masks_of_infinities_calibrate() {
    let nodes = vec![
        node("MatMul", &["x", "w"], "scores"),
        node("Add", &["scores", "mask"], "masked"),
        with(node("Softmax", &["masked"], "weights"), int("axis", -1)),
        node("MatMul", &["weights", "w"], "y"),
    ];
    let mask: Vec<f32> = (0..16).map(|i| if i % 4 > i / 4 { f32::NEG_INFINITY } else { 0.0 }).collect();
    let constants = vec![floats("w", &[4, 4], &ramp(16)), floats("mask", &[4, 4], &mask)];
    let float = simplify(import(open("x", &["N", "4", "4"]), nodes, constants).expect("valid")).expect("valid");
    let sample = || HostTensor { shape: vec![1, 4, 4], data: ramp(16) };
    let config = QConfigMapping::default();
    let converted = pipeline::convert(&float, &Samples::given(vec![vec![sample()]]), &config, &mut |_| {}).expect("quantizes");
    let expected = run(&float, &[(&[1, 4, 4], &ramp(16))]).data;
    let got = super::integers(&converted.network, &[1, 4, 4], &ramp(16));
    assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 0.05), "{got:?} {expected:?}");
    // What leaves the network infinite is one.
    let nodes = vec![node("Relu", &["x"], "a"), node("Log", &["a"], "y")];
    let float = simplify(import(open("x", &["N", "4", "4"]), nodes, vec![]).expect("valid")).expect("valid");
    let error = pipeline::convert(&float, &Samples::given(vec![vec![sample()]]), &config, &mut |_| {}).err().map(|e| e.to_string());
    assert!(error.is_some_and(|e| e.contains("'y' became -inf")));
}

/// A transformer's block that was exported at batch 1: a class token, heads that attention moves in front of the samples, windows.
fn block() -> Network {
    let nodes = vec![
        with(node("Concat", &["token", "x"], "tokens"), int("axis", 1)),
        node("MatMul", &["tokens", "qkv"], "three"),
        node("Reshape", &["three", "apart"], "heads"),
        with(node("Transpose", &["heads"], "moved"), super::ints("perm", [2, 0, 3, 1, 4])),
        with(node("Gather", &["moved", "zero"], "q"), int("axis", 0)),
        with(node("Gather", &["moved", "one"], "k"), int("axis", 0)),
        with(node("Gather", &["moved", "two"], "v"), int("axis", 0)),
        with(node("Transpose", &["k"], "kt"), super::ints("perm", [0, 1, 3, 2])),
        node("MatMul", &["q", "kt"], "scores"),
        with(node("Softmax", &["scores"], "weights"), int("axis", -1)),
        node("MatMul", &["weights", "v"], "mixed"),
        with(node("Transpose", &["mixed"], "back"), super::ints("perm", [0, 2, 1, 3])),
        node("Reshape", &["back", "windows"], "parts"),
        with(node("Softmax", &["parts"], "normal"), int("axis", 1)),
        node("Reshape", &["normal", "whole"], "y"),
    ];
    let constants = vec![
        floats("token", &[1, 1, 4], &ramp(4)),
        floats("qkv", &[4, 12], &ramp(48)),
        list("apart", &[1, 4, 3, 2, 2]),
        scalar("zero", 0),
        scalar("one", 1),
        scalar("two", 2),
        list("windows", &[2, 2, 4]),
        list("whole", &[1, -1, 4]),
    ];
    import_any_batch(value("x", DataType::Float, &[1, 3, 4]), nodes, constants).expect("valid")
}

#[test]
fn a_block_exported_at_batch_1_runs_at_any() {
    let network = block();
    let x = ramp(3 * 12);
    let together = run(&network, &[(&[3, 3, 4], &x)]);
    assert_eq!(together.shape, [3, 4, 4]);
    let apart: Vec<f32> = x.chunks(12).flat_map(|x| run(&network, &[(&[1, 3, 4], x)]).data).collect();
    assert_eq!(together.data, apart);
}

/// Networks in which samples of a larger batch would meet keep the batch that they were exported at.
#[test]
fn a_network_that_mixes_samples_stays_at_batch_1() {
    let softmax = |axis| vec![with(node("Softmax", &["x"], "y"), int("axis", axis))];
    let matmul = vec![with(node("Transpose", &["x"], "t"), super::ints("perm", [1, 0])), node("MatMul", &["x", "t"], "y")];
    let reshaped = vec![node("Reshape", &["x", "target"], "y")];
    let constants = || vec![list("target", &[2, 2])];
    let extents = |nodes| {
        let network = import_any_batch(value("x", DataType::Float, &[1, 4]), nodes, constants()).expect("valid");
        network.graph.value(network.graph.inputs[0]).shape.iter().map(|d| d.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(extents(softmax(1)), ["N", "4"]);
    assert_eq!(extents(reshaped), ["N", "4"]);
    for nodes in [softmax(0), matmul] {
        assert_eq!(extents(nodes), ["1", "4"]);
    }
    // Known for one sample, though not for any.
    let range = vec![node("ReduceMean", &["x"], "m"), node("Add", &["x", "m"], "y")];
    assert_eq!(extents(range), ["1", "4"]);
}

/// Up to a multiple of 4, as networks with several scales do, which may be by nothing.
#[test]
fn padding_by_what_an_extent_lacks() {
    for (mode, outside) in [("constant", 7.0), ("edge", 0.0)] {
        let nodes = vec![
            node("Shape", &["x"], "shape"),
            with(node("Gather", &["shape", "middle"], "length"), int("axis", 0)),
            node("Sub", &["zero", "length"], "less"),
            node("Mod", &["less", "four"], "lacks"),
            with(node("Concat", &["zero", "one", "zero", "zero", "lacks", "zero"], "pads"), int("axis", 0)),
            with(node("Pad", &["x", "pads", "value"], "y"), super::text("mode", mode)),
        ];
        let constants = vec![list("middle", &[1]), list("zero", &[0]), list("one", &[1]), list("four", &[4]), floats("value", &[], &[7.0])];
        let network = simplify(import(open("x", &["N", "L", "2"]), nodes, constants).expect("valid")).expect("valid");
        for length in [1usize, 4, 6] {
            let x = ramp(2 * length * 2);
            let y = run(&network, &[(&[2, length, 2], &x)]);
            let padded = length.next_multiple_of(4) + 1;
            assert_eq!(y.shape, [2, padded, 2]);
            let expected = |i: usize| {
                let (sample, row, column) = (i / (2 * padded), (i / 2 % padded) as i64 - 1, i % 2);
                let inside = row.clamp(0, length as i64 - 1);
                if row == inside || mode == "edge" { x[(sample * length + inside as usize) * 2 + column] } else { outside }
            };
            assert_eq!(y.data, (0..y.data.len()).map(expected).collect::<Vec<f32>>());
        }
    }
}

/// Buckets of distances, which are whole numbers that a run computes.
#[test]
fn whole_numbers_are_limited() {
    let nodes = vec![
        node("Shape", &["x"], "shape"),
        node("Gather", &["shape", "one"], "length"),
        node("Range", &["zero", "length", "one"], "places"),
        node("Clip", &["places", "one", "three"], "near"),
        node("Gather", &["table", "near"], "rows"),
        node("Add", &["x", "rows"], "y"),
    ];
    let constants = vec![scalar("zero", 0), scalar("one", 1), scalar("three", 3), floats("table", &[4], &ramp(4))];
    let network = simplify(import(open("x", &["N", "L"]), nodes, constants).expect("valid")).expect("valid");
    let x = ramp(12);
    let expected: Vec<f32> = x.iter().enumerate().map(|(i, x)| x + ramp(4)[(i % 6).clamp(1, 3)]).collect();
    assert_close(&run(&network, &[(&[2, 6], &x)]).data, &expected);
}

/// What PyTorch's exporter makes of a view with strides: all elements, picked in their order.
#[test]
fn elements_in_their_order_are_another_shape() {
    let nodes = vec![
        node("Reshape", &["x", "flat"], "line"),
        with(node("Gather", &["line", "places"], "view"), int("axis", 0)),
        with(node("Softmax", &["view"], "y"), int("axis", 1)),
    ];
    let places: Vec<i32> = (0..6).collect();
    let constants = vec![list("flat", &[-1]), long(constant("places", DataType::Int64, &[1, 3, 2], &places))];
    let network = import_any_batch(value("x", DataType::Float, &[1, 6]), nodes, constants).expect("valid");
    assert!(!network.graph.nodes.iter().any(|n| n.op.name() == "Gather"));
    let x = ramp(12);
    let y = run(&network, &[(&[2, 6], &x)]);
    assert_eq!(y.shape, [2, 3, 2]);
    assert_eq!(y.data[..6], run(&network, &[(&[1, 6], &x[..6])]).data);
}

/// Enlarged and reduced by a cubic from and to extents that are open, as where they are known.
#[test]
fn a_cubic_resize_of_open_extents() {
    let text = |name: &str, s: &str| crate::import::onnx::proto::AttributeProto { s: s.as_bytes().to_vec(), ..int(name, 0) };
    for coordinates in ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"] {
        for exclude_outside in [0, 1] {
            let resize = |inputs: &[&str]| {
                let mut resize = node("Resize", inputs, "y");
                resize.attribute = vec![
                    text("mode", "cubic"),
                    text("coordinate_transformation_mode", coordinates),
                    int("exclude_outside", exclude_outside),
                ];
                resize
            };
            let scales = floats("scales", &[4], &[1.0, 1.0, 2.5, 1.0]);
            let by_scale = vec![resize(&["x", "", "scales"])];
            // To the extents of another input, with their order turned.
            let by_size =
                vec![node("Shape", &["x"], "shape"), node("Gather", &["shape", "turned"], "sizes"), resize(&["x", "", "", "sizes"])];
            for (nodes, by_scale) in [(by_scale, true), (by_size, false)] {
                let constants = || vec![scales.clone(), list("turned", &[0, 1, 3, 2])];
                let free = simplify(import(open("x", &["N", "2", "H", "W"]), nodes.clone(), constants()).expect("valid")).expect("valid");
                for [h, w] in [[6, 9], [7, 1], [1, 4]] {
                    let known = import(value("x", DataType::Float, &[2, 2, h as i64, w as i64]), nodes.clone(), constants());
                    let known = simplify(known.expect("valid")).expect("valid");
                    let x = ramp(4 * h * w);
                    let (y, expected) = (run(&free, &[(&[2, 2, h, w], &x)]), run(&known, &[(&[2, 2, h, w], &x)]));
                    assert_eq!(y.shape, if by_scale { [2, 2, h * 5 / 2, w] } else { [2, 2, w, h] });
                    assert_close(&y.data, &expected.data);
                }
            }
        }
    }
}
