//! Convolutions, transposed ones and matrix products with packed weights, all but depthwise: the matrix kernel over a
//! [`Geometry`].

use std::ops::Range;

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::format::weights::{K_BLOCK, N_BLOCK, PackedShape, is_depthwise};
use quaver_core::graph::Op;
use quaver_core::graph::op::Epilogue;
use quaver_core::kernel::conv::{Frame, Geometry};
use quaver_core::kernel::epilogue::{Finish, Requantize, Residual};
use quaver_core::kernel::gemm::{Gemm, Weights};
use quaver_core::kernel::narrow::Narrow;

use super::parts;
use crate::amx;
use crate::dispatch::query::Query;
use crate::isa::Token;
use crate::pool::{Pool, rectangles, split};

/// Rows of the output that are enough for a thread.
const ROWS: usize = 64;

/// A bound node.
#[derive(Debug)]
pub(crate) struct Packed {
    shape: PackedShape,
    geometry: Geometry,
    /// Images, or 1 for a matrix product.
    images: usize,
    /// Output rows of an image.
    rows: usize,
    /// Where the result is part of a concatenation: elements of its rows, and those of them that come first.
    within: Option<[usize; 2]>,
    /// Weights in the order of [`Narrow`], where that takes fewer quads.
    narrow: Option<Vec<[i8; 64]>>,
}

impl Packed {
    /// Binds a node, where it is one of these.
    pub(crate) fn bind(query: &Query<'_>) -> Option<Self> {
        let (x, to) = (query.inputs[0], query.output.shape);
        if !query.window_is_usual() {
            return None;
        }
        match query.op {
            Op::QGemm(gemm) => {
                let k = *x.shape.last()?;
                let rows = to.iter().product::<usize>() / gemm.channels.max(1);
                let shape = PackedShape::grouped([1, 1], k, gemm.channels, 1)?;
                // The last row's last quad would end behind an input that has no slack.
                (k % K_BLOCK == 0 || x.slack).then(|| Self {
                    shape,
                    geometry: Geometry::matrix(rows, k),
                    images: 1,
                    rows,
                    within: None,
                    narrow: None,
                })
            }
            Op::QConv(conv) => {
                let (&[n, h, w, c], &[_, to_h, to_w, _]) = (x.shape, to) else { return None };
                if is_depthwise(c, conv.channels, conv.groups) {
                    return None;
                }
                let shape = PackedShape::grouped(conv.window.kernel, c, conv.channels, conv.groups)?;
                let geometry = Geometry::conv(&conv.window, conv.groups, n, [h, w, c], [to_h, to_w], conv.pad_value, x.slack)?;
                Some(Self { shape, geometry, images: n, rows: to_h * to_w, within: None, narrow: None })
            }
            Op::QConvTranspose(conv) => {
                let (&[n, h, w, c], &[_, to_h, to_w, _]) = (x.shape, to) else { return None };
                let shape = PackedShape::grouped(conv.window.kernel, c, conv.channels, conv.groups)?;
                let geometry = Geometry::transposed(&conv.window, conv.groups, n, [h, w, c], [to_h, to_w], conv.pad_value)?;
                Some(Self { shape, geometry, images: n, rows: to_h * to_w, within: None, narrow: None })
            }
            _ => None,
        }
    }

    /// The same with the weights in the order that takes the fewest quads, given those of the file.
    pub(super) fn narrowed(self, query: &Query<'_>, weights: &[i8]) -> Self {
        let (Op::QConv(conv), &[n, h, w, c], &[_, to_h, to_w, _]) = (query.op, query.inputs[0].shape, query.output.shape) else {
            return self;
        };
        let Some(narrow) = Narrow::of(&conv.window, &self.shape).filter(|_| weights.len() == self.shape.len()) else { return self };
        let slack = query.inputs[0].slack;
        let Some(geometry) = Geometry::narrow(&conv.window, &narrow, n, [h, w, c], [to_h, to_w], conv.pad_value, slack) else {
            return self;
        };
        Self { geometry, narrow: Some(narrow.weights(&self.shape, weights)), ..self }
    }

    /// The frame that the node's images are copied into, which may as well be their place.
    pub(super) fn frame(&self) -> Option<Frame> {
        self.geometry.frame()
    }

    /// From now on, images lie in their frames.
    pub(super) fn read_frames(&mut self) {
        self.geometry = self.geometry.clone().framed(self.images);
    }

    /// From now on, the result's rows are in rows of `width` elements, from `start` on. Not for nodes with a residual, whose
    /// rows would be others.
    pub(super) fn write_within(&mut self, width: usize, start: usize) {
        self.within = Some([width, start]);
    }

    /// Bytes of scratch, for so many threads: the copy of the images, then what tiles gather.
    pub(super) fn scratch(&self, threads: usize) -> usize {
        let tiles = amx::scratch(&self.geometry.source(&[], 0), &(0..self.geometry.chunk() * self.rows), self.shape.n_blocks());
        self.geometry.scratch() + threads * tiles
    }

    /// Runs the node.
    pub(super) fn run(
        &self,
        (pool, token): (&Pool, Token),
        op: &Op,
        inputs: &[Operand<'_>],
        output: &mut OutputMut<'_>,
        scratch: &mut [u8],
    ) {
        let finish = finish_of(op, inputs);
        let [width, start] = self.within.unwrap_or([self.shape.groups * self.shape.output_channels, 0]);
        let (pitch, start) = (width * finish.size(), start * finish.size());
        let image = inputs[0].view.bytes().len() / self.images.max(1);
        let (copy, scratch) = scratch.split_at_mut(self.geometry.scratch());
        for first in (0..self.images).step_by(self.geometry.chunk()) {
            let count = self.geometry.chunk().min(self.images - first);
            let input = &inputs[0].with_slack[first * image..];
            let (lines, line) = (self.geometry.lines(count), self.geometry.line());
            let source = if lines > 0 {
                let copy = &mut copy[..lines * line];
                let parts = parts(pool, copy.len());
                pool.run_slices(copy, parts, line, &|range, to| self.geometry.copy(input, range.start / line..range.end / line, to));
                &*copy
            } else {
                input
            };
            let bytes = first * self.rows * pitch..(first + count) * self.rows * pitch;
            let (finish, rows) = (finish.part(bytes.clone()), count * self.rows);
            let to = &mut output.view.bytes_mut()[bytes];
            let start = start.min(to.len());
            self.multiply((pool, token), source, inputs, finish, (&mut to[start..], rows, pitch), scratch);
        }
    }

    /// The products of all groups, into so many rows that are whole images, and so many bytes apart.
    fn multiply(
        &self,
        (pool, token): (&Pool, Token),
        source: &[u8],
        inputs: &[Operand<'_>],
        finish: Finish<'_>,
        (to, rows, pitch): (&mut [u8], usize, usize),
        scratch: &mut [u8],
    ) {
        let PackedShape { groups, output_channels, .. } = self.shape;
        let (width, blocks) = (groups * output_channels, self.shape.n_blocks());
        let gemm = |group: usize, rows: Range<usize>, blocks: Range<usize>| {
            let weights = self.weights(inputs, group);
            let source = self.geometry.source(source, group);
            Gemm { source, weights, finish, rows, blocks, channel: group * output_channels, width, to: () }
        };
        let parts = parts(pool, rows * self.shape.k_blocks() * blocks * groups);
        // Each thread reads all of what is not cut, so the smaller operand is left whole. But where there are rows enough for
        // all, they are cut whatever the operands: then a thread finds in its cache what it has written itself.
        if groups == 1 && blocks >= 2 * parts && blocks * N_BLOCK >= rows && rows < ROWS * parts {
            // In bytes, so that the last one ends where this node's part of a row does.
            let block = N_BLOCK * finish.size();
            let cut = split(width * finish.size(), parts, 2 * block);
            rectangles(pool, to, pitch, split(rows, 1, rows), (cut, 1), scratch, &|_, c, to, scratch| {
                let bytes = cut.get(c);
                token.gemm(gemm(0, 0..rows, bytes.start / block..bytes.end.div_ceil(block)).onto(to), scratch);
            });
        } else {
            let cut = split(rows, parts, 1);
            rectangles(pool, to, pitch, cut, (split(1, 1, 1), width * finish.size()), scratch, &|r, _, to, scratch| {
                for group in 0..groups {
                    token.gemm(gemm(group, cut.get(r), 0..blocks).onto(&mut *to), scratch);
                }
            });
        }
    }

    /// The constants of a group.
    fn weights<'a>(&'a self, inputs: &[Operand<'a>], group: usize) -> Weights<'a> {
        let blocks = self.shape.n_blocks();
        let packed = match &self.narrow {
            Some(narrow) => narrow,
            None => inputs[1].view.as_slice::<i8>().unwrap_or_default().as_chunks().0,
        };
        let quads = packed.len() / (self.shape.groups * blocks);
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
