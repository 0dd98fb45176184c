//! Depthwise convolutions, and average pools that are such.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::kernel::bind::depthwise::{Average, Constants};
use quaver_core::kernel::bind::offset::Layout;

use super::bias::Bias;
use crate::isa::Token;
use crate::threads::pool;

/// A bound node.
#[derive(Debug)]
pub(super) struct Depthwise {
    token: Token,
    average: Option<Average>,
    bias: Bias,
}

impl Depthwise {
    /// A convolution, whose constant operands are asked for by their number.
    pub(super) fn bind<'a>(token: Token, constant: impl Fn(usize) -> Option<&'a [u8]>) -> Self {
        Self { token, average: None, bias: Bias::bind(token, Layout::Depthwise, constant) }
    }

    /// An average.
    pub(super) fn average(token: Token, average: Average) -> Self {
        let Constants { weights, bias, .. } = average.constants();
        let bias = Bias::bind(token, Layout::Depthwise, |index| match index {
            1 => Some(bytemuck::cast_slice(weights)),
            _ => Some(bytemuck::cast_slice(bias)),
        });
        Self { token, average: Some(average), bias }
    }

    /// Runs it; `false` where the operands are none of a convolution.
    pub(super) fn run(&self, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) -> bool {
        let constants = match &self.average {
            Some(average) => Some(average.constants()),
            None => Constants::of(op, inputs),
        };
        let Some(mut constants) = constants else { return false };
        let bias = self.bias.of(inputs);
        if let Some(bias) = &bias {
            constants.bias = bias;
        }
        quaver_pool::depthwise::run(pool(), &constants, &inputs[0], output, &|kernel| self.token.vectorize_few(kernel))
    }
}
