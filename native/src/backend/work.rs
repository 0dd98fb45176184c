//! Kernels whose output is cut into ranges: from a node to its kernel, which is then either asked whether it takes the node or
//! run on all threads.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::graph::op::ResizeMode;
use quaver_core::kernel::conv::Frame;
use quaver_core::kernel::elementwise::binary_f32::BinaryF32;
use quaver_core::kernel::elementwise::binary_u8::BinaryU8;
use quaver_core::kernel::elementwise::table::Table;
use quaver_core::kernel::elementwise::unary_f32::UnaryF32;
use quaver_core::kernel::layout::rows::{Concat, Slice};
use quaver_core::kernel::layout::shuffle::ChannelShuffle;
use quaver_core::kernel::layout::transpose::Transpose;
use quaver_core::kernel::pool::PoolU8;
use quaver_core::kernel::quantize::framed::QuantizeFramed;
use quaver_core::kernel::quantize::{Dequantize, Quantize, QuantizeTransposed};
use quaver_core::kernel::reduce::MeanOfPixels;
use quaver_core::kernel::resize::{LinearU8, Nearest};
use quaver_core::kernel::softmax::{SoftmaxF32, SoftmaxU8};
use quaver_core::kernel::split::{Part, Split};
use quaver_core::tensor::{DType, TensorView, TensorViewMut, byte_count};

use super::parts;
use crate::dispatch::kernel::Kind;
use crate::dispatch::query::{Query, Value};
use crate::isa::Token;
use crate::pool::Pool;

/// What is done with a kernel.
trait Visitor {
    fn visit<W: Split>(self, work: W, output: &mut OutputMut<'_>);
}

/// Shows `visitor` the kernel of that kind for a node; `false` where it doesn't take the node.
fn visit(kind: Kind, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>, visitor: impl Visitor) -> bool {
    macro_rules! show {
        ($work:expr) => {
            match $work {
                Some(work) => {
                    visitor.visit(work, output);
                    true
                }
                None => false,
            }
        };
    }
    match (kind, op) {
        (Kind::BinaryU8, Op::Binary { function }) => show!(BinaryU8::new(*function, inputs, output)),
        (Kind::BinaryF32, Op::Binary { function }) => show!(BinaryF32::new(*function, inputs, output)),
        (Kind::UnaryF32, Op::Unary { function }) => show!(UnaryF32::new(*function, inputs, output)),
        (Kind::Table, Op::Table) => show!(Table::new(inputs, output)),
        (Kind::Quantize, Op::Quantize { channels_last: false }) => show!(Quantize::new(inputs, output)),
        (Kind::Quantize, Op::Quantize { channels_last: true }) => show!(QuantizeTransposed::new(inputs, output)),
        (Kind::Dequantize, Op::Dequantize) => show!(Dequantize::new(inputs, output)),
        (Kind::Pool, Op::Pool(pool)) => show!(PoolU8::new(pool, inputs, output)),
        (Kind::Mean, Op::Reduce { function, axes, .. }) => show!(MeanOfPixels::new(*function, axes, inputs, output)),
        (Kind::Concat, Op::Concat { axis }) => show!(Concat::new(*axis, inputs, output)),
        (Kind::Slice, Op::Slice { cuts }) => show!(Slice::new(cuts, inputs, output)),
        (Kind::ChannelShuffle, Op::ChannelShuffle { axis, groups }) => show!(ChannelShuffle::new(*axis, *groups, inputs, output)),
        (Kind::Transpose, Op::Transpose { perm }) => show!(Transpose::new(perm, inputs, output)),
        (Kind::Softmax, Op::Softmax { axis }) if inputs[0].view.dtype() == DType::U8 => show!(SoftmaxU8::new(*axis, inputs, output)),
        (Kind::Softmax, Op::Softmax { axis }) => show!(SoftmaxF32::new(*axis, inputs, output)),
        (Kind::Resize, Op::Resize(resize)) if resize.mode == ResizeMode::Linear => show!(LinearU8::new(resize, inputs, output)),
        (Kind::Resize, Op::Resize(resize)) => show!(Nearest::new(resize, inputs, output)),
        _ => false,
    }
}

/// Whether a kernel of that kind takes a node.
pub(crate) fn takes(kind: Kind, query: &Query<'_>) -> bool {
    struct Ask;
    impl Visitor for Ask {
        fn visit<W: Split>(self, _work: W, _output: &mut OutputMut<'_>) {}
    }
    match kind {
        Kind::Reference => true,
        Kind::Gemm => super::packed::Packed::bind(query).is_some(),
        Kind::Depthwise => super::depthwise::takes(query),
        Kind::Pool if !query.window_is_usual() => false,
        _ => with_operands(query, |inputs, output| visit(kind, query.op, inputs, output, Ask)),
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
        let Self { pool, token } = self;
        let (unit, to) = (work.unit_bytes().max(1), output.view.bytes_mut());
        match parts(pool, to.len()) {
            1 => token.vectorize(Part::whole(work, to)),
            parts => pool.run_slices(to, parts, unit * work.grain(), &|range, to| {
                token.vectorize(Part::new(work, range.start / unit..range.end / unit, to));
            }),
        }
    }
}

/// Runs the kernel of that kind; `false` where it doesn't take the node.
pub(super) fn run((pool, token): (&Pool, Token), kind: Kind, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) -> bool {
    visit(kind, op, inputs, output, Run { pool, token })
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
