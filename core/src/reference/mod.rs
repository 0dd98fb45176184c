//! The scalar backend: the definition of every result, and the oracle of every test.
//!
//! One file an operation family, in loops that mirror the formulas of `ARITHMETIC.md`. It is written to be read; it is
//! also what runs where no kernel exists, so its inner loops are laid out such that a compiler can vectorise them.

use crate::backend::{Backend, Operand, OutputMut};

use crate::graph::Op;
use crate::quant::Affine;
use crate::tensor::DType;

/// The backend of this module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

impl Backend for Reference {
    fn name(&self) -> &str {
        "reference"
    }

    fn run(&self, _node: usize, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>, _scratch: &mut [u8]) {
        self.compute(op, inputs, output);
    }
}

impl Reference {
    /// Computes one operation: writes every element of `output`.
    pub fn compute(&self, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
        let quantized = inputs[0].view.dtype() == DType::U8;
        match op {
            Op::Reshape { .. } => layout::reshape(inputs, output),
            Op::Transpose { perm } => layout::transpose(perm, inputs, output),
            Op::Concat { axis } => layout::concat(*axis, inputs, output),
            Op::Slice { cuts } => layout::slice(cuts, inputs, output),
            Op::Pad { before, after, mode } => layout::pad(before, after, *mode, inputs, output),
            Op::DepthToSpace { block, order } => layout::depth_to_space(*block, *order, inputs, output),
            Op::SpaceToDepth { block } => layout::space_to_depth(*block, inputs, output),
            Op::ChannelShuffle { axis, groups } => layout::channel_shuffle(*axis, *groups, inputs, output),
            Op::Binary { function } if quantized => elementwise::binary_u8(*function, inputs, output),
            Op::Binary { function } => elementwise::binary_f32(*function, inputs, output),
            Op::Unary { function } => elementwise::unary_f32(*function, inputs, output),
            Op::Table => elementwise::table(inputs, output),
            Op::Pool(pool) if quantized => pool::pool_u8(pool, inputs, output),
            Op::Pool(pool) => pool::pool_f32(pool, inputs, output),
            Op::Reduce { axes, .. } if quantized => reduce::mean_u8(axes, inputs, output),
            Op::Reduce { function, axes, .. } => reduce::reduce_f32(*function, axes, inputs, output),
            Op::Softmax { axis } if quantized => softmax::softmax_u8(*axis, inputs, output),
            Op::Softmax { axis } => softmax::softmax_f32(*axis, inputs, output),
            Op::Recurrent(op) => recurrent::recurrent(op, inputs, output),
            Op::LogSoftmax { axis } => softmax::log_softmax_f32(*axis, inputs, output),
            Op::Resize(resize) => resize::resize(resize, inputs, output),
            Op::Conv(conv) => conv::conv_f32(conv, inputs, output),
            Op::ConvTranspose(conv) => conv_transpose::conv_transpose_f32(conv, inputs, output),
            Op::Expand { .. } => layout::expand(inputs, output),
            Op::Gather { axis } => select::gather(*axis, inputs, output),
            Op::TopK { axis, largest, .. } => order::top_k(*axis, *largest, inputs, output),
            Op::NonMaxSuppression { most, overlap, score } => order::suppress(*most, *overlap, *score, inputs, output),
            Op::Cast { .. } => select::cast(inputs, output),
            Op::Compare { function } => select::compare(*function, inputs, output),
            Op::Where => select::choose(inputs, output),
            Op::LayerNorm { epsilon, rms } => normalize::layer_norm(*epsilon, *rms, inputs, output),
            Op::Gemm => gemm::gemm_f32(inputs, output),
            Op::MatMul if quantized => gemm::mat_mul_u8(inputs, output),
            Op::MatMul => gemm::mat_mul_f32(inputs, output),
            Op::Quantize { channels_last } => quantize::quantize(*channels_last, inputs, output),
            Op::Dequantize => quantize::dequantize(inputs, output),
            Op::QConv(conv) => conv::q_conv(conv, inputs, output),
            Op::QConvTranspose(conv) => conv_transpose::q_conv_transpose(conv, inputs, output),
            Op::QGemm(gemm) => gemm::q_gemm(gemm.channels, gemm.epilogue.as_ref(), inputs, output),
            Op::ChooseQparams { kept } => dynamic::choose(*kept, inputs, output),
            Op::DynamicQuantize => dynamic::quantize(inputs, output),
            Op::DynamicGemm { channels } => dynamic::gemm(*channels, inputs, output),
            Op::WeightOnlyGemm => dynamic::weight_only_gemm(inputs, output),
            Op::Embedding => dynamic::embedding(inputs, output),
        }
    }
}

mod conv;
#[cfg(test)]
mod conv_tests;
mod conv_transpose;
mod depthwise;
pub(crate) mod dynamic;
mod elementwise;
pub(crate) mod gemm;
mod layout;
pub(crate) mod normalize;
mod order;
mod packed;
pub(crate) mod pool;
mod quantize;
pub(crate) mod recurrent;
mod reduce;
pub(crate) mod resize;
pub(crate) mod select;
mod softmax;
#[cfg(test)]
mod testing;
pub(crate) mod walk;

/// The operand's elements; the graph's check has made sure of their type.
fn f32s<'a>(operand: &Operand<'a>) -> &'a [f32] {
    operand.view.as_slice().expect("checked: an f32 operand")
}

/// The output's elements; the graph's check has made sure of their type.
fn f32s_mut<'a>(output: &'a mut OutputMut<'_>) -> &'a mut [f32] {
    output.view.as_slice_mut().expect("checked: an f32 output")
}

/// The operand's affine parameters, which the graph's check has made sure of.
fn affine_in(operand: &Operand<'_>) -> Affine {
    operand.quant.expect("checked: a quantized operand")
}

/// The output's affine parameters, which the graph's check has made sure of.
fn affine_out(output: &OutputMut<'_>) -> Affine {
    output.quant.expect("checked: a quantized output")
}
