//! `quaver componentize`: a model into a WebAssembly component.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::ui;

/// Put a .qvr file into a WebAssembly component that serves it
///
/// The component answers the Open Inference Protocol on every host of wasi:http 0.2: `quaver serve`, `wasmtime serve`, Spin, wasmCloud.
/// On `quaver serve` it uses the host's kernels, elsewhere its own; results are the same bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quaver componentize net.qvr -o net.wasm
  wasmtime serve net.wasm
  curl -d '{\"inputs\":[{\"name\":\"x\",\"shape\":[1,2],\"datatype\":\"FP32\",\"data\":[1,2]}]}' localhost:8080/v2/models/net/infer")]
pub struct Args {
    /// The .qvr file
    file: PathBuf,
    /// Where to write the component
    #[arg(short, long, value_name = "FILE.wasm")]
    output: PathBuf,
    /// The name that requests call the model by [default: the file's]
    #[arg(long)]
    name: Option<String>,
    /// For hosts without relaxed SIMD
    #[arg(long, conflicts_with = "template")]
    base: bool,
    /// The component's core module, as `cargo xtask wasm` builds it [default: beside this program, or where it was built]
    #[arg(long, value_name = "FILE.wasm")]
    template: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let template = match &args.template {
        Some(path) => path.clone(),
        None => template(if args.base { "quaver_component_base.wasm" } else { "quaver_component.wasm" })?,
    };
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read '{}'", path.display()));
    let stem = args.file.file_stem().unwrap_or_default().to_string_lossy();
    let name = args.name.as_deref().unwrap_or(&stem);
    let component = quaver_componentize::componentize(&read(&template)?, &read(&args.file)?, name)
        .with_context(|| format!("cannot make a component of '{}'", args.file.display()))?;
    ui::write_file(&args.output, &component)?;
    println!("{}: serves '{name}', {}", args.output.display(), ui::bytes(component.len() as u64));
    Ok(())
}

/// The core module: beside this program, or in the folder of builds that this program was built into.
fn template(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let folders = program.ancestors().skip(1).take(3);
    let places = folders.flat_map(|folder| [folder.join(name), folder.join("wasm").join(name)]);
    match places.into_iter().find(|place| place.is_file()) {
        Some(place) => Ok(place),
        None => bail!("'{name}' is not beside '{}'; `cargo xtask wasm` builds it, or give --template", program.display()),
    }
}
