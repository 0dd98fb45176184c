//! Sums and products that 8 bits would spoil: with a mask, or of numbers of quite different magnitudes.

use quaver_core::graph::op::BinaryFn;
use quaver_core::graph::{Graph, Node, Op};
use quaver_core::tensor::DType;

use super::regions::Kind;
use crate::calibrate::UNBOUNDED;

/// Widths of two operands' ranges that are so far apart that the smaller one has but a few steps of the sum.
const APART: f32 = 64.0;

/// Lets such nodes be real.
pub(super) fn keep_real(graph: &Graph, range: &dyn Fn(usize) -> Option<(f32, f32)>, kinds: &mut [Kind]) {
    let masks = masks(graph);
    let width = |v: usize| range(v).map(|(min, max)| max.max(0.0) - min.min(0.0));
    for (node, kind) in graph.nodes.iter().zip(kinds) {
        if !matches!(kind, Kind::Never(_)) && node.inputs.iter().chain(&node.outputs).any(|id| range(id.index()) == Some(UNBOUNDED)) {
            *kind = Kind::Never("calibration saw it read or give what is infinite, or no number");
            continue;
        }
        let (Kind::Light, Op::Binary { function }, [a, b]) = (*kind, &node.op, &node.inputs[..]) else { continue };
        let operands = [a, b].map(|id| id.index());
        if operands.iter().any(|&v| masks[v]) {
            *kind = Kind::Never("it applies a mask, which may be another one than those that calibration saw");
        } else if let (BinaryFn::Add | BinaryFn::Sub, [Some(a), Some(b)]) = (function, operands.map(width))
            && [a, b].iter().all(|&width| width > 0.0)
            && a.max(b) > APART * a.min(b)
        {
            *kind = Kind::Never("one of its operands would be lost beside the other in 8 bits");
        }
    }
}

/// Which values follow from whole numbers and constants alone, and are real: masks, as exporters compute them.
fn masks(graph: &Graph) -> Vec<bool> {
    let mut masks = vec![false; graph.values.len()];
    for node in &graph.nodes {
        let output = node.outputs[0].index();
        masks[output] = graph.values[output].dtype == DType::F32 && makes_mask(graph, node, &masks);
    }
    masks
}

fn makes_mask(graph: &Graph, node: &Node, masks: &[bool]) -> bool {
    let operands = || node.inputs.iter().filter(|&&v| graph.value(v).constant.is_none());
    match node.op {
        Op::Cast { .. } | Op::Compare { .. } => operands().all(|&v| graph.value(v).dtype == DType::I64 || masks[v.index()]),
        // Embeddings are picked by whole numbers too, but are none.
        Op::Gather { .. } => masks[node.inputs[0].index()],
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm | Op::MatMul => false,
        _ => operands().next().is_some() && operands().all(|&v| masks[v.index()]),
    }
}
