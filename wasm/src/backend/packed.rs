//! Convolutions, transposed ones and matrix products with packed weights, all but depthwise: the matrix kernel over a
//! [`quaver_core::kernel::conv::Geometry`].

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::kernel::bind::{finish_of, offset, packed as bind};
use quaver_core::kernel::epilogue::SliceRows;
use quaver_core::kernel::gemm::Gemm;
use quaver_core::tensor::{DType, TensorView};

use crate::isa::Token;

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
        let node = bind::Packed::bind(op, x, slack, y)?;
        Some(match offset_bias(token, constant, node.shape.k_blocks()) {
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
        let bind::Packed { shape, geometry, images, rows } = &self.node;
        let finish = finish_of(op, inputs);
        let width = shape.groups * shape.output_channels;
        let pitch = width * finish.size();
        let image = inputs[0].view.bytes().len() / (*images).max(1);
        for first in (0..*images).step_by(geometry.chunk()) {
            let count = geometry.chunk().min(images - first);
            let input = &inputs[0].with_slack[first * image..];
            let (lines, line) = (geometry.lines(count), geometry.line());
            let source = if lines > 0 {
                let copy = &mut scratch[..lines * line];
                geometry.copy(input, 0..lines, copy);
                &*copy
            } else {
                input
            };
            let bytes = first * rows * pitch..(first + count) * rows * pitch;
            let finish = finish.part(bytes.clone());
            let to = &mut output.view.bytes_mut()[bytes];
            for group in 0..shape.groups {
                let mut weights = self.node.weights(inputs, group);
                if let Some(bias) = &self.bias {
                    weights.bias = &bias.as_chunks().0[group * shape.n_blocks()..][..shape.n_blocks()];
                }
                let gemm = Gemm {
                    source: geometry.source(source, group),
                    weights,
                    finish,
                    rows: 0..count * rows,
                    blocks: 0..shape.n_blocks(),
                    channel: group * shape.output_channels,
                    width,
                    to: SliceRows { bytes: &mut *to, pitch },
                };
                self.token.vectorize(gemm);
            }
        }
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
    let (weights, bias) = constant(1).zip(constant(2)).ok_or(NotConstant)?;
    // Read as elements of their types, which the file's check has aligned.
    let extents = [weights.len(), bias.len() / size_of::<i32>()];
    let weights = TensorView::new(DType::I8, &extents[..1], weights).and_then(|view| view.as_slice::<i8>()).ok_or(NotConstant)?;
    let bias = TensorView::new(DType::I32, &extents[1..], bias).and_then(|view| view.as_slice::<i32>()).ok_or(NotConstant)?;
    Ok(Some(offset::packed(bias, weights, quads, by)))
}
