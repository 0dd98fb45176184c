//! Matrix products of two activations of u8: the right operand is packed as weights are, at each run, and then meets the matrix
//! kernel of every other product.
//!
//! Weights are i8, so of an element b, b − 128 is packed. What is left of b − z_b is a constant, which is packed as one more part
//! of K, or two, and which the left operand's rows meet again: each part is a segment at distance 0. Where z_b is 128, as the
//! converter makes it, there is none.

use std::ops::Range;

use super::edge;
use super::epilogue::{Finish, Requantize};
use super::gemm::{Bases, Gemm, Source, Weights};
use super::simd::{Kernel, Simd};
use crate::arith::requant::ProductU8;
use crate::format::weights::{K_BLOCK, N_BLOCK};
use crate::quant::Affine;
use crate::reference::gemm::matrix;
use crate::tensor::MAX_RANK;

/// b − 128 where b is 0.
const MIDDLE: u8 = 128;
/// Parts of K at most.
const MOST_PARTS: usize = 3;
/// All at the rows' beginning.
const SEGMENTS: [usize; MOST_PARTS] = [0; MOST_PARTS];

/// A product of activations, bound to its operands' extents.
#[derive(Debug, Clone)]
pub struct MatMul {
    /// Rows, K and columns of a matrix.
    extents: [usize; 3],
    /// Leading dimensions of the output and the operands, and how many of them there are.
    batch: [[usize; MAX_RANK]; 3],
    ranks: [usize; 3],
    /// Zero points of the operands.
    zeros: [u8; 2],
    /// What is packed for the part of K behind the first: nothing, or constants.
    rest: [i8; MOST_PARTS - 1],
    multiplier: f32,
    y: Option<Affine>,
}

impl MatMul {
    /// Binds a node; the operands' extents come first. Where `slack` is false, no byte behind the left operand may be read.
    pub fn bind([a, b, y]: [&[usize]; 3], quant: [Affine; 2], to: Option<Affine>, slack: bool) -> Option<Self> {
        let (&[.., m, k], &[.., n]) = (a, b) else { return None };
        let mut batch = [[1; MAX_RANK]; 3];
        let mut ranks = [0; 3];
        for (i, shape) in [y, a, b].into_iter().enumerate() {
            ranks[i] = shape.len().checked_sub(2)?;
            batch[i][..ranks[i]].copy_from_slice(&shape[..ranks[i]]);
        }
        let left = i32::from(MIDDLE) - i32::from(quant[1].zero_point);
        let first = left.clamp(i32::from(i8::MIN), i32::from(i8::MAX));
        // The last row's last quad would end behind an operand without slack.
        let may_read = slack || k % K_BLOCK == 0;
        (may_read && m * k * n > 0 && y.iter().all(|&extent| extent > 0)).then(|| Self {
            extents: [m, k, n],
            batch,
            ranks,
            zeros: quant.map(|affine| affine.zero_point),
            rest: [first as i8, (left - first) as i8],
            multiplier: ProductU8::new(quant[0], quant[1], to).multiplier(),
            y: to,
        })
    }

    /// The rows of all matrices of the output.
    pub fn rows(&self) -> usize {
        self.count() * self.extents[0]
    }

    /// Matrices of the output.
    pub fn count(&self) -> usize {
        self.batch[0][..self.ranks[0]].iter().product()
    }

    /// The rows of matrix `index` of the output.
    pub fn rows_of(&self, index: usize) -> Range<usize> {
        index * self.extents[0]..(index + 1) * self.extents[0]
    }

    /// Bytes of a row of the output.
    pub fn pitch(&self) -> usize {
        self.extents[2] * self.finish().size()
    }

    /// Multiplications.
    pub fn macs(&self) -> usize {
        self.rows() * self.extents[1] * self.extents[2]
    }

    /// Matrices of the right operand, each packed once.
    pub fn matrices(&self) -> usize {
        self.batch[2][..self.ranks[2]].iter().product()
    }

    /// Blocks of sixteen columns of a matrix.
    pub fn blocks(&self) -> usize {
        self.extents[2].div_ceil(N_BLOCK)
    }

    fn parts(&self) -> usize {
        1 + self.rest.iter().take_while(|&&c| c != 0).count()
    }

    fn quads(&self) -> usize {
        self.extents[1].div_ceil(K_BLOCK)
    }

    /// Bytes of scratch for one matrix of the right operand: its packed weights, then the biases that go with them.
    pub fn packed_len(&self) -> usize {
        self.blocks() * (self.quads() * self.parts() + 1) * 64
    }

    /// Bytes of scratch for all that is the same for all matrices: the multipliers.
    pub fn shared_len(&self) -> usize {
        self.blocks() * 64
    }

    /// Fills the scratch of [`MatMul::shared_len`].
    pub fn share(&self, to: &mut [u8]) {
        to.as_chunks_mut().0.iter_mut().for_each(|to| *to = self.multiplier.to_ne_bytes());
    }

    /// What packs matrix `index` of the right operand into its scratch, for dot products that lessen activations by `offset`.
    pub fn pack<'a>(&'a self, b: &'a [u8], index: usize, offset: u8, to: &'a mut [u8]) -> Pack<'a> {
        let [_, k, n] = self.extents;
        Pack { node: self, b: &b[index * k * n..][..k * n], offset, to }
    }

    /// Where the rows of matrix `index` of the output find their activations, given the left operand.
    pub fn source<'a>(&self, a: &'a [u8], index: usize) -> Source<'a> {
        let [m, k, _] = self.extents;
        let own = matrix(index, &self.batch[0][..self.ranks[0]], &self.batch[1][..self.ranks[1]]);
        let bases = match own.checked_sub(index) {
            Some(ahead) => Bases { start: ahead * m * k, ..Bases::matrix(self.rows(), k) },
            // Rows of the matrices before are images of distance 0.
            None => Bases { start: own * m * k, extents: [1, m], steps: [0, 0, k] },
        };
        Source { bytes: a, segments: &SEGMENTS[..self.parts()], quads: self.quads(), bases }
    }

    fn finish(&self) -> Finish<'static> {
        match self.y {
            Some(Affine { zero_point, q_max, .. }) => {
                Finish::U8(Requantize { zero_point, lo: 0, hi: q_max, residual: None, hard_swish: None, table: None })
            }
            None => Finish::F32,
        }
    }

    /// The products of some of [`MatMul::rows`]: one for each matrix that they are of, given the left operand, the scratch of the
    /// whole right one, and the shared scratch.
    pub fn products<'a>(
        &'a self,
        a: &'a [u8],
        rows: Range<usize>,
        packed: &'a [u8],
        shared: &'a [u8],
    ) -> impl Iterator<Item = Gemm<'a, ()>> + 'a {
        let [m, _, n] = self.extents;
        let [batch, b_batch] = [0, 2].map(|i| &self.batch[i][..self.ranks[i]]);
        let matrices = rows.start / m..rows.end.div_ceil(m);
        matrices.map(move |index| {
            let own = packed.chunks_exact(self.packed_len()).nth(matrix(index, batch, b_batch)).unwrap_or_default();
            let (weights, bias) = own.split_at(self.blocks() * self.quads() * self.parts() * 64);
            Gemm {
                source: self.source(a, index),
                weights: Weights {
                    packed: bytemuck::cast_slice(weights),
                    bias: bytemuck::cast_slice(bias),
                    multiplier: bytemuck::cast_slice(shared),
                    orders: None,
                    quads: self.quads() * self.parts(),
                    channels: n,
                },
                finish: self.finish(),
                rows: rows.start.max(self.rows_of(index).start)..rows.end.min(self.rows_of(index).end),
                blocks: 0..self.blocks(),
                channel: 0,
                width: n,
                to: (),
            }
        })
    }
}

/// A matrix to be packed.
#[derive(Debug)]
pub struct Pack<'a> {
    node: &'a MatMul,
    b: &'a [u8],
    offset: u8,
    to: &'a mut [u8],
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [_, k, n] = self.node.extents;
        let (quads, parts) = (self.node.quads(), self.node.parts());
        let (packed, biases) = self.to.split_at_mut(self.node.blocks() * quads * parts * 64);
        let from = i32::from(self.offset) - i32::from(self.node.zeros[0]);
        let blocks = packed.chunks_exact_mut(quads * parts * 64).zip(biases.as_chunks_mut::<64>().0);
        for (block, (packed, bias)) in blocks.enumerate() {
            let column = block * N_BLOCK;
            let (first, rest) = packed.split_at_mut(quads * 64);
            let mut sums = s.splat_i32(0);
            for (quad, to) in first.as_chunks_mut::<64>().0.iter_mut().enumerate() {
                let row = quad * K_BLOCK;
                // What stands for nothing packs as 0.
                let mut ends = [[MIDDLE; N_BLOCK]; K_BLOCK];
                let bytes = if row + K_BLOCK <= k && column + N_BLOCK <= n {
                    let line = |i: usize| self.b[(row + i) * n + column..].first_chunk();
                    let (Some(a), Some(b), Some(c), Some(d)) = (line(0), line(1), line(2), line(3)) else { break };
                    s.quads([a, b, c, d])
                } else {
                    let width = N_BLOCK.min(n - column);
                    for (line, end) in self.b[row * n..].chunks_exact(n).zip(&mut ends) {
                        edge::copy(&line[column..column + width], &mut end[..width]);
                    }
                    s.quads([&ends[0], &ends[1], &ends[2], &ends[3]])
                };
                sums = s.sum4_lanes(sums, bytes);
                s.store_b(bytes, to);
                to.iter_mut().for_each(|byte| *byte ^= MIDDLE);
            }
            for (part, &constant) in rest.chunks_exact_mut(quads * 64).zip(&self.node.rest) {
                part.fill(constant as u8);
                // Behind the last row there is nothing to be lessened.
                for quad in part.as_chunks_mut::<64>().0.iter_mut().skip(k / K_BLOCK) {
                    let (channels, _) = quad.as_chunks_mut::<K_BLOCK>();
                    channels.iter_mut().for_each(|w| w[k % K_BLOCK..].fill(0));
                }
            }
            // Σ(b − z_b) of each column: of what was packed, less what stood for nothing, and of the constants.
            let mut totals = [0; N_BLOCK];
            s.store_i32(sums, &mut totals);
            let filled = i32::from(MIDDLE) * (quads * K_BLOCK - k) as i32;
            let zeros = i32::from(self.node.zeros[1]) * k as i32;
            for (to, total) in bias.as_chunks_mut().0.iter_mut().zip(totals) {
                *to = from.wrapping_mul(total - filled - zeros).to_ne_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Operand, OutputMut};
    use crate::graph::Op;
    use crate::kernel::epilogue::SliceRows;
    use crate::kernel::soft::Soft;
    use crate::reference::Reference;
    use crate::tensor::{DType, TensorView, TensorViewMut};

    const TO: Affine = Affine { scale: 0.7, zero_point: 90, q_max: 255 };

    fn bytes(n: usize, seed: usize) -> Vec<u8> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) >> 3) as u8).collect()
    }

    /// By the kernel and by the definition.
    fn both(shapes: [&[usize]; 3], zeros: [u8; 2], to: Option<Affine>) -> [Vec<u8>; 2] {
        let [a, b, y] = shapes.map(|shape| shape.iter().product::<usize>());
        let quant = zeros.map(|zero_point| Affine { scale: 0.11, zero_point, q_max: 255 });
        let (mut left, right) = (bytes(a, 1), bytes(b, 2));
        let dtype = if to.is_some() { DType::U8 } else { DType::F32 };
        let mut expected = vec![0u32; y * dtype.size() / 4 + 1];
        let mut actual = expected.clone();
        {
            let operand = |bytes, i: usize| Operand::new(TensorView::new(DType::U8, shapes[i], bytes).expect("fits"), Some(quant[i]));
            let operands = [operand(&left, 0), operand(&right, 1)];
            let result = &mut bytemuck::cast_slice_mut(&mut expected)[..y * dtype.size()];
            let view = TensorViewMut::new(dtype, shapes[2], result).expect("fits");
            Reference.compute(&Op::MatMul, &operands, &mut OutputMut { view, quant: to });
        }
        left.extend([200, 201, 202]);
        let node = MatMul::bind(shapes, quant, to, true).expect("not empty");
        let mut scratch = vec![[0u32; 16]; (node.matrices() * node.packed_len() + node.shared_len()) / 64];
        let scratch: &mut [u8] = bytemuck::cast_slice_mut(&mut scratch);
        let (shared, packed) = scratch.split_at_mut(node.shared_len());
        node.share(shared);
        for (index, to) in packed.chunks_exact_mut(node.packed_len()).enumerate() {
            Soft::<5, true>.vectorize(node.pack(&right, index, 0, to));
        }
        let result: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut actual)[..y * dtype.size()];
        for gemm in node.products(&left, 0..node.rows(), packed, shared) {
            Soft::<5, true>.vectorize(gemm.onto(SliceRows { bytes: result, pitch: node.pitch() }));
        }
        [actual, expected].map(|words| bytemuck::cast_slice(&words).to_vec())
    }

    #[test]
    fn it_equals_the_definition() {
        let shapes: &[[&[usize]; 3]] = &[
            [&[5, 8], &[8, 16], &[5, 16]],
            [&[7, 9], &[9, 35], &[7, 35]],
            [&[2, 3, 5, 6], &[2, 3, 6, 17], &[2, 3, 5, 17]],
            [&[4, 1, 6], &[3, 1, 6, 5], &[3, 4, 1, 5]],
            [&[3, 2, 3], &[3, 40], &[3, 2, 40]],
        ];
        for shapes in shapes {
            for zeros in [[0, 128], [77, 128], [255, 0], [3, 255], [128, 64]] {
                for to in [Some(TO), None] {
                    let [actual, expected] = both(*shapes, zeros, to);
                    assert_eq!(actual, expected, "{shapes:?} {zeros:?} {to:?}");
                }
            }
        }
    }
}
