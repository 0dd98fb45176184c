//! Kernels whose output is cut into ranges: from a node to its kernel.

use crate::backend::{Operand, OutputMut};
use crate::graph::Op;
use crate::graph::op::ResizeMode;
use crate::kernel::conv_f32::ConvF32;
use crate::kernel::elementwise::binary_f32::BinaryF32;
use crate::kernel::elementwise::binary_u8::BinaryU8;
use crate::kernel::elementwise::table::Table;
use crate::kernel::elementwise::unary_f32::UnaryF32;
use crate::kernel::layout::rows::{Concat, Slice};
use crate::kernel::layout::shuffle::ChannelShuffle;
use crate::kernel::layout::transpose::Transpose;
use crate::kernel::normalize::LayerNormF32;
use crate::kernel::pool::PoolU8;
use crate::kernel::product_f32::ProductF32;
use crate::kernel::quantize::dynamic::{Choose, QuantizeRows};
use crate::kernel::quantize::{Dequantize, Quantize, QuantizeTransposed};
use crate::kernel::recurrent::Steps;
use crate::kernel::reduce::MeanOfPixels;
use crate::kernel::resize::{LinearF32, LinearU8, Nearest};
use crate::kernel::softmax::{SoftmaxF32, SoftmaxU8};
use crate::kernel::split::Split;
use crate::tensor::DType;

/// What is done with a kernel.
pub trait Visitor {
    /// Whether code is worth more than the time of what is short in networks, as [`Simd::COMPACT`](crate::kernel::simd::Simd::COMPACT)
    /// says: then functions of f32 are left to the definition, which has them anyway.
    const COMPACT: bool = false;

    /// Called with the kernel and the output that it is for.
    fn visit<W: Split>(self, work: W, output: &mut OutputMut<'_>);
}

/// Shows `visitor` the kernel of a node; `false` where there is none that takes it.
pub fn visit<V: Visitor>(op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>, visitor: V) -> bool {
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
    match op {
        Op::Binary { function } if output.view.view().dtype() == DType::U8 => show!(BinaryU8::new(*function, inputs, output)),
        Op::Binary { function } => show!(BinaryF32::new(*function, inputs, output)),
        Op::Unary { function } if const { !V::COMPACT } => show!(UnaryF32::new(*function, inputs, output)),
        Op::Table => show!(Table::new(inputs, output)),
        Op::ChooseQparams { kept } => show!(Choose::new(*kept, inputs, output)),
        Op::DynamicQuantize => show!(QuantizeRows::new(inputs, output)),
        Op::WeightOnlyGemm => show!(ProductF32::weight_only(inputs, output)),
        Op::Quantize { channels_last: false } => show!(Quantize::new(inputs, output)),
        Op::Quantize { channels_last: true } => show!(QuantizeTransposed::new(inputs, output)),
        Op::Dequantize => show!(Dequantize::new(inputs, output)),
        Op::Pool(pool) => show!(PoolU8::new(pool, inputs, output)),
        Op::Reduce { function, axes, .. } => show!(MeanOfPixels::new(*function, axes, inputs, output)),
        Op::Concat { axis } => show!(Concat::new(*axis, inputs, output)),
        Op::Slice { cuts } => show!(Slice::new(cuts, inputs, output)),
        Op::ChannelShuffle { axis, groups } => show!(ChannelShuffle::new(*axis, *groups, inputs, output)),
        Op::Transpose { perm } => show!(Transpose::new(perm, inputs, output)),
        Op::Recurrent(recurrent) if const { !V::COMPACT } => show!(Steps::new(recurrent, inputs, output)),
        Op::Softmax { axis } if inputs[0].view.dtype() == DType::U8 => show!(SoftmaxU8::new(*axis, inputs, output)),
        Op::Softmax { axis } => show!(SoftmaxF32::new(*axis, inputs, output)),
        Op::LayerNorm { epsilon, rms } => show!(LayerNormF32::new(*epsilon, *rms, inputs, output)),
        Op::Conv(conv) if const { !V::COMPACT } && super::window_is_usual(op) => show!(ConvF32::new(conv, inputs, output)),
        Op::ConvTranspose(conv) if const { !V::COMPACT } && super::window_is_usual(op) => show!(ConvF32::transposed(conv, inputs, output)),
        Op::Gemm | Op::MatMul => show!(ProductF32::new(op, inputs, output)),
        Op::Resize(resize) if const { !V::COMPACT } && resize.mode == ResizeMode::Linear && inputs[0].view.dtype() == DType::F32 => {
            show!(LinearF32::new(resize, inputs, output))
        }
        Op::Resize(resize) if resize.mode == ResizeMode::Linear => show!(LinearU8::new(resize, inputs, output)),
        Op::Resize(resize) => show!(Nearest::new(resize, inputs, output)),
        _ => false,
    }
}
