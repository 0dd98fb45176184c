//! The matrix kernel for a row or two: what hides a dot product's latency are more channels at once.

use super::epilogue::{Bounds, Rows, Sums, finish, look_up};
use super::gemm::Gemm;
use super::simd::Simd;

/// Most rows.
pub(super) const ROWS: usize = 2;
/// Most blocks of channels that are computed at once.
const BLOCKS: usize = 8;

/// Pairs of blocks, and three more for the epilogue, which takes rows by four vectors.
#[repr(align(64))]
struct Pairs([[[i32; 16]; 2]; BLOCKS / 2 + 3]);

impl<R: Rows> Gemm<'_, R> {
    /// All rows, one after the other, `NB` blocks at once.
    #[inline(always)]
    pub(super) fn row_by_row<S: Simd, const NB: usize>(&mut self, s: S) {
        let bounds = self.bounds().of_use::<S>();
        let mut base = [0; ROWS];
        let rows = self.rows.clone();
        self.source.bases.fill(rows.start, &mut base[..rows.len()]);
        for (row, base) in rows.clone().zip(base) {
            let mut block = self.blocks.start;
            while block < self.blocks.end {
                let count = NB.min(self.blocks.end - block);
                let mut pairs = Pairs([[[0; 16]; 2]; BLOCKS / 2 + 3]);
                if count == NB {
                    self.blocks_at_once::<S, NB>(s, base, block, bounds, &mut pairs);
                } else {
                    for n in 0..count {
                        let mut one = Pairs([[[0; 16]; 2]; BLOCKS / 2 + 3]);
                        self.blocks_at_once::<S, 1>(s, base, block + n, bounds, &mut one);
                        pairs.0[n / 2][n % 2] = one.0[0][0];
                    }
                }
                if const { S::COMPACT } {
                    // One by one, as tiles are written, so that there is one function for both.
                    for (n, acc) in pairs.0.as_flattened()[..count].as_chunks().0.iter().enumerate() {
                        let multiplier = &self.weights.multiplier[block + n..];
                        let sums = self.sums_of::<1>(row, block + n, std::slice::from_ref(acc), multiplier, bounds);
                        finish(s, &sums, &self.finish, &mut self.to);
                    }
                } else {
                    for pair in 0..count.div_ceil(2) {
                        let first = block + 2 * pair;
                        let multipliers = self.multipliers(first);
                        let sums = self.sums_of::<2>(row, first, &pairs.0[pair..], &multipliers, bounds);
                        finish(s, &sums, &self.finish, &mut self.to);
                    }
                }
                block += count;
            }
        }
        look_up(s, &self.finish, rows, self.channels(), &mut self.to);
    }

    /// Sums of `NB` blocks of a row, of which the last may not exist.
    #[inline(always)]
    fn sums_of<'s, const NB: usize>(
        &self,
        row: usize,
        block: usize,
        acc: &'s [[[i32; 16]; NB]],
        multiplier: &'s [[f32; 16]],
        bounds: Bounds,
    ) -> Sums<'s, NB> {
        let channel = block * 16;
        Sums {
            acc,
            block,
            row,
            rows: 1,
            channel: self.channel + channel,
            channels: (self.weights.channels - channel).min((self.blocks.end - block).min(NB) * 16),
            bias: None,
            multiplier,
            width: self.width,
            bounds,
        }
    }

    /// The multipliers of two blocks, of which the second may not exist.
    #[inline(always)]
    fn multipliers(&self, block: usize) -> [[f32; 16]; 2] {
        let of = self.weights.multiplier;
        [of[block], of[(block + 1).min(of.len() - 1)]]
    }

    /// The sums of `NB` blocks of a row.
    #[inline(always)]
    fn blocks_at_once<S: Simd, const NB: usize>(&self, s: S, base: usize, block: usize, bounds: Bounds, to: &mut Pairs) {
        let (weights, source) = (&self.weights, &self.source);
        let (quads, run) = (weights.quads, source.quads);
        let lift = s.splat_i32(if bounds == Bounds::Lifts { S::LIFT } else { 0 });
        let mut acc = [lift; NB];
        for n in 0..NB {
            acc[n] = s.add_i32(s.load_i32(&weights.bias[block + n]), lift);
        }
        for (i, &segment) in source.segments.iter().enumerate() {
            let a = &source.bytes[base + segment..][..run * 4].as_chunks::<4>().0[..run];
            let mut w: [&[[i8; 64]]; NB] = [&[]; NB];
            for n in 0..NB {
                w[n] = &weights.packed[(block + n) * quads + i * run..][..run];
            }
            for k in 0..run {
                let quad = s.quad(a[k]);
                for n in 0..NB {
                    acc[n] = s.dot4(acc[n], quad, s.weights(&w[n][k]));
                }
            }
        }
        for n in 0..NB {
            s.store_i32(acc[n], &mut to.0[n / 2][n % 2]);
        }
    }
}
