//! `quaver bench`: the time of an inference.

mod rounds;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use quaver::{Model, Session, SessionOptions};
use serde::Serialize;

use crate::{data, ui};

/// Measure the time of an inference
///
/// Runs on seeded random inputs until the time is over, after a warm-up, and prints the median. Machines are noisy:
/// compare ratios of runs made side by side rather than single numbers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  quaver bench net.qvr --batch 4 --seconds 10 --json")]
pub struct Args {
    /// The .qvr file
    file: PathBuf,
    /// Threads to compute with
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// How long to measure, in seconds
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// Samples in one inference
    #[arg(long, value_name = "B", default_value_t = 1)]
    batch: usize,
    /// Print JSON: median_ms, min_ms, runs, threads, isa, batch
    #[arg(long)]
    json: bool,
    /// For each line `run SECONDS` on standard input, measure for that long and print the JSON of --json: for programs that
    /// measure several engines in turns
    #[arg(long, conflicts_with_all = ["seconds", "json"])]
    rounds_from_stdin: bool,
}

#[derive(Debug, Serialize)]
struct Timing {
    median_ms: f64,
    min_ms: f64,
    runs: usize,
    threads: usize,
    isa: String,
    batch: usize,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        bail!("--seconds {} should lie between 0 and 3600", args.seconds);
    }
    let model = Model::open(&args.file)?;
    let mut session = Session::new(&model, SessionOptions { threads: args.threads, ..SessionOptions::default() })?;
    let inputs = data::random_inputs(&model, args.batch)?;
    let named: Vec<(&str, quaver::Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
    let mut timing = |time: Duration| -> Result<Timing> {
        let measured = measure(&mut session, &named, time)?;
        Ok(Timing {
            median_ms: measured[measured.len() / 2],
            min_ms: measured[0],
            runs: measured.len(),
            threads: session.threads(),
            isa: session.isa().to_owned(),
            batch: args.batch,
        })
    };
    if args.rounds_from_stdin {
        return rounds::serve(std::io::stdin().lock(), std::io::stdout().lock(), timing);
    }
    let result = timing(Duration::from_secs_f64(args.seconds))?;
    if args.json {
        println!("{}", serde_json::to_string(&result)?);
        return Ok(());
    }
    let mut table = ui::table(&["file", "median ms", "min ms", "per sample ms", "runs", "batch", "threads", "isa"]);
    table.add_row([
        args.file.display().to_string(),
        format!("{:.3}", result.median_ms),
        format!("{:.3}", result.min_ms),
        format!("{:.3}", result.median_ms / args.batch as f64),
        result.runs.to_string(),
        result.batch.to_string(),
        result.threads.to_string(),
        result.isa,
    ]);
    println!("{table}");
    Ok(())
}

/// Times of single runs in milliseconds, ascending; one run at least.
pub fn measure(session: &mut Session, inputs: &[(&str, quaver::Tensor)], time: Duration) -> Result<Vec<f64>> {
    // Warm-up: the first run plans and touches memory.
    session.run(inputs)?;
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.is_empty() || begin.elapsed() < time {
        let start = Instant::now();
        session.run(inputs)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}
