//! `quaver tune`: measures which kernel is fastest for each node, and writes it beside the model.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use indicatif::ProgressStyle;
use quaver::{Isa, Model, Session, SessionOptions};

use crate::{data, ui};

/// Measure which kernel is fastest for each node on this machine
///
/// The rules that choose kernels are general; this measures. It writes a side file that lists where another kernel is more
/// than 3 % faster. Results stay the same bytes. Tune on the machine, and with the threads and the batch, that will serve.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quaver tune net.qvr
  quaver tune net.qvr --threads 4 --seconds 30 -o net-4.tune.json
  quaver bench net.qvr --tuning net.qvr.tune.json")]
pub struct Args {
    /// The .qvr file
    file: PathBuf,
    /// The side file to write [default: FILE.qvr.tune.json]
    #[arg(short, long, value_name = "FILE.tune.json")]
    output: Option<PathBuf>,
    /// Threads to compute with
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Use no instruction set above this one: scalar, avx2, avxvnni, avx512vnni, amx. Goes before QUAVER_ISA
    #[arg(long, value_name = "ISA")]
    isa: Option<Isa>,
    #[command(flatten)]
    sizes: data::SizeArgs,
    /// How long to measure, in seconds
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    seconds: f64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        bail!("--seconds {} should lie between 0 and 3600", args.seconds);
    }
    let model = Model::open(&args.file)?;
    let options = SessionOptions { threads: args.threads, isa: args.isa, ..SessionOptions::default() };
    let mut session = Session::new(&model, options)?;
    let inputs = data::random_inputs(&model, &args.sizes.sizes(&model)?)?;
    const STEPS: u64 = 1000;
    let bar = ui::progress("tune", STEPS as usize);
    if let Ok(style) = ProgressStyle::with_template("{msg:24} {bar:40} {percent} % {eta}") {
        bar.set_style(style);
    }
    let mut progress = |part: f64| bar.set_position((part * STEPS as f64) as u64);
    let tuning = session.tune(&data::views(&inputs), Duration::from_secs_f64(args.seconds), &mut progress)?;
    bar.finish_and_clear();

    let path = args.output.clone().unwrap_or_else(|| {
        let mut name = args.file.clone().into_os_string();
        name.push(".tune.json");
        name.into()
    });
    tuning.write(&path)?;
    if tuning.changes().is_empty() {
        println!("no kernel is more than 3 % faster than what the rules choose (isa {})", session.isa());
    } else {
        let mut table = ui::listing(&["node", "from", "to", "before", "after"]);
        for c in tuning.changes() {
            let [before, after] = [c.before_ns, c.after_ns].map(|ns| ui::micros(ns as f64 / 1e3));
            table.add_row([ui::shorten(&c.name, 40), c.from.clone(), c.to.clone(), before, after]);
        }
        let saved: u64 = tuning.changes().iter().map(|c| c.before_ns - c.after_ns).sum();
        println!("{table}");
        println!("{} nodes change, which saves {} a run", tuning.changes().len(), ui::micros(saved as f64 / 1e3));
    }
    println!("written to {}", path.display());
    println!("use it with `quaver bench --tuning {}`, or as SessionOptions::tuning", path.display());
    Ok(())
}
