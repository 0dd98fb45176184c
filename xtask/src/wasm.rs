//! `cargo xtask wasm`: the WebAssembly modules and the npm package.
//!
//! * `target/wasm/*.wasm`: a module for each of [`BUILDS`], with a flat C interface: for wasmtime and other hosts
//! * `wasm/npm/dist/`: the npm package's code: the same modules, their list, and its TypeScript, compiled
//! * `target/npm/quaver-VERSION.tgz`: the package as a registry would have it

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, write::GzEncoder};

use crate::process::{output, root, run as run_program};
use crate::toolchain::{TARGET, Toolchain};
use crate::{setup, table};

const PROFILE: &str = "wasm-release";
/// Most bytes of a module, plain and compressed: what a page that loads it is promised.
const LIMITS: [usize; 2] = [800_000, 300_000];

/// A module.
struct Build {
    /// What the package calls it.
    name: &'static str,
    /// The file's name, without `.wasm`.
    file: &'static str,
    /// The instructions that all of it may use.
    features: &'static str,
    /// Whether its memory is shared, so that a run can use several threads.
    threads: bool,
}

/// Every module, best first: the package takes the first that its host can run.
const BUILDS: [Build; 1] = [Build { name: "base", file: "quaver", features: "+simd128", threads: false }];

/// Builds everything and prints the sizes.
pub fn run() -> Result<()> {
    let toolchain = Toolchain::install()?;
    setup::npm()?;
    println!("wasm: with {}", toolchain.describe());

    let modules = root().join("target/wasm");
    let package = root().join("wasm/npm");
    let dist = package.join("dist");
    if dist.is_dir() {
        // What an earlier build left may be no part of this one.
        fs::remove_dir_all(&dist).with_context(|| format!("cannot empty {}", dist.display()))?;
    }
    fs::create_dir_all(&modules)?;
    fs::create_dir_all(dist.join("wasm"))?;
    let mut files = Vec::new();
    for build in &BUILDS {
        let module = modules.join(build.file).with_extension("wasm");
        copy(&compile(&toolchain, build)?, &module)?;
        copy(&module, &dist.join("wasm").join(build.file).with_extension("wasm"))?;
        files.push(module);
    }
    fs::write(dist.join("builds.js"), list_of_builds())?;
    fs::write(dist.join("builds.d.ts"), LIST_TYPES)?;
    run_program(Command::new("npm").current_dir(&package).args(["run", "--silent", "build"]))?;
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&root().join(licence), &dist.join(licence))?;
    }
    let tarball = pack(&package)?;
    sizes(&files)?;
    println!("wasm: {}", tarball.strip_prefix(root()).unwrap_or(&tarball).display());
    Ok(())
}

/// The package's list of its modules. Their addresses are literal, as bundlers look for them.
fn list_of_builds() -> String {
    let entry = |b: &Build| {
        let Build { name, file, threads, .. } = b;
        let url = format!("() => new URL(\"./wasm/{file}.wasm\", import.meta.url)");
        format!("  {{ name: \"{name}\", file: \"{file}.wasm\", threads: {threads}, url: {url} }},\n")
    };
    let entries: String = BUILDS.iter().map(entry).collect();
    format!("// Written by `cargo xtask wasm`.\nexport const BUILDS = [\n{entries}];\n")
}

const LIST_TYPES: &str = "export declare const BUILDS: readonly {
  readonly name: string;
  readonly file: string;
  readonly threads: boolean;
  readonly url: () => URL;
}[];
";

/// Packs the package.
fn pack(package: &Path) -> Result<PathBuf> {
    let folder = root().join("target/npm");
    if folder.is_dir() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    let name = output(Command::new("npm").current_dir(package).args(["pack", "--silent", "--pack-destination"]).arg(&folder))?;
    Ok(folder.join(name))
}

/// Compiles `quaver-wasm` and returns the module's path, which the next build overwrites.
fn compile(toolchain: &Toolchain, build: &Build) -> Result<PathBuf> {
    // Apart from the other builds, whose locks and outputs it would fight over.
    let target = root().join("target/wasm-build");
    let mut command = toolchain.build();
    command.args(["--quiet", "--locked", "--package", "quaver-wasm", "--lib", "--profile", PROFILE]);
    command.arg("--target-dir").arg(&target).args(["--", "-C", "link-arg=--strip-all"]);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(build.features).join("\u{1f}"));
    run_program(&mut command)?;
    Ok(target.join(TARGET).join(PROFILE).join("quaver_wasm.wasm"))
}

fn flags(features: &str) -> Vec<String> {
    let mut flags = vec!["-C".to_owned(), format!("target-feature={features}")];
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

/// Prints the modules' sizes.
///
/// # Errors
/// Where one is above [`LIMITS`].
fn sizes(files: &[PathBuf]) -> Result<()> {
    let mut rows = Vec::new();
    let mut too_large = Vec::new();
    for file in files {
        let bytes = fs::read(file).with_context(|| format!("the build made no {}", file.display()))?;
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&bytes)?;
        let sizes = [bytes.len(), packed.finish()?.len()];
        let name = file.strip_prefix(root()).unwrap_or(file).display().to_string();
        if sizes.iter().zip(&LIMITS).any(|(size, limit)| size > limit) {
            too_large.push(name.clone());
        }
        let [plain, packed] = sizes.map(|size| format!("{:.1}", size as f64 / 1e3));
        rows.push([name, plain, packed]);
    }
    table::print(["file", "kB", "kB, gzip"], rows);
    let [plain, packed] = LIMITS;
    ensure!(too_large.is_empty(), "{} above {plain} bytes, or {packed} compressed", too_large.join(", "));
    Ok(())
}
