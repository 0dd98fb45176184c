//! The memory plan: concrete shapes at one batch size, and a place for every value in one arena.
//!
//! * [`lifetime`] when a value is needed, and which values share their bytes · [`arena`] offsets
//!
//! A plan depends on the graph and the batch size alone. It does not allocate the arena; [`crate::exec`] does.

pub mod arena;
pub mod lifetime;

use std::ops::Range;

use thiserror::Error;

use crate::graph::{ConstantId, Graph, ValueId};
use crate::tensor::byte_count;

/// Why a graph cannot be planned at a batch size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A batch of nothing.
    #[error("a batch of 0 has no result; give at least one sample")]
    EmptyBatch,
    /// More memory than allowed.
    #[error("batch {batch} needs {needed} bytes for activations, above the limit of {limit}; use a smaller batch or raise the limit")]
    TooLarge {
        /// The batch size.
        batch: usize,
        /// Bytes of the arena (`usize::MAX` where it can't be counted).
        needed: usize,
        /// The limit.
        limit: usize,
    },
}

/// Where a value's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// The caller's input of that index.
    Input(usize),
    /// A constant.
    Constant(ConstantId),
    /// A range of the arena.
    Arena(Range<usize>),
    /// Nowhere: nothing needs it.
    Unused,
}

/// The plan for one batch size.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The batch size.
    pub batch: usize,
    /// For each value, its extents.
    pub shapes: Vec<Vec<usize>>,
    /// For each value, where it is.
    pub locations: Vec<Location>,
    /// Nodes to run, in order; a reshape that shares its input's bytes is not among them.
    pub steps: Vec<usize>,
    /// For each of the graph's outputs, where it is when the run ends.
    pub outputs: Vec<Range<usize>>,
    /// Outputs that are an input or a constant itself, to be copied: value and place.
    pub copies: Vec<(ValueId, Range<usize>)>,
    /// Bytes of the arena.
    pub arena_len: usize,
}

impl Plan {
    /// Plans `graph`, which has passed [`crate::graph::check::check`], at batch size `batch`, in at most `limit` bytes.
    ///
    /// # Errors
    /// [`PlanError`] for an empty batch or one that needs more than `limit` bytes.
    pub fn new(graph: &Graph, batch: usize, limit: usize) -> Result<Self, PlanError> {
        if batch == 0 {
            return Err(PlanError::EmptyBatch);
        }
        let too_large = |needed| PlanError::TooLarge { batch, needed, limit };
        let mut shapes = Vec::with_capacity(graph.values.len());
        let mut sizes = Vec::with_capacity(graph.values.len());
        for value in &graph.values {
            let shape: Option<Vec<usize>> = value.shape.iter().map(|d| d.at(batch)).collect();
            let shape = shape.ok_or_else(|| too_large(usize::MAX))?;
            sizes.push(byte_count(value.dtype, &shape).filter(|&n| n <= isize::MAX as usize).ok_or_else(|| too_large(usize::MAX))?);
            shapes.push(shape);
        }
        let lifetimes = lifetime::analyse(graph);
        let mut placement = arena::Arena::default();
        let ranges = placement.place(&lifetimes.spans, &sizes);
        let locations = (0..graph.values.len()).map(|i| locate(graph, &lifetimes, &ranges, i, sizes[i])).collect::<Vec<_>>();
        let mut copies = Vec::new();
        let mut outputs = Vec::new();
        for &id in &graph.outputs {
            outputs.push(match &locations[id.index()] {
                Location::Arena(range) => range.clone(),
                _ => {
                    let range = placement.append(sizes[id.index()]);
                    copies.push((id, range.clone()));
                    range
                }
            });
        }
        let arena_len = placement.size();
        if arena_len > limit {
            return Err(too_large(arena_len));
        }
        Ok(Self { batch, shapes, locations, steps: lifetimes.steps, outputs, copies, arena_len })
    }
}

fn locate(graph: &Graph, lifetimes: &lifetime::Lifetimes, ranges: &[Option<usize>], index: usize, size: usize) -> Location {
    if let Some(id) = graph.values[index].constant {
        return Location::Constant(id);
    }
    if let Some(position) = graph.inputs.iter().position(|id| id.index() == index) {
        return Location::Input(position);
    }
    match ranges[lifetimes.root[index]] {
        Some(start) => Location::Arena(start..start + size),
        None => Location::Unused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::op::{BinaryFn, UnaryFn};
    use crate::graph::{Dim, Network, Op};
    use crate::tensor::{ALIGNMENT, DType};

    fn diamond() -> Network {
        let mut net = Network::new("diamond");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 100.into()]);
        let relu = || Op::Unary { function: UnaryFn::Relu };
        let a = net.push(relu(), &[x], "a", "a").expect("valid");
        let b = net.push(relu(), &[a], "b", "b").expect("valid");
        let c = net.push(relu(), &[b], "c", "c").expect("valid");
        let r = net.push(Op::Reshape { shape: vec![Dim::Batch { times: 100 }] }, &[c], "r", "r").expect("valid");
        let s = net.push(Op::Reshape { shape: vec![Dim::BATCH, 100.into()] }, &[r], "s", "s").expect("valid");
        let y = net.push(Op::Binary { function: BinaryFn::Add }, &[a, s], "y", "y").expect("valid");
        net.output(y);
        net
    }

    #[test]
    fn live_values_never_overlap() {
        let net = diamond();
        let plan = Plan::new(&net.graph, 3, usize::MAX).expect("fits");
        let at = |name: &str| match &plan.locations[net.graph.value_named(name).expect("named").index()] {
            Location::Arena(range) => range.clone(),
            other => panic!("{name} is at {other:?}"),
        };
        let overlap = |a: Range<usize>, b: Range<usize>| a.start < b.end && b.start < a.end;
        for (a, b) in [("a", "b"), ("b", "c"), ("a", "c"), ("a", "s"), ("a", "y"), ("s", "y")] {
            assert!(!overlap(at(a), at(b)), "{a} and {b}");
        }
        assert_eq!(at("c"), at("s"), "a reshape shares its input's bytes");
        assert_eq!(plan.steps, [0, 1, 2, 5]);
        assert!(plan.arena_len <= 3 * 1216 && at("y").start % ALIGNMENT == 0);
    }

    #[test]
    fn limits_are_errors() {
        let net = diamond();
        assert_eq!(Plan::new(&net.graph, 0, usize::MAX).unwrap_err(), PlanError::EmptyBatch);
        assert!(matches!(Plan::new(&net.graph, 1 << 20, 1 << 20), Err(PlanError::TooLarge { .. })));
        assert!(matches!(Plan::new(&net.graph, usize::MAX, usize::MAX), Err(PlanError::TooLarge { .. })));
    }
}
