//! `cargo xtask stock`: a component on the engine's own server, `wasmtime serve`, which takes minutes to build.

use anyhow::Result;

use crate::process::{cargo, root, run as run_program};

/// The release that the host embeds, too.
const VERSION: &str = "=48.0.8";
/// What `wasmtime serve` needs.
const FEATURES: &str = "run,serve,cranelift,component-model,component-model-async,pooling-allocator,parallel-compilation";

/// Builds it where it isn't there, and runs the test.
pub fn run() -> Result<()> {
    let tools = root().join("target/tools");
    let program = tools.join("bin/wasmtime");
    if !program.is_file() {
        let install = ["install", "wasmtime-cli", "--version", VERSION, "--locked", "--no-default-features", "--features", FEATURES];
        run_program(cargo().args(install).arg("--root").arg(&tools))?;
    }
    let test = ["test", "--package", "quaver-serverless", "--test", "serve", "--locked", "--", "stock", "--nocapture"];
    run_program(cargo().args(test).env("QUAVER_WASMTIME", &program).env("QUAVER_REQUIRE_WASM", "1"))
}
