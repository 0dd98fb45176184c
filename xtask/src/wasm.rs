//! `cargo xtask wasm`: the WebAssembly modules and the npm package.
//!
//! * `target/wasm/quaver_abi.wasm`: the flat C interface, for wasmtime and other hosts
//! * `wasm/npm/dist/`: the npm package's code: the module through wasm-bindgen, and its TypeScript, compiled

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use wasm_bindgen_cli_support::Bindgen;

use crate::process::{root, run as run_program};
use crate::toolchain::{TARGET, Toolchain};
use crate::{setup, table};

const PROFILE: &str = "wasm-release";

/// Builds everything and prints the sizes.
pub fn run() -> Result<()> {
    let toolchain = Toolchain::install()?;
    setup::npm()?;
    println!("wasm: with {}", toolchain.describe());

    let target = root().join("target");
    let abi = target.join("wasm/quaver_abi.wasm");
    fs::create_dir_all(target.join("wasm"))?;
    // wasm-bindgen reads the names that this drops, so it is for this module only.
    copy(&compile(&toolchain, &[], &["-C", "link-arg=--strip-all"])?, &abi)?;

    let package = root().join("wasm/npm");
    let dist = package.join("dist");
    let module = compile(&toolchain, &["js"], &[])?;
    if dist.is_dir() {
        // What an earlier build left may be no part of this one.
        fs::remove_dir_all(&dist).with_context(|| format!("cannot empty {}", dist.display()))?;
    }
    Bindgen::new()
        .input_path(module)
        .web(true)?
        .typescript(true)
        .remove_name_section(true)
        .out_name("quaver")
        .generate(dist.join("wasm"))
        .context("wasm-bindgen fails on the module")?;
    run_program(Command::new("npm").current_dir(&package).args(["run", "--silent", "build"]))?;

    sizes([abi, dist.join("wasm/quaver_bg.wasm"), dist.join("wasm/quaver.js"), dist.join("index.js")])
}

/// Builds `quaver-wasm` with `features`, that crate alone with `rustc`'s flags, and returns the module's path, which the
/// next build overwrites.
fn compile(toolchain: &Toolchain, features: &[&str], rustc: &[&str]) -> Result<PathBuf> {
    // Apart from the other builds, whose locks and outputs it would fight over.
    let target = root().join("target/wasm-build");
    let mut command = toolchain.build();
    command.args(["--quiet", "--locked", "--package", "quaver-wasm", "--lib", "--profile", PROFILE]);
    command.args(["--features", &features.join(",")]).arg("--target-dir").arg(&target).arg("--").args(rustc);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags().join("\u{1f}"));
    run_program(&mut command)?;
    Ok(target.join(TARGET).join(PROFILE).join("quaver_wasm.wasm"))
}

fn flags() -> Vec<String> {
    let mut flags = vec!["-C".to_owned(), "target-feature=+simd128".to_owned()];
    // Messages of panics name source files: the same ones on every machine.
    let registry = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    flags.extend(registry.map(|home| format!("--remap-path-prefix={}=cargo", home.display())));
    flags.push(format!("--remap-path-prefix={}=quaver", root().display()));
    flags
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn sizes(files: impl IntoIterator<Item = PathBuf>) -> Result<()> {
    let mut rows = Vec::new();
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("the build made no {}", file.display()))?;
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&bytes)?;
        let sizes = [bytes.len(), packed.finish()?.len()].map(|size| format!("{:.1}", size as f64 / 1e3));
        let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        let [plain, packed] = sizes;
        rows.push([name, plain, packed]);
    }
    table::print(["file", "kB", "kB, gzip"], rows);
    Ok(())
}
