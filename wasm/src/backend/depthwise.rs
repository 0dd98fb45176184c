//! Depthwise convolutions, and average pools that are such.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::kernel::bind::depthwise::Constants;

use crate::isa::Token;
use crate::threads::pool;

/// Runs a convolution; `false` where it is none.
pub(super) fn run(token: Token, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) -> bool {
    Constants::of(op, inputs).is_some_and(|constants| compute(token, &constants, &inputs[0], output))
}

/// Runs what has such constants; `false` where the operands are no images.
pub(super) fn compute(token: Token, constants: &Constants<'_>, input: &Operand<'_>, output: &mut OutputMut<'_>) -> bool {
    quaver_pool::depthwise::run(pool(), constants, input, output, &|kernel| token.vectorize_few(kernel))
}
