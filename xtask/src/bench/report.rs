//! What the benchmark says: tables on the terminal, JSON with every round, CSV with every engine's figures.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::contestant::{Engine, Measurement, Precision};
use super::environment::Environment;
use super::files::Files;
use super::summary::{Geomean, Summary, geomeans, round_median, summarize};
use super::{Args, write};
use crate::{machine, table};

/// Everything, as it is written.
#[derive(Debug, Serialize)]
pub struct Report {
    date: String,
    machine: Machine,
    versions: BTreeMap<String, String>,
    settings: Settings,
    /// Every engine on every network.
    pub measurements: Vec<Measurement>,
    /// What became of every network.
    pub files: Vec<Files>,
    summaries: Vec<Summary>,
    geomeans: Vec<Geomean>,
}

#[derive(Debug, Serialize)]
struct Machine {
    cpu: String,
    threads: usize,
    os: &'static str,
}

#[derive(Debug, Serialize)]
struct Settings {
    rounds: u32,
    seconds: f64,
    threads: Vec<u32>,
    batches: Vec<u32>,
}

/// A line of the CSV.
#[derive(Debug, Serialize)]
struct Line<'a> {
    date: &'a str,
    cpu: &'a str,
    network: &'a str,
    threads: u32,
    engine: Engine,
    precision: Precision,
    version: Option<&'a str>,
    batch: u32,
    median_ms: Option<f64>,
    min_ms: Option<f64>,
    rounds: usize,
    runs: u64,
    reason: Option<&'a str>,
}

impl Report {
    /// Without measurements yet.
    pub fn new(environment: &Environment, args: &Args, threads: &[u32]) -> Self {
        let mut versions = environment.info.versions.clone();
        versions.insert("quaver".to_owned(), machine::version());
        Self {
            date: environment.info.date.clone(),
            machine: Machine {
                cpu: machine::cpu(),
                threads: std::thread::available_parallelism().map_or(1, usize::from),
                os: std::env::consts::OS,
            },
            versions,
            settings: Settings { rounds: args.rounds, seconds: args.seconds, threads: threads.to_vec(), batches: args.batch.clone() },
            measurements: Vec::new(),
            files: Vec::new(),
            summaries: Vec::new(),
            geomeans: Vec::new(),
        }
    }

    /// Computes the figures of the tables, once all is measured.
    pub fn finish(&mut self) {
        for measurement in &mut self.measurements {
            measurement.median_ms = round_median(&measurement.rounds);
        }
        for &threads in &self.settings.threads {
            let of_threads: Vec<&Measurement> = self.measurements.iter().filter(|m| m.threads == threads).collect();
            let networks = of_threads.chunk_by(|a, b| a.network == b.network);
            self.summaries.extend(networks.filter_map(|network| summarize(network, self.settings.batches[0])));
        }
        self.geomeans = self.settings.threads.iter().map(|&threads| geomeans(&self.summaries, threads)).collect();
    }

    /// Whether any network was measured on both sides.
    pub fn has_ratio(&self) -> bool {
        self.summaries.iter().any(|summary| summary.ratio.is_some())
    }

    /// The tables, and the reasons of their dashes.
    pub fn print(&self) {
        let versions = self.versions.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ");
        println!("{} · {}\n{versions}", self.date, self.machine.cpu);
        println!(
            "ms an inference, medians of {} rounds; ratios are medians of the rounds' ratios;\nby minima: of the shortest inferences, which other work on the machine disturbs least",
            self.settings.rounds
        );
        for mean in &self.geomeans {
            let lines: Vec<&Summary> = self.summaries.iter().filter(|summary| summary.threads == mean.threads).collect();
            let isa = self.isa(mean.threads).map_or_else(String::new, |isa| format!(", Quaver on {isa}"));
            println!("\n{}, batch {}{isa}", threads(mean.threads), self.settings.batches[0]);
            let (header, rows) = comparison(&lines, mean);
            table::print(header, rows);
            if self.settings.batches.len() > 1 {
                println!("\nQuaver, {}: ms an inference", threads(mean.threads));
                let (header, rows) = batches(&lines);
                table::print(header, rows);
            }
        }
        println!("\nfiles, MB, and the nodes that each kernel runs");
        table::print_with_words(["network", "FP32", "INT8", "kernels"], self.files.iter().map(Files::row));
        let reasons = self.reasons();
        if !reasons.is_empty() {
            println!("\n- not measured:\n{}", reasons.join("\n"));
        }
    }

    /// Everything, as JSON.
    pub fn write_json(&self, file: &Path) -> Result<()> {
        write(file, &serde_json::to_vec_pretty(self)?)
    }

    /// A line for each engine on each network, as CSV.
    pub fn write_csv(&self, file: &Path) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for m in &self.measurements {
            writer.serialize(Line {
                date: &self.date,
                cpu: &self.machine.cpu,
                network: &m.network,
                threads: m.threads,
                engine: m.contestant.engine,
                precision: m.contestant.precision,
                version: self.versions.get(package(m.contestant.engine)).map(String::as_str),
                batch: m.contestant.batch,
                median_ms: m.median_ms,
                min_ms: m.rounds.iter().map(|round| round.min_ms).reduce(f64::min),
                rounds: m.rounds.len(),
                runs: m.rounds.iter().map(|round| round.runs).sum(),
                reason: m.reason.as_deref(),
            })?;
        }
        write(file, &writer.into_inner()?)
    }

    /// The instruction set that Quaver told.
    fn isa(&self, threads: u32) -> Option<&str> {
        self.measurements.iter().filter(|m| m.threads == threads).find_map(|m| m.rounds.iter().find_map(|round| round.isa.as_deref()))
    }

    /// A line for each reason on each network, with those who have it.
    fn reasons(&self) -> Vec<String> {
        let mut failed: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
        for m in &self.measurements {
            if let Some(reason) = &m.reason {
                failed.entry((&m.network, reason)).or_default().push(format!("{} {}", m.contestant, threads(m.threads)));
            }
        }
        failed.into_iter().map(|((network, reason), who)| format!("  {network}: {reason}\n    {}", who.join(", "))).collect()
    }
}

/// The table of one number of threads.
fn comparison(lines: &[&Summary], mean: &Geomean) -> (Vec<String>, Vec<Vec<String>>) {
    let peers: Vec<Engine> = lines.first().map(|line| line.int8.iter().map(|&(engine, _)| engine).collect()).unwrap_or_default();
    let mut header = vec!["network".to_owned(), "best FP32".to_owned()];
    header.extend(peers.iter().map(|peer| format!("{} INT8", peer.label())));
    header.extend(["Quaver", "ratio to best INT8", "by minima", "times faster than FP32", "peers' INT8"].map(str::to_owned));
    let mut rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let fp32 = line.best_fp32.map_or_else(dash, |(engine, time)| format!("{} ({})", ms(Some(time)), engine.label()));
            let mut row = vec![line.network.clone(), fp32];
            row.extend(line.int8.iter().map(|&(_, time)| ms(time)));
            row.push(ms(line.quaver));
            row.extend([line.ratio, line.ratio_of_minima, line.speedup, line.peers_speedup].map(factor));
            row
        })
        .collect();
    let mut last = vec![format!("geomean of {}", mean.networks)];
    last.resize(header.len() - 4, String::new());
    last.extend([mean.ratio, mean.ratio_of_minima, mean.speedup, mean.peers_speedup].map(factor));
    rows.push(last);
    (header, rows)
}

/// Our times at every batch.
fn batches(lines: &[&Summary]) -> (Vec<String>, Vec<Vec<String>>) {
    let sizes: Vec<u32> = lines.first().map(|line| line.batches.iter().map(|&(batch, _)| batch).collect()).unwrap_or_default();
    let mut header = vec!["network".to_owned()];
    header.extend(sizes.iter().map(|batch| format!("batch {batch}")));
    header.push(format!("{} to {}", sizes.last().copied().unwrap_or(1), sizes.first().copied().unwrap_or(1)));
    let row = |line: &&Summary| {
        let mut row = vec![line.network.clone()];
        row.extend(line.batches.iter().map(|&(_, time)| ms(time)));
        row.push(factor(line.batch_ratio));
        row
    };
    (header, lines.iter().map(row).collect())
}

/// A number of threads, in words.
pub fn threads(n: u32) -> String {
    format!("{n} thread{}", if n == 1 { "" } else { "s" })
}

pub(super) fn ms(time: Option<f64>) -> String {
    match time {
        None => dash(),
        Some(time) if time < 10.0 => format!("{time:.2}"),
        Some(time) => format!("{time:.1}"),
    }
}

pub(super) fn factor(value: Option<f64>) -> String {
    value.map_or_else(dash, |value| format!("{value:.2}"))
}

pub(super) fn dash() -> String {
    "-".to_owned()
}

/// The package whose version an engine has.
const fn package(engine: Engine) -> &'static str {
    match engine {
        Engine::OnnxRuntime | Engine::OnnxRuntimeQOperator => "onnxruntime",
        Engine::OpenVino => "openvino",
        Engine::PyTorch => "torch",
        Engine::Quaver => "quaver",
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::measured;
    use super::*;

    #[test]
    fn tables_have_a_column_for_each_peer_and_a_dash_for_what_is_missing() {
        let all = [
            measured("net", Engine::OnnxRuntime, Precision::Fp32, 1, &[12.0]),
            measured("net", Engine::OnnxRuntime, Precision::Int8, 1, &[4.0]),
            measured("net", Engine::OpenVino, Precision::Int8, 1, &[]),
            measured("net", Engine::Quaver, Precision::Int8, 1, &[3.0]),
            measured("net", Engine::Quaver, Precision::Int8, 16, &[45.0]),
        ];
        let summaries: Vec<Summary> = summarize(&all.iter().collect::<Vec<_>>(), 1).into_iter().collect();
        let lines: Vec<&Summary> = summaries.iter().collect();
        let (header, rows) = comparison(&lines, &geomeans(&summaries, 1));
        assert_eq!(
            header,
            [
                "network",
                "best FP32",
                "ORT INT8",
                "OpenVINO INT8",
                "Quaver",
                "ratio to best INT8",
                "by minima",
                "times faster than FP32",
                "peers' INT8"
            ]
        );
        assert_eq!(rows[0], ["net", "12.0 (ORT)", "4.00", "-", "3.00", "0.75", "0.75", "4.00", "3.00"]);
        assert_eq!(rows[1], ["geomean of 1", "", "", "", "", "0.75", "0.75", "4.00", "3.00"]);
        let (header, rows) = batches(&lines);
        assert_eq!(header, ["network", "batch 1", "batch 16", "16 to 1"]);
        assert_eq!(rows, [["net", "3.00", "45.0", "15.00"]]);
    }
}
