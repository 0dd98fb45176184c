//! First and last use of each value, and which values are the same bytes.

use super::arrange::{Arrangement, holder};
use crate::graph::{Graph, Op, ValueId};

/// When values are needed, by node index.
#[derive(Debug)]
pub struct Lifetimes {
    /// For each value, the value whose bytes it shares (often itself).
    pub root: Vec<usize>,
    /// For each root in the arena, the first and the last node at which it must keep its bytes.
    pub spans: Vec<Option<(usize, usize)>>,
    /// For each root in the arena, the pass for whose samples its bytes are kept; one more than there are, for all samples.
    pub homes: Vec<usize>,
    /// Nodes that have to run.
    pub steps: Vec<usize>,
}

/// Follows every value from where it is computed to its last use. `arrangement` has a pass at least; `at_once`: it
/// is one of all samples.
pub fn analyse(graph: &Graph, arrangement: &Arrangement, at_once: bool) -> Lifetimes {
    let (passes, stored) = (&arrangement.passes, &arrangement.stored);
    let pass_of = |index: usize| passes.iter().position(|pass| pass.nodes.contains(&index)).unwrap_or(0);
    let mut root: Vec<usize> = (0..graph.values.len()).map(|i| holder(stored, ValueId(i as u32)).index()).collect();
    let mut spans: Vec<Option<(usize, usize)>> = vec![None; graph.values.len()];
    let mut homes = vec![0; graph.values.len()];
    let mut steps = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        let pass = pass_of(index);
        for input in &node.inputs {
            let root = root[input.index()];
            if let Some((_, last)) = &mut spans[root] {
                (*last, homes[root]) = (index, homes[root].max(pass));
            }
        }
        let shares = matches!(node.op, Op::Reshape { .. }) && spans[root[node.inputs[0].index()]].is_some();
        for output in &node.outputs {
            if shares {
                root[output.index()] = root[node.inputs[0].index()];
            }
            let root = root[output.index()];
            let first = spans[root].map_or(index, |(first, _)| first);
            (spans[root], homes[root]) = (Some((first, index)), homes[root].max(pass));
        }
        if !shares && !arrangement.is_done(node) {
            steps.push(index);
        }
    }
    for output in &graph.outputs {
        let root = root[output.index()];
        if let Some((_, last)) = &mut spans[root] {
            (*last, homes[root]) = (usize::MAX, passes.len());
        }
    }
    // What outlives a pass is written a part at a time: all nodes before its last use run in between.
    for (span, home) in spans.iter_mut().zip(&homes) {
        if let Some((first, _)) = span.as_mut().filter(|(first, _)| !at_once && pass_of(*first) < *home) {
            *first = 0;
        }
    }
    Lifetimes { root, spans, homes, steps }
}
