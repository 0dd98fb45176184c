//! Where the time of runs goes: reads the clock between nodes.

use std::time::Instant;

use quaver_core::tensor::TensorView;

use super::Session;
use crate::dispatch::query::Query;
use crate::{Error, NodeTime, Profile};

/// When each node of a run began and how long it took, in nanoseconds. Made before the run, so that it costs little within.
#[derive(Debug)]
pub(super) struct Stopwatch {
    start: Instant,
    last: u64,
    /// By node.
    spans: Vec<[u64; 2]>,
}

impl Stopwatch {
    /// Of a graph of so many nodes.
    pub(super) fn new(nodes: usize) -> Self {
        Self { start: Instant::now(), last: 0, spans: vec![[0; 2]; nodes] }
    }

    /// A run begins.
    pub(super) fn start(&mut self) {
        self.start = Instant::now();
        self.last = 0;
    }

    /// A node ends, and the next one begins.
    pub(super) fn lap(&mut self, node: usize) {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.spans[node] = [self.last, now - self.last];
        self.last = now;
    }

    /// Beginning and length of a node.
    pub(super) fn span(&self, node: usize) -> [u64; 2] {
        self.spans[node]
    }
}

impl Session {
    /// Runs so many times and measures every node, after a run that isn't measured.
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
            self.start(inputs, Some(&mut |node, _, _| watch.lap(node)))?;
            let timed = nodes.iter().map(|node| {
                let [start_ns, ns] = watch.span(node.node);
                NodeTime { start_ns, ns, ..node.clone() }
            });
            profile.add(timed.collect());
        }
        Ok(profile)
    }

    /// What is known about the nodes of the last run, all but their times.
    fn nodes(&self) -> Vec<NodeTime> {
        let Some((executor, backend)) = self.executors.last() else { return Vec::new() };
        let (graph, plan) = (self.model.graph(), executor.plan());
        let kernels: Vec<&str> = backend.choices().map(|choice| choice.kernel.name).collect();
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
