//! What is made of other operations, on values that only a run knows, against loops of another shape.

mod attention;
mod chosen;
mod col2im;
mod open;

use quaver_core::graph::{Network, Op};

use super::compose::{int, ints};
use crate::calibrate::HostTensor;
use crate::calibrate::data::Samples;
use crate::import::onnx::proto::tensor_proto::DataType;
use crate::import::onnx::proto::{AttributeProto, GraphProto, ValueInfoProto};
use crate::import::onnx::testing::{assert_close, floats, import, import_all, ints as constant, node, open, ramp, run, value, with};
use crate::pipeline;
use crate::quantize::qconfig::{QConfigMapping, Scheme};
use crate::simplify::simplify;

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: s.as_bytes().to_vec(), ..AttributeProto::default() }
}

#[test]
fn gathering_by_the_order_of_a_run_gives_the_largest() {
    let mut top = with(node("TopK", &["x", "k"], "values"), int("axis", 1));
    top.output.push("order".into());
    let nodes = vec![top, with(node("GatherElements", &["x", "order"], "y"), int("axis", 1))];
    let network =
        import(open("x", &["N", "5", "2"]), nodes, vec![constant("k", DataType::Int64, &[1], &[3])].into_iter().map(long).collect());
    let network = simplify(network.expect("valid")).expect("valid");
    for batch in [1, 3] {
        let x = ramp(batch * 10);
        let y = run(&network, &[(&[batch, 5, 2], &x)]);
        assert_eq!(y.shape, [batch, 3, 2]);
        for (sample, y) in x.chunks(10).zip(y.data.chunks(6)) {
            for column in 0..2 {
                let mut line: Vec<f32> = sample.iter().skip(column).step_by(2).copied().collect();
                line.sort_by(|a, b| b.total_cmp(a));
                assert_eq!(y.iter().skip(column).step_by(2).copied().collect::<Vec<f32>>(), line[..3]);
            }
        }
    }
}

/// The same constant with its elements as int64.
fn long(mut tensor: crate::import::onnx::proto::TensorProto) -> crate::import::onnx::proto::TensorProto {
    tensor.int64_data = tensor.int32_data.drain(..).map(i64::from).collect();
    tensor
}

/// Positions: as many numbers as a dimension that is open has.
#[test]
fn a_range_to_an_open_extent() {
    let nodes = vec![
        node("Shape", &["x"], "shape"),
        node("Gather", &["shape", "one"], "length"),
        node("Range", &["zero", "length", "step"], "positions"),
        node("Gather", &["table", "positions"], "rows"),
        node("Add", &["x", "rows"], "y"),
    ];
    let scalar = |name: &str, n: i32| long(constant(name, DataType::Int64, &[], &[n]));
    let constants = vec![scalar("zero", 0), scalar("one", 1), scalar("step", 1), floats("table", &[6, 2], &ramp(12))];
    let network = simplify(import(open("x", &["N", "L", "2"]), nodes, constants).expect("valid")).expect("valid");
    for length in [1, 4, 6] {
        let x = ramp(4 * length);
        let y = run(&network, &[(&[2, length, 2], &x)]);
        let expected: Vec<f32> = x.iter().enumerate().map(|(i, x)| x + ramp(12)[i % (2 * length)]).collect();
        assert_close(&y.data, &expected);
    }
}

/// Every element of the result as a sum over all subscripts that it lacks.
fn einsum(equation: &str, operands: &[(&[usize], Vec<f32>)]) -> Vec<f32> {
    let (left, right) = equation.split_once("->").expect("explicit");
    let sides: Vec<&str> = left.split(',').collect();
    let mut extents = std::collections::BTreeMap::new();
    for (side, (shape, _)) in sides.iter().zip(operands) {
        side.chars().zip(*shape).for_each(|(c, &d)| _ = extents.insert(c, d));
    }
    let result: Vec<char> = right.chars().collect();
    let mut all = result.clone();
    all.extend(extents.keys().filter(|c| !result.contains(c)));
    let mut sums = vec![0f64; result.iter().map(|c| extents[c]).product()];
    let count: usize = all.iter().map(|c| extents[c]).product();
    for i in 0..count {
        let mut rest = i;
        let mut at = std::collections::BTreeMap::new();
        for c in all.iter().rev() {
            at.insert(*c, rest % extents[c]);
            rest /= extents[c];
        }
        let place = |s: &str| s.chars().fold(0, |place, c| place * extents[&c] + at[&c]);
        sums[place(right)] += sides.iter().zip(operands).map(|(side, (_, data))| f64::from(data[place(side)])).product::<f64>();
    }
    sums.into_iter().map(|x| x as f32).collect()
}

#[test]
fn equations_of_einsum() {
    let cases: [(&str, &[&[usize]]); 8] = [
        ("bhid,bhjd->bhij", &[&[2, 3, 4, 5], &[2, 3, 6, 5]]),
        ("bij,bjk->bki", &[&[2, 3, 4], &[2, 4, 5]]),
        ("ij,jk,kl->il", &[&[2, 3], &[3, 4], &[4, 5]]),
        ("bijd,ijk->bdk", &[&[2, 3, 4, 5], &[3, 4, 6]]),
        ("i,j->ji", &[&[3], &[4]]),
        ("ab,ab->a", &[&[3, 4], &[3, 4]]),
        ("bii->ib", &[&[2, 3, 3]]),
        ("abc,d->b", &[&[2, 3, 4], &[5]]),
    ];
    for (equation, shapes) in cases {
        let operands: Vec<(&[usize], Vec<f32>)> = shapes.iter().map(|&s| (s, ramp(s.iter().product()))).collect();
        let names: Vec<String> = (0..shapes.len()).map(|i| format!("x{i}")).collect();
        let inputs = names.iter().zip(shapes).map(|(n, s)| value(n, DataType::Float, &s.iter().map(|&d| d as i64).collect::<Vec<_>>()));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let network = import_all(inputs.collect(), vec![with(node("Einsum", &names, "y"), text("equation", equation))], vec![]);
        let network = simplify(network.expect(equation)).expect("valid");
        let feeds: Vec<(&[usize], &[f32])> = operands.iter().map(|(s, d)| (*s, &d[..])).collect();
        assert_close(&run(&network, &feeds).data, &einsum(equation, &operands));
    }
}

fn graph(inputs: &[&str], nodes: Vec<crate::import::onnx::proto::NodeProto>, outputs: &[&str]) -> GraphProto {
    let named = |names: &[&str]| names.iter().map(|n| ValueInfoProto { name: (*n).into(), r#type: None }).collect();
    GraphProto { input: named(inputs), node: nodes, output: named(outputs), ..GraphProto::default() }
}

fn holding(name: &str, g: GraphProto) -> AttributeProto {
    AttributeProto { name: name.into(), g: Some(g), ..AttributeProto::default() }
}

/// The condition is the rank of the input, which exporters ask for; the branches read what is computed outside.
#[test]
fn the_branch_that_is_taken_is_all_that_is_left() {
    let branch = |op: &str, out: &str| graph(&[], vec![node(op, &["t"], out)], &[out]);
    let nodes = vec![
        node("Tanh", &["x"], "t"),
        node("Shape", &["x"], "shape"),
        node("Size", &["shape"], "rank"),
        node("Equal", &["rank", "two"], "flat"),
        with(with(node("If", &["flat"], "y"), holding("then_branch", branch("Relu", "a"))), holding("else_branch", branch("Unknown", "b"))),
    ];
    let two = long(constant("two", DataType::Int64, &[], &[2]));
    let network = import(open("x", &["N", "3"]), nodes.clone(), vec![two]).expect("valid");
    assert_eq!(network.graph.nodes.iter().map(|n| n.op.name()).collect::<Vec<_>>(), ["Tanh", "Relu"]);
    // Otherwise the other branch, which nobody knows.
    let three = long(constant("two", DataType::Int64, &[], &[3]));
    let error = import(open("x", &["N", "3"]), nodes, vec![three]).expect_err("no such operation");
    assert!(error.to_string().contains("Unknown"), "{error}");
}

#[test]
fn steps_of_a_loop_follow_each_other() {
    let mut body = graph(
        &["i", "go", "state"],
        vec![node("Mul", &["state", "x"], "next"), node("Less", &["i", "most"], "on"), node("Add", &["next", "one"], "seen")],
        &["on", "next", "seen"],
    );
    body.initializer = vec![long(constant("most", DataType::Int64, &[], &[2])), floats("one", &[], &[1.0])];
    let mut looped = with(node("Loop", &["steps", "", "x"], "last"), holding("body", body));
    looped.output.push("all".into());
    let nodes = vec![looped, node("Add", &["last", "all"], "y")];
    let network =
        import(value("x", DataType::Float, &[2]), nodes, vec![long(constant("steps", DataType::Int64, &[], &[9]))]).expect("valid");
    let y = run(&network, &[(&[2], &[2.0, -1.0])]);
    // The third step says that it is the last.
    assert_eq!((&y.shape[..], &y.data[..]), (&[3, 2][..], &[21.0, 3.0, 25.0, 1.0, 33.0, 3.0][..]));
}

#[test]
fn elements_are_written_where_indices_say() {
    // x[1, ::2] = u, as PyTorch's exporter writes it; and a sum, with a place that is there twice.
    let x = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    for (reduction, indices, expected) in
        [("none", [1, 0, 1, 2], [0.0, 1.0, 2.0, 10.0, 4.0, 20.0]), ("add", [0, 1, 0, 1], [0.0, 31.0, 2.0, 3.0, 4.0, 5.0])]
    {
        let scatter = with(node("ScatterND", &["x", "i", "u"], "y"), text("reduction", reduction));
        let indices = long(constant("i", DataType::Int64, &[2, 2], &indices));
        let inputs = vec![value("x", DataType::Float, &[2, 3]), value("u", DataType::Float, &[2])];
        let network = import_all(inputs, vec![scatter], vec![indices]).expect("valid");
        assert_eq!(run(&network, &[(&[2, 3], &x), (&[2], &[10.0, 20.0])]).data, expected, "{reduction}");
    }
}

/// A convolution over volumes, or a transposed one.
struct Volume {
    batch: usize,
    channels: [usize; 2],
    extents: [usize; 3],
    kernel: [usize; 3],
    strides: [usize; 3],
    dilations: [usize; 3],
    begin: [usize; 3],
    end: [usize; 3],
    groups: usize,
    transposed: bool,
}

impl Volume {
    fn attributes(&self) -> Vec<AttributeProto> {
        let list = |v: &[usize]| v.iter().map(|&n| n as i64).collect::<Vec<_>>();
        vec![
            ints("strides", list(&self.strides)),
            ints("dilations", list(&self.dilations)),
            ints("pads", list(&[self.begin, self.end].concat())),
            int("group", self.groups as i64),
        ]
    }

    fn weights(&self) -> Vec<usize> {
        let [i, o] = self.channels;
        let lead = if self.transposed { [i, o / self.groups] } else { [o, i / self.groups] };
        [&lead[..], &self.kernel].concat()
    }

    fn network(&self) -> Network {
        let shape = [&[self.channels[0]], &self.extents[..]].concat();
        let dims: Vec<String> = std::iter::once("N".to_owned()).chain(shape.iter().map(usize::to_string)).collect();
        let op = if self.transposed { "ConvTranspose" } else { "Conv" };
        let mut conv = node(op, &["x", "w", "b"], "y");
        conv.attribute = self.attributes();
        let w = self.weights();
        let lead: Vec<i64> = w.iter().map(|&d| d as i64).collect();
        let constants =
            vec![floats("w", &lead, &ramp(w.iter().product())), floats("b", &[self.channels[1] as i64], &ramp(self.channels[1]))];
        import(open("x", &dims.iter().map(String::as_str).collect::<Vec<_>>()), vec![conv], constants).expect("valid")
    }

    /// Each product by itself: what an input and a tap add to an output.
    fn expected(&self, x: &[f32]) -> (Vec<usize>, Vec<f32>) {
        let [i, o] = self.channels;
        let reach = |d: usize| (self.kernel[d] - 1) * self.dilations[d] + 1;
        let to: Vec<usize> = (0..3)
            .map(|d| match self.transposed {
                true => (self.extents[d] - 1) * self.strides[d] + reach(d) - self.begin[d] - self.end[d],
                false => (self.extents[d] + self.begin[d] + self.end[d] - reach(d)) / self.strides[d] + 1,
            })
            .collect();
        let (w, own) = (ramp(self.weights().iter().product()), self.weights()[1]);
        let volume = |v: &[usize]| v.iter().product::<usize>();
        let mut y = vec![0f64; self.batch * o * volume(&to)];
        let split = |mut i: usize, v: &[usize]| {
            let mut at = [0; 3];
            for d in (0..3).rev() {
                (at[d], i) = (i % v[d], i / v[d]);
            }
            at
        };
        for n in 0..self.batch {
            for (ci, co) in (0..i).flat_map(|ci| (0..o).map(move |co| (ci, co))) {
                if ci / (i / self.groups) != co / (o / self.groups) {
                    continue;
                }
                for tap in 0..volume(&self.kernel) {
                    let t = split(tap, &self.kernel);
                    let (a, b) = if self.transposed { (ci, co % own) } else { (co, ci % own) };
                    let weight = f64::from(w[(a * own + b) * volume(&self.kernel) + tap]);
                    let (few, many) = if self.transposed { (&self.extents[..], &to[..]) } else { (&to[..], &self.extents[..]) };
                    for at in 0..volume(few) {
                        let p = split(at, few);
                        let q = [0, 1, 2].map(|d| (p[d] * self.strides[d] + t[d] * self.dilations[d]).wrapping_sub(self.begin[d]));
                        if (0..3).any(|d| q[d] >= many[d]) {
                            continue;
                        }
                        let there = (q[0] * many[1] + q[1]) * many[2] + q[2];
                        let (from, place) = if self.transposed { (at, there) } else { (there, at) };
                        let x = f64::from(x[(n * i + ci) * volume(&self.extents) + from]);
                        y[(n * o + co) * volume(&to) + place] += x * weight;
                    }
                }
            }
        }
        let bias = ramp(o);
        let y = y.iter().enumerate().map(|(at, y)| *y as f32 + bias[at / volume(&to) % o]).collect();
        ([&[self.batch, o], &to[..]].concat(), y)
    }

    fn input(&self) -> (Vec<usize>, Vec<f32>) {
        let shape = [&[self.batch, self.channels[0]], &self.extents[..]].concat();
        let count = shape.iter().product();
        (shape, ramp(count))
    }
}

fn volumes() -> Vec<Volume> {
    let plain = |transposed| Volume {
        batch: 2,
        channels: [3, 4],
        extents: [5, 4, 6],
        kernel: [3, 2, 3],
        strides: [1, 1, 1],
        dilations: [1, 1, 1],
        begin: [0, 0, 0],
        end: [0, 0, 0],
        groups: 1,
        transposed,
    };
    let mut all = Vec::new();
    for transposed in [false, true] {
        let p = || plain(transposed);
        all.push(p());
        all.push(Volume { begin: [1, 0, 1], end: [2, 1, 0], strides: [2, 1, 2], ..p() });
        all.push(Volume { channels: [4, 6], groups: 2, begin: [1, 1, 1], end: [1, 1, 1], ..p() });
        all.push(Volume { channels: [4, 4], groups: 4, dilations: [2, 1, 2], begin: [2, 1, 2], end: [2, 0, 2], ..p() });
        all.push(Volume { kernel: [1, 3, 3], strides: [3, 2, 1], ..p() });
        let along = || Volume { kernel: [3, 1, 1], begin: [1, 0, 0], end: [2, 0, 0], ..p() };
        all.push(Volume { strides: [2, 1, 1], ..along() });
        all.push(Volume { channels: [4, 6], groups: 2, dilations: [2, 3, 1], ..along() });
        all.push(Volume { channels: [4, 4], groups: 4, begin: [1, 1, 0], end: [1, 0, 0], ..along() });
    }
    all
}

#[test]
fn volumes_are_convolved_as_images() {
    for (i, volume) in volumes().iter().enumerate() {
        let network = simplify(volume.network()).expect("valid");
        let (shape, x) = volume.input();
        let y = run(&network, &[(&shape, &x)]);
        let (shape, expected) = volume.expected(&x);
        assert_eq!(y.shape, shape, "{i}");
        assert_close(&y.data, &expected);
    }
}

#[test]
fn convolutions_of_volumes_are_quantized() {
    for volume in volumes() {
        let float = simplify(volume.network()).expect("valid");
        let (shape, x) = volume.input();
        let sample = vec![HostTensor { shape: shape.clone(), data: x.clone() }];
        let converted =
            pipeline::convert(&float, &Samples::given(vec![sample]), &QConfigMapping::default(), &mut |_| {}).expect("quantizes");
        let heavy = |op: &Op| matches!(op, Op::QConv(_) | Op::QConvTranspose(_));
        assert_eq!(converted.network.graph.nodes.iter().filter(|n| heavy(&n.op)).count(), 1);
        assert!(converted.decisions.iter().all(|d| d.scheme == Scheme::Static || !d.op.starts_with("Conv")));
        let float = run(&float, &[(&shape, &x)]).data;
        let got = integers(&converted.network, &shape, &x);
        let error = float.iter().zip(&got).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / float.iter().map(|a| a * a).sum::<f32>();
        assert!(error < 1e-3, "the error's energy is {error} of the result's");
    }
}

/// The first output of an integer network, by the definition.
fn integers(network: &Network, shape: &[usize], x: &[f32]) -> Vec<f32> {
    use quaver_core::exec::Executor;
    use quaver_core::plan::Plan;
    use quaver_core::reference::Reference;
    use quaver_core::tensor::TensorView;
    let plan = Plan::new(&network.graph, shape[0], 1 << 30).expect("small");
    let mut executor = Executor::new(plan, 0).expect("memory");
    let input = TensorView::from_slice(shape, x).expect("sized");
    executor.run(&network.graph, network, &Reference, &[input], None).expect("runs");
    executor.output(&network.graph, 0).and_then(|y| y.as_slice::<f32>().map(<[f32]>::to_vec)).expect("f32")
}

/// Between two convolutions and a pool over volumes, nothing is moved that the taps don't need.
#[test]
fn volumes_stay_channels_last() {
    let conv = |x: &str, w: &str, y: &str| with(node("Conv", &[x, w], y), ints("pads", [1; 6]));
    let mut pool = with(node("MaxPool", &["c"], "d"), ints("kernel_shape", [2, 2, 2]));
    pool.attribute.push(ints("strides", [2, 2, 2]));
    let nodes = vec![conv("x", "w", "a"), node("Relu", &["a"], "b"), conv("b", "v", "c"), pool, node("GlobalAveragePool", &["d"], "y")];
    let constants = vec![floats("w", &[4, 2, 3, 3, 3], &ramp(216)), floats("v", &[3, 4, 3, 3, 3], &ramp(324))];
    let network = import(open("x", &["N", "2", "4", "6", "8"]), nodes, constants).expect("valid");
    let short = simplify(network.clone()).expect("valid");
    let moves = short.graph.nodes.iter().filter(|n| matches!(n.op, Op::Transpose { .. })).count();
    assert_eq!(moves, 1, "{:?}", short.graph.nodes.iter().map(|n| n.op.name()).collect::<Vec<_>>());
    let (shape, x) = ([2, 2, 4, 6, 8], ramp(768));
    let (before, after) = (run(&network, &[(&shape, &x)]), run(&short, &[(&shape, &x)]));
    assert_eq!(before.shape, [2, 3, 1, 1, 1]);
    assert_close(&after.data, &before.data);
    let sample = vec![HostTensor { shape: shape.to_vec(), data: x.clone() }];
    let converted = pipeline::convert(&short, &Samples::given(vec![sample]), &QConfigMapping::default(), &mut |_| {}).expect("quantizes");
    let float: Vec<&str> = converted.decisions.iter().filter(|d| d.scheme == Scheme::Float).map(|d| d.op.as_str()).collect();
    assert!(!float.iter().any(|op| ["Conv", "MaxPool", "ReduceMean", "Relu", "Concat"].contains(op)), "{float:?}");
    let got = integers(&converted.network, &shape, &x);
    let scale = before.data.iter().fold(0f32, |m, x| m.max(x.abs()));
    assert!(got.iter().zip(&before.data).all(|(a, b)| (a - b).abs() < 0.02 * scale), "{got:?} {:?}", before.data);
}

/// Neighbouring channels of a response, for windows that reach further to one side too, as an image and as a row.
#[test]
fn responses_are_normalized_by_their_neighbours() {
    for (size, extents) in [(3, &[1, 6, 2, 2][..]), (4, &[2, 5, 3]), (1, &[1, 3, 2, 2])] {
        let number = |name: &str, f: f32| AttributeProto { name: name.into(), f, ..AttributeProto::default() };
        let mut norm = with(node("LRN", &["x"], "y"), int("size", size));
        norm.attribute.extend([number("alpha", 0.5), number("beta", 0.75), number("bias", 2.0)]);
        let dims: Vec<i64> = extents.iter().map(|&d| d as i64).collect();
        let network = simplify(import(value("x", DataType::Float, &dims), vec![norm], vec![]).expect("valid")).expect("valid");
        assert!(!network.graph.nodes.iter().any(|n| matches!(n.op, Op::Pool(_))));
        let (channels, pixels) = (extents[1], extents[2..].iter().product::<usize>());
        let x = ramp(extents.iter().product());
        let expected = x.iter().enumerate().map(|(i, x_i)| {
            let channel = (i / pixels % channels) as i64;
            let near = (channel - (size - 1) / 2).max(0)..=(channel + size / 2).min(channels as i64 - 1);
            let sum: f32 = near.map(|c| x[(i as i64 + (c - channel) * pixels as i64) as usize].powi(2)).sum();
            x_i / (2.0 + 0.5 / size as f32 * sum).powf(0.75)
        });
        assert_close(&run(&network, &[(extents, &x)]).data, &expected.collect::<Vec<f32>>());
    }
    // What would take terabytes of weights.
    let norm = with(node("LRN", &["x"], "y"), int("size", 3));
    let refused = import(value("x", DataType::Float, &[1, 1 << 20, 2]), vec![norm], vec![]).expect_err("too many channels");
    assert!(refused.to_string().contains("4096 at most"), "{refused}");
}
