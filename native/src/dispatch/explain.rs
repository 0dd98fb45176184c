//! The choice for every node of a model, and why. Nothing runs, so it may be about another machine than this one.

use std::time::Duration;

use quaver_core::plan::arrange::Storage;
use quaver_core::tensor::DType;

use super::cost::predict;
use super::kernel::{Kernel, REFERENCE};
use super::peaks::Peaks;
use super::query::Query;
use super::tune::Tuning;
use super::{Choice, candidates};
use crate::backend::{Bindings, Net};
use crate::cpu::Isa;
use crate::{Error, Model};
use quaver_core::graph::Sizes;
use quaver_core::graph::largest::largest;

/// Where a node's result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A place of its own.
    Own,
    /// The padded frames that the convolution behind it reads.
    Frames,
    /// Its part of the concatenation behind it.
    Concat,
    /// Nowhere: the max pool behind it is computed along.
    Pool,
}

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
    /// How often it runs for the batch, each time for as many samples.
    pub times: usize,
    /// Where its result is written.
    pub place: Place,
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

/// Explains every node that runs at those sizes of inputs, in at most so many bytes for activations, with instruction sets (ascending),
/// threads and a side file, on a machine of such peaks.
///
/// # Errors
/// [`Error::Sizes`] where no run can have such sizes, [`Error::Plan`] where it needs more memory.
pub fn explain(
    model: &Model,
    (sizes, limit): (&Sizes, usize),
    (isas, threads, tuning): (&[Isa], usize, Option<&Tuning>),
    peaks: &Peaks,
) -> Result<Vec<Explained>, Error> {
    let graph = &*model.sized(sizes)?;
    let net = Net { graph, constants: model.constants() };
    let largest = largest(graph, model.constants());
    let (plan, bindings) = Bindings::planned(isas, threads, net, (sizes.batch(), limit), tuning)?;
    let choices: Vec<Choice> = bindings.choices().collect();
    let explain = |&index: &usize| {
        let (node, Choice { kernel, rule }) = (&graph.nodes[index], choices[index]);
        let whole = Query::new(graph, &plan, node, threads);
        let query = Query { pooled: bindings.is_pooled(index), ..Query::in_pass(graph, &plan, index, threads).knowing(&largest, node) };
        let is_other = |other: &&Kernel| *other != kernel && *other != &REFERENCE;
        let candidates = candidates(&query, isas);
        let times = plan.times(index);
        Explained {
            node: index,
            name: node.name.clone(),
            op: node.op.name(),
            dtype: whole.output.dtype,
            shape: whole.output.shape.to_vec(),
            times,
            place: match plan.arrangement.stored.get(node.outputs[0].index()) {
                Some(Some(Storage::As(_))) => Place::Frames,
                Some(Some(Storage::Within { .. })) => Place::Concat,
                Some(Some(Storage::Pooled(_))) => Place::Pool,
                _ => Place::Own,
            },
            kernel: kernel.name,
            isa: kernel.isa,
            rule: rule.name,
            reason: rule.reason,
            tuned: candidates[0].kernel != kernel,
            others: candidates.iter().map(|choice| choice.kernel).filter(is_other).map(|kernel| kernel.name).collect(),
            macs: whole.macs(),
            bytes: whole.bytes(),
            predicted: predict(&query, kernel, peaks) * u32::try_from(times).unwrap_or(u32::MAX),
        }
    };
    Ok(plan.steps.iter().map(explain).collect())
}
