//! Where the time of runs goes: reads the clock between nodes.

use std::time::Instant;

use quaver_core::tensor::TensorView;

use super::Session;
use crate::dispatch::query::Query;
use crate::{Error, NodeTime, Profile};

/// How long each node of a run took, in nanoseconds. Made before the run, so that it costs little within.
#[derive(Debug)]
pub(super) struct Stopwatch {
    start: Instant,
    last: u64,
    /// By node.
    spans: Vec<u64>,
}

impl Stopwatch {
    /// Of a graph of so many nodes.
    pub(super) fn new(nodes: usize) -> Self {
        Self { start: Instant::now(), last: 0, spans: vec![0; nodes] }
    }

    /// A run begins.
    pub(super) fn start(&mut self) {
        self.spans.fill(0);
        self.start = Instant::now();
        self.last = 0;
    }

    /// A node ends, and the next one begins.
    pub(super) fn lap(&mut self, node: usize) {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.spans[node] += now - self.last;
        self.last = now;
    }

    /// How long a node took, all its passes together.
    pub(super) fn span(&self, node: usize) -> u64 {
        self.spans[node]
    }

    /// When a node began, if each had run once for all samples.
    fn begin(&self, node: usize) -> u64 {
        self.spans[..node].iter().sum()
    }
}

impl Session {
    /// Runs so many times and measures every node, after a run that isn't measured. Where samples run in several passes, a
    /// node's time is the sum over them, as if it had run once.
    ///
    /// # Errors
    /// Those of [`Session::infer`].
    pub fn profile(&mut self, inputs: &[(&str, TensorView<'_>)], runs: usize) -> Result<Profile, Error> {
        self.infer(inputs)?;
        let mut profile = Profile::new();
        let nodes = self.nodes();
        let mut watch = Stopwatch::new(self.model.graph().nodes.len());
        for _ in 0..runs {
            watch.start();
            self.start(inputs, Some(&mut |node, _, _| watch.lap(node)), false)?;
            let timed = nodes.iter().map(|node| NodeTime { start_ns: watch.begin(node.node), ns: watch.span(node.node), ..node.clone() });
            profile.add(timed.collect());
        }
        Ok(profile)
    }

    /// What is known about the nodes of the last run, all but their times.
    fn nodes(&self) -> Vec<NodeTime> {
        let Some(ready) = self.ready.last() else { return Vec::new() };
        let (graph, plan) = (ready.graph(&self.model), ready.executor.plan());
        let kernels: Vec<&str> = ready.backend.choices().map(|choice| choice.kernel.name).collect();
        let of = |&index: &usize| {
            let node = &graph.nodes[index];
            let query = Query::new(graph, plan, node, self.threads());
            NodeTime {
                node: index,
                name: node.name.clone(),
                op: node.op.name(),
                kernel: kernels[index].to_owned(),
                start_ns: 0,
                ns: 0,
                macs: query.macs(),
                bytes: query.bytes(),
            }
        };
        plan.steps.iter().map(of).collect()
    }
}
