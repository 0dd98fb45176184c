//! `quaver bench --profile`: where the time of an inference goes, by node and by operation.

use quaver::{Isa, NodeSummary, Peaks, Profile};
use serde::Serialize;

use crate::ui;

/// Runs that are measured at most: a trace of more is too long to look at.
pub const MOST_RUNS: usize = 1000;

/// A node or an operation.
#[derive(Debug, Serialize)]
pub struct Row {
    name: String,
    op: &'static str,
    kernel: String,
    median_us: f64,
    share: f64,
    macs: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    macs_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share_of_peak: Option<f64>,
}

/// Nodes in the graph's order. A share is of the peak of the kernel's instruction set, times the threads.
pub fn rows(profile: &Profile, threads: usize) -> Vec<Row> {
    let row = |node: NodeSummary| {
        let (macs_per_second, share_of_peak) = (node.macs_per_second(), node.share_of_peak(peak(&node.kernel, threads)));
        let NodeSummary { name, op, kernel, median_ns, share, macs, bytes, .. } = node;
        Row { name, op, kernel, median_us: median_ns / 1e3, share, macs, bytes, macs_per_second, share_of_peak }
    };
    profile.nodes().into_iter().map(row).collect()
}

/// The most multiply-accumulates per second with the instruction set that a kernel's name ends with; 0 where it isn't known.
fn peak(kernel: &str, threads: usize) -> f64 {
    let isa = kernel.rsplit_once("__").and_then(|(_, isa)| isa.parse::<Isa>().ok());
    // The definition is not written for a peak.
    isa.filter(|&isa| isa != Isa::Scalar).map_or(0.0, |isa| Peaks::measured().macs(isa) * threads as f64)
}

/// Prints a table of the nodes, and one of the operations.
pub fn print(rows: &[Row], isa: &str, threads: usize) {
    let mut table = ui::table(&["node", "operation", "kernel", "time", "share", "MAC/s", "of peak", "bytes/s"]);
    for column in [1, 2] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Left);
        }
    }
    for row in rows {
        table.add_row([
            ui::shorten(&row.name, 36),
            row.op.to_owned(),
            row.kernel.clone(),
            ui::micros(row.median_us),
            percent(row.share),
            row.macs_per_second.map(rate).unwrap_or_default(),
            row.share_of_peak.map(percent).unwrap_or_default(),
            if row.median_us > 0.0 { rate(row.bytes as f64 / row.median_us * 1e6) } else { String::new() },
        ]);
    }
    println!("{table}");
    let mut operations: Vec<Row> = Vec::new();
    let mut counts: Vec<usize> = Vec::new();
    for row in rows {
        let at = operations.iter().position(|other| other.op == row.op).unwrap_or_else(|| {
            let (name, kernel) = (String::new(), String::new());
            let (macs_per_second, share_of_peak) = (None, None);
            let none = Row { name, op: row.op, kernel, median_us: 0.0, share: 0.0, macs: 0, bytes: 0, macs_per_second, share_of_peak };
            operations.push(none);
            counts.push(0);
            operations.len() - 1
        });
        counts[at] += 1;
        let sum = &mut operations[at];
        sum.median_us += row.median_us;
        sum.share += row.share;
        sum.macs += row.macs;
        sum.bytes += row.bytes;
    }
    let mut order: Vec<usize> = (0..operations.len()).collect();
    order.sort_by(|&a, &b| operations[b].median_us.total_cmp(&operations[a].median_us));
    let mut table = ui::table(&["operation", "nodes", "time", "share", "MACs", "MAC/s"]);
    for at in order {
        let sum = &operations[at];
        let macs = if sum.macs > 0 { ui::count(sum.macs) } else { String::new() };
        let speed = if sum.macs > 0 && sum.median_us > 0.0 { rate(sum.macs as f64 / sum.median_us * 1e6) } else { String::new() };
        table.add_row([sum.op.to_owned(), counts[at].to_string(), ui::micros(sum.median_us), percent(sum.share), macs, speed]);
    }
    println!("{table}");
    let (time, macs) = (rows.iter().map(|r| r.median_us).sum::<f64>(), rows.iter().map(|r| r.macs).sum::<u64>());
    println!("{} nodes: {}, {} MACs, {} MAC/s", rows.len(), ui::micros(time), ui::count(macs), rate(macs as f64 / time.max(1e-3) * 1e6));
    if let Some(isa) = isa.parse::<Isa>().ok().filter(|&isa| isa != Isa::Scalar) {
        let peaks = Peaks::measured();
        let macs = peaks.macs(isa) * threads as f64;
        println!("peak of {isa}, {}: {} MAC/s; one thread reads {} bytes/s", ui::threads(threads), rate(macs), rate(peaks.bytes()));
    }
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

fn rate(per_second: f64) -> String {
    format!("{:.1} G", per_second / 1e9)
}
