//! The interface between the executor and what computes: one call a node.

use crate::graph::{ConstantId, Op};
use crate::quant::Affine;
use crate::tensor::{TensorView, TensorViewMut};

/// A node's operand.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// Elements and shape.
    pub view: TensorView<'a>,
    /// Affine parameters, of a quantized activation.
    pub quant: Option<Affine>,
    /// Which constant it is, for backends that keep something about it.
    pub constant: Option<ConstantId>,
    /// The view's bytes and what may be read behind them: [`SLACK`] bytes of any content, or none.
    pub with_slack: &'a [u8],
    /// Of an operand of a concatenation that has been written into its result, for plans that ask for it: its extent along
    /// the last dimension, the rest of it being empty.
    pub in_place: Option<usize>,
}

impl<'a> Operand<'a> {
    /// An operand of which nothing is known but its elements and affine parameters.
    pub fn new(view: TensorView<'a>, quant: Option<Affine>) -> Self {
        Self { view, quant, constant: None, with_slack: view.bytes(), in_place: None }
    }
}

/// Bytes behind every value in the arena that may be read, so that loads of a few bytes need not stop at its end.
pub const SLACK: usize = 4;

/// Where a node's result goes.
#[derive(Debug)]
pub struct OutputMut<'a> {
    /// Elements (of unknown content) and shape.
    pub view: TensorViewMut<'a>,
    /// Affine parameters, of a quantized activation.
    pub quant: Option<Affine>,
}

/// Something that can execute every operation.
///
/// All backends give the same bytes: those of [`crate::reference`]. Operands come from a graph that passed
/// [`crate::graph::check`], so their number, types and shapes are right, and bytes are aligned for their type.
pub trait Backend {
    /// The name in reports: an ISA, or `reference`.
    fn name(&self) -> &str;

    /// Computes node number `node`: writes every element of `output`. `scratch` is the executor's, of any content, aligned
    /// to 64 bytes, and as long as was asked for when the executor was made.
    fn run(&self, node: usize, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>, scratch: &mut [u8]);
}
