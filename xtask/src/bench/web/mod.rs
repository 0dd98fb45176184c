//! `cargo xtask bench --web`: Quaver's npm package beside onnxruntime-web on the same networks, in headless Chromium and in Node.
//!
//! In a host, each contestant has its model open all the time, and they take turns, as natively. What runs is what the demo's
//! benchmark runs (`web-demo/src/contest`); `web-demo/tools/contest.js` asks it.

mod first;
mod lane;
mod report;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::json;

use super::contestant::{Runner, Timing};
use super::environment::Environment;
use super::networks::{Form, Network, Prepared, prepare};
use super::{Args, progress, report::threads as in_words};
use crate::process::root;
use crate::site::Site;
use crate::{setup, wasm};
use lane::{Host, Lane, Who};
use report::Report;

/// The network whose first result is waited for, if it is among those that are measured; else it is the first.
const FIRST: &str = "mobilenet_v2";

/// Seconds at least before the first round: engines compile code well only once it has run for a while.
const WARM_UP: f64 = 1.5;

/// What both kinds of measurement need.
struct Setup {
    site: Site,
    /// The built pages.
    pages: PathBuf,
    /// What Node loads.
    node: PathBuf,
    chromium: PathBuf,
}

/// Measures, prints, and writes what is asked for.
pub fn run(args: &Args, networks: &[Network], environment: &Environment, quaver: &Path, cache: &Path) -> Result<()> {
    let setup = setup(args)?;
    let threads = match args.threads.as_slice() {
        [] if wasm::has_threads() => vec![1, 2],
        [] => vec![1],
        given => given.to_vec(),
    };
    let mut report = Report::new(args, environment, &setup.site)?;
    let runs: usize = threads.iter().map(|&threads| Who::all(threads).len()).sum();
    let bar = progress(networks.len() * Host::ALL.len() * runs * args.rounds as usize);
    let mut first = None;
    for network in networks {
        bar.set_message(format!("{}: quantize", network.name));
        let prepared = prepare(network, environment, quaver, cache, 1, false)?;
        for host in Host::ALL {
            for &threads in &threads {
                let (version, lanes) = compete(args, &setup, network, &prepared, host, threads, &bar)?;
                report.hosts.insert(host, version);
                report.lanes.extend(lanes);
            }
        }
        if first.is_none() || network.name == FIRST {
            first = Some((network, prepared));
        }
    }
    bar.finish_and_clear();
    if let Some((network, prepared)) = first {
        report.first = first::measure(args, &setup, network, &prepared)?;
    }
    report.finish();
    report.print_and_write(args)?;
    match report.has_ratio() {
        true => Ok(()),
        false => bail!("nothing could be compared; the reasons are above"),
    }
}

fn setup(args: &Args) -> Result<Setup> {
    let site = Site::install()?;
    let pages = root().join("target/peers/pages");
    site.build(&pages)?;
    let node = site.build_for_node()?;
    let chromium = match &args.chromium {
        Some(program) => program.clone(),
        None => {
            let said = setup::browser();
            setup::chromium().context(said)?
        }
    };
    Ok(Setup { site, pages, node, chromium })
}

/// What `contest.js` says first.
#[derive(Deserialize)]
struct Opened {
    host: String,
    contestants: Vec<Said<What>>,
}

#[derive(Deserialize)]
struct What {
    what: String,
}

/// What it says of a contestant: what was asked for, or why there is none.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said<T> {
    Reason { reason: String },
    Result(T),
}

impl<T> From<Said<T>> for Result<T, String> {
    fn from(said: Said<T>) -> Self {
        match said {
            Said::Reason { reason } => Err(reason),
            Said::Result(result) => Ok(result),
        }
    }
}

/// All rounds on one network in one host; returns the host's version, too.
fn compete(
    args: &Args,
    setup: &Setup,
    network: &Network,
    prepared: &Prepared,
    host: Host,
    threads: u32,
    bar: &ProgressBar,
) -> Result<(String, Vec<Lane>)> {
    let title = format!("{}, {host}, {}", network.name, in_words(threads));
    bar.set_message(format!("{title}: start"));
    if !std::io::stderr().is_terminal() {
        eprintln!("bench: {title}");
    }
    let mut lanes: Vec<Lane> = Who::all(threads).into_iter().map(|who| Lane::new(&network.name, host, threads, who)).collect();
    // Those without a model are out before they start.
    let mut running: Vec<(usize, PathBuf)> = Vec::new();
    for (index, lane) in lanes.iter_mut().enumerate() {
        match model(prepared, lane.who) {
            Ok(model) => running.push((index, model)),
            Err(reason) => lane.reason = Some(reason),
        }
    }
    let log = prepared.folder.join(format!("web-{host}-{threads}.log").to_lowercase());
    let mut runner = Runner::start(contest(setup, host, threads, &lanes, &running), &log).map_err(anyhow::Error::msg)?;
    let opened: Opened = read(&runner.answer().map_err(anyhow::Error::msg)?)?;
    let mut open = Vec::new();
    for (position, ((index, _), said)) in running.iter().zip(opened.contestants).enumerate() {
        let lane = &mut lanes[*index];
        match said.into() {
            Ok(What { what }) => {
                lane.what = Some(what);
                open.push((position, *index));
            }
            Err(reason) => lane.reason = Some(reason),
        }
    }
    // Round 0 is not measured.
    for round in 0..=args.rounds {
        for &(position, index) in &open {
            let lane = &mut lanes[index];
            if lane.reason.is_some() {
                continue;
            }
            bar.set_message(format!("{title}, round {round}: {}", lane.who));
            let seconds = if round == 0 { args.seconds.max(WARM_UP) } else { args.seconds };
            let answer = runner.ask(&format!("run {position} {seconds}")).map_err(anyhow::Error::msg)?;
            match read::<Said<Timing>>(&answer)?.into() {
                Ok(timing) if round > 0 => lane.rounds.push(timing),
                Ok(_) => {}
                Err(reason) => lane.fail(reason),
            }
        }
        if round > 0 {
            bar.inc(lanes.len() as u64);
        }
    }
    Ok((opened.host, lanes))
}

/// The program that has the contestants.
fn contest(setup: &Setup, host: Host, threads: u32, lanes: &[Lane], running: &[(usize, PathBuf)]) -> Command {
    let contestants: Vec<_> = running
        .iter()
        .map(|(index, model)| {
            let who = lanes[*index].who;
            let mut contestant = json!({ "engine": who.engine(), "model": model, "threads": threads });
            if let Some(build) = who.build() {
                contestant["build"] = build.into();
            }
            contestant
        })
        .collect();
    let request = json!({
        "host": host.to_string().to_lowercase(),
        "site": setup.pages,
        "node": setup.node,
        "chromium": setup.chromium,
        "contestants": contestants,
    });
    let mut command = setup.site.tool("contest.js");
    command.arg(request.to_string());
    command
}

/// What a contestant runs, or why it can't.
fn model(prepared: &Prepared, who: Who) -> Result<PathBuf, String> {
    match who {
        Who::Float => prepared.onnx(Form::Float),
        Who::Int8 => prepared.onnx(Form::Int8),
        Who::Quaver | Who::QuaverBase => prepared.qvr.clone(),
    }
}

fn read<T: serde::de::DeserializeOwned>(answer: &str) -> Result<T> {
    serde_json::from_str(answer).with_context(|| format!("a program of web-demo/tools says '{}'", answer.trim()))
}
