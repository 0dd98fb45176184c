//! Whether a network that was exported at batch 1 gives each sample of a larger batch what it would give it alone.
//!
//! A value's dimension that is a multiple of the batch size holds samples, or parts of one sample behind those of the one before. It may be any
//! dimension, as attention moves it. What is followed is where it goes: shapes say that, operations must not mix along it.

use quaver_core::graph::{Dim, Graph, Node, Op, ValueId};

/// Whether every value that depends on an input has one dimension of samples, and no node mixes along it.
pub(super) fn samples_are_apart(graph: &Graph) -> bool {
    let inputs = graph.inputs.iter().all(|&id| samples(graph, id).is_some());
    inputs && graph.nodes.iter().all(|node| keeps_apart(graph, node).is_some())
}

/// The dimension of samples; `None` where there is none, or more than one that is open.
fn samples(graph: &Graph, id: ValueId) -> Option<usize> {
    let shape = &graph.value(id).shape;
    let mut open = (0..shape.len()).filter(|&d| shape[d].fixed().is_none());
    let first = open.next().filter(|&d| shape[d].is_batch())?;
    open.next().is_none().then_some(first)
}

/// `Some` where samples stay apart.
fn keeps_apart(graph: &Graph, node: &Node) -> Option<()> {
    let shape = |id: ValueId| &graph.value(id).shape;
    let rank = |id: ValueId| shape(id).len();
    let fixed = |id: ValueId| shape(id).iter().all(|d| d.fixed().is_some());
    let holds = |condition: bool| condition.then_some(());
    let output = node.outputs[0];
    // What is there for all samples has no dimension of them.
    let own: Vec<ValueId> = node.inputs.iter().copied().filter(|&id| !fixed(id)).collect();
    if own.is_empty() {
        return holds(fixed(output) || matches!(node.op, Op::Expand { .. }));
    }
    let to = samples(graph, output)?;
    let first = *node.inputs.first()?;
    let from = samples(graph, *own.first()?)?;
    // Counted from the end, as broadcasting does.
    let behind = |id: ValueId| samples(graph, id).map(|d| rank(id) - d);
    let aligned =
        || own.iter().try_for_each(|&id| holds(behind(id)? == rank(output) - to && shape(id)[samples(graph, id)?] == shape(output)[to]));
    let only_first = || holds(own == [first]);
    let channels_last = || only_first().and(holds(from + 1 < rank(first)));
    match &node.op {
        Op::Unary { .. } | Op::Cast { .. } | Op::Transpose { .. } => Some(()),
        Op::Binary { .. } | Op::Compare { .. } | Op::Where => aligned(),
        Op::Reshape { .. } => {
            let before = |dims: &[Dim]| Dim::product(dims)?.fixed();
            holds(before(&shape(first)[..from])? == before(&shape(output)[..to])?)
        }
        Op::Concat { axis } => holds(own.len() == node.inputs.len() && *axis != to).and_then(|()| aligned()),
        Op::Slice { cuts } => holds(cuts.iter().all(|cut| cut.axis != from)),
        Op::Pad { before, after, .. } => holds(before.get(from) == Some(&0) && after.get(from) == Some(&0)),
        Op::Expand { .. } => aligned(),
        Op::ChannelShuffle { axis, .. } | Op::TopK { axis, .. } | Op::Softmax { axis } | Op::LogSoftmax { axis } => holds(*axis != from),
        Op::Reduce { axes, .. } => holds(!axes.contains(&from)),
        Op::Resize(resize) => holds(resize.scales.get(from) == Some(&1.0)),
        Op::DepthToSpace { .. } | Op::SpaceToDepth { .. } | Op::Pool(_) => holds(from == 0),
        Op::Conv(_) | Op::ConvTranspose(_) => only_first().and(holds(from == 0)),
        Op::LayerNorm { .. } | Op::Gemm => channels_last(),
        Op::Gather { axis } => holds(own.len() == 1 && (own[0] != first || *axis != from)),
        Op::MatMul => match own[..] {
            // Of the rows' or columns' own dimension, never of the one that is summed over.
            [one] if one == first => holds(from + 1 < rank(one) || rank(one) == 1),
            [one] => holds(from + 2 != rank(one)),
            _ => own.iter().try_for_each(|&id| holds(behind(id)? > 2)).and_then(|()| aligned()),
        },
        // Steps, then samples; states that are there for all have one.
        Op::Recurrent(_) => holds(from == 1 && own[0] == first).and_then(|()| {
            let states = node.inputs.get(2..).unwrap_or_default().iter().filter(|&&id| !fixed(id));
            states.copied().try_for_each(|id| holds(samples(graph, id)? == 0))
        }),
        _ => None,
    }
}
