//! `cargo xtask wasm`: the WebAssembly modules and the npm package. The module is built three times: for every engine with SIMD, and
//! with relaxed SIMD for engines whose dot product loses nothing, and for those where it saturates; and each of these with two
//! interfaces: functions of integers, and what wasm-bindgen makes for JavaScript. For the latter those with relaxed SIMD are also
//! built with shared memory, for threads. Each has a standard library that is built for it; where the toolchain can't build one,
//! modules are larger, and there are no threads.
//!
//! * `target/wasm/quaver_abi.wasm`, `quaver_abi_relaxed.wasm`, `quaver_abi_sat.wasm`: the modules for wasmtime and other hosts
//! * `wasm/npm/dist/`: the npm package's code: the modules for JavaScript, their list and their glue, and its TypeScript, compiled
//! * `target/wasm/quaver_component.wasm`, `quaver_component_base.wasm`: what `quaver componentize` puts a model into; see [`component`]
//! * `target/npm/quaver-VERSION.tgz`: the package as a registry would have it

mod component;
mod glue;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, write::GzEncoder};

use crate::process::{output, root, run as run_program};
use crate::toolchain::{TARGET, Toolchain};
use crate::{setup, table};
use glue::Glue;

const PROFILE: &str = "wasm-release";

/// Most bytes of a module of the package. To be 400 000, as before the operations of transformers came.
const MOST_BYTES: usize = 430_000;
/// Most bytes of one that is compressed by gzip. To be 150 000.
const MOST_PACKED: usize = 173_000;

/// A build of the module.
#[derive(Clone, Copy)]
struct Build {
    /// What the package calls it.
    name: &'static str,
    /// What its files' names have more.
    suffix: &'static str,
    /// Features of `quaver-wasm`.
    features: &'static [&'static str],
    /// Flags of its compiler.
    flags: &'static [&'static str],
    /// What its instructions are besides those of all.
    instructions: &'static [&'static str],
    /// Whether its memory is shared, so that a run can use several threads.
    threads: bool,
    /// The classes of relaxed dot products that it is for: an engine has one of them. None, where it is for every engine.
    dots: &'static [&'static str],
    /// The classes of instructions that it has, where the engine has them.
    classes: &'static [&'static str],
}

/// Comparisons and selections of vectors that the compiler makes of plain code would become relaxed instructions, which differ for
/// NaN and zeros; so it makes no vectors. Nor does it for the base build, whose kernels write theirs: code is smaller, and as fast.
const PLAIN: &[&str] = &["-C", "no-vectorize-loops", "-C", "no-vectorize-slp"];
/// The same with shared memory.
const THREADS: &[&str] = &[
    "-C",
    "no-vectorize-loops",
    "-C",
    "no-vectorize-slp",
    "-C",
    "target-feature=+atomics,+bulk-memory",
    "-C",
    "link-args=--shared-memory --import-memory --max-memory=4294967296",
    // What wasm-bindgen gives each thread its own stack and variables with.
    "-C",
    "link-args=--export=__wasm_init_tls --export=__tls_size --export=__tls_align --export=__tls_base --export=__heap_base",
];

/// Every build, best first: the package takes the first that its host can run.
const BUILDS: [Build; 5] = [
    Build {
        name: "threads",
        suffix: "_threads",
        features: &["relaxed", "threads"],
        flags: THREADS,
        instructions: &["--enable-relaxed-simd", "--enable-threads"],
        threads: true,
        dots: &["usdot", "sdot"],
        classes: &["scalar", "sdot", "usdot"],
    },
    Build {
        name: "threads_sat",
        suffix: "_threads_sat",
        features: &["sat", "threads"],
        flags: THREADS,
        instructions: &["--enable-relaxed-simd", "--enable-threads"],
        threads: true,
        dots: &["sat"],
        classes: &["scalar", "simd128", "sat"],
    },
    Build {
        name: "relaxed",
        suffix: "_relaxed",
        features: &["relaxed"],
        flags: PLAIN,
        instructions: &["--enable-relaxed-simd"],
        threads: false,
        dots: &["usdot", "sdot"],
        classes: &["scalar", "sdot", "usdot"],
    },
    Build {
        name: "sat",
        suffix: "_sat",
        features: &["sat"],
        flags: PLAIN,
        instructions: &["--enable-relaxed-simd"],
        threads: false,
        dots: &["sat"],
        classes: &["scalar", "simd128", "sat"],
    },
    Build {
        name: "base",
        suffix: "",
        features: &[],
        flags: PLAIN,
        instructions: &[],
        threads: false,
        dots: &[],
        classes: &["scalar", "simd128"],
    },
];

/// The package's files of glue: for a memory of one thread, and for shared ones.
const GLUE: [&str; 2] = ["glue", "glue.threads"];

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

/// What TypeScript needs to know of [`list_of_builds`].
const LIST_TYPES: &str = "import type { bind } from \"./glue.js\";
/** What only builds with threads have; see `wasm/src/threads.rs`. */
export interface Threads {
  expectThreads(threads: number): boolean;
  serve(index: number): void;
  lose(): void;
}
export type Glue = ReturnType<typeof bind> & Partial<Threads>;
export declare const VERSION: string;
export declare const BUILDS: readonly {
  readonly name: string;
  readonly file: string;
  readonly threads: boolean;
  /** The classes of relaxed dot products that it is for; none, where it is for every engine. */
  readonly dots: readonly string[];
  /** The classes of instructions that it has, where the engine has them. */
  readonly classes: readonly string[];
  readonly url: () => URL;
  readonly bind: () => Glue;
}[];
";

/// Builds everything and prints the sizes.
pub fn run() -> Result<()> {
    let toolchain = Toolchain::install()?;
    setup::npm()?;
    println!("wasm: with {}", toolchain.describe());

    let folder = root().join("target/wasm");
    let package = root().join("wasm/npm");
    let dist = package.join("dist");
    if dist.is_dir() {
        // What an earlier build left may be no part of this one.
        fs::remove_dir_all(&dist).with_context(|| format!("cannot empty {}", dist.display()))?;
    }
    fs::create_dir_all(&folder)?;
    fs::create_dir_all(dist.join("wasm"))?;
    let mut builds = BUILDS.to_vec();
    toolchain.install_source();
    if !toolchain.rebuilds() {
        println!("wasm: the standard library's source is missing, so modules are larger, and there is no build for threads:");
        println!("wasm: `rustup component add rust-src`");
        builds.retain(|build| !build.threads);
    }
    let mut files = Vec::new();
    // One glue for all, so that it fits a module that the package's user brings; where memory is shared, glue is of another kind.
    let mut glues: [Option<Glue>; 2] = [None, None];
    for &build in &builds {
        if !build.threads {
            let module = folder.join(format!("quaver_abi{}.wasm", build.suffix));
            optimize(build, &compile(&toolchain, build, &[])?, &module)?;
            files.push(module);
        }
        let module = dist.join("wasm").join(build.file());
        let bound = Glue::bind(&compile(&toolchain, build, &["js"])?, &target().join("bindgen"))?;
        optimize(build, bound.module(), &module)?;
        files.push(module);
        let glue = glues[usize::from(build.threads)].get_or_insert_with(|| bound.clone());
        ensure!(glue.fits(&bound), "wasm-bindgen's glue of the build '{}' differs from that of another", build.name);
    }
    for (glue, name) in glues.iter().zip(GLUE) {
        if let Some(glue) = glue {
            files.push(glue.write(&dist, name)?);
        }
    }
    fs::write(dist.join("builds.js"), list_of_builds(&builds))?;
    fs::write(dist.join("builds.d.ts"), LIST_TYPES)?;
    run_program(Command::new("npm").current_dir(&package).args(["run", "--silent", "build"]))?;
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&root().join(licence), &dist.join(licence))?;
    }
    files.push(pack(&package)?);
    files.extend(component::build(&toolchain, &folder)?);
    sizes(&files)?;
    // Without a standard library of its own, a module is larger, which is not its fault.
    if toolchain.rebuilds() {
        builds.iter().try_for_each(|build| limit(&dist.join("wasm").join(build.file())))?;
    }
    Ok(())
}

impl Build {
    /// The module's file in the package.
    fn file(self) -> String {
        format!("quaver{}.wasm", self.suffix)
    }
}

/// The package's list of its modules, and their version. Their addresses are literal, as bundlers look for them.
fn list_of_builds(builds: &[Build]) -> String {
    let entry = |build: &Build| {
        let (name, file, threads) = (build.name, build.file(), build.threads);
        let url = format!("() => new URL(\"./wasm/{file}\", import.meta.url)");
        let bind = if threads { "shared" } else { "bind" };
        let (dots, classes) = (build.dots, build.classes);
        format!(
            "  {{ name: \"{name}\", file: \"{file}\", threads: {threads}, dots: {dots:?}, classes: {classes:?}, url: {url}, bind: {bind} }},\n"
        )
    };
    let entries: String = builds.iter().map(entry).collect();
    let [one, several] = GLUE;
    let mut imports = format!("import {{ bind }} from \"./{one}.js\";\n");
    if builds.iter().any(|build| build.threads) {
        imports += &format!("import {{ bind as shared }} from \"./{several}.js\";\n");
    }
    let version = env!("CARGO_PKG_VERSION");
    format!("// Written by `cargo xtask wasm`.\n{imports}export const VERSION = \"{version}\";\nexport const BUILDS = [\n{entries}];\n")
}

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

/// Makes a module smaller.
fn optimize(build: Build, from: &Path, to: &Path) -> Result<()> {
    let program = root().join("wasm/npm/node_modules/binaryen/bin/wasm-opt");
    let mut command = Command::new("node");
    // A function that is called once stays one: within another, its variables have larger numbers, which are more bytes.
    command.arg(program).arg(from).arg("-o").arg(to).args(["-Os", "--one-caller-inline-max-function-size", "0"]);
    // The lowest addresses are the stack's end, so no pointer is so small that adding to it passes the end of all addresses.
    command.args(["--low-memory-unused", "--strip-debug", "--strip-producers", "--strip-target-features"]);
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

/// Where modules are compiled: apart from the other builds, whose locks and outputs these would fight over.
fn target() -> PathBuf {
    root().join("target/wasm-build")
}

/// Compiles `quaver-wasm` with the build's features and some more, and returns the module's path, which the next build overwrites.
fn compile(toolchain: &Toolchain, build: Build, more: &[&str]) -> Result<PathBuf> {
    compile_package(toolchain, "quaver-wasm", &[build.features, more].concat(), build.flags)
}

/// Compiles a package's library with such features and flags.
fn compile_package(toolchain: &Toolchain, package: &str, features: &[&str], more: &[&str]) -> Result<PathBuf> {
    let target = target();
    let mut command = toolchain.build();
    command.args(["--quiet", "--locked", "--package", package, "--lib", "--profile", PROFILE]);
    command.args(["--features", &features.join(",")]).arg("--target-dir").arg(&target);
    let added = toolchain.flags().iter().chain(more).map(|&flag| flag.to_owned());
    let flags: Vec<String> = flags().into_iter().chain(added).collect();
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    run_program(&mut command)?;
    Ok(target.join(TARGET).join(PROFILE).join(package.replace('-', "_") + ".wasm"))
}

fn flags() -> Vec<String> {
    let mut flags = vec!["-C".to_owned(), "target-feature=+simd128".to_owned()];
    // LLVM knows no number of registers for this target, so its order of instructions keeps more alive than processors have.
    // That of the source, in which kernels are written with care, does not.
    flags.extend(["-C".to_owned(), "llvm-args=-pre-RA-sched=source".to_owned()]);
    // Kernels unroll their loops by hand where it pays.
    flags.extend(["-C".to_owned(), "llvm-args=-unroll-runtime=false -unroll-allow-partial=false".to_owned()]);
    // Only what is small goes into its callers by itself: kernels say what belongs into their loops.
    flags.extend(["-C".to_owned(), "llvm-args=-inline-threshold=50".to_owned()]);
    // A loop keeps one index instead of an address for each of its operands, which LLVM would step on one by one.
    flags.extend(["-C".to_owned(), "llvm-args=-disable-lsr".to_owned()]);
    // Names by which the linker finds functions that are the same.
    flags.extend(["-C".to_owned(), "symbol-mangling-version=v0".to_owned()]);
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

fn sizes(files: &[PathBuf]) -> Result<()> {
    let mut rows = Vec::new();
    for file in files {
        let [plain, packed] = size(file)?.map(|size| format!("{:.1}", size as f64 / 1e3));
        let name = file.strip_prefix(root()).unwrap_or(file).display().to_string();
        rows.push([name, plain, packed]);
    }
    table::print(["file", "kB", "kB, gzip"], rows);
    Ok(())
}

/// Makes sure that a module is as small as the package promises.
fn limit(module: &Path) -> Result<()> {
    let [plain, packed] = size(module)?;
    ensure!(
        plain <= MOST_BYTES && packed <= MOST_PACKED,
        "{} has {plain} bytes, {packed} by gzip; the limits are {MOST_BYTES} and {MOST_PACKED}",
        module.display()
    );
    Ok(())
}

/// Bytes of a file as it is, and compressed by gzip.
pub fn size(file: &Path) -> Result<[usize; 2]> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&bytes)?;
    Ok([bytes.len(), packed.finish()?.len()])
}

/// The builds of the module that the package has: what it calls each, and its file.
pub fn modules() -> Vec<(&'static str, PathBuf)> {
    let file = |build: Build| (build.name, root().join("wasm/npm/dist/wasm").join(build.file()));
    BUILDS.map(file).into_iter().filter(|(_, file)| file.is_file()).collect()
}

/// Whether the package has a build that runs on several threads.
pub fn has_threads() -> bool {
    BUILDS.iter().any(|build| build.threads && modules().iter().any(|(name, _)| *name == build.name))
}
