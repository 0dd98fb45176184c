//! Attention, rotations and what activations of new opsets are, against loops of another shape.

use super::long;
use crate::import::onnx::ops::compose::int;
use crate::import::onnx::proto::AttributeProto;
use crate::import::onnx::proto::tensor_proto::DataType;
use crate::import::onnx::testing::{assert_close, floats, import, import_all, ints as constant, node, open, ramp, run, value, with};
use crate::simplify::simplify;

fn number(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f, ..AttributeProto::default() }
}

/// [heads, rows, depth] of one sample, by definition; `seen` says which key a query reads.
fn attend(q: &[f32], k: &[f32], v: &[f32], [heads, own, depth]: [usize; 3], scale: f32, seen: &dyn Fn(usize, usize) -> f32) -> Vec<f32> {
    let (rows, columns) = (q.len() / heads / depth, k.len() / own / depth);
    let mut y = Vec::new();
    for head in 0..heads {
        let group = head * own / heads;
        for row in 0..rows {
            let at = |x: &[f32], i: usize, d: usize| x[(group * columns + i) * depth + d];
            let score = |i: usize| {
                let product: f32 = (0..depth).map(|d| q[(head * rows + row) * depth + d] * at(k, i, d)).sum();
                (f64::from(product * scale) + f64::from(seen(row, i))).exp()
            };
            let sum: f64 = (0..columns).map(score).sum();
            y.extend((0..depth).map(|d| (0..columns).map(|i| score(i) / sum * f64::from(at(v, i, d))).sum::<f64>() as f32));
        }
    }
    y
}

#[test]
fn attention_is_causal_and_shares_keys() {
    let (heads, own, depth) = (4, 2, 3);
    let attention = with(node("Attention", &["q", "k", "v"], "y"), int("is_causal", 1));
    let inputs = || vec![open("q", &["N", "4", "L", "3"]), open("k", &["N", "2", "L", "3"]), open("v", &["N", "2", "L", "3"])];
    let network = simplify(import_all(inputs(), vec![attention], vec![]).expect("valid")).expect("valid");
    for length in [1, 5] {
        let (q, k) = (ramp(heads * length * depth), ramp(own * length * depth));
        let v: Vec<f32> = k.iter().map(|x| x * x - 0.5).collect();
        let (wide, narrow) = ([1, heads, length, depth], [1, own, length, depth]);
        let y = run(&network, &[(&wide, &q), (&narrow, &k), (&narrow, &v)]);
        let causal = |row: usize, i: usize| if i <= row { 0.0 } else { f32::NEG_INFINITY };
        assert_close(&y.data, &attend(&q, &k, &v, [heads, own, depth], 1.0 / (depth as f32).sqrt(), &causal));
    }
}

/// Operands of rank 3, keys of the steps before, a mask of truth values and one of numbers.
#[test]
fn attention_goes_on_from_keys_of_before() {
    let [heads, depth, before, rows] = [2, 3, 4, 2];
    let seen = [1.0f32, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0];
    let columns = before + rows;
    for truth in [true, false] {
        let mask = if truth { "truth" } else { "bias" };
        let mut attention = with(node("Attention", &["q", "k", "v", mask, "pk", "pv"], "y"), number("scale", 0.7));
        attention.attribute.extend([int("q_num_heads", 2), int("kv_num_heads", 2), int("is_causal", 1)]);
        attention.output.extend(["present_k".into(), "present_v".into()]);
        let nodes = vec![node("Greater", &["seen", "half"], "truth"), attention];
        let flat = || ["q", "k", "v"].map(|name| open(name, &["1", "2", "6"]));
        let past = ["pk", "pv"].map(|name| open(name, &["1", "2", "P", "3"]));
        let inputs = [&flat()[..], &past[..], &[open("seen", &["2", "6"])]].concat();
        let constants = vec![floats("half", &[], &[0.5]), floats("bias", &[2, 6], &seen.map(|s| s - 1.0))];
        let network = simplify(import_all(inputs, nodes, constants).expect("valid")).expect("valid");
        let (q, k, v) = (ramp(12), ramp(24)[12..].to_vec(), ramp(36)[24..].to_vec());
        let (pk, pv) = (ramp(heads * before * depth), ramp(2 * heads * before * depth)[24..].to_vec());
        let (shape, past) = ([1, rows, heads * depth], [1, heads, before, depth]);
        let y = run(&network, &[(&shape, &q), (&shape, &k), (&shape, &v), (&past, &pk), (&past, &pv), (&[2, 6], &seen)]);
        let by_head = |x: &[f32], past: &[f32], head: usize| {
            let own = (0..rows).flat_map(|row| x[(row * heads + head) * depth..][..depth].to_vec());
            past[head * past.len() / heads..(head + 1) * past.len() / heads].iter().copied().chain(own).collect::<Vec<f32>>()
        };
        let all = |x: &[f32], past: &[f32]| (0..heads).flat_map(|head| by_head(x, past, head)).collect::<Vec<f32>>();
        let bias = |row: usize, i: usize| match (i <= row + before, seen[row * columns + i] > 0.5) {
            (false, _) => f32::NEG_INFINITY,
            (_, true) => 0.0,
            (_, false) if truth => f32::NEG_INFINITY,
            _ => -1.0,
        };
        let expected = attend(&all(&q, &[]), &all(&k, &pk), &all(&v, &pv), [heads, heads, depth], 0.7, &bias);
        let moved = (0..rows).flat_map(|row| (0..heads).map(move |head| (head * rows + row) * depth));
        let expected: Vec<f32> = moved.flat_map(|at| expected[at..at + depth].to_vec()).collect();
        assert_close(&y.data, &expected);
    }
}

#[test]
fn pairs_are_turned_by_the_angles_of_their_positions() {
    for interleaved in [0, 1] {
        let mut turn = with(node("RotaryEmbedding", &["x", "cos", "sin", "at"], "y"), int("interleaved", interleaved));
        turn.attribute.push(int("rotary_embedding_dim", 4));
        let angles: Vec<f32> = (0..7 * 2).map(|i| (i / 2) as f32 * if i % 2 == 0 { 1.0 } else { 0.1 }).collect();
        let [cos, sin] = [f32::cos, f32::sin].map(|f| angles.iter().map(|&a| f(a)).collect::<Vec<f32>>());
        let at = [3, 0, 6];
        let positions = long(constant("at", DataType::Int64, &[1, 3], &at));
        let constants = vec![floats("cos", &[7, 2], &cos), floats("sin", &[7, 2], &sin), positions];
        let network = simplify(import(open("x", &["1", "2", "3", "6"]), vec![turn], constants).expect("valid")).expect("valid");
        let x = ramp(36);
        let mut expected = x.clone();
        for (row, y) in expected.chunks_mut(6).enumerate() {
            for pair in 0..2 {
                let (a, b) = if interleaved == 1 { (2 * pair, 2 * pair + 1) } else { (pair, pair + 2) };
                let angle = angles[at[row % 3] as usize * 2 + pair];
                (y[a], y[b]) = (y[a] * angle.cos() - y[b] * angle.sin(), y[a] * angle.sin() + y[b] * angle.cos());
            }
        }
        assert_close(&run(&network, &[(&[1, 2, 3, 6], &x)]).data, &expected);
    }
}

#[test]
fn swish_and_rows_of_norm_1() {
    let nodes = vec![
        with(node("Swish", &["x"], "a"), number("alpha", 1.702)),
        with(with(node("LpNormalization", &["a"], "y"), int("p", 1)), int("axis", 1)),
    ];
    let network = import(open("x", &["N", "5"]), nodes, vec![]).expect("valid");
    let x = ramp(10);
    let swish: Vec<f32> = x.iter().map(|x| x / (1.0 + (-1.702 * x).exp())).collect();
    let expected = swish.chunks(5).flat_map(|row| row.iter().map(|y| y / row.iter().map(|y| y.abs()).sum::<f32>()).collect::<Vec<f32>>());
    assert_close(&run(&network, &[(&[2, 5], &x)]).data, &expected.collect::<Vec<f32>>());
}

/// A mask that comes in from outside.
#[test]
fn truth_values_are_an_input() {
    let nodes = vec![node("Not", &["mask"], "not"), node("Where", &["not", "x", "low"], "y")];
    let inputs = vec![value("x", DataType::Float, &[2, 3]), value("mask", DataType::Bool, &[2, 3])];
    let network = import_all(inputs, nodes, vec![floats("low", &[], &[-9.0])]).expect("valid");
    let y = run(&network, &[(&[2, 3], &ramp(6)), (&[2, 3], &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0])]);
    let x = ramp(6);
    assert_eq!(y.data, [-9.0, x[1], x[2], x[3], x[4], -9.0]);
    // As a mask of attention, it says what is read.
    let attention = node("Attention", &["q", "q", "q", "mask"], "y");
    let inputs = vec![value("q", DataType::Float, &[1, 1, 2, 3]), value("mask", DataType::Bool, &[2, 2])];
    let network = import_all(inputs, vec![attention], vec![]).expect("valid");
    let y = run(&network, &[(&[1, 1, 2, 3], &x), (&[2, 2], &[0.0, 1.0, 1.0, 0.0])]);
    assert_close(&y.data, &[&x[3..], &x[..3]].concat());
}
