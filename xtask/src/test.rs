//! `cargo xtask test`: everything that must hold before a commit, cheapest first.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::process::{cargo, run as run_program};
use crate::{setup, table, tidy, wasm};

/// A step: its name and its work.
type Step = (&'static str, fn() -> Result<()>);

/// The wasm build comes before the tests, which load its modules.
const STEPS: [Step; 6] = [
    ("setup", setup::run),
    ("format", || run_program(cargo().args(["fmt", "--all", "--check"]))),
    ("tidy", tidy::run),
    ("clippy", || run_program(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))),
    ("wasm", wasm::run),
    ("tests", || run_program(cargo().args(["test", "--workspace", "--locked"]))),
];

/// Runs the steps up to the first that fails, and prints what each took.
pub fn run() -> Result<()> {
    let mut times = Vec::new();
    let mut outcome = Ok(());
    for (name, step) in STEPS {
        println!("test: {name}");
        let start = Instant::now();
        outcome = step().with_context(|| format!("step '{name}' failed"));
        times.push([name.to_owned(), format!("{:.1}", start.elapsed().as_secs_f64())]);
        if outcome.is_err() {
            break;
        }
    }
    table::print(["step", "seconds"], times);
    outcome
}
