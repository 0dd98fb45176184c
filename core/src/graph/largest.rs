//! The largest byte that each value can hold: what a kernel for activations of 7 bits needs to know.
//!
//! The affine parameters say which integers stand for a number, not which bytes a file makes an operation write: a table can
//! hold any. So this follows the bytes from where they are made.

use crate::format::weights::N_BLOCK;
use crate::graph::op::{Epilogue, PadMode};
use crate::graph::{Constants, Graph, Node, Op, ValueId};
use crate::tensor::DType;

/// For each value, the largest byte it can hold (255 for what is not u8).
pub fn largest(graph: &Graph, constants: &dyn Constants) -> Vec<u8> {
    let mut largest = vec![u8::MAX; graph.values.len()];
    for (value, most) in graph.values.iter().zip(&mut largest) {
        if let (Some(id), DType::U8) = (value.constant, value.dtype) {
            *most = most_of(constants.bytes_of(id));
        }
    }
    for node in graph.nodes.iter().filter(|node| graph.value(node.outputs[0]).dtype == DType::U8) {
        largest[node.outputs[0].index()] = written(graph, node, &largest);
    }
    largest
}

/// The largest byte that a node writes, given that of its operands.
fn written(graph: &Graph, node: &Node, largest: &[u8]) -> u8 {
    let of = |id: ValueId| largest[id.index()];
    let moved = || node.inputs.iter().map(|&id| of(id)).max().unwrap_or(u8::MAX);
    let affine = || graph.value(node.outputs[0]).quant.map_or(u8::MAX, |q| q.q_max);
    let epilogue = |e: Option<Epilogue>| match e {
        Some(Epilogue { table: true, .. }) => node.inputs.last().map_or(u8::MAX, |&table| of(table)),
        Some(e) => e.hi,
        None => u8::MAX,
    };
    match &node.op {
        Op::Quantize { .. } | Op::Binary { .. } | Op::MatMul | Op::Reduce { .. } | Op::Softmax { .. } => affine(),
        // Averages are limited to what is in use, largest ones are among what is there.
        Op::Pool(_) => affine().max(of(node.inputs[0])),
        Op::Gather { .. } => of(node.inputs[0]),
        Op::Table => of(node.inputs[1]),
        Op::QConv(conv) => epilogue(conv.epilogue),
        Op::QConvTranspose(conv) => epilogue(conv.epilogue),
        Op::QGemm(gemm) => epilogue(gemm.epilogue),
        Op::Pad { mode: PadMode::Constant(_), .. } => affine().max(of(node.inputs[0])),
        Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
        | Op::ChannelShuffle { .. }
        | Op::Expand { .. }
        | Op::Resize(_) => moved(),
        _ => u8::MAX,
    }
}

/// The largest of some bytes; long constants are not looked through.
fn most_of(bytes: &[u8]) -> u8 {
    const SHORT: usize = 64 * N_BLOCK;
    if bytes.len() > SHORT { u8::MAX } else { bytes.iter().copied().max().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Dim, Network};
    use crate::quant::Affine;

    #[test]
    fn a_table_decides_over_the_affine_parameters() {
        let affine = Some(Affine { scale: 0.1, zero_point: 0, q_max: 127 });
        for (most, expected) in [(127u8, 127), (200, 200)] {
            let mut net = Network::new("range");
            let x = net.input("x", DType::F32, vec![Dim::BATCH, 8.into()]);
            let q = net.push_typed(Op::Quantize { channels_last: false }, &[x], "q", "q", DType::U8, affine).expect("fits");
            let table = net.constant("t", &[256], &[most; 256]);
            let y = net.push_typed(Op::Table, &[q, table], "y", "y", DType::U8, affine).expect("fits");
            let z = net.push_typed(Op::Concat { axis: 1 }, &[q, y], "z", "z", DType::U8, affine).expect("fits");
            let found = largest(&net.graph, &net);
            assert_eq!([x, q, y, z].map(|id| found[id.index()]), [255, 127, expected, expected]);
        }
    }
}
