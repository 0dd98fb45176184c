//! Convolutions, transposed ones and matrix products with packed weights, all but depthwise: the matrix kernel over a
//! [`Geometry`].

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::format::weights::{PackedShape, is_depthwise};
use quaver_core::graph::op::Epilogue;
use quaver_core::graph::{Graph, Node, Op};
use quaver_core::kernel::conv::Geometry;
use quaver_core::kernel::epilogue::{Finish, Requantize, Residual, SliceRows};
use quaver_core::kernel::gemm::{Gemm, Weights};
use quaver_core::plan::{Location, Plan};

use crate::isa::Token;

/// A bound node.
#[derive(Debug)]
pub(super) struct Packed {
    shape: PackedShape,
    geometry: Geometry,
    /// Images, or 1 for a matrix product.
    images: usize,
    /// Output rows of an image.
    rows: usize,
}

impl Packed {
    /// Binds `node`, where it is one of these.
    pub(super) fn bind(graph: &Graph, plan: &Plan, node: &Node) -> Option<Self> {
        let shape_of = |id: quaver_core::graph::ValueId| &plan.shapes[id.index()][..];
        let x = node.inputs[0];
        let slack = matches!(plan.locations[x.index()], Location::Arena(_));
        let (from, to) = (shape_of(x), shape_of(node.outputs[0]));
        debug_assert!(graph.value(x).quant.is_some() || !matches!(node.op, Op::QConv(_) | Op::QGemm(_)));
        match &node.op {
            Op::QGemm(gemm) => {
                let k = *from.last()?;
                let rows = to.iter().product::<usize>() / gemm.channels.max(1);
                let shape = PackedShape::grouped([1, 1], k, gemm.channels, 1)?;
                // The last row's last quad would end behind an input that has no slack.
                (k % 4 == 0 || slack).then(|| Self { shape, geometry: Geometry::matrix(rows, k), images: 1, rows })
            }
            Op::QConv(conv) => {
                let (&[n, h, w, c], &[_, to_h, to_w, _]) = (from, to) else { return None };
                if is_depthwise(c, conv.channels, conv.groups) {
                    return None;
                }
                let shape = PackedShape::grouped(conv.window.kernel, c, conv.channels, conv.groups)?;
                let geometry = Geometry::conv(&conv.window, conv.groups, n, [h, w, c], [to_h, to_w], conv.pad_value, slack);
                Some(Self { shape, geometry, images: n, rows: to_h * to_w })
            }
            Op::QConvTranspose(conv) => {
                let (&[n, h, w, c], &[_, to_h, to_w, _]) = (from, to) else { return None };
                let shape = PackedShape::grouped(conv.window.kernel, c, conv.channels, conv.groups)?;
                let geometry = Geometry::transposed(&conv.window, conv.groups, n, [h, w, c], [to_h, to_w], conv.pad_value);
                Some(Self { shape, geometry, images: n, rows: to_h * to_w })
            }
            _ => None,
        }
    }

    /// Bytes of scratch.
    pub(super) fn scratch(&self) -> usize {
        self.geometry.scratch()
    }

    /// Runs the node.
    pub(super) fn run(&self, token: Token, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>, scratch: &mut [u8]) {
        let finish = finish_of(op, inputs);
        let width = self.shape.groups * self.shape.output_channels;
        let row = width * finish.size();
        let image = inputs[0].view.bytes().len() / self.images.max(1);
        for first in (0..self.images).step_by(self.geometry.chunk()) {
            let count = self.geometry.chunk().min(self.images - first);
            let input = &inputs[0].with_slack[first * image..];
            let lines = self.geometry.lines(count);
            let source = if lines > 0 {
                let copy = &mut scratch[..lines * self.geometry.line()];
                self.geometry.copy(input, 0..lines, copy);
                &*copy
            } else {
                input
            };
            let rows = first * self.rows * row..(first + count) * self.rows * row;
            let to = &mut output.view.bytes_mut()[rows.clone()];
            let finish = finish.part(rows);
            for group in 0..self.shape.groups {
                let to = SliceRows { bytes: &mut *to, pitch: row };
                token.vectorize(Gemm {
                    source: self.geometry.source(source, group),
                    weights: self.weights(inputs, group),
                    finish,
                    rows: 0..count * self.rows,
                    blocks: 0..self.shape.n_blocks(),
                    channel: group * self.shape.output_channels,
                    width,
                    to,
                });
            }
        }
    }

    /// The constants of a group.
    fn weights<'a>(&self, inputs: &[Operand<'a>], group: usize) -> Weights<'a> {
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

/// The epilogue of a packed operation, with its operands.
pub(super) fn finish_of<'a>(op: &Op, inputs: &[Operand<'a>]) -> Finish<'a> {
    let epilogue: Option<Epilogue> = match op {
        Op::QConv(conv) => conv.epilogue,
        Op::QConvTranspose(conv) => conv.epilogue,
        Op::QGemm(gemm) => gemm.epilogue,
        _ => None,
    };
    let Some(epilogue) = epilogue else { return Finish::F32 };
    let residual =
        epilogue.residual.map(|r| Residual { bytes: inputs[4].view.bytes(), zero_point: r.zero_point, multiplier: r.multiplier });
    let table = inputs.last().filter(|_| epilogue.table).and_then(|table| table.view.bytes().as_array());
    Finish::U8(Requantize { zero_point: epilogue.zero_point, lo: epilogue.lo, hi: epilogue.hi, residual, table })
}
