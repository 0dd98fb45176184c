//! Who runs a model: this machine natively, wasmtime and pages of Chromium with each class of instructions, Node. Each takes f32
//! inputs in the model's order and gives the bytes of every output.

use std::path::PathBuf;
use std::process::Command;

use quaver::{Model, Session, SessionOptions, Tensor};

use crate::chromium;
use crate::guest::{Build, Bytes, Guest};

/// One input: extents and elements.
pub type Input = (Vec<usize>, Vec<f32>);

/// The bytes of every output, or why there are none.
pub type Outputs = Result<Vec<Vec<u8>>, String>;

/// Runs a model.
pub type Host = Box<dyn Fn(&[u8], &[Input]) -> Outputs>;

/// Every host whose build is there, by name; the others are named on standard output as skipped.
///
/// # Panics
/// Where `QUAVER_REQUIRE_WASM` or `CI` is set and a build is missing: then it must not be skipped.
pub fn hosts() -> Vec<(String, Host)> {
    let mut hosts: Vec<(String, Host)> = vec![("native".to_owned(), Box::new(native))];
    let mut candidates: Vec<(String, Host, PathBuf)> = Vec::new();
    for (build, class) in Build::CLASSES {
        let host = move |model: &[u8], inputs: &[Input]| wasmtime(build, class, model, inputs);
        candidates.push((format!("wasmtime, {build:?}, {class}"), Box::new(host), build.path()));
    }
    candidates.push(("node".to_owned(), Box::new(node), package().join("dist/index.js")));
    for (name, host, build) in candidates {
        if build.exists() {
            hosts.push((name, host));
            continue;
        }
        assert!(!required(), "{name} has no build at '{}'; run `cargo xtask wasm`", build.display());
        println!("skipped: {name}, as '{}' isn't built; `cargo xtask wasm` does it", build.display());
    }
    match chromium::missing() {
        None => hosts.extend(chromium::pages().into_iter().map(|page| {
            let name = page.name();
            let run = move |model: &[u8], inputs: &[Input]| with_bytes(inputs, |bytes| page.run(model, bytes));
            (name, Box::new(run) as Host)
        })),
        Some(why) => {
            assert!(!required(), "{why}");
            println!("skipped: Chromium, as {why}");
        }
    }
    hosts
}

/// Calls `run` with inputs as bytes.
fn with_bytes<T>(inputs: &[Input], run: impl FnOnce(&[Bytes<'_>]) -> T) -> T {
    let bytes: Vec<Vec<u8>> = inputs.iter().map(|(_, data)| data.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views: Vec<Bytes<'_>> = inputs.iter().zip(&bytes).map(|((shape, _), bytes)| (&bytes[..], &shape[..])).collect();
    run(&views)
}

/// Whether what needs a WebAssembly build must not be skipped: `QUAVER_REQUIRE_WASM` or `CI` is set.
pub fn required() -> bool {
    ["QUAVER_REQUIRE_WASM", "CI"].iter().any(|v| std::env::var_os(v).is_some())
}

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn package() -> PathBuf {
    workspace().join("wasm/npm")
}

fn native(model: &[u8], inputs: &[Input]) -> Outputs {
    let model = Model::from_bytes(model).map_err(|e| e.to_string())?;
    let mut session = Session::new(&model, SessionOptions::default()).map_err(|e| e.to_string())?;
    let mut named = Vec::new();
    for (port, (shape, data)) in model.inputs().iter().zip(inputs) {
        named.push((port.name.as_str(), Tensor::from_vec(shape.clone(), data.clone()).map_err(|e| e.to_string())?));
    }
    let outputs = session.run(&named).map_err(|e| e.to_string())?;
    Ok(outputs.iter().map(|(_, tensor)| tensor.bytes().to_vec()).collect())
}

fn wasmtime(build: Build, class: &str, model: &[u8], inputs: &[Input]) -> Outputs {
    let count = Model::from_bytes(model).map_err(|e| e.to_string())?.outputs().len();
    let mut guest = Guest::new(build, class)?;
    let handle = guest.open(model)?;
    with_bytes(inputs, |bytes| guest.set(handle, bytes))?;
    guest.run(handle)?;
    (0..count).map(|index| guest.output(handle, index)).collect()
}

fn node(model: &[u8], inputs: &[Input]) -> Outputs {
    let names = Model::from_bytes(model).map_err(|e| e.to_string())?;
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let write = |name: &str, bytes: &[u8]| -> Result<PathBuf, String> {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).map_err(|e| e.to_string())?;
        Ok(path)
    };
    let mut listed = Vec::new();
    for (i, (port, (shape, data))) in names.inputs().iter().zip(inputs).enumerate() {
        let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        let file = write(&format!("input{i}.bin"), &bytes)?;
        listed.push(serde_json::json!({ "name": port.name, "type": "float32", "dims": shape, "file": file }));
    }
    let request = serde_json::json!({ "model": write("model.qvr", model)?, "inputs": listed });
    let request = write("request.json", request.to_string().as_bytes())?;
    let results = folder.path().join("out");
    let run = Command::new("node").arg(package().join("run.mjs")).arg(&request).arg(&results).output().map_err(|e| format!("node: {e}"))?;
    if !run.status.success() {
        return Err(String::from_utf8_lossy(&run.stderr).into_owned());
    }
    (0..names.outputs().len()).map(|i| std::fs::read(results.join(format!("{i}.bin"))).map_err(|e| e.to_string())).collect()
}
