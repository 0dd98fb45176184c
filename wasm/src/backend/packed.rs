//! Convolutions, transposed ones and matrix products with packed weights, all but depthwise: the matrix kernel over a
//! [`quaver_core::kernel::conv::Geometry`].

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::kernel::bind::offset::Layout;
use quaver_core::kernel::bind::packed as bind;
use quaver_pool::packed::Products;

use super::bias::{Bias, elements};
use crate::isa::Token;
use crate::threads::pool;

/// A bound node.
#[derive(Debug)]
pub(super) struct Packed {
    token: Token,
    node: bind::Packed,
    bias: Bias,
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
        Some(Self { token, node, bias: Bias::bind(token, Layout::Packed(quads), constant) })
    }

    /// Bytes of scratch: the copy of the images.
    pub(super) fn scratch(&self) -> usize {
        self.node.geometry.scratch()
    }

    /// Runs the node.
    pub(super) fn run(&self, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>, scratch: &mut [u8]) {
        let bias = self.bias.of(inputs);
        let products = Products { node: &self.node, within: None, bias: bias.as_deref(), unit: 1 };
        products.run(pool(), op, inputs, output, scratch, &|gemm, _| self.token.vectorize(gemm));
    }
}
