//! What the benchmark says: tables, and on request a record of them with figures and the processor's description.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde::Serialize;

use super::first::{BAR, First};
use super::lane::{Host, Lane, Line, Who};
use crate::bench::environment::Environment;
use crate::bench::report::{factor, ms, threads as in_words};
use crate::bench::summary::geomean;
use crate::bench::{Args, write};
use crate::process::output;
use crate::site::Site;
use crate::{machine, table, wasm};

/// The base build's time through the chosen one's should be at most this.
const BASE_BAR: f64 = 1.7;

/// Everything, as it is written.
#[derive(Debug, Serialize)]
pub struct Report {
    date: String,
    cpu: String,
    versions: BTreeMap<String, String>,
    /// The hosts' versions.
    pub hosts: BTreeMap<Host, String>,
    rounds: u32,
    seconds: f64,
    /// Every contestant on every network in every host.
    pub lanes: Vec<Lane>,
    tables: Vec<Table>,
    /// From an empty browser to a first result.
    pub first: Option<First>,
    sizes: Vec<Size>,
}

/// The lines of one host and one number of threads.
#[derive(Debug, Serialize)]
struct Table {
    host: Host,
    threads: u32,
    lines: Vec<Line>,
}

/// What a page has to download before any model.
#[derive(Debug, Serialize)]
struct Size {
    what: String,
    bytes: usize,
    gzip: usize,
}

/// A line of the CSV.
#[derive(Debug, Serialize)]
struct Row<'a> {
    date: &'a str,
    cpu: &'a str,
    host: &'a str,
    network: &'a str,
    threads: u32,
    who: Who,
    what: Option<&'a str>,
    median_ms: Option<f64>,
    min_ms: Option<f64>,
    rounds: usize,
    runs: u64,
    reason: Option<&'a str>,
}

impl Report {
    /// Without measurements yet.
    pub fn new(args: &Args, environment: &Environment, site: &Site) -> Result<Self> {
        let mut versions = BTreeMap::new();
        versions.insert("quaver".to_owned(), machine::version());
        versions.insert("onnxruntime-web".to_owned(), site.version("onnxruntime-web")?);
        if let Some(version) = environment.info.versions.get("onnxruntime") {
            versions.insert("onnxruntime, which quantizes,".to_owned(), version.clone());
        }
        let mut sizes = Vec::new();
        let mut add = |what: String, file: &Path| -> Result<()> {
            let [bytes, gzip] = wasm::size(file)?;
            sizes.push(Size { what, bytes, gzip });
            Ok(())
        };
        for (name, file) in wasm::modules() {
            add(format!("Quaver, {name}"), &file)?;
        }
        let [module, ..] = site.peer_files();
        add("onnxruntime-web, wasm only".to_owned(), &module)?;
        Ok(Self {
            date: environment.info.date.clone(),
            cpu: machine::cpu(),
            versions,
            hosts: BTreeMap::new(),
            rounds: args.rounds,
            seconds: args.seconds,
            lanes: Vec::new(),
            tables: Vec::new(),
            first: None,
            sizes,
        })
    }

    /// Computes the figures of the tables, once all is measured.
    pub fn finish(&mut self) {
        let mut groups: BTreeMap<(Host, u32), Vec<Line>> = BTreeMap::new();
        let together = |a: &Lane, b: &Lane| (&a.network, a.host, a.threads) == (&b.network, b.host, b.threads);
        for lanes in self.lanes.chunk_by(together) {
            if let (Some(first), Some(line)) = (lanes.first(), Line::new(lanes)) {
                groups.entry((first.host, first.threads)).or_default().push(line);
            }
        }
        self.tables = groups.into_iter().map(|((host, threads), lines)| Table { host, threads, lines }).collect();
    }

    /// Whether any network was measured on both sides.
    pub fn has_ratio(&self) -> bool {
        self.tables.iter().any(|table| table.lines.iter().any(|line| line.ratio.is_some()))
    }

    /// Prints, and writes what is asked for.
    pub fn print_and_write(&self, args: &Args) -> Result<()> {
        let text = self.text();
        println!("{text}");
        let csv = self.csv()?;
        if let Some(file) = &args.csv {
            write(file, &csv)?;
        }
        if let Some(file) = &args.json {
            write(file, &serde_json::to_vec_pretty(self)?)?;
        }
        if let Some(folder) = &args.record {
            let day = self.date.split('T').next().unwrap_or_default();
            let file = |extension: &str| -> PathBuf { folder.join(format!("{day}-web.{extension}")) };
            write(&file("csv"), &csv)?;
            let words: Vec<String> = std::env::args().skip(1).map(|word| shown(&word)).collect();
            let described = output(&mut Command::new("lscpu")).unwrap_or_default();
            write(&file("txt"), format!("cargo xtask {}\n\n{text}\n\n{described}\n", words.join(" ")).as_bytes())?;
        }
        Ok(())
    }

    /// The tables, and the reasons of their dashes.
    fn text(&self) -> String {
        let mut text = String::new();
        let versions = self.versions.iter().map(|(name, version)| format!("{name} {version}"));
        let all: Vec<String> = self.hosts.values().cloned().chain(versions).collect();
        let _ = writeln!(text, "{} · {}\n{}", self.date, self.cpu, all.join(", "));
        let _ = writeln!(
            text,
            "ms an inference, medians of {} rounds of {} s; ratio: Quaver's time through that of the faster form of onnxruntime-web,\n\
             median of the rounds' ratios; by minima: of the shortest inferences, which other work on the machine disturbs least",
            self.rounds, self.seconds
        );
        for table in &self.tables {
            let ours = |who: Who| {
                let mut lanes =
                    self.lanes.iter().filter(|lane| lane.who == who && (lane.host, lane.threads) == (table.host, table.threads));
                lanes.find_map(|lane| lane.what.clone()).unwrap_or_default()
            };
            let _ = writeln!(text, "\n{}, {}; Quaver: {}", table.host, in_words(table.threads), ours(Who::Quaver));
            let _ = writeln!(text, "{}", speed(table));
        }
        if let Some(first) = &self.first {
            let _ = writeln!(
                text,
                "\n{}: ms from an empty browser to a first result, medians of {} fresh profiles each",
                first.network, self.rounds
            );
            let mut header: Vec<String> = vec![String::new()];
            header.extend(first.pages.iter().map(|(who, _)| who.to_string()));
            header.extend(["ratio", "bar"].map(str::to_owned));
            let mut row = vec!["first result".to_owned()];
            row.extend(first.pages.iter().map(|&(who, _)| ms(first.time(who))));
            row.extend([factor(first.ratio()), factor(Some(BAR))]);
            let _ = writeln!(text, "{}", table::text(header, [row]));
        }
        let kilobytes = |bytes: usize| format!("{:.1}", bytes as f64 / 1e3);
        let rows = self.sizes.iter().map(|size| [size.what.clone(), kilobytes(size.bytes), kilobytes(size.gzip)]);
        let _ = writeln!(text, "\n{}", table::text(["module", "kB", "kB, gzip"], rows));
        let failed = self.lanes.iter().filter_map(|lane| Some((lane, lane.reason.as_ref()?)));
        for (lane, reason) in failed {
            let _ = writeln!(text, "{}, {}, {}: {} was not measured: {reason}", lane.network, lane.host, in_words(lane.threads), lane.who);
        }
        text.trim_end().to_owned()
    }

    /// A line for each contestant on each network in each host.
    fn csv(&self) -> Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for lane in &self.lanes {
            writer.serialize(Row {
                date: &self.date,
                cpu: &self.cpu,
                host: self.hosts.get(&lane.host).map(String::as_str).unwrap_or_default(),
                network: &lane.network,
                threads: lane.threads,
                who: lane.who,
                what: lane.what.as_deref(),
                median_ms: lane.median(),
                min_ms: lane.minimum(),
                rounds: lane.rounds.len(),
                runs: lane.rounds.iter().map(|round| round.runs).sum(),
                reason: lane.reason.as_deref(),
            })?;
        }
        Ok(writer.into_inner()?)
    }
}

/// The table of one host and one number of threads.
fn speed(table: &Table) -> String {
    let all = Who::all(table.threads);
    let with_base = all.contains(&Who::QuaverBase);
    let mut header = vec!["network".to_owned()];
    header.extend(all.iter().map(Who::to_string));
    header.extend(["ratio", "by minima", "bar"].map(str::to_owned));
    header.extend(with_base.then(|| format!("base to chosen (bar {BASE_BAR})")));
    let mut rows: Vec<Vec<String>> = table
        .lines
        .iter()
        .map(|line| {
            let mut row = vec![line.network.clone()];
            row.extend(line.times.iter().map(|&time| ms(time)));
            row.extend([factor(line.ratio), factor(line.ratio_of_minima), factor(line.bar)]);
            row.extend(with_base.then(|| factor(line.base)));
            row
        })
        .collect();
    let mean = |figure: fn(&Line) -> Option<f64>| geomean(&table.lines.iter().filter_map(figure).collect::<Vec<_>>());
    let mut last = vec![format!("geomean of {}", table.lines.len())];
    last.resize(all.len() + 1, String::new());
    last.extend([factor(mean(|line| line.ratio)), factor(mean(|line| line.ratio_of_minima)), String::new()]);
    last.extend(with_base.then(|| factor(mean(|line| line.base))));
    rows.push(last);
    table::text(header, rows)
}

/// A word of the command, as a record says it: where something lies on this machine is of no interest.
fn shown(word: &str) -> String {
    let path = Path::new(word);
    if path.is_absolute() { "PATH".to_owned() } else { word.to_owned() }
}
