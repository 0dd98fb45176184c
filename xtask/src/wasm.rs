//! `cargo xtask wasm`: the WebAssembly modules and the npm package. Each module is built twice: for every engine with SIMD, and
//! with relaxed SIMD for engines that have that too.
//!
//! * `target/wasm/quaver_abi.wasm`, `quaver_abi_relaxed.wasm`: the flat C interface, for wasmtime and other hosts
//! * `wasm/npm/dist/`: the npm package's code: `wasm/quaver_bg.wasm` and `wasm/quaver_relaxed_bg.wasm` through wasm-bindgen,
//!   which share `wasm/quaver.js`, and its TypeScript, compiled

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, write::GzEncoder};
use wasm_bindgen_cli_support::Bindgen;

use crate::process::{output, root, run as run_program};
use crate::toolchain::{TARGET, Toolchain};
use crate::{setup, table};

const PROFILE: &str = "wasm-release";

/// A build: what its files' names have more, its feature, flags of its compiler, and what its instructions are besides those of
/// all.
#[derive(Clone, Copy)]
struct Build {
    suffix: &'static str,
    features: &'static [&'static str],
    flags: &'static [&'static str],
    instructions: &'static [&'static str],
}

/// The first one's glue serves all.
const BUILDS: [Build; 2] = [
    Build { suffix: "", features: &[], flags: &[], instructions: &[] },
    // Comparisons and selections of vectors that the compiler makes of plain code would become relaxed instructions, which
    // differ for NaN and zeros; so it makes no vectors.
    Build {
        suffix: "_relaxed",
        features: &["relaxed"],
        flags: &["-C", "no-vectorize-loops", "-C", "no-vectorize-slp"],
        instructions: &["--enable-relaxed-simd"],
    },
];

/// Instructions of every build. An optimizer that meets others refuses the module.
const INSTRUCTIONS: [&str; 7] = [
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
];

/// Builds everything and prints the sizes.
pub fn run() -> Result<()> {
    let toolchain = Toolchain::install()?;
    setup::npm()?;
    println!("wasm: with {}", toolchain.describe());

    let folder = root().join("target/wasm");
    let package = root().join("wasm/npm");
    let dist = package.join("dist");
    fs::create_dir_all(&folder)?;
    if dist.is_dir() {
        // What an earlier build left may be no part of this one.
        fs::remove_dir_all(&dist).with_context(|| format!("cannot empty {}", dist.display()))?;
    }
    let mut files = Vec::new();
    for build in BUILDS {
        let abi = folder.join(format!("quaver_abi{}.wasm", build.suffix));
        optimize(build, &compile(&toolchain, build, &[])?, &abi)?;
        let module = compile(&toolchain, build, &["js"])?;
        files.extend([abi, bind(build, &module, &dist.join("wasm"))?]);
    }
    run_program(Command::new("npm").current_dir(&package).args(["run", "--silent", "build"]))?;
    files.extend([dist.join("wasm/quaver.js"), dist.join("index.js")]);
    sizes(files)
}

/// Writes a module for JavaScript and, with the first build, its glue; returns the module's place.
fn bind(build: Build, module: &Path, folder: &Path) -> Result<PathBuf> {
    let out = root().join("target/wasm").join(format!("bindgen{}", build.suffix));
    Bindgen::new()
        .input_path(module)
        .web(true)?
        .typescript(true)
        .remove_name_section(true)
        .out_name("quaver")
        .generate(&out)
        .context("wasm-bindgen fails on the module")?;
    fs::create_dir_all(folder)?;
    for name in ["quaver.js", "quaver.d.ts", "quaver_bg.wasm.d.ts"] {
        let (from, to) = (out.join(name), folder.join(name));
        if build.suffix.is_empty() {
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        } else {
            ensure!(fs::read(&from)? == fs::read(&to)?, "{name} of the builds differs; they must have one interface");
        }
    }
    let to = folder.join(format!("quaver{}_bg.wasm", build.suffix));
    optimize(build, &out.join("quaver_bg.wasm"), &to)?;
    Ok(to)
}

/// Makes a module smaller.
fn optimize(build: Build, from: &Path, to: &Path) -> Result<()> {
    let program = root().join("wasm/npm/node_modules/binaryen/bin/wasm-opt");
    let mut command = Command::new("node");
    command.arg(program).arg(from).arg("-o").arg(to).args(["-Oz", "--strip-debug", "--strip-producers", "--strip-target-features"]);
    // Not what the module says that it has, but what it may have.
    command.arg("--mvp-features").args(INSTRUCTIONS).args(build.instructions);
    run_program(&mut command)?;
    check_relaxed(to)
}

/// Makes sure that the only relaxed instructions of a module are dot products, which are written as such. Compilers make others
/// of plain code, for all of a module where any of it may be relaxed, and their results are those of the engine.
fn check_relaxed(module: &Path) -> Result<()> {
    let program = root().join("wasm/npm/node_modules/binaryen/bin/wasm-dis");
    let text = output(Command::new("node").arg(program).arg("--all-features").arg(module))?;
    let relaxed = text.split(|c: char| c.is_whitespace() || c == '(').filter(|word| word.contains(".relaxed_"));
    let found: BTreeSet<&str> = relaxed.filter(|word| !word.contains(".relaxed_dot_i8x16_i7x16_")).collect();
    ensure!(found.is_empty(), "{} has relaxed instructions that nobody wrote: {found:?}", module.display());
    Ok(())
}

/// Builds `quaver-wasm` with more features, and returns the module's path, which the next build overwrites.
fn compile(toolchain: &Toolchain, build: Build, features: &[&str]) -> Result<PathBuf> {
    let features = [build.features, features].concat();
    // Apart from the other builds, whose locks and outputs it would fight over.
    let target = root().join("target/wasm-build");
    let mut command = toolchain.build();
    command.args(["--quiet", "--locked", "--package", "quaver-wasm", "--lib", "--profile", PROFILE]);
    command.args(["--features", &features.join(",")]).arg("--target-dir").arg(&target);
    command.env("CARGO_ENCODED_RUSTFLAGS", [flags(), build.flags.iter().map(|&flag| flag.to_owned()).collect()].concat().join("\u{1f}"));
    run_program(&mut command)?;
    Ok(target.join(TARGET).join(PROFILE).join("quaver_wasm.wasm"))
}

fn flags() -> Vec<String> {
    let mut flags = vec!["-C".to_owned(), "target-feature=+simd128".to_owned()];
    // LLVM knows no number of registers for this target, so its order of instructions keeps more alive than processors have.
    // That of the source, in which kernels are written with care, does not.
    flags.extend(["-C".to_owned(), "llvm-args=-pre-RA-sched=source".to_owned()]);
    // Messages of panics name source files: the same ones on every machine.
    let registry = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    flags.extend(registry.map(|home| format!("--remap-path-prefix={}=cargo", home.display())));
    flags.push(format!("--remap-path-prefix={}=quaver", root().display()));
    flags
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
