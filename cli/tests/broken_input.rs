//! Bad input is an error with a remedy: exit code not 0, no panic, nothing half written.

use std::path::Path;
use std::process::{Command, Output};

use prost::Message;
use quaver_convert::import::onnx::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto,
    type_proto,
};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/fashion.onnx");

fn quaver(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quaver")).args(arguments).current_dir(folder).output().expect("the command starts")
}

/// Checks that a call fails as it should, with `hint` in its message, and leaves `folder` as it was.
fn fails(folder: &Path, arguments: &[&str], hint: &str) {
    let list = || {
        let mut names: Vec<_> = std::fs::read_dir(folder).expect("readable").map(|e| e.expect("readable").file_name()).collect();
        names.sort();
        names
    };
    let before = list();
    let output = quaver(folder, arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{arguments:?} succeeds");
    assert!(message.starts_with("error") && !message.contains("panicked"), "{arguments:?}: {message}");
    assert!(message.contains(hint), "{arguments:?} should say '{hint}': {message}");
    assert_eq!(list(), before, "{arguments:?} left a file behind");
}

fn demo_file(folder: &Path) -> Vec<u8> {
    let output = quaver(folder, &["convert", DEMO, "-o", "demo.qvr", "--calibrate-random", "4", "--report", "report.json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(folder.join("demo.qvr")).expect("written")
}

fn port(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims
        .iter()
        .map(|&d| tensor_shape_proto::Dimension { value: Some(tensor_shape_proto::dimension::Value::DimValue(d)), ..Default::default() });
    let tensor = type_proto::Tensor { elem_type: 1, shape: Some(TensorShapeProto { dim: dim.collect() }) };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: format!("the {op}"),
        input: inputs.iter().map(|&i| i.into()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

fn model(folder: &Path, name: &str, dims: &[i64], nodes: Vec<NodeProto>, weights: Vec<TensorProto>) {
    let (input, output) = (vec![port("x", dims)], vec![port("y", dims)]);
    let graph = GraphProto { name: "g".into(), node: nodes, initializer: weights, input, output, ..GraphProto::default() };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 13 }];
    let model = ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..ModelProto::default() };
    std::fs::write(folder.join(name), model.encode_to_vec()).expect("writable");
}

#[test]
fn damaged_qvr_files_are_errors() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    let file = demo_file(path);
    let write = |name: &str, bytes: &[u8]| std::fs::write(path.join(name), bytes).expect("writable");
    write("cut.qvr", &file[..file.len() / 2]);
    write("short.qvr", &file[..5]);
    write("empty.qvr", &[]);
    let mut absurd = file.clone();
    absurd[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    write("absurd.qvr", &absurd);
    let mut flipped = file.clone();
    flipped[9] ^= 0x55;
    write("flipped.qvr", &flipped);
    for name in ["cut.qvr", "short.qvr", "empty.qvr", "absurd.qvr", "flipped.qvr"] {
        for command in ["inspect", "bench"] {
            fails(path, &[command, name], "not a valid .qvr file");
        }
    }
    fails(path, &["inspect", "missing.qvr"], "missing.qvr");
    fails(path, &["inspect", "report.json"], "neither a .qvr nor an .onnx file");
}

#[test]
fn damaged_onnx_files_are_errors() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    let weight = |dims: &[i64], values: usize| TensorProto {
        dims: dims.to_vec(),
        data_type: 1,
        name: "w".into(),
        float_data: vec![1.0; values],
        ..TensorProto::default()
    };
    std::fs::write(path.join("text.onnx"), "no protobuf at all").expect("writable");
    model(path, "cycle.onnx", &[1, 4], vec![node("Relu", &["y"], "z"), node("Relu", &["z"], "y")], vec![]);
    model(path, "missing.onnx", &[1, 4], vec![node("Add", &["x", "w"], "y")], vec![]);
    model(path, "rank.onnx", &[1, 4], vec![node("Conv", &["x", "w"], "y")], vec![weight(&[1, 1, 1, 1], 1)]);
    model(path, "zero.onnx", &[1, 0], vec![node("Relu", &["x"], "y")], vec![]);
    model(path, "huge.onnx", &[1, i64::MAX], vec![node("Relu", &["x"], "y")], vec![]);
    model(path, "claims.onnx", &[1, 4], vec![node("Add", &["x", "w"], "y")], vec![weight(&[1 << 40, 1 << 20], 4)]);
    model(path, "unknown.onnx", &[1, 4], vec![node("Frobnicate", &["x"], "a"), node("Twiddle", &["a"], "y")], vec![]);
    for (name, hint) in [
        ("text.onnx", "not an ONNX model"),
        ("cycle.onnx", "circle"),
        ("missing.onnx", "'w'"),
        ("rank.onnx", "rank 2"),
        ("zero.onnx", "holds nothing"),
        ("huge.onnx", "x"),
        ("claims.onnx", "'w'"),
        ("unknown.onnx", "Twiddle 'the Twiddle'"),
    ] {
        fails(path, &["convert", name, "-o", "out.qvr", "--calibrate-random", "1"], hint);
    }
    fails(path, &["inspect", "unknown.onnx"], "Frobnicate 'the Frobnicate'");
}

#[test]
fn bad_arguments_are_errors() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    demo_file(path);
    std::fs::write(path.join("photo.jpg"), "no image").expect("writable");
    std::fs::create_dir(path.join("photos")).expect("makes");
    std::fs::write(path.join("photos/photo.jpg"), "no image").expect("writable");
    std::fs::write(path.join("typo.toml"), "[global]\nscheme = 'sttaic'").expect("writable");
    std::fs::write(path.join("name.toml"), "[names.nobody]\nscheme = 'float'").expect("writable");
    std::fs::write(path.join("array.npy"), "no array").expect("writable");
    let convert = ["convert", DEMO, "-o", "out.qvr"];
    let with = |rest: &[&'static str]| [&convert[..], rest].concat();
    fails(path, &["convert", DEMO, "-o", "nowhere/out.qvr", "--calibrate-random", "1"], "nowhere/out.qvr");
    fails(path, &with(&["--calibrate", "missing.npz"]), "missing.npz");
    fails(path, &with(&["--calibrate", "array.npy"]), "array.npy");
    fails(path, &with(&["--calibrate-images", "photos"]), "photo.jpg");
    fails(path, &with(&["--calibrate-images", "nowhere"]), "nowhere");
    fails(path, &with(&["--calibrate-random", "0"]), "at least one");
    fails(path, &with(&["--calibrate-random", "1", "--qconfig", "typo.toml"]), "sttaic");
    fails(path, &with(&["--calibrate-random", "1", "--qconfig", "name.toml"]), "nobody");
    fails(path, &with(&["--calibrate-random", "1", "--observer", "telescope"]), "telescope");
    fails(path, &with(&["--calibrate-random", "1", "--input-shape", "image"]), "NAME=DIMS");
    fails(path, &with(&["--calibrate-random", "1", "--input-shape", "other=N,1"]), "other");
    fails(path, &["run", "demo.qvr", "--input", "image=array.npy", "--output-dir", "out"], "array.npy");
    fails(path, &["classify", "demo.qvr", "photo.jpg"], "photo.jpg");
    fails(path, &["bench", "demo.qvr", "--threads", "0"], "thread");
    fails(path, &["bench", "demo.qvr", "--batch", "0"], "batch");
}

#[test]
fn commands_produce_what_they_promise() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    demo_file(path);
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = quaver(path, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("it prints JSON")
    };
    let bench = json(&["bench", "demo.qvr", "--seconds", "0.05", "--json"]);
    for field in ["median_ms", "min_ms", "runs", "threads", "isa"] {
        assert!(bench.get(field).is_some(), "{field} in {bench}");
    }
    let inspect = json(&["inspect", "demo.qvr", "--json"]);
    assert_eq!(inspect["inputs"][0]["name"], "image");
    assert!(json(&["inspect", DEMO, "--json"])["nodes"].as_array().is_some_and(|n| n.len() > 20));
    let compare = json(&["compare", DEMO, "demo.qvr", "--random", "3", "--layers", "--json"]);
    assert!(compare["outputs"][0]["sqnr_db"].as_f64().is_some_and(|db| db > 10.0), "{compare}");
    assert!(compare["layers"].as_array().is_some_and(|l| l.len() > 10));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(path.join("report.json")).expect("written")).expect("JSON");
    assert!(report["layers"].as_array().is_some_and(|l| l.iter().any(|l| l["fused_into"].is_string())));
    image::GrayImage::from_pixel(40, 30, image::Luma([200])).save(path.join("a.png")).expect("saves");
    assert_eq!(json(&["classify", "demo.qvr", "a.png", "--top", "3", "--json"])[0]["guesses"].as_array().map(Vec::len), Some(3));
}

/// As `quaver inspect … | head` does.
#[cfg(unix)]
#[test]
fn a_reader_that_goes_ends_a_command_quietly() {
    let folder = tempfile::tempdir().expect("folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_quaver"))
        .args(["inspect", DEMO])
        .current_dir(folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_batch_for_fixed_extents_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path();
    // The sum is over all dimensions, that of samples among them, so that the batch can't become open.
    let nodes = vec![node("ReduceSum", &["x"], "sum"), node("Sub", &["x", "sum"], "y")];
    model(path, "fixed.onnx", &[1, 12], nodes, Vec::new());
    let output = quaver(path, &["convert", "fixed.onnx", "-o", "fixed.qvr", "--calibrate-random", "2"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fails(path, &["bench", "fixed.qvr", "--batch", "4", "--seconds", "0.1"], "leave --batch out");
}
