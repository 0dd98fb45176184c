//! Products of two activations: the matrix kernel, whose weights are packed at each run.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::kernel::matmul::{MatMul, Pack};
use quaver_pool::{Pool, matmul};

use crate::amx;
use crate::dispatch::query::Query;
use crate::isa::Token;

/// Binds a node, where it is one of these.
pub(crate) fn bind(query: &Query<'_>) -> Option<MatMul> {
    let (Op::MatMul, [a, b]) = (query.op, &query.inputs[..]) else { return None };
    MatMul::bind([a.shape, b.shape, query.output.shape], [a.quant?, b.quant?], query.output.quant, a.slack)
}

/// Bytes of scratch, for so many threads: the packed operand, then what tiles gather.
pub(super) fn scratch(node: &MatMul, threads: usize) -> usize {
    let tiles = |index| amx::scratch(&node.source(&[], index), &node.rows_of(index), node.blocks());
    matmul::scratch(node) + threads * (0..node.count()).map(tiles).max().unwrap_or(0)
}

/// Runs a node.
pub(super) fn run((pool, token): (&Pool, Token), node: &MatMul, inputs: &[Operand<'_>], output: &mut OutputMut<'_>, scratch: &mut [u8]) {
    let operands = [inputs[0].with_slack, inputs[1].view.bytes()];
    let (to, pack) = (output.view.bytes_mut(), |pack: Pack<'_>| token.vectorize(pack));
    matmul::run(pool, (node, 0), operands, to, scratch, &pack, &|gemm, memory| token.gemm(gemm, &[], memory));
}
