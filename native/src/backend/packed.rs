//! Convolutions, transposed ones and matrix products with packed weights, all but depthwise: the matrix kernel over a
//! [`quaver_core::kernel::conv::Geometry`].

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::kernel::bind::packed as bind;
use quaver_core::kernel::conv::Frame;
use quaver_pool::Pool;
use quaver_pool::packed::{Compute, Products};
use quaver_pool::strips::{Largest, Strips};

use crate::amx;
use crate::dispatch::query::Query;
use crate::isa::Token;

/// A bound node.
#[derive(Debug)]
pub(crate) struct Packed {
    node: bind::Packed,
    /// Where the result is part of a concatenation: elements of its rows, and those of them that come first.
    within: Option<[usize; 2]>,
    /// The pool that is computed along, whose result is the node's then.
    pooled: Option<Strips>,
}

impl Packed {
    /// Binds a node, where it is one of these.
    pub(crate) fn bind(query: &Query<'_>) -> Option<Self> {
        let x = &query.inputs[0];
        bind::Packed::bind(query.op, x.shape, x.slack, query.output.shape).map(|node| Self { node, within: None, pooled: None })
    }

    /// The same with the weights in the order that takes the fewest quads, given those of the file.
    pub(super) fn narrowed(self, query: &Query<'_>, weights: &[i8]) -> Self {
        let x = &query.inputs[0];
        Self { node: self.node.narrowed(query.op, x.shape, x.slack, query.output.shape, weights), ..self }
    }

    /// The same with orders for products in pairs, where the kernel computes such.
    pub(super) fn paired(self, token: Option<Token>, weights: &[i8]) -> Self {
        match token {
            Some(Token::Avx2(isa)) => Self { node: self.node.paired(isa, weights), ..self },
            _ => self,
        }
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

    /// From now on, the pool behind the node is computed along with it.
    pub(super) fn pool(&mut self, strips: Strips) {
        self.pooled = Some(strips);
    }

    /// Bytes of scratch, for so many threads: the copy of the images, then what lies in front of a pool and what tiles gather.
    pub(super) fn scratch(&self, threads: usize) -> usize {
        let strips = self.pooled.map_or(0, |strips| strips.scratch());
        let tiles =
            amx::scratch(&self.node.geometry.source(&[], 0), &(0..self.node.geometry.chunk() * self.node.rows), self.node.shape.n_blocks());
        self.node.geometry.scratch() + threads * (strips + tiles)
    }

    /// Runs the node; weights that are needed `after` it are asked for.
    pub(super) fn run(
        &self,
        (pool, token): (&Pool, Token),
        op: &Op,
        (inputs, after): (&[Operand<'_>], &[i8]),
        output: &mut OutputMut<'_>,
        scratch: &mut [u8],
    ) {
        let unit = match token {
            Token::Amx(_) => amx::unit(&self.node.geometry.source(&[], 0), self.node.rows, self.node.shape.n_blocks(), pool.threads()),
            _ => 1,
        };
        let products = Products { node: &self.node, within: self.within, bias: None, unit };
        let weights = inputs[1].view.as_slice::<i8>().unwrap_or_default().as_chunks().0;
        let compute: &Compute<'_> = &|gemm, scratch| {
            // Those of the next group, or node.
            let (group, all) = (gemm.channel / gemm.weights.channels.max(1) + 1, gemm.weights.packed.len());
            let next = if group < self.node.shape.groups { weights.get(group * all..) } else { None };
            let next = next.and_then(|rest| rest.get(..all)).unwrap_or(after.as_chunks().0);
            token.gemm(gemm, next, scratch);
        };
        match &self.pooled {
            None => products.run(pool, op, inputs, output, scratch, compute),
            Some(strips) => {
                let largest: &Largest<'_> = &|part| token.vectorize(part);
                products.run_pooled(strips, pool, (op, inputs), output, scratch, (compute, largest));
            }
        }
    }
}
