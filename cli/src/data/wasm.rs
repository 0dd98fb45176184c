//! The WebAssembly build, run by Node, where both are there.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use quaver::Tensor;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// What came of a run.
pub enum Outcome {
    /// SHA-256 of the output's bytes.
    Digest(String),
    /// Why there was none.
    Absent(String),
}

#[derive(Deserialize)]
struct Report {
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    sha256: String,
}

/// SHA-256 as hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Runs `model` on one f32 input and digests one output.
pub fn run(model: &[u8], input: &str, tensor: &Tensor, output: &str) -> Result<Outcome> {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../wasm/npm");
    let script = package.join("run.mjs");
    if !package.join("dist").exists() {
        return Ok(Outcome::Absent("not built; `cargo xtask wasm` builds it".to_owned()));
    }
    if Command::new("node").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return Ok(Outcome::Absent("Node is not installed".to_owned()));
    }
    let folder = tempfile::tempdir()?;
    let (model_file, input_file) = (folder.path().join("model.qvr"), folder.path().join("input.bin"));
    std::fs::write(&model_file, model)?;
    std::fs::write(&input_file, tensor.bytes())?;
    let job = serde_json::json!({
        "model": model_file,
        "inputs": [{ "name": input, "type": "float32", "dims": tensor.shape(), "file": input_file }],
    });
    let job_file = folder.path().join("job.json");
    std::fs::write(&job_file, job.to_string())?;
    let run = Command::new("node").arg(&script).arg(&job_file).arg(folder.path()).stderr(Stdio::piped()).output()?;
    ensure!(run.status.success(), "the WebAssembly build failed: {}", String::from_utf8_lossy(&run.stderr).trim());
    let report: Report = serde_json::from_slice(&run.stdout).context("the WebAssembly build printed no report")?;
    let found = report.outputs.into_iter().find(|o| o.name == output).context("the WebAssembly build has no such output")?;
    Ok(Outcome::Digest(found.sha256))
}
