//! Kernels whose output is cut into ranges: from a node to its kernel, which is then either asked whether it takes the node or
//! run on all threads.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::kernel::bind::work::{Visitor, visit};
use quaver_core::kernel::conv::Frame;
use quaver_core::kernel::quantize::framed::QuantizeFramed;
use quaver_core::kernel::split::Split;
use quaver_core::tensor::{TensorView, TensorViewMut, byte_count};
use quaver_pool::Pool;

use crate::dispatch::kernel::Kind;
use crate::dispatch::query::{Query, Value};
use crate::isa::Token;

/// Whether a kernel of that kind takes a node.
pub(crate) fn takes(kind: Kind, query: &Query<'_>) -> bool {
    struct Ask;
    impl Visitor for Ask {
        fn visit<W: Split>(self, _work: W, _output: &mut OutputMut<'_>) {}
    }
    match kind {
        Kind::Reference => true,
        Kind::Gemm => super::packed::Packed::bind(query).is_some(),
        Kind::MatMul => super::matmul::bind(query).is_some(),
        Kind::Depthwise => super::depthwise::takes(query),
        Kind::Pool if !query.window_is_usual() => false,
        _ => with_operands(query, |inputs, output| visit(query.op, inputs, output, Ask)),
    }
}

/// Calls `ask` with operands of the query's types and extents, whose elements are zeros that nobody touches.
fn with_operands(query: &Query<'_>, ask: impl FnOnce(&[Operand<'_>], &mut OutputMut<'_>) -> bool) -> bool {
    let bytes = |value: &Value<'_>| byte_count(value.dtype, value.shape).unwrap_or(0);
    // A zeroed allocation of this size is address space, not memory.
    let zeros = vec![0u64; query.inputs.iter().map(bytes).max().unwrap_or(0).div_ceil(8)];
    let mut result = vec![0u64; bytes(&query.output).div_ceil(8)];
    let zeros: &[u8] = bytemuck::cast_slice(&zeros);
    let mut operands = Vec::with_capacity(query.inputs.len());
    for value in &query.inputs {
        let Some(view) = TensorView::new(value.dtype, value.shape, &zeros[..bytes(value)]) else { return false };
        operands.push(Operand::new(view, value.quant));
    }
    let result = &mut bytemuck::cast_slice_mut(&mut result)[..bytes(&query.output)];
    let output = TensorViewMut::new(query.output.dtype, query.output.shape, result);
    let Some(view) = output else { return false };
    ask(&operands, &mut OutputMut { view, quant: query.output.quant })
}

/// What runs a kernel.
struct Run<'a> {
    pool: &'a Pool,
    token: Token,
}

impl Visitor for Run<'_> {
    fn visit<W: Split>(self, work: W, output: &mut OutputMut<'_>) {
        quaver_pool::work::run(self.pool, work, output.view.bytes_mut(), |part| self.token.vectorize(part));
    }
}

/// Runs the node's kernel; `false` where none takes it.
pub(super) fn run((pool, token): (&Pool, Token), op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) -> bool {
    visit(op, inputs, output, Run { pool, token })
}

/// Whether a quantization can write into such frames.
pub(super) fn takes_frame(query: &Query<'_>, frame: Frame) -> bool {
    let Op::Quantize { channels_last } = query.op else { return false };
    with_operands(query, |inputs, output| output.quant.is_some_and(|y| QuantizeFramed::new(&inputs[0], y, *channels_last, frame).is_some()))
}

/// Runs a quantization that [`takes_frame`].
pub(super) fn quantize_framed(
    (pool, token): (&Pool, Token),
    frame: Frame,
    op: &Op,
    inputs: &[Operand<'_>],
    output: &mut OutputMut<'_>,
) -> bool {
    let (Op::Quantize { channels_last }, Some(y)) = (op, output.quant) else { return false };
    let work = QuantizeFramed::new(&inputs[0], y, *channels_last, frame);
    work.map(|work| Run { pool, token }.visit(work, output)).is_some()
}
