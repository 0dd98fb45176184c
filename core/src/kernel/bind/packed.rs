//! Convolutions, transposed ones and matrix products with packed weights, all but depthwise: where a node's activations are,
//! and its constants.

use crate::backend::Operand;
use crate::format::weights::{K_BLOCK, PackedShape, is_depthwise};
use crate::graph::Op;
use crate::kernel::conv::Geometry;
use crate::kernel::gemm::Weights;

/// A node.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The layout of its weights.
    pub shape: PackedShape,
    /// Where its activations are.
    pub geometry: Geometry,
    /// Images, or 1 for a matrix product.
    pub images: usize,
    /// Output rows of an image.
    pub rows: usize,
}

impl Packed {
    /// Binds a node of operand extents `x` and output extents `to`, where it is one of these. Where `slack` is false, no byte
    /// behind the operand may be read.
    pub fn bind(op: &Op, x: &[usize], slack: bool, to: &[usize]) -> Option<Self> {
        if !super::window_is_usual(op) {
            return None;
        }
        match op {
            Op::QGemm(gemm) => {
                let k = *x.last()?;
                let rows = to.iter().product::<usize>() / gemm.channels.max(1);
                let shape = PackedShape::grouped([1, 1], k, gemm.channels, 1)?;
                // The last row's last quad would end behind an input that has no slack.
                (k % K_BLOCK == 0 || slack).then(|| Self { shape, geometry: Geometry::matrix(rows, k), images: 1, rows })
            }
            Op::QConv(conv) => {
                let (&[n, h, w, c], &[_, to_h, to_w, _]) = (x, to) else { return None };
                if is_depthwise(c, conv.channels, conv.groups) {
                    return None;
                }
                let shape = PackedShape::grouped(conv.window.kernel, c, conv.channels, conv.groups)?;
                let geometry = Geometry::conv(&conv.window, conv.groups, n, [h, w, c], [to_h, to_w], conv.pad_value, slack)?;
                Some(Self { shape, geometry, images: n, rows: to_h * to_w })
            }
            Op::QConvTranspose(conv) => {
                let (&[n, h, w, c], &[_, to_h, to_w, _]) = (x, to) else { return None };
                let shape = PackedShape::grouped(conv.window.kernel, c, conv.channels, conv.groups)?;
                let geometry = Geometry::transposed(&conv.window, conv.groups, n, [h, w, c], [to_h, to_w], conv.pad_value)?;
                Some(Self { shape, geometry, images: n, rows: to_h * to_w })
            }
            _ => None,
        }
    }

    /// The constants of a group.
    pub fn weights<'a>(&self, inputs: &[Operand<'a>], group: usize) -> Weights<'a> {
        let (blocks, quads) = (self.shape.n_blocks(), self.shape.k_blocks());
        let packed = inputs[1].view.as_slice::<i8>().unwrap_or_default().as_chunks().0;
        let bias = inputs[2].view.as_slice::<i32>().unwrap_or_default().as_chunks().0;
        let multiplier = inputs[3].view.as_slice::<f32>().unwrap_or_default().as_chunks().0;
        Weights {
            packed: &packed[group * blocks * quads..][..blocks * quads],
            bias: &bias[group * blocks..][..blocks],
            multiplier: &multiplier[group * blocks..][..blocks],
            quads,
            channels: self.shape.output_channels,
        }
    }
}
