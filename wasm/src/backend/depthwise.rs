//! Depthwise convolutions, and average pools that are such.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::format::weights::N_BLOCK;
use quaver_core::graph::{Constants as ModelConstants, Graph, Node, Op};
use quaver_core::kernel::bind::depthwise::Constants;
use quaver_core::kernel::bind::offset;
use quaver_core::kernel::epilogue::SliceRows;

use super::constant;
use super::packed::{NotConstant, offset_bias};
use crate::isa::Token;

/// A bound node.
#[derive(Debug)]
pub(super) struct Depthwise {
    token: Token,
    /// The biases, where the token lessens activations.
    bias: Option<Vec<i32>>,
}

impl Depthwise {
    /// Binds a node that is one.
    pub(super) fn new(token: Token, graph: &Graph, constants: &dyn ModelConstants, node: &Node) -> Self {
        match offset_bias(token, |i| constant(graph, constants, node, i), offset::depthwise) {
            Ok(bias) => Self { token, bias },
            Err(NotConstant) => Self { token: Token::Plain, bias: None },
        }
    }

    /// Runs the node.
    pub(super) fn run(&self, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) -> bool {
        let Some(mut constants) = Constants::of(op, inputs) else { return false };
        if let Some(bias) = &self.bias {
            constants.bias = bias;
        }
        run(self.token, &constants, &inputs[0], output)
    }
}

/// Runs a node of these constants; `false` where it is none.
pub(super) fn run(token: Token, constants: &Constants<'_>, input: &Operand<'_>, output: &mut OutputMut<'_>) -> bool {
    let &[images, h, w, channels] = input.view.shape() else { return false };
    let &[_, to_h, to_w, _] = output.view.view().shape() else { return false };
    let (lines, blocks) = (0..images * to_h, 0..channels.div_ceil(N_BLOCK));
    let kernel = constants.kernel(input.view.bytes(), [h, w, channels], [to_h, to_w], lines, blocks);
    let pitch = channels * constants.finish.size();
    token.vectorize(kernel.onto(SliceRows { bytes: output.view.bytes_mut(), pitch }));
    true
}
