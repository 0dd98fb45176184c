//! Products of two activations on the threads of a pool: first the matrices of the right operand are packed, then rows of the
//! output are cut, whatever matrix they are of.

use quaver_core::kernel::matmul::{MatMul, Pack};

use crate::packed::Compute;
use crate::{Pool, rectangles, split};

/// Runs a node on its operands' bytes, of the left one with those that may be read behind it. `scratch` has at least
/// [`scratch`] bytes besides those of `compute`, and dot products lessen activations by `offset`.
pub fn run(
    pool: &Pool,
    (node, offset): (&MatMul, u8),
    [a, b]: [&[u8]; 2],
    to: &mut [u8],
    memory: &mut [u8],
    pack: &(dyn Fn(Pack<'_>) + Sync),
    compute: &Compute<'_>,
) {
    let (packed_len, rows) = (node.packed_len(), node.rows());
    let (shared, memory) = memory.split_at_mut(node.shared_len());
    let (packed, memory) = memory.split_at_mut(node.matrices() * packed_len);
    node.share(shared);
    let parts = pool.parts(packed.len());
    pool.run_slices(packed, parts, packed_len, &|range, to| {
        for (index, to) in (range.start / packed_len..).zip(to.chunks_exact_mut(packed_len)) {
            pack(node.pack(b, index, offset, to));
        }
    });
    let (packed, shared) = (&*packed, &*shared);
    let cut = split(rows, pool.parts(node.macs() / 64), 1);
    rectangles(pool, to, node.pitch(), cut, (split(1, 1, 1), node.pitch()), memory, &|r, _, to, memory| {
        for gemm in node.products(a, cut.get(r), packed, shared) {
            compute(gemm.onto(&mut *to), memory);
        }
    });
}

/// Bytes of memory for a node, besides what computes its products.
pub fn scratch(node: &MatMul) -> usize {
    node.shared_len() + node.matrices() * node.packed_len()
}
