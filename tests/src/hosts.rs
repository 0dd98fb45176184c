//! Who runs a model: this machine natively, wasmtime, Node. Each takes f32 inputs in the model's order and gives the bytes of
//! every output.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use quaver::{Model, Session, SessionOptions, Tensor};
use wasmtime::{Engine, Instance, Linker, Memory, Module, Store, TypedFunc};

/// One input: extents and elements.
pub type Input = (Vec<usize>, Vec<f32>);

/// The bytes of every output, or why there are none.
pub type Outputs = Result<Vec<Vec<u8>>, String>;

/// Runs a model.
pub type Host = fn(&[u8], &[Input]) -> Outputs;

/// Every host whose build is there, by name; the others are named on standard output as skipped.
///
/// # Panics
/// Where `QUAVER_REQUIRE_WASM` or `CI` is set and a build is missing: then it must not be skipped.
pub fn hosts() -> Vec<(&'static str, Host)> {
    let mut hosts: Vec<(&'static str, Host)> = vec![("native", native)];
    let candidates: [(&'static str, Host, PathBuf); 2] =
        [("wasmtime", wasmtime, abi_module()), ("node", node, package().join("dist/index.js"))];
    for (name, host, build) in candidates {
        if build.exists() {
            hosts.push((name, host));
            continue;
        }
        assert!(!required(), "{name} has no build at '{}'; run `cargo xtask wasm`", build.display());
        println!("skipped: {name}, as '{}' isn't built; `cargo xtask wasm` does it", build.display());
    }
    hosts
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

fn abi_module() -> PathBuf {
    workspace().join("target/wasm/quaver.wasm")
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

/// The module, compiled once.
fn module() -> Result<&'static Module, String> {
    static MODULE: OnceLock<Result<Module, String>> = OnceLock::new();
    MODULE.get_or_init(|| Module::from_file(&Engine::default(), abi_module()).map_err(|e| format!("{e:#}"))).as_ref().map_err(Clone::clone)
}

/// An instance of the C interface.
struct Guest {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
}

impl Guest {
    fn new() -> Result<Self, String> {
        let module = module()?;
        let mut store = Store::new(module.engine(), ());
        let instance = Linker::new(module.engine()).instantiate(&mut store, module).map_err(|e| format!("{e:#}"))?;
        let memory = instance.get_memory(&mut store, "memory").ok_or("the module exports no memory")?;
        Ok(Self { store, instance, memory })
    }

    fn call<P: wasmtime::WasmParams>(&mut self, name: &str, params: P) -> Result<u32, String> {
        let f: TypedFunc<P, u32> = self.instance.get_typed_func(&mut self.store, name).map_err(|e| format!("{e:#}"))?;
        let result = f.call(&mut self.store, params).map_err(|e| format!("{name}: {e:#}"))?;
        if result != 0 || name == "quaver_last_error" || name.starts_with("quaver_result") {
            return Ok(result);
        }
        self.call("quaver_last_error", ())?;
        Err(format!("{name}: {}", String::from_utf8_lossy(&self.result()?)))
    }

    fn copy(&mut self, bytes: &[u8]) -> Result<(u32, u32), String> {
        let address = self.call("quaver_alloc", bytes.len() as u32)?;
        self.memory.write(&mut self.store, address as usize, bytes).map_err(|e| e.to_string())?;
        Ok((address, bytes.len() as u32))
    }

    fn result(&mut self) -> Result<Vec<u8>, String> {
        let (start, len) = (self.call("quaver_result_ptr", ())?, self.call("quaver_result_len", ())?);
        let mut bytes = vec![0; len as usize];
        self.memory.read(&self.store, start as usize, &mut bytes).map_err(|e| e.to_string())?;
        Ok(bytes)
    }
}

fn wasmtime(model: &[u8], inputs: &[Input]) -> Outputs {
    let count = Model::from_bytes(model).map_err(|e| e.to_string())?.outputs().len();
    let mut guest = Guest::new()?;
    let file = guest.copy(model)?;
    let handle = guest.call("quaver_open", file)?;
    for (index, (shape, data)) in inputs.iter().enumerate() {
        let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        let dims: Vec<u8> = shape.iter().flat_map(|&d| (d as u32).to_le_bytes()).collect();
        let (bytes, dims) = (guest.copy(&bytes)?, guest.copy(&dims)?);
        guest.call("quaver_set_input", (handle, index as u32, bytes.0, bytes.1, dims.0, shape.len() as u32))?;
    }
    guest.call("quaver_run", handle)?;
    let mut outputs = Vec::new();
    for index in 0..count {
        guest.call("quaver_output", (handle, index as u32))?;
        outputs.push(guest.result()?);
    }
    Ok(outputs)
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
