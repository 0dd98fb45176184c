//! `quaver bench`: the time of an inference.

mod profile;
mod rounds;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use quaver::{Model, Session, TensorView};
use serde::Serialize;

use super::engine::Engine;
use crate::{data, ui};

/// Measure the time of an inference
///
/// Runs on seeded random inputs until the time is over, after a warm-up, and prints the median, and how long it took from opening
/// the file to the first result. Machines are noisy: compare ratios of runs made side by side rather than single numbers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quaver bench net.qvr --batch 4 --seconds 10 --json
  quaver bench net.qvr --profile --trace net.trace.json   (open it at ui.perfetto.dev)
  quaver bench net.qvr --isa avx2
  quaver bench net.qvr --tuning net.qvr.tune.json")]
pub struct Args {
    /// The .qvr file
    file: PathBuf,
    #[command(flatten)]
    engine: Engine,
    /// How long to measure, in seconds
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    #[command(flatten)]
    sizes: data::SizeArgs,
    /// Also measure each node: its time, its multiply-accumulates per second, and their share of what the instruction set
    /// reaches in registers
    #[arg(long)]
    profile: bool,
    /// With --profile: write the runs as a trace that ui.perfetto.dev and chrome://tracing open
    #[arg(long, value_name = "FILE.json", requires = "profile")]
    trace: Option<PathBuf>,
    /// Print JSON: median_ms, min_ms, first_ms, runs, threads, isa, batch, and nodes with --profile
    #[arg(long)]
    json: bool,
    /// For each line `run SECONDS` on standard input, measure for that long and print the JSON of --json: for programs that
    /// measure several engines in turns
    #[arg(long, conflicts_with_all = ["seconds", "json", "profile"])]
    rounds_from_stdin: bool,
}

#[derive(Debug, Serialize)]
struct Timing {
    median_ms: f64,
    min_ms: f64,
    /// From opening the file to the first result, the making of inputs aside.
    first_ms: f64,
    runs: usize,
    threads: usize,
    isa: String,
    batch: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Vec<profile::Row>>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        bail!("--seconds {} should lie between 0 and 3600", args.seconds);
    }
    let start = Instant::now();
    let model = Model::open(&args.file)?;
    let mut session = Session::new(&model, args.engine.options())?;
    let opened = start.elapsed();
    let inputs = data::random_inputs(&model, &args.sizes.sizes(&model)?)?;
    let named = data::views(&inputs);
    let start = Instant::now();
    session.infer(&named)?;
    let first_ms = (opened + start.elapsed()).as_secs_f64() * 1e3;
    let mut timing = |time: Duration| -> Result<Timing> {
        let measured = measure(&mut session, &named, time)?;
        Ok(Timing {
            median_ms: measured[measured.len() / 2],
            min_ms: measured[0],
            first_ms,
            runs: measured.len(),
            threads: session.threads(),
            isa: session.isa().to_owned(),
            batch: args.sizes.batch,
            nodes: None,
        })
    };
    if args.rounds_from_stdin {
        return rounds::serve(std::io::stdin().lock(), std::io::stdout().lock(), timing);
    }
    let mut result = timing(Duration::from_secs_f64(args.seconds))?;
    if args.profile {
        let runs = result.runs.clamp(1, profile::MOST_RUNS);
        let measured = session.profile(&named, runs)?;
        if let Some(path) = &args.trace {
            let hint = || format!("cannot write '{}'; choose a folder that exists and that you may write to", path.display());
            measured.write_trace(path).with_context(hint)?;
        }
        result.nodes = Some(profile::rows(&measured, result.threads));
    }
    if args.json {
        println!("{}", serde_json::to_string(&result)?);
        return Ok(());
    }
    let mut table = ui::table(&["file", "median ms", "min ms", "per sample ms", "first ms", "runs", "batch", "threads", "isa"]);
    table.add_row([
        args.file.display().to_string(),
        format!("{:.3}", result.median_ms),
        format!("{:.3}", result.min_ms),
        format!("{:.3}", result.median_ms / args.sizes.batch as f64),
        format!("{:.1}", result.first_ms),
        result.runs.to_string(),
        result.batch.to_string(),
        result.threads.to_string(),
        result.isa.clone(),
    ]);
    println!("{table}");
    if let Some(nodes) = &result.nodes {
        profile::print(nodes, &result.isa, result.threads);
    }
    if let Some(path) = &args.trace {
        println!("trace written to {}; open it at https://ui.perfetto.dev or chrome://tracing", path.display());
    }
    Ok(())
}

/// Times of single runs in milliseconds, ascending; one run at least.
pub fn measure(session: &mut Session, inputs: &[(&str, TensorView<'_>)], time: Duration) -> Result<Vec<f64>> {
    // Warm-up: the first run plans and touches memory.
    session.infer(inputs)?;
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.is_empty() || begin.elapsed() < time {
        let start = Instant::now();
        session.infer(inputs)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}
