//! First and last use of each value, and which values are the same bytes.

use crate::graph::{Graph, Op};

/// When values are needed, by node index.
#[derive(Debug)]
pub struct Lifetimes {
    /// For each value, the value whose bytes it shares (often itself).
    pub root: Vec<usize>,
    /// For each root in the arena, the first and the last node at which it must keep its bytes.
    pub spans: Vec<Option<(usize, usize)>>,
    /// Nodes that have to run.
    pub steps: Vec<usize>,
}

/// Follows every value from where it is computed to its last use.
pub fn analyse(graph: &Graph) -> Lifetimes {
    let mut root: Vec<usize> = (0..graph.values.len()).collect();
    let mut spans: Vec<Option<(usize, usize)>> = vec![None; graph.values.len()];
    let mut steps = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        for input in &node.inputs {
            if let Some((_, last)) = &mut spans[root[input.index()]] {
                *last = index;
            }
        }
        let shares = matches!(node.op, Op::Reshape { .. }) && spans[root[node.inputs[0].index()]].is_some();
        for output in &node.outputs {
            if shares {
                root[output.index()] = root[node.inputs[0].index()];
            } else {
                spans[output.index()] = Some((index, index));
            }
        }
        if !shares {
            steps.push(index);
        }
    }
    for output in &graph.outputs {
        if let Some((_, last)) = &mut spans[root[output.index()]] {
            *last = usize::MAX;
        }
    }
    Lifetimes { root, spans, steps }
}
