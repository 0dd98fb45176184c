//! The choice for every node of a model, and why. Nothing runs, so it may be about another machine than this one.

use std::time::Duration;

use quaver_core::plan::Plan;
use quaver_core::tensor::DType;

use super::cost::predict;
use super::kernel::{Kernel, REFERENCE};
use super::largest::largest;
use super::peaks::Peaks;
use super::query::Query;
use super::tune::Tuning;
use super::{Choice, candidates, resolve};
use crate::Model;
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
    /// Element type of its result.
    pub dtype: DType,
    /// Extents of its result.
    pub shape: Vec<usize>,
    /// Name of the kernel that runs it.
    pub kernel: &'static str,
    /// The instruction set of that kernel.
    pub isa: Isa,
    /// The rule that chose the kernel, or that allows it where it is `tuned`.
    pub rule: &'static str,
    /// The rule's reason.
    pub reason: &'static str,
    /// Whether a side file chose the kernel.
    pub tuned: bool,
    /// Kernels that could run it too, the definition aside.
    pub others: Vec<&'static str>,
    /// Multiply-accumulates, of operations that are made of them.
    pub macs: u64,
    /// Bytes read and written, each operand once.
    pub bytes: u64,
    /// Predicted time.
    pub predicted: Duration,
}

/// Explains every node that runs under `plan`, with instruction sets `isas` (ascending) and `threads` threads, on a machine of
/// such peaks.
pub fn explain(model: &Model, plan: &Plan, isas: &[Isa], threads: usize, peaks: &Peaks, tuning: Option<&Tuning>) -> Vec<Explained> {
    let (graph, largest) = (model.graph(), largest(model.graph(), model.constants()));
    let explain = |&index: &usize| {
        let node = &graph.nodes[index];
        let query = Query::new(graph, plan, node, threads).knowing(&largest, node);
        let Choice { kernel, rule } = resolve(index, &query, isas, tuning);
        let is_other = |other: &&Kernel| *other != kernel && *other != &REFERENCE;
        let candidates = candidates(&query, isas);
        Explained {
            node: index,
            name: node.name.clone(),
            op: node.op.name(),
            dtype: query.output.dtype,
            shape: query.output.shape.to_vec(),
            kernel: kernel.name,
            isa: kernel.isa,
            rule: rule.name,
            reason: rule.reason,
            tuned: candidates[0].kernel != kernel,
            others: candidates.iter().map(|choice| choice.kernel).filter(is_other).map(|kernel| kernel.name).collect(),
            macs: query.macs(),
            bytes: query.bytes(),
            predicted: predict(&query, kernel, peaks),
        }
    };
    plan.steps.iter().map(explain).collect()
}
