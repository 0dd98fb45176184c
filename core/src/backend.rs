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
}

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

    /// Computes one node: writes every element of `output`.
    fn run(&self, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>);
}
