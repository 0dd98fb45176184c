//! Depthwise convolutions, and average pools that are such.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::format::weights::N_BLOCK;
use quaver_core::graph::Op;
use quaver_core::kernel::bind::depthwise::Constants;
use quaver_core::kernel::epilogue::SliceRows;

use crate::isa::Token;

/// Runs a convolution; `false` where it is none.
pub(super) fn run(token: Token, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) -> bool {
    Constants::of(op, inputs).is_some_and(|constants| compute(token, &constants, &inputs[0], output))
}

/// Runs what has such constants; `false` where the operands are no images.
pub(super) fn compute(token: Token, constants: &Constants<'_>, input: &Operand<'_>, output: &mut OutputMut<'_>) -> bool {
    let &[images, h, w, channels] = input.view.shape() else { return false };
    let &[_, to_h, to_w, _] = output.view.view().shape() else { return false };
    let (lines, blocks) = (0..images * to_h, 0..channels.div_ceil(N_BLOCK));
    let kernel = constants.kernel(input.view.bytes(), [h, w, channels], [to_h, to_w], lines, blocks);
    let pitch = channels * constants.finish.size();
    token.vectorize_few(kernel.onto(SliceRows { bytes: output.view.bytes_mut(), pitch }));
    true
}
