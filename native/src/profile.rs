//! Where the time of a run goes: samples by node, their summary over several runs, and a trace for Perfetto.
//!
//! It measures nothing; a session fills in what it measured. Rates come from the median, which one interrupted run doesn't
//! change.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

/// One execution of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTime {
    /// Its index in the graph.
    pub node: usize,
    /// Its name.
    pub name: String,
    /// The operation's name.
    pub op: &'static str,
    /// The kernel that ran.
    pub kernel: String,
    /// When it began, in nanoseconds from the start of its run.
    pub start_ns: u64,
    /// How long it took, in nanoseconds.
    pub ns: u64,
    /// Multiplications with addition that it stands for; 0 where that is no measure of it.
    pub macs: u64,
    /// Bytes of operands and result.
    pub bytes: u64,
}

/// What was measured in any number of runs of one model at one batch size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    runs: Vec<Vec<NodeTime>>,
}

/// What the runs say about one node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSummary {
    /// Its index in the graph.
    pub node: usize,
    /// Its name.
    pub name: String,
    /// The operation's name.
    pub op: &'static str,
    /// The kernel that ran, the first time.
    pub kernel: String,
    /// How often it was measured.
    pub samples: usize,
    /// The median of its times (the mean of the middle two of an even number), in nanoseconds.
    pub median_ns: f64,
    /// The least of its times, in nanoseconds.
    pub min_ns: u64,
    /// Multiplications with addition in an execution.
    pub macs: u64,
    /// Bytes of operands and result.
    pub bytes: u64,
    /// The part of the sum of all nodes' medians that is this node's, 0 to 1.
    pub share: f64,
}

impl NodeSummary {
    /// Multiplications with addition in a second, by the median; none where it has none, or took no measurable time.
    pub fn macs_per_second(&self) -> Option<f64> {
        (self.macs > 0 && self.median_ns > 0.0).then(|| self.macs as f64 / self.median_ns * 1e9)
    }

    /// Bytes in a second, by the median.
    pub fn bytes_per_second(&self) -> Option<f64> {
        (self.bytes > 0 && self.median_ns > 0.0).then(|| self.bytes as f64 / self.median_ns * 1e9)
    }

    /// [`NodeSummary::macs_per_second`] as a part of `peak`, the most that the machine does in a second.
    pub fn share_of_peak(&self, peak: f64) -> Option<f64> {
        self.macs_per_second().filter(|_| peak > 0.0).map(|rate| rate / peak)
    }
}

impl Profile {
    /// No runs yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what was measured in one run.
    pub fn add(&mut self, run: Vec<NodeTime>) {
        self.runs.push(run);
    }

    /// The runs, in the order they were added.
    pub fn runs(&self) -> &[Vec<NodeTime>] {
        &self.runs
    }

    /// The nodes in the graph's order.
    pub fn nodes(&self) -> Vec<NodeSummary> {
        let mut samples: Vec<&NodeTime> = self.runs.iter().flatten().collect();
        // Stable: the first of a node is that of the first run.
        samples.sort_by_key(|sample| sample.node);
        let mut nodes: Vec<NodeSummary> = samples.chunk_by(|a, b| a.node == b.node).map(summary).collect();
        let total: f64 = nodes.iter().map(|node| node.median_ns).sum();
        for node in nodes.iter_mut().filter(|_| total > 0.0) {
            node.share = node.median_ns / total;
        }
        nodes
    }

    /// The sum of the nodes' medians, in nanoseconds: a run without what lies between the nodes.
    pub fn total_ns(&self) -> f64 {
        self.nodes().iter().map(|node| node.median_ns).sum()
    }

    /// Multiplications with addition in a run.
    pub fn total_macs(&self) -> u64 {
        self.nodes().iter().fold(0, |sum, node| sum.saturating_add(node.macs))
    }

    /// Writes all runs, one behind another, as Chrome's trace-event JSON, which Perfetto and `chrome://tracing` open. The file
    /// is there whole or not at all.
    ///
    /// # Errors
    /// Where the folder can't be written to.
    pub fn write_trace(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".quaver-").tempfile_in(folder)?;
        let mut writer = BufWriter::new(file.as_file_mut());
        serde_json::to_writer(&mut writer, &self.trace())?;
        writer.flush()?;
        drop(writer);
        make_readable(file.as_file())?;
        file.persist(path)?;
        Ok(())
    }

    /// The trace: an event for each run, and within it one for each node.
    fn trace(&self) -> Value {
        let mut events = vec![metadata("process_name", "quaver"), metadata("thread_name", "run")];
        let mut offset = 0;
        for (index, run) in self.runs.iter().enumerate() {
            let end = run.iter().map(|node| node.start_ns.saturating_add(node.ns)).max().unwrap_or(0);
            events.push(event(&format!("run {index}"), "run", offset, end, json!({ "nodes": run.len() })));
            for node in run {
                let args = json!({ "node": node.node, "kernel": node.kernel, "macs": node.macs, "bytes": node.bytes });
                events.push(event(&node.name, node.op, offset.saturating_add(node.start_ns), node.ns, args));
            }
            offset = offset.saturating_add(end);
        }
        json!({ "displayTimeUnit": "ns", "traceEvents": events })
    }
}

/// The summary of a node's samples, of which there is at least one; its share is for the caller to fill in.
fn summary(samples: &[&NodeTime]) -> NodeSummary {
    let mut times: Vec<u64> = samples.iter().map(|sample| sample.ns).collect();
    times.sort_unstable();
    let (below, above) = (times[(times.len() - 1) / 2], times[times.len() / 2]);
    let NodeTime { node, name, op, kernel, macs, bytes, .. } = samples[0].clone();
    let median_ns = (below as f64 + above as f64) / 2.0;
    NodeSummary { node, name, op, kernel, samples: times.len(), median_ns, min_ns: times[0], macs, bytes, share: 0.0 }
}

/// Names the only process or thread.
fn metadata(what: &str, name: &str) -> Value {
    json!({ "ph": "M", "pid": 1, "tid": 1, "name": what, "args": { "name": name } })
}

/// A complete event; the format's unit is the microsecond, with fractions.
fn event(name: &str, category: &str, start_ns: u64, ns: u64, args: Value) -> Value {
    let us = |ns: u64| ns as f64 / 1e3;
    json!({ "ph": "X", "pid": 1, "tid": 1, "name": name, "cat": category, "ts": us(start_ns), "dur": us(ns), "args": args })
}

/// Temporary files are private; what a user asked for has the rights that other tools would give it.
pub(crate) fn make_readable(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(node: usize, start_ns: u64, ns: u64) -> NodeTime {
        let (name, kernel) = (format!("conv \"{node}\"\n\\é\u{1}"), "gemm__scalar".to_owned());
        NodeTime { node, name, op: "QConv", kernel, start_ns, ns, macs: 1000 * node as u64, bytes: 64 }
    }

    /// Medians 30 and 250.
    fn profile() -> Profile {
        let mut profile = Profile::new();
        profile.add(vec![time(0, 0, 20), time(2, 25, 200)]);
        profile.add(vec![time(0, 5, 30), time(2, 40, 300)]);
        profile.add(vec![time(0, 0, 1_000_000)]);
        profile
    }

    #[test]
    fn medians_minima_and_rates() {
        let nodes = profile().nodes();
        let seen: Vec<_> = nodes.iter().map(|n| (n.node, n.samples, n.median_ns, n.min_ns, n.macs)).collect();
        assert_eq!(seen, [(0, 3, 30.0, 20, 0), (2, 2, 250.0, 200, 2000)]);
        assert_eq!([nodes[0].macs_per_second(), nodes[1].macs_per_second()], [None, Some(8e9)]);
        assert_eq!([nodes[1].share_of_peak(16e9), nodes[1].share_of_peak(0.0), nodes[0].share_of_peak(1.0)], [Some(0.5), None, None]);
        assert_eq!(nodes[1].bytes_per_second(), Some(64.0 / 250e-9));
    }

    #[test]
    fn shares_add_up() {
        let profile = profile();
        let shares: Vec<f64> = profile.nodes().iter().map(|n| n.share).collect();
        assert_eq!(shares, [30.0 / 280.0, 250.0 / 280.0]);
        assert_eq!((profile.total_ns(), profile.total_macs()), (280.0, 2000));
        assert_eq!((Profile::new().nodes(), Profile::new().total_ns()), (vec![], 0.0));
        let mut nothing = Profile::new();
        nothing.add(vec![time(1, 0, 0)]);
        assert_eq!((nothing.nodes()[0].share, nothing.nodes()[0].macs_per_second()), (0.0, None));
    }

    #[test]
    fn the_trace_parses_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trace.json");
        std::fs::write(&path, "an older one").expect("writable");
        profile().write_trace(&path).expect("writable");
        let trace: Value = serde_json::from_slice(&std::fs::read(&path).expect("there")).expect("JSON");
        let events = trace["traceEvents"].as_array().expect("a list");
        let of = |phase: &str| events.iter().filter(|e| e["ph"] == phase).collect::<Vec<_>>();
        let names: Vec<_> = of("M").iter().map(|e| e["name"].clone()).collect();
        assert_eq!(names, ["process_name", "thread_name"]);
        let (runs, nodes): (Vec<_>, Vec<_>) = of("X").into_iter().partition(|e| e["cat"] == "run");
        let span = |e: &&Value| (e["ts"].as_f64().expect("a number"), e["dur"].as_f64().expect("a number"));
        assert_eq!(runs.iter().map(span).collect::<Vec<_>>(), [(0.0, 0.225), (0.225, 0.34), (0.565, 1000.0)]);
        let spans: Vec<_> = nodes.iter().map(span).collect();
        assert_eq!(spans, [(0.0, 0.02), (0.025, 0.2), (0.23, 0.03), (0.265, 0.3), (0.565, 1000.0)]);
        assert_eq!(nodes[1]["name"], "conv \"2\"\n\\é\u{1}");
        assert_eq!(nodes[1]["args"], json!({ "node": 2, "kernel": "gemm__scalar", "macs": 2000, "bytes": 64 }));
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let result = profile().write_trace(folder.path().join("none").join("trace.json"));
        assert_eq!(result.expect_err("no folder").kind(), io::ErrorKind::NotFound);
    }
}
