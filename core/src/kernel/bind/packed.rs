//! Convolutions, transposed ones and matrix products with packed weights, all but depthwise: where a node's activations are,
//! and its constants.

use crate::backend::Operand;
use crate::format::weights::{K_BLOCK, PackedShape, is_depthwise};
use crate::graph::Op;
use crate::graph::op::QGemm;
use crate::kernel::conv::Geometry;
use crate::kernel::gemm::Weights;
use crate::kernel::narrow::Narrow;
use crate::kernel::pairing::Pairing;
use crate::kernel::simd::Simd;
use crate::tensor::AlignedBytes;

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
    /// Weights in the order of [`Narrow`], where that takes fewer quads.
    narrow: Option<AlignedBytes>,
    /// Orders of the weights, where products in pairs are faster.
    pairing: Option<Pairing>,
}

impl Packed {
    /// Binds a node of operand extents `x` and output extents `to`, where it is one of these. Where `slack` is false, no byte
    /// behind the operand may be read.
    pub fn bind(op: &Op, x: &[usize], slack: bool, to: &[usize]) -> Option<Self> {
        // Sums of no products are the definition's affair.
        if !super::window_is_usual(op) || x.last() == Some(&0) {
            return None;
        }
        match op {
            Op::QGemm(QGemm { channels, .. }) | Op::DynamicGemm { channels } => {
                let k = *x.last()?;
                let rows = to.iter().product::<usize>() / channels.max(&1);
                let shape = PackedShape::grouped([1, 1], k, *channels, 1)?;
                // The last row's last quad would end behind an input that has no slack.
                (k % K_BLOCK == 0 || slack).then(|| Self {
                    shape,
                    geometry: Geometry::matrix(rows, k),
                    images: 1,
                    rows,
                    narrow: None,
                    pairing: None,
                })
            }
            Op::QConv(conv) => {
                let (&[n, h, w, c], &[_, to_h, to_w, _]) = (x, to) else { return None };
                if is_depthwise(c, conv.channels, conv.groups) {
                    return None;
                }
                let shape = PackedShape::grouped(conv.window.kernel, c, conv.channels, conv.groups)?;
                let geometry = Geometry::conv(&conv.window, conv.groups, n, [h, w, c], [to_h, to_w], conv.pad_value, slack)?;
                Some(Self { shape, geometry, images: n, rows: to_h * to_w, narrow: None, pairing: None })
            }
            Op::QConvTranspose(conv) => {
                let (&[n, h, w, c], &[_, to_h, to_w, _]) = (x, to) else { return None };
                let shape = PackedShape::grouped(conv.window.kernel, c, conv.channels, conv.groups)?;
                let geometry = Geometry::transposed(&conv.window, conv.groups, n, [h, w, c], [to_h, to_w], conv.pad_value)?;
                Some(Self { shape, geometry, images: n, rows: to_h * to_w, narrow: None, pairing: None })
            }
            _ => None,
        }
    }

    /// The same with the weights in the order that takes the fewest quads, given those of the file, and what [`Packed::bind`] was
    /// given.
    pub fn narrowed(self, op: &Op, x: &[usize], slack: bool, to: &[usize], weights: &[i8]) -> Self {
        let (Op::QConv(conv), &[n, h, w, c], &[_, to_h, to_w, _]) = (op, x, to) else { return self };
        let Some(narrow) = Narrow::of(&conv.window, &self.shape).filter(|_| weights.len() == self.shape.len()) else { return self };
        let Some(geometry) = Geometry::narrow(&conv.window, &narrow, n, [h, w, c], [to_h, to_w], conv.pad_value, slack) else {
            return self;
        };
        match narrow.weights(&self.shape, weights) {
            Some(weights) => Self { geometry, narrow: Some(weights), ..self },
            None => self,
        }
    }

    /// The same with orders for products in pairs, where the instruction set has such, given the weights of the file.
    pub fn paired<S: Simd>(self, s: S, weights: &[i8]) -> Self {
        let packed = self.narrow.as_deref().map_or(weights, bytemuck::cast_slice).as_chunks().0;
        let quads = packed.len() / (self.shape.groups * self.shape.n_blocks());
        let pairing = (S::PAIRS && weights.len() == self.shape.len()).then(|| Pairing::of(s, packed, quads));
        Self { pairing, ..self }
    }

    /// The constants of a group.
    pub fn weights<'a>(&'a self, inputs: &[Operand<'a>], group: usize) -> Weights<'a> {
        let blocks = self.shape.n_blocks();
        let packed = match &self.narrow {
            Some(narrow) => bytemuck::cast_slice::<u8, i8>(narrow).as_chunks().0,
            None => inputs[1].view.as_slice::<i8>().unwrap_or_default().as_chunks().0,
        };
        let quads = packed.len() / (self.shape.groups * blocks);
        let bias = inputs[2].view.as_slice::<i32>().unwrap_or_default().as_chunks().0;
        let multiplier = inputs[3].view.as_slice::<f32>().unwrap_or_default().as_chunks().0;
        Weights {
            packed: &packed[group * blocks * quads..][..blocks * quads],
            orders: self.pairing.as_ref().map(|pairing| pairing.orders(group * blocks..(group + 1) * blocks)),
            bias: &bias[group * blocks..][..blocks],
            multiplier: &multiplier[group * blocks..][..blocks],
            quads,
            channels: self.shape.output_channels,
        }
    }
}
