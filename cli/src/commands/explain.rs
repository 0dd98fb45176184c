//! `quaver explain`: which kernel runs each node, and why.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comfy_table::CellAlignment;
use quaver::dispatch::explain::{Place, explain};
use quaver::dispatch::tune::Tuning;
use quaver::{Explained, Isa, Model, Peaks, Session};
use serde::Serialize;

use super::engine::Engine;
use crate::{data, ui};

/// Show which kernel runs each node, which rule chose it, and how long it should take
///
/// Nothing runs without --measure, so it also tells what a machine with another instruction set would do. Predicted times are
/// a roofline: of this machine, whose peaks are measured first, or of a nominal one at 3 GHz where --isa names what this
/// machine lacks.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quaver explain net.qvr
  quaver explain net.qvr --measure --threads 2
  quaver explain net.qvr --isa amx --json | jq '.nodes[] | [.name, .kernel, .rule]'")]
pub struct Args {
    /// The .qvr file
    file: PathBuf,
    #[command(flatten)]
    engine: Engine,
    #[command(flatten)]
    sizes: data::SizeArgs,
    /// Also run it on random inputs, and show the median time of each node
    #[arg(long)]
    measure: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs that are measured, at least and at most.
const RUNS: [usize; 2] = [5, 1000];
/// How long they should take, in nanoseconds: enough for the processor's clock to rise.
const RUNS_NS: f64 = 5e8;

#[derive(Debug, Serialize)]
struct Report {
    file: String,
    isa: &'static str,
    threads: usize,
    batch: usize,
    /// `measured` on this machine, or `nominal`.
    peaks: &'static str,
    macs: u64,
    predicted_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_us: Option<f64>,
    nodes: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    node: usize,
    name: String,
    op: &'static str,
    dtype: &'static str,
    shape: Vec<usize>,
    /// Runs for the batch, each of as many samples.
    times: usize,
    /// Where the result is written: `own`, `frames` of the convolution behind it, its part of a `concat`.
    place: &'static str,
    kernel: &'static str,
    rule: &'static str,
    reason: &'static str,
    tuned: bool,
    others: Vec<&'static str>,
    macs: u64,
    bytes: u64,
    predicted_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_us: Option<f64>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let model = Model::open(&args.file)?;
    let report = match args.engine.isa {
        Some(isa) if !Isa::available().contains(&isa) => elsewhere(args, &model, isa)?,
        _ => here(args, &model)?,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

/// On a machine that has `isa`, and all below it.
fn elsewhere(args: &Args, model: &Model, isa: Isa) -> Result<Report> {
    if args.measure {
        bail!("--measure runs the model, but this machine has no {isa}; leave --measure out, or measure on a machine that has it");
    }
    let options = args.engine.options();
    if options.threads == 0 {
        bail!("--threads should be at least 1");
    }
    let tuning = options.tuning.map(|path| Tuning::read(path, model.name(), model.graph().nodes.len())).transpose()?;
    let how = (isa.and_below(), options.threads, tuning.as_ref());
    let nodes = explain(model, (&args.sizes.sizes(model)?, options.max_memory), how, &Peaks::nominal())?;
    Ok(report(args, isa.name(), "nominal", nodes))
}

/// On this machine.
fn here(args: &Args, model: &Model) -> Result<Report> {
    let mut session = Session::new(model, args.engine.options())?;
    let mut report = report(args, session.isa(), "measured", session.explain(args.sizes.sizes(model)?)?);
    if args.measure {
        let inputs = data::random_inputs(model, &args.sizes.sizes(model)?)?;
        let inputs = data::views(&inputs);
        let once = session.profile(&inputs, 1)?.total_ns();
        let runs = ((RUNS_NS / once.max(1.0)) as usize).clamp(RUNS[0], RUNS[1]);
        let profile = session.profile(&inputs, runs)?;
        let measured = profile.nodes();
        for row in &mut report.nodes {
            let node = measured.iter().find(|n| n.node == row.node).context("every node that is explained runs")?;
            row.measured_us = Some(node.median_ns / 1e3);
        }
        report.measured_us = Some(profile.total_ns() / 1e3);
    }
    Ok(report)
}

fn report(args: &Args, isa: &'static str, peaks: &'static str, nodes: Vec<Explained>) -> Report {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    Report {
        file: args.file.display().to_string(),
        isa,
        threads: args.engine.threads,
        batch: args.sizes.batch,
        peaks,
        macs: nodes.iter().map(|n| n.macs).sum(),
        predicted_us: nodes.iter().map(|n| us(n.predicted)).sum(),
        measured_us: None,
        nodes: nodes.into_iter().map(row).collect(),
    }
}

fn row(node: Explained) -> Row {
    Row {
        node: node.node,
        name: node.name,
        op: node.op,
        dtype: node.dtype.name(),
        shape: node.shape,
        times: node.times,
        place: match node.place {
            Place::Own => "own",
            Place::Frames => "frames",
            Place::Concat => "concat",
            Place::Pool => "pool",
        },
        kernel: node.kernel,
        rule: node.rule,
        reason: node.reason,
        tuned: node.tuned,
        others: node.others,
        macs: node.macs,
        bytes: node.bytes,
        predicted_us: node.predicted.as_secs_f64() * 1e6,
        measured_us: None,
    }
}

fn print(report: &Report) {
    let Report { file, isa, batch, peaks, .. } = report;
    println!("{file}  {isa}, {}, batch {batch}; predicted from {peaks} peaks", ui::threads(report.threads));
    let mut header = vec!["node", "operation", "result", "kernel", "rule", "MACs", "bytes", "predicted"];
    header.extend(report.measured_us.map(|_| "measured"));
    let mut table = ui::listing(&header);
    for i in 5..header.len() {
        if let Some(column) = table.column_mut(i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for n in &report.nodes {
        let rule = if n.tuned { "tuned" } else { n.rule };
        let times = if n.times > 1 { format!("{}x ", n.times) } else { String::new() };
        let place = if n.place == "own" { String::new() } else { format!(" in {}", n.place) };
        let result = format!("{times}{}{place}", ui::shape(n.dtype, &n.shape));
        let mut cells = vec![ui::shorten(&n.name, 28), n.op.to_owned(), result, n.kernel.to_owned(), rule.to_owned()];
        cells.extend([ui::count(n.macs), ui::bytes(n.bytes), ui::micros(n.predicted_us)]);
        cells.extend(n.measured_us.map(ui::micros));
        table.add_row(cells);
    }
    let bytes = report.nodes.iter().map(|n| n.bytes).sum();
    let mut total = vec![format!("{} nodes", report.nodes.len())];
    total.extend(vec![String::new(); 4]);
    total.extend([ui::count(report.macs), ui::bytes(bytes), ui::micros(report.predicted_us)]);
    total.extend(report.measured_us.map(ui::micros));
    table.add_row(total);
    println!("{table}");
    let mut rules = ui::listing(&["rule", "nodes", "because"]);
    let mut seen: Vec<&str> = Vec::new();
    for n in &report.nodes {
        if !seen.contains(&n.rule) {
            seen.push(n.rule);
            let count = report.nodes.iter().filter(|other| other.rule == n.rule).count();
            rules.add_row([n.rule, &count.to_string(), n.reason]);
        }
    }
    if report.nodes.iter().any(|n| n.tuned) {
        let count = report.nodes.iter().filter(|n| n.tuned).count();
        rules.add_row(["tuned", &count.to_string(), "measured to be faster, by the side file"]);
    }
    println!("{rules}");
}
