//! `cargo xtask test`: everything that must hold before a commit, cheapest first.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::process::{cargo, output, run as run_program, rustc};
use crate::{setup, table, tidy};

/// A step: its name and its work.
type Step = (&'static str, fn(&mut State) -> Result<()>);

/// What `cargo test` compiles: its own choice, and the benchmarks of packages that need wasmtime.
const TARGETS: [&str; 9] = ["--lib", "--bins", "--tests", "--examples", "--bench", "cold", "--bench", "wasmtime", "--no-run"];

/// The wasm build comes before the tests, which load its modules. It is on one core nearly all the time, so it runs beside what
/// else is compiled.
///
/// Clippy compiles the tests: to check them in a step of its own, `cargo clippy` would compile the interfaces of all packages
/// that they need, burn and wasmtime among them, only for that. What tests don't need, and packages with few others below them,
/// are checked so.
const STEPS: [Step; 8] = [
    ("setup", |_| setup::run()),
    ("format", |_| run_program(cargo().args(["fmt", "--all", "--check"]))),
    ("tidy", |_| tidy::run()),
    ("wasm, begun", |state| {
        state.wasm = Some(Wasm::start()?);
        Ok(())
    }),
    ("clippy of what tests lack", |_| clippy()),
    ("clippy and tests, compiled", |_| run_program(cargo_test()?.args(TARGETS))),
    ("wasm, the rest", |state| state.wasm.take().context("it was begun")?.finish()),
    ("tests", |state| tests(&mut state.counts)),
];

/// What one step leaves to others.
#[derive(Debug, Default)]
struct State {
    counts: Counts,
    wasm: Option<Wasm>,
}

/// The wasm build in a process of its own, whose words are kept until it ends.
#[derive(Debug)]
struct Wasm {
    child: Child,
    said: File,
}

/// Tests of all test programs together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Runs the steps up to the first that fails, prints what each took, and closes with the number of tests.
pub fn run() -> Result<()> {
    let mut state = State::default();
    let mut times = Vec::new();
    let mut outcome = Ok(());
    for (name, step) in STEPS {
        println!("test: {name}");
        let start = Instant::now();
        outcome = step(&mut state).with_context(|| format!("step '{name}' failed"));
        times.push([name.to_owned(), format!("{:.1}", start.elapsed().as_secs_f64())]);
        if outcome.is_err() {
            break;
        }
    }
    table::print(["step", "seconds"], times);
    let Counts { passed, failed, ignored } = state.counts;
    println!("{passed} passed, {failed} failed, {ignored} ignored");
    outcome
}

impl Wasm {
    fn start() -> Result<Self> {
        let said = tempfile::tempfile().context("no temporary file")?;
        let mut command = Command::new(std::env::current_exe().context("this program's file is unknown")?);
        command.arg("wasm").stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?);
        Ok(Self { child: command.spawn().context("cannot start the wasm build")?, said })
    }

    fn finish(mut self) -> Result<()> {
        let status = self.child.wait().context("the wasm build was lost")?;
        let mut said = Vec::new();
        self.said.rewind()?;
        self.said.read_to_end(&mut said)?;
        print!("{}", String::from_utf8_lossy(&said));
        ensure!(status.success(), "the wasm build failed: {status}");
        Ok(())
    }
}

impl Drop for Wasm {
    /// Ends it where another step failed; a compiler that it has started ends with its module.
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// `cargo clippy` of the benchmarks of kernels, and of the interface for JavaScript.
fn clippy() -> Result<()> {
    let features = "quaver-wasm/js,quaver-wasm/threads";
    let targets = ["--package", "quaver", "--package", "quaver-wasm", "--lib", "--benches", "--features", features];
    run_program(cargo().arg("clippy").args(targets).args(["--locked", "--", "-D", "warnings"]))
}

/// `cargo test` with this workspace's packages compiled by Clippy, which is rustc with more lints. It passes a lint's level on as
/// `cargo clippy` does.
fn cargo_test() -> Result<Command> {
    let driver = Path::new(&output(rustc().args(["--print", "sysroot"]))?).join("bin/clippy-driver");
    ensure!(driver.is_file(), "{} is missing: install Clippy (rustup component add clippy)", driver.display());
    let mut command = cargo();
    // By an option and not by the environment, which tests that run cargo would inherit.
    command.arg("--config").arg(format!("build.rustc-workspace-wrapper={driver:?}"));
    // Panics say where they are without it, and line tables are a tenth of what compiling takes.
    command.args(["--config", "profile.dev.debug=false"]);
    command.env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
    command.args(["test", "--workspace", "--locked"]);
    Ok(command)
}

/// All tests, also those of the documentation; a test that fails doesn't keep others from running.
fn tests(counts: &mut Counts) -> Result<()> {
    let mut command = cargo_test()?;
    command.arg("--no-fail-fast").stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start cargo test")?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("cannot read what cargo test prints")?;
            counts.add(&line);
            println!("{line}");
        }
    }
    let status = child.wait().context("cargo test was lost")?;
    ensure!(status.success(), "cargo test failed: {status}");
    ensure!(counts.passed > 0, "cargo test reports no test that passed");
    Ok(())
}

impl Counts {
    /// Adds what a test program says in its closing line, `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = result.split([' ', ';']).collect();
        for pair in words.windows(2) {
            let (Some(count), Some(what)) = (pair.first().and_then(|n| n.parse::<u64>().ok()), pair.last()) else { continue };
            match *what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn results_add_up() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s",
            "test 7 passed ... ok",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            counts.add(line);
        }
        assert_eq!(counts, Counts { passed: 13, failed: 2, ignored: 1 });
    }
}
