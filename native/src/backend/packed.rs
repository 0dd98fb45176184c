//! Convolutions, transposed ones and matrix products with packed weights, all but depthwise: the matrix kernel over a
//! [`quaver_core::kernel::conv::Geometry`].

use std::ops::Range;

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::format::weights::{N_BLOCK, PackedShape};
use quaver_core::graph::Op;
use quaver_core::kernel::bind::{finish_of, packed as bind};
use quaver_core::kernel::conv::Frame;
use quaver_core::kernel::epilogue::Finish;
use quaver_core::kernel::gemm::Gemm;

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
    node: bind::Packed,
    /// Where the result is part of a concatenation: elements of its rows, and those of them that come first.
    within: Option<[usize; 2]>,
}

impl Packed {
    /// Binds a node, where it is one of these.
    pub(crate) fn bind(query: &Query<'_>) -> Option<Self> {
        let x = &query.inputs[0];
        bind::Packed::bind(query.op, x.shape, x.slack, query.output.shape).map(|node| Self { node, within: None })
    }

    /// The frame that the node's images are copied into, which may as well be their place.
    pub(super) fn frame(&self) -> Option<Frame> {
        self.node.geometry.frame()
    }

    /// From now on, images lie in their frames.
    pub(super) fn read_frames(&mut self) {
        self.node.geometry = self.node.geometry.clone().framed(self.node.images);
    }

    /// From now on, the result's rows are in rows of `width` elements, from `start` on. Not for nodes with a residual, whose
    /// rows would be others.
    pub(super) fn write_within(&mut self, width: usize, start: usize) {
        self.within = Some([width, start]);
    }

    /// Bytes of scratch, for so many threads: the copy of the images, then what tiles gather.
    pub(super) fn scratch(&self, threads: usize) -> usize {
        let tiles =
            amx::scratch(&self.node.geometry.source(&[], 0), &(0..self.node.geometry.chunk() * self.node.rows), self.node.shape.n_blocks());
        self.node.geometry.scratch() + threads * tiles
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
        let [width, start] = self.within.unwrap_or([self.node.shape.groups * self.node.shape.output_channels, 0]);
        let (pitch, start) = (width * finish.size(), start * finish.size());
        let image = inputs[0].view.bytes().len() / self.node.images.max(1);
        let (copy, scratch) = scratch.split_at_mut(self.node.geometry.scratch());
        for first in (0..self.node.images).step_by(self.node.geometry.chunk()) {
            let count = self.node.geometry.chunk().min(self.node.images - first);
            let input = &inputs[0].with_slack[first * image..];
            let (lines, line) = (self.node.geometry.lines(count), self.node.geometry.line());
            let source = if lines > 0 {
                let copy = &mut copy[..lines * line];
                let parts = parts(pool, copy.len());
                pool.run_slices(copy, parts, line, &|range, to| self.node.geometry.copy(input, range.start / line..range.end / line, to));
                &*copy
            } else {
                input
            };
            let bytes = first * self.node.rows * pitch..(first + count) * self.node.rows * pitch;
            let (finish, rows) = (finish.part(bytes.clone()), count * self.node.rows);
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
        let PackedShape { groups, output_channels, .. } = self.node.shape;
        let (width, blocks) = (groups * output_channels, self.node.shape.n_blocks());
        let gemm = |group: usize, rows: Range<usize>, blocks: Range<usize>| {
            let weights = self.node.weights(inputs, group);
            let source = self.node.geometry.source(source, group);
            Gemm { source, weights, finish, rows, blocks, channel: group * output_channels, width, to: () }
        };
        let parts = parts(pool, rows * self.node.shape.k_blocks() * blocks * groups);
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
}
