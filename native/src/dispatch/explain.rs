//! The choice for every node of a model, and why.

use std::time::Duration;

use quaver_core::graph::Graph;
use quaver_core::plan::Plan;

use super::cost::{Peaks, predict};
use super::query::Query;
use super::{Choice, candidates, choose};
use crate::cpu::Isa;

/// A node, explained.
#[derive(Debug, Clone)]
pub struct Explained {
    /// Index of the node in the graph.
    pub node: usize,
    /// The node's name.
    pub name: String,
    /// Its operation.
    pub op: &'static str,
    /// Name of the kernel that runs it.
    pub kernel: &'static str,
    /// The rule that chose the kernel.
    pub rule: &'static str,
    /// The rule's reason.
    pub reason: &'static str,
    /// Kernels that could run it too.
    pub others: Vec<&'static str>,
    /// Multiply-accumulates, of operations that are made of them.
    pub macs: u64,
    /// Bytes read and written, each operand once.
    pub bytes: u64,
    /// Predicted time on one thread.
    pub predicted: Duration,
}

/// Explains every node that runs under `plan`, with instruction sets `isas` (ascending) and `threads` threads.
pub fn explain(graph: &Graph, plan: &Plan, isas: &[Isa], threads: usize, peaks: &Peaks) -> Vec<Explained> {
    let explain = |&index: &usize| {
        let node = &graph.nodes[index];
        let query = Query::new(graph, plan, node, threads);
        let Choice { kernel, rule } = choose(&query, isas);
        let others = candidates(&query, isas).iter().map(|choice| choice.kernel.name).filter(|&name| name != kernel.name).collect();
        Explained {
            node: index,
            name: node.name.clone(),
            op: node.op.name(),
            kernel: kernel.name,
            rule: rule.name,
            reason: rule.reason,
            others,
            macs: query.macs(),
            bytes: query.bytes(),
            predicted: predict(&query, kernel.kind, peaks),
        }
    };
    plan.steps.iter().map(explain).collect()
}
