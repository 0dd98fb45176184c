//! The memory plan: concrete shapes at one batch size, and a place for every value in one arena.
//!
//! * [`arrange`] what a backend may ask for: several passes, values that lie elsewhere than by themselves
//! * [`lifetime`] when a value is needed, and which values share their bytes · [`arena`] offsets
//!
//! A plan depends on the graph, the batch size and what the backend asks for. It does not allocate the arena; [`crate::exec`]
//! does.

pub mod arena;
pub mod arrange;
pub mod lifetime;

use std::ops::Range;

use thiserror::Error;

use crate::graph::{ConstantId, Dim, Graph, ValueId};
use crate::tensor::byte_count;
use arrange::{Arrangement, Pass, dims};

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
    /// For each value in the arena, the pass for whose samples it has room; one more than there are, for all samples.
    pub homes: Vec<usize>,
    /// The passes, one at least.
    pub passes: Vec<PlannedPass>,
    /// What the backend asked for.
    pub arrangement: Arrangement,
    /// Nodes to run, in order; what finds its result in place is not among them: a reshape that shares its input's bytes, a
    /// concatenation whose operands have been written into it, a pool that the convolution in front of it has computed.
    pub steps: Vec<usize>,
    /// For each of the graph's outputs, where it is when the run ends.
    pub outputs: Vec<Range<usize>>,
    /// Outputs that are an input or a constant itself, to be copied: value and place.
    pub copies: Vec<(ValueId, Range<usize>)>,
    /// Bytes of the arena.
    pub arena_len: usize,
}

/// A pass with the extents that values have in it.
#[derive(Debug, Clone)]
pub struct PlannedPass {
    /// Indices of its nodes.
    pub nodes: Range<usize>,
    /// Samples.
    pub batch: usize,
    /// For each value, its extents.
    pub shapes: Vec<Vec<usize>>,
    /// For each value, the extents of the tensor that stands for it.
    pub stored: Vec<Vec<usize>>,
}

impl Plan {
    /// Plans `graph`, which has passed [`crate::graph::check::check`], at batch size `batch`, in at most `limit` bytes.
    ///
    /// # Errors
    /// [`PlanError`] for an empty batch or one that needs more than `limit` bytes.
    pub fn new(graph: &Graph, batch: usize, limit: usize) -> Result<Self, PlanError> {
        Self::arranged(graph, batch, limit, Arrangement::default())
    }

    /// As [`Plan::new`], in the way that a backend asks for.
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub fn arranged(graph: &Graph, batch: usize, limit: usize, mut arrangement: Arrangement) -> Result<Self, PlanError> {
        if batch == 0 {
            return Err(PlanError::EmptyBatch);
        }
        if arrangement.passes.is_empty() {
            arrangement.passes.push(Pass { nodes: 0..graph.nodes.len(), batch });
        }
        let too_large = |needed| PlanError::TooLarge { batch, needed, limit };
        let uncounted = || too_large(usize::MAX);
        let shapes = extents(graph, batch, |id| &graph.value(id).shape).ok_or_else(uncounted)?;
        let stored = |id| dims(graph, &arrangement.stored, id);
        let mut passes = Vec::with_capacity(arrangement.passes.len());
        for Pass { nodes, batch } in arrangement.passes.iter().cloned() {
            let shapes = extents(graph, batch, |id| &graph.value(id).shape).ok_or_else(uncounted)?;
            let stored = extents(graph, batch, stored).ok_or_else(uncounted)?;
            passes.push(PlannedPass { nodes, batch, shapes, stored });
        }
        let at_once = passes.len() == 1 && passes[0].batch == batch;
        let lifetimes = lifetime::analyse(graph, &arrangement, at_once);
        let homes: Vec<usize> = lifetimes.root.iter().map(|&root| lifetimes.homes[root]).collect();
        let whole = if at_once { passes[0].stored.clone() } else { extents(graph, batch, stored).ok_or_else(uncounted)? };
        let size = |i: usize| {
            let shape = passes.get(homes[i]).map_or(&whole[i], |pass| &pass.stored[i]);
            byte_count(graph.values[i].dtype, shape).filter(|&n| n <= isize::MAX as usize)
        };
        let sizes: Vec<usize> = (0..graph.values.len()).map(size).collect::<Option<_>>().ok_or_else(uncounted)?;
        let mut placement = arena::Arena::default();
        let ranges = placement.place(&lifetimes.spans, &sizes);
        let locations = (0..graph.values.len()).map(|i| locate(graph, &lifetimes, &ranges, i, sizes[i])).collect::<Vec<_>>();
        let mut copies = Vec::new();
        let mut outputs = Vec::new();
        for &id in &graph.outputs {
            outputs.push(match &locations[id.index()] {
                Location::Arena(range) => range.clone(),
                _ => {
                    let bytes = byte_count(graph.value(id).dtype, &shapes[id.index()]).ok_or_else(uncounted)?;
                    let range = placement.append(bytes);
                    copies.push((id, range.clone()));
                    range
                }
            });
        }
        let arena_len = placement.size();
        if arena_len > limit {
            return Err(too_large(arena_len));
        }
        Ok(Self { batch, shapes, locations, homes, passes, arrangement, steps: lifetimes.steps, outputs, copies, arena_len })
    }

    /// The pass of a node.
    pub fn pass_of(&self, node: usize) -> &PlannedPass {
        self.passes.iter().find(|pass| pass.nodes.contains(&node)).unwrap_or(&self.passes[0])
    }

    /// How often a node runs in a run.
    pub fn times(&self, node: usize) -> usize {
        self.batch / self.pass_of(node).batch.max(1)
    }
}

/// Extents of each value's dimensions at a batch size; `None` on overflow.
fn extents<'a>(graph: &Graph, batch: usize, dims: impl Fn(ValueId) -> &'a [Dim]) -> Option<Vec<Vec<usize>>> {
    let id = |i: usize| ValueId(i as u32);
    (0..graph.values.len()).map(|i| dims(id(i)).iter().map(|d| d.at(batch)).collect()).collect()
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
