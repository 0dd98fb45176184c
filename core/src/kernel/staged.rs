//! The matrix kernel where a dot product takes operands of 16 bits: it computes what [`super::gemm`] does.
//!
//! Widening weights and activations in registers costs about as much as multiplying them. So both are widened into memory
//! first, a run of K at a time that stays in the nearest cache: weights once for many rows, activations without a broadcast
//! for each. Segments vanish on the way, so short ones cost nothing more.

use std::ops::Range;

use super::epilogue::{Bounds, Rows, Sums, finish, look_up};
use super::gemm::{Gemm, WEIGHTS_AT_HAND};
use super::simd::Simd;

/// Quads of a run.
const RUN: usize = 32;
/// Quads that are staged at a time. A segment may end within: there is room for as many behind a run.
pub(super) const STEP: usize = 16;
/// Most blocks of channels that share staged activations.
const BLOCKS: usize = 4;
/// A run of a row's activations: even and odd bytes of quads.
type Staged = [[i32; RUN + STEP]; 2];

impl<R: Rows> Gemm<'_, R> {
    /// All tiles, by `MR` rows, of which at most `ROWS` share widened weights; `SUMS` is as many, and three where rows are written
    /// out by four vectors at a time.
    #[inline(always)]
    pub(super) fn staged<S: Simd, const MR: usize, const ROWS: usize, const SUMS: usize>(&mut self, s: S) {
        let bands = self.rows.len().div_ceil(ROWS);
        let panels = self.blocks.len().div_ceil(BLOCKS);
        let bounds = self.bounds().of_use::<S>();
        let rows_first = self.blocks.len() * self.weights.quads * 64 <= WEIGHTS_AT_HAND;
        let (outer, inner) = if rows_first { (bands, panels) } else { (panels, bands) };
        let mut base = [0; ROWS];
        let mut weights = [[s.weights(&[0; 64]); RUN]; BLOCKS];
        let mut activations = [[[0; RUN + STEP]; 2]; MR];
        let mut sums = [[[[0; 16]; 1]; SUMS]; BLOCKS];
        for o in 0..outer {
            for i in 0..inner {
                let (band, panel) = if rows_first { (o, i) } else { (i, o) };
                let row = self.rows.start + self.rows.len() * band / bands;
                let end = self.rows.start + self.rows.len() * (band + 1) / bands;
                let base = &mut base[..end - row];
                if !rows_first || i == 0 {
                    self.source.bases.fill(row, base);
                }
                let first = self.blocks.start + panel * BLOCKS;
                let blocks = first..self.blocks.end.min(first + BLOCKS);
                for (sums, block) in sums.iter_mut().zip(blocks.clone()) {
                    sums[..base.len()].fill([self.weights.bias[block]]);
                }
                for from in (0..self.weights.quads).step_by(RUN) {
                    let count = RUN.min(self.weights.quads - from);
                    for (weights, block) in weights.iter_mut().zip(blocks.clone()) {
                        let packed = &self.weights.packed[block * self.weights.quads + from..][..count];
                        for (to, w) in weights.iter_mut().zip(packed) {
                            *to = s.weights(w);
                        }
                    }
                    let tiles = base.len().div_ceil(MR);
                    for tile in 0..tiles {
                        let (start, end) = (base.len() * tile / tiles, base.len() * (tile + 1) / tiles);
                        for (row, to) in base[start..end].iter().zip(&mut activations) {
                            self.stage(s, *row, from, count, to);
                        }
                        for (weights, sums) in weights.iter().zip(&mut sums).take(blocks.len()) {
                            let sums = &mut sums[start..end];
                            // Of three rows or more, no tile has but one.
                            match end - start {
                                2 => add_products::<S, 2>(s, &weights[..count], &activations, sums),
                                3 => add_products::<S, 3>(s, &weights[..count], &activations, sums),
                                4 => add_products::<S, 4>(s, &weights[..count], &activations, sums),
                                _ => {}
                            }
                        }
                    }
                }
                for (acc, block) in sums.iter().zip(blocks) {
                    self.finish_block(s, acc, row..end, block, bounds.without_lift());
                }
            }
        }
        look_up(s, &self.finish, self.rows.clone(), self.channels(), &mut self.to);
    }

    /// Writes out the sums of some rows and a block, which start with their bias alone.
    #[inline(always)]
    pub(super) fn finish_block<S: Simd>(&mut self, s: S, acc: &[[[i32; 16]; 1]], rows: Range<usize>, block: usize, bounds: Bounds) {
        let channel = block * 16;
        let sums = Sums {
            acc,
            block,
            row: rows.start,
            rows: rows.len(),
            channel: self.channel + channel,
            channels: (self.weights.channels - channel).min(16),
            bias: None,
            multiplier: &self.weights.multiplier[block..block + 1],
            width: self.width,
            bounds,
        };
        finish(s, &sums, &self.finish, &mut self.to);
    }

    /// Stages `count` quads of a row from quad `from` on.
    #[inline(always)]
    fn stage<S: Simd>(&self, s: S, base: usize, from: usize, count: usize, to: &mut Staged) {
        let (mut segment, mut offset) = (from / self.source.quads, from % self.source.quads);
        let mut done = 0;
        while done < count {
            let quads = (self.source.quads - offset).min(count - done);
            let bytes = &self.source.bytes[base + self.source.segments[segment] + offset * 4..];
            for k in (0..quads).step_by(STEP) {
                let [even, odd] = to;
                let even = even[done + k..].first_chunk_mut::<STEP>();
                let odd = odd[done + k..].first_chunk_mut::<STEP>();
                if let (Some(even), Some(odd)) = (even, odd) {
                    s.stage(load(s, &bytes[k * 4..]), even, odd);
                }
            }
            done += quads;
            (segment, offset) = (segment + 1, 0);
        }
    }
}

/// Adds the products of a run to the sums of `N` rows.
#[inline(always)]
fn add_products<S: Simd, const N: usize>(s: S, weights: &[S::W], activations: &[Staged], sums: &mut [[[i32; 16]; 1]]) {
    let (Some(activations), Some(sums)) = (activations.first_chunk::<N>(), sums.first_chunk_mut::<N>()) else { return };
    let count = weights.len();
    let mut even: [&[i32]; N] = [&[]; N];
    let mut odd = even;
    for m in 0..N {
        even[m] = &activations[m][0][..count];
        odd[m] = &activations[m][1][..count];
    }
    s.staged_products(sums, even, odd, weights);
}

/// [`Simd::staged_products`], where an instruction set has no better way.
#[inline(always)]
pub(super) fn products<S: Simd, const N: usize>(
    s: S,
    sums: &mut [[[i32; 16]; 1]; N],
    even: [&[i32]; N],
    odd: [&[i32]; N],
    weights: &[S::W],
) {
    let mut acc = [s.splat_i32(0); N];
    for m in 0..N {
        acc[m] = s.load_i32(&sums[m][0]);
    }
    for (k, &w) in weights.iter().enumerate() {
        for m in 0..N {
            acc[m] = s.dot4(acc[m], s.staged(even[m][k], odd[m][k]), w);
        }
    }
    for m in 0..N {
        s.store_i32(acc[m], &mut sums[m][0]);
    }
}

/// The quads that are staged at a time; where there are fewer, and zeros.
#[inline(always)]
pub(super) fn load<S: Simd>(s: S, bytes: &[u8]) -> S::B {
    match bytes.first_chunk() {
        Some(x) => s.load_b(x),
        None => s.load_b(&tail(bytes)),
    }
}

/// What there is, and zeros.
#[cold]
fn tail(bytes: &[u8]) -> [u8; 64] {
    let mut to = [0; 64];
    to[..bytes.len()].copy_from_slice(bytes);
    to
}
