//! Convolutions, transposed ones and matrix products with packed weights, all but depthwise, on the threads of a pool: rows of the
//! output, or blocks of channels, for each.

use std::ops::Range;

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::format::weights::{N_BLOCK, PackedShape};
use quaver_core::graph::Op;
use quaver_core::kernel::bind::finish_of;
use quaver_core::kernel::bind::packed::Packed;
use quaver_core::kernel::epilogue::Finish;
use quaver_core::kernel::gemm::Gemm;

use crate::{Pool, Rectangle, rectangles, split};

/// Rows of the output that are enough for a thread.
const ROWS: usize = 64;

/// A node, and what is special about it.
#[derive(Debug, Clone, Copy)]
pub struct Products<'a> {
    /// The node.
    pub node: &'a Packed,
    /// Where the result is part of a concatenation: elements of its rows, and those of them that come first.
    pub within: Option<[usize; 2]>,
    /// Biases instead of those that are an operand.
    pub bias: Option<&'a [i32]>,
    /// Rows that a thread's share had better be a multiple of.
    pub unit: usize,
}

/// What computes a part of the products, with a piece of the scratch behind the copy of the images.
pub type Compute<'a> = dyn Fn(Gemm<'_, &mut Rectangle<'_>>, &mut [u8]) + Sync + 'a;

impl Products<'_> {
    /// Runs the node. `scratch` begins with the copy of the images.
    pub fn run(&self, pool: &Pool, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>, scratch: &mut [u8], compute: &Compute<'_>) {
        let node = self.node;
        let finish = finish_of(op, inputs);
        let [width, start] = self.within.unwrap_or([node.shape.groups * node.shape.output_channels, 0]);
        let (pitch, start) = (width * finish.size(), start * finish.size());
        let to = output.view.bytes_mut();
        self.images(pool, inputs, scratch, |images, source, scratch| {
            let bytes = images.start * node.rows * pitch..images.end * node.rows * pitch;
            let finish = finish.part(bytes.clone());
            let to = &mut to[bytes];
            let start = start.min(to.len());
            self.multiply(pool, source, inputs, finish, (&mut to[start..], images.len() * node.rows, pitch), scratch, compute);
        });
    }

    /// Calls `each` for as many images at a time as their copy has room for: with which these are, where their activations are, and
    /// the scratch behind the copy.
    pub(crate) fn images(
        &self,
        pool: &Pool,
        inputs: &[Operand<'_>],
        scratch: &mut [u8],
        mut each: impl FnMut(Range<usize>, &[u8], &mut [u8]),
    ) {
        let node = self.node;
        let image = inputs[0].view.bytes().len() / node.images.max(1);
        let (copy, scratch) = scratch.split_at_mut(node.geometry.scratch());
        for first in (0..node.images).step_by(node.geometry.chunk()) {
            let count = node.geometry.chunk().min(node.images - first);
            let input = &inputs[0].with_slack[first * image..];
            let (lines, line) = (node.geometry.lines(count), node.geometry.line());
            let source = if lines > 0 {
                let copy = &mut copy[..lines * line];
                let parts = pool.parts(copy.len());
                pool.run_slices(copy, parts, line, &|range, to| node.geometry.copy(input, range.start / line..range.end / line, to));
                &*copy
            } else {
                input
            };
            each(first..first + count, source, scratch);
        }
    }

    /// How much work so many rows of the output are, as [`Pool::parts`] asks.
    pub(crate) fn work(&self, rows: usize) -> usize {
        let shape = self.node.shape;
        rows * shape.k_blocks() * shape.n_blocks() * shape.groups
    }

    /// The products of all groups, into so many rows that are whole images, and so many bytes apart.
    #[expect(clippy::too_many_arguments, reason = "one caller; each is another thing")]
    fn multiply(
        &self,
        pool: &Pool,
        source: &[u8],
        inputs: &[Operand<'_>],
        finish: Finish<'_>,
        (to, rows, pitch): (&mut [u8], usize, usize),
        scratch: &mut [u8],
        compute: &Compute<'_>,
    ) {
        let PackedShape { groups, output_channels, .. } = self.node.shape;
        let (width, blocks) = (groups * output_channels, self.node.shape.n_blocks());
        let parts = pool.parts(self.work(rows));
        // Each thread reads all of what is not cut, so the smaller operand is left whole. But where there are rows enough for
        // all, they are cut whatever the operands: then a thread finds in its cache what it has written itself.
        if groups == 1 && blocks >= 2 * parts && blocks * N_BLOCK >= rows && rows < ROWS * parts {
            // In bytes, so that the last one ends where this node's part of a row does.
            let block = N_BLOCK * finish.size();
            let cut = split(width * finish.size(), parts, 2 * block);
            rectangles(pool, to, pitch, split(rows, 1, rows), (cut, 1), scratch, &|_, c, to, scratch| {
                let bytes = cut.get(c);
                let blocks = bytes.start / block..bytes.end.div_ceil(block);
                compute(self.gemm(source, inputs, finish, 0, (0..rows, blocks)).onto(to), scratch);
            });
        } else {
            let cut = split(rows, parts, self.unit);
            rectangles(pool, to, pitch, cut, (split(1, 1, 1), width * finish.size()), scratch, &|r, _, to, scratch| {
                for group in 0..groups {
                    compute(self.gemm(source, inputs, finish, group, (cut.get(r), 0..blocks)).onto(&mut *to), scratch);
                }
            });
        }
    }

    /// The product of a group, of some rows by some blocks of channels.
    pub(crate) fn gemm<'a>(
        &'a self,
        source: &'a [u8],
        inputs: &[Operand<'a>],
        finish: Finish<'a>,
        group: usize,
        (rows, range): (Range<usize>, Range<usize>),
    ) -> Gemm<'a, ()> {
        let PackedShape { groups, output_channels, .. } = self.node.shape;
        let blocks = self.node.shape.n_blocks();
        let mut weights = self.node.weights(inputs, group);
        if let Some(bias) = self.bias {
            weights.bias = &bias.as_chunks().0[group * blocks..][..blocks];
        }
        let source = self.node.geometry.source(source, group);
        let finish = finish.of_blocks(group * blocks..(group + 1) * blocks);
        Gemm { source, weights, finish, rows, blocks: range, channel: group * output_channels, width: groups * output_channels, to: () }
    }
}
