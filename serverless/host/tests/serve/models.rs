//! Models that tests serve, and what native makes of them.

use std::path::Path;

use quaver::{Model, Session, SessionOptions, Tensor};
use quaver_convert::calibrate::data::Samples;
use quaver_convert::import::ImportOptions;
use quaver_convert::quantize::qconfig::QConfigMapping;
use quaver_core::format::{METADATA_LABELS, Metadata};
use quaver_core::graph::op::BinaryFn;
use quaver_core::graph::{Dim, Network, Op};
use quaver_core::tensor::DType;

/// y[N,2] = x[N,2] + (by, by).
pub fn adder(by: f32) -> Vec<u8> {
    let mut net = Network::new("add");
    let x = net.input("x", DType::F32, vec![Dim::BATCH, 2.into()]);
    let c = net.constant("c", &[2], &[by, by]);
    let y = net.push(Op::Binary { function: BinaryFn::Add }, &[x, c], "add", "y").expect("valid");
    net.output(y);
    quaver_core::format::write(&net, &Metadata::new()).expect("valid")
}

/// y[N] = a[N] - b[N].
pub fn difference() -> Vec<u8> {
    let mut net = Network::new("subtract");
    let [a, b] = ["a", "b"].map(|name| net.input(name, DType::F32, vec![Dim::BATCH]));
    let y = net.push(Op::Binary { function: BinaryFn::Sub }, &[a, b], "subtract", "y").expect("valid");
    net.output(y);
    quaver_core::format::write(&net, &Metadata::new()).expect("valid")
}

/// The demo network, quantized: images [N,1,28,28] to scores of ten classes.
pub fn fashion(reduce_range: bool) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cli/assets/fashion.onnx");
    let float = quaver_convert::load(&path, &ImportOptions::default()).expect("the demo network imports");
    let mut mapping = QConfigMapping::default();
    mapping.global.reduce_range = reduce_range;
    let samples = Samples::random(2, &float.graph);
    let converted = quaver_convert::convert(&float, &samples, &mapping, &mut |_| {}).expect("it converts");
    let labels = serde_json::to_string(&["top", "trouser"]).expect("writes");
    converted.to_qvr(&Metadata::from([(METADATA_LABELS.to_owned(), labels)])).expect("it can be written")
}

/// An image of `n` samples for it, of all that pixels can be.
pub fn images(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..n * 28 * 28).map(|_| next()).collect()
}

/// The bytes of native's first output.
pub fn native(file: &[u8], shape: &[usize], data: &[f32]) -> Vec<u8> {
    let model = Model::from_bytes(file).expect("valid");
    let name = model.inputs()[0].name.clone();
    let mut session = Session::new(&model, SessionOptions::default()).expect("a session");
    let input = Tensor::from_vec(shape.to_vec(), data.to_vec()).expect("fits");
    session.run(&[(&name, input)]).expect("it runs").first().expect("an output").bytes().to_vec()
}

/// A request for `file`'s first input in binary, which asks for binary outputs: its body, and the length of its JSON.
pub fn binary_request(file: &[u8], shape: &[usize], data: &[f32]) -> (Vec<u8>, String) {
    let model = Model::from_bytes(file).expect("valid");
    let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
    let header = serde_json::json!({
        "inputs": [{
            "name": model.inputs()[0].name, "shape": shape, "datatype": "FP32", "parameters": { "binary_data_size": bytes.len() },
        }],
        "parameters": { "binary_data_output": true },
    })
    .to_string();
    ([header.as_bytes(), &bytes].concat(), header.len().to_string())
}
