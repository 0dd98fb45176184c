//! `cargo xtask`: the one door for everything that is not a plain `cargo build`.
//!
//! Each command is a module: [`setup`], [`wasm`], [`tidy`], [`mod@test`], [`mod@bench`],
//! [`demo`]. They run from any directory and print
//! what they do.

mod bench;
mod demo;
mod machine;
mod process;
mod setup;
mod site;
mod stock;
mod table;
mod test;
mod tidy;
mod toolchain;
mod wasm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Quaver's set-up, builds, tests and benchmarks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what builds and tests need and isn't there: the wasm target, npm packages, a browser, ONNX's node tests.
    Setup,
    /// Check everything: set-up, format, tidy, clippy, the wasm build, all tests.
    Test,
    /// Check the house rules that rustc and clippy don't know.
    Tidy,
    /// Build the WebAssembly modules and the npm package.
    Wasm,
    /// Measure Quaver beside other engines, which it installs for itself.
    Bench(bench::Args),
    /// Build wasmtime's own server and test that a component runs on it.
    Stock,
    /// Build the showcase, models included, and serve it.
    Demo(demo::Args),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup => setup::run(),
        Command::Test => test::run(),
        Command::Tidy => tidy::run(),
        Command::Wasm => wasm::run(),
        Command::Bench(args) => bench::run(&args),
        Command::Stock => stock::run(),
        Command::Demo(args) => demo::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Not by `main`'s own result, which would bury the message under a backtrace where RUST_BACKTRACE is set.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
