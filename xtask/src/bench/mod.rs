//! `cargo xtask bench`: Quaver beside other engines; in browsers and Node with `--web`, which is in [`web`].
//!
//! `--peers`: Quaver beside ONNX Runtime, OpenVINO and PyTorch on the same networks, quantized by the same
//! scheme, in interleaved rounds.
//!
//! Other work on a machine makes single timings worthless, but it hits engines that take turns alike: what counts here are
//! ratios within a round. The peers run in Python (`tests/peers/latency.py`), in an environment of their own.

mod contestant;
pub mod environment;
mod files;
pub mod networks;
mod report;
mod summary;
mod web;

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::process::{cargo, root, run as run_program};
use contestant::{Contestant, Engine, Measurement, Precision, Runner};
use environment::Environment;
use files::Files;
use networks::{Network, Prepared};
use report::Report;

/// Measure Quaver beside other engines
///
/// Each network is quantized by the same scheme for all: u8 activations per tensor, s8 weights per channel, min-max ranges of
/// 8 random samples. The engines take turns, for some rounds; figures are medians over the rounds, and a ratio is taken in
/// each round before its median.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench --peers --models ~/onnx
  cargo xtask bench --peers --models ~/onnx resnet50 mobilenet_v2 --threads 1 --batch 1,16 --json results.json
  cargo xtask bench --web --models ~/onnx
  cargo xtask bench --web --models ~/onnx mobilenet_v2 --record native/benches/record/my-machine

Everything it makes lies in target/peers: the Python environment, converted networks, the engines' logs.")]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The networks of the folder to measure, by file name without .onnx; all where none is given
    #[arg(value_name = "NETWORK")]
    only: Vec<String>,
    /// A folder of float ONNX networks [default: target/peers/models]
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Numbers of threads, a table for each [default: 1 and all; with --web 1, and 2 where the npm package has a build for it]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Vec<u32>,
    /// Batches; peers run the first, Quaver all
    #[arg(long, conflicts_with = "web", value_name = "B,…", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: Vec<u32>,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Seconds for each engine in each round
    #[arg(long, value_name = "S", default_value_t = 0.3)]
    seconds: f64,
    /// Also beside PyTorch, which is large to install
    #[arg(long, conflicts_with = "web")]
    torch: bool,
    /// Also beside ONNX Runtime's QOperator form of the quantized network, not only QDQ
    #[arg(long, conflicts_with = "web")]
    qoperator: bool,
    /// Write everything, round by round, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write every engine's figures as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// With --web: write the figures and all that is printed, with the processor's description, into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "peers")]
    record: Option<PathBuf>,
    /// With --web: the browser [default: chromium, as it is found on the path]
    #[arg(long, value_name = "PROGRAM", conflicts_with = "peers")]
    chromium: Option<PathBuf>,
    /// The Python that makes the environment, 3.10 or later
    #[arg(long, value_name = "PROGRAM", default_value = environment::PYTHON)]
    python: PathBuf,
}

/// What is measured.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Natively, beside ONNX Runtime and OpenVINO
    #[arg(long)]
    peers: bool,
    /// In Chromium and Node, beside onnxruntime-web: float and QDQ INT8 ONNX; and from an empty browser to a first result
    #[arg(long)]
    web: bool,
}

/// Measures and prints.
///
/// # Errors
/// If nothing can be measured. A network that one engine cannot run is a dash in the table, and a reason below it.
pub fn run(args: &Args) -> Result<()> {
    ensure!(args.seconds > 0.0 && args.seconds <= 600.0, "--seconds {} should lie between 0 and 600", args.seconds);
    if let Some(folder) = &args.record {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for file in args.json.iter().chain(&args.csv) {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        ensure!(folder.is_none_or(|folder| folder.is_dir()), "cannot write {}: its folder does not exist", file.display());
    }
    let home = root().join("target/peers");
    let networks = networks::find(args.models.as_deref(), &home.join("models"), &args.only)?;
    let torch: &[&str] = if args.torch { &["tests/peers/requirements-torch.txt"] } else { &[] };
    let environment = Environment::make(&home, &args.python, torch)?;
    let quaver = quaver()?;
    if args.which.web {
        return web::run(args, &networks, &environment, &quaver, &home.join("cache"));
    }

    let threads = if args.threads.is_empty() { default_threads() } else { args.threads.clone() };
    let mut report = Report::new(&environment, args, &threads);
    let contestants = contestants(args);
    let bar = progress(networks.len() * threads.len() * args.rounds as usize * contestants.len());
    for network in &networks {
        bar.set_message(format!("{}: quantize", network.name));
        let prepared = networks::prepare(network, &environment, &quaver, &home.join("cache"), args.batch[0], args.qoperator)?;
        report.files.extend(Files::of(network, &prepared));
        for &threads in &threads {
            let measured = compete(args, network, &prepared, &environment, &contestants, threads, &bar);
            report.measurements.extend(measured);
        }
    }
    bar.finish_and_clear();

    report.finish();
    report.print();
    if let Some(file) = &args.json {
        report.write_json(file)?;
    }
    if let Some(file) = &args.csv {
        report.write_csv(file)?;
    }
    match report.has_ratio() {
        true => Ok(()),
        false => bail!("nothing could be compared; the reasons are above"),
    }
}

/// The `quaver` command, built.
pub fn quaver() -> Result<PathBuf> {
    let target = root().join("target");
    run_program(cargo().args(["build", "--release", "--package", "quaver-cli", "--target-dir"]).arg(&target))?;
    let program = target.join("release").join(format!("quaver{}", std::env::consts::EXE_SUFFIX));
    ensure!(program.is_file(), "the build made no {}", program.display());
    Ok(program)
}

/// One thread, and as many as there are processors.
fn default_threads() -> Vec<u32> {
    let all = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    if all > 1 { vec![1, all] } else { vec![1] }
}

/// Who takes part, in the order of a round.
fn contestants(args: &Args) -> Vec<Contestant> {
    let contestant = |engine, precision| Contestant { engine, precision, batch: args.batch[0] };
    let both = |engine| [Precision::Fp32, Precision::Int8].map(|precision| contestant(engine, precision));
    let mut list = both(Engine::OnnxRuntime).to_vec();
    list.extend(args.qoperator.then(|| contestant(Engine::OnnxRuntimeQOperator, Precision::Int8)));
    list.extend(both(Engine::OpenVino));
    list.extend(args.torch.then(|| both(Engine::PyTorch)).into_iter().flatten());
    list.extend(args.batch.iter().map(|&batch| Contestant { engine: Engine::Quaver, precision: Precision::Int8, batch }));
    list
}

/// All rounds on one network with one number of threads. Every engine is up all the time, so that each is as warm as the
/// others; only one is asked to work at a time.
fn compete(
    args: &Args,
    network: &Network,
    prepared: &Prepared,
    environment: &Environment,
    contestants: &[Contestant],
    threads: u32,
    bar: &ProgressBar,
) -> Vec<Measurement> {
    if !std::io::stderr().is_terminal() {
        eprintln!("bench: {}, {}", network.name, report::threads(threads));
    }
    let mut runners: Vec<(Result<Runner, String>, Measurement)> = contestants
        .iter()
        .map(|contestant| {
            bar.set_message(format!("{}: start {contestant}", network.name));
            let runner = prepared.command(*contestant, environment, threads).and_then(|command| {
                let log = prepared.folder.join(format!("{}-{threads}.log", contestant.slug()));
                let mut runner = Runner::start(command, &log)?;
                // Not measured: it loads the network, compiles it and touches all memory.
                runner.round(0.0)?;
                Ok(runner)
            });
            (runner, Measurement::new(&network.name, threads, *contestant))
        })
        .collect();
    for round in 1..=args.rounds {
        for (runner, measurement) in &mut runners {
            bar.set_message(format!("{}, {}, round {round}: {}", network.name, report::threads(threads), measurement.contestant));
            if let Ok(running) = runner {
                match running.round(args.seconds) {
                    Ok(timing) => measurement.rounds.push(timing),
                    Err(reason) => *runner = Err(reason),
                }
            }
            bar.inc(1);
        }
    }
    let finish = |(runner, mut measurement): (Result<Runner, String>, Measurement)| {
        if let Err(reason) = runner {
            // Rounds before a failure have no counterparts.
            measurement.rounds.clear();
            measurement.reason = Some(reason);
        }
        measurement
    };
    runners.into_iter().map(finish).collect()
}

fn progress(steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta:>4} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

/// Writes a result, and says so.
fn write(file: &std::path::Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
    println!("bench: wrote {}", file.display());
    Ok(())
}
