//! Convolutions, transposed ones and matrix products with packed weights, all but depthwise: the matrix kernel over a
//! [`quaver_core::kernel::conv::Geometry`].

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::kernel::bind::{offset, packed as bind};
use quaver_core::tensor::Element;
use quaver_pool::packed::Products;

use crate::isa::Token;
use crate::threads::pool;

/// A bound node.
#[derive(Debug)]
pub(super) struct Packed {
    token: Token,
    node: bind::Packed,
    /// The biases, where the token lessens activations.
    bias: Option<Vec<i32>>,
}

impl Packed {
    /// Binds a node, where it is one of these; its operands are asked for by their number.
    pub(super) fn bind<'a>(
        token: Token,
        op: &Op,
        [x, y]: [&[usize]; 2],
        slack: bool,
        constant: impl Fn(usize) -> Option<&'a [u8]>,
    ) -> Option<Self> {
        let mut node = bind::Packed::bind(op, x, slack, y)?;
        let quads = node.shape.k_blocks();
        if let Some(weights) = constant(1).and_then(elements::<i8>) {
            node = node.narrowed(op, x, slack, y, weights);
        }
        Some(match offset_bias(token, constant, quads) {
            Ok(bias) => Self { token, node, bias },
            Err(NotConstant) => Self { token: Token::Plain, node, bias: None },
        })
    }

    /// Bytes of scratch: the copy of the images.
    pub(super) fn scratch(&self) -> usize {
        self.node.geometry.scratch()
    }

    /// Runs the node.
    pub(super) fn run(&self, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>, scratch: &mut [u8]) {
        let products = Products { node: &self.node, within: None, bias: self.bias.as_deref() };
        products.run(pool(), op, inputs, output, scratch, &|gemm, _| self.token.vectorize(gemm));
    }
}

/// Weights or biases are computed while the model runs.
struct NotConstant;

/// The biases of an operation for a token that lessens activations, whose weights are rows of `quads`.
fn offset_bias<'a>(token: Token, constant: impl Fn(usize) -> Option<&'a [u8]>, quads: usize) -> Result<Option<Vec<i32>>, NotConstant> {
    let by = token.offset();
    if by == 0 {
        return Ok(None);
    }
    let weights = constant(1).and_then(elements::<i8>).ok_or(NotConstant)?;
    let bias = constant(2).and_then(elements::<i32>).ok_or(NotConstant)?;
    Ok(Some(offset::packed(bias, weights, quads, by)))
}

/// A constant's bytes as elements of its type, for which the file's check has aligned them.
fn elements<T: Element>(bytes: &[u8]) -> Option<&[T]> {
    bytemuck::try_cast_slice(bytes).ok()
}
