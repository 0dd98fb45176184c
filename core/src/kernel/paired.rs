//! The matrix kernel where a dot product adds two products in 16 bits, which saturate: it computes what [`super::gemm`] does.
//!
//! Of a run of K, weights are put into the orders of [`super::pairing`] and activations into all of them, in memory that stays
//! in the nearest cache: weights once for many rows, activations once for many channels. Then a step is a vector of weights, and
//! the place of the activations that meet it. Where an order leaves an excess, there is a step more.

use std::ops::Range;

use super::epilogue::{Rows, look_up};
use super::gemm::{Gemm, Lines, Source, WEIGHTS_AT_HAND, starts};
use super::pairing::{ORDER, ORDERS, Orders, Run, Staged, Weights};
use super::simd::{Kernel, Simd};
use super::staged::{STEP, load};

/// Most blocks of channels that share staged activations.
const BLOCKS: usize = 8;

impl<R: Rows> Gemm<'_, R> {
    /// All tiles, by `MR` rows, of which at most `ROWS` share ordered weights; `SUMS` is as many, and three where rows are written
    /// out by four vectors at a time.
    #[inline(always)]
    pub(super) fn paired<S: Simd, const MR: usize, const ROWS: usize, const SUMS: usize>(&mut self, s: S, orders: Orders<'_>) {
        let tiles = self.rows.len().div_ceil(MR);
        let bands = self.rows.len().div_ceil(ROWS);
        let panels = self.blocks.len().div_ceil(BLOCKS);
        let bounds = self.bounds().of_use::<S>().without_lift();
        let rows_first = self.blocks.len() * self.weights.quads * 64 <= WEIGHTS_AT_HAND;
        let (outer, inner) = if rows_first { (bands, panels) } else { (panels, bands) };
        let mut base = [0; ROWS];
        let mut weights = [const { Weights::NONE }; BLOCKS];
        let mut activations = Lines([[0; 4 * ORDER]; MR]);
        let mut sums = Lines([[[[0; 16]; 1]; SUMS]; BLOCKS]);
        for o in 0..outer {
            for i in 0..inner {
                let (band, panel) = if rows_first { (o, i) } else { (i, o) };
                // Only the last band has a tile that is not full.
                let start = |band: usize| self.rows.end.min(self.rows.start + tiles * band / bands * MR);
                let (row, end) = (start(band), start(band + 1));
                let base = &mut base[..end - row];
                if !rows_first || i == 0 {
                    self.source.bases.fill(row, base);
                }
                let first = self.blocks.start + panel * BLOCKS;
                let blocks = first..self.blocks.end.min(first + BLOCKS);
                for run in 0..orders.runs() {
                    let quads = orders.quads(run);
                    for (weights, block) in weights.iter_mut().zip(blocks.clone()) {
                        let packed = &self.weights.packed[block * self.weights.quads..][quads.clone()];
                        s.vectorize(Fill { packed, run: orders.run(block, run), to: weights });
                    }
                    for tile in 0..base.len().div_ceil(MR) {
                        let (start, end) = (starts(base.len(), MR, tile), starts(base.len(), MR, tile + 1));
                        s.vectorize(Stage { source: &self.source, base: &base[start..end], quads: quads.clone(), to: &mut activations.0 });
                        for ((weights, sums), block) in weights.iter().zip(&mut sums.0).zip(blocks.clone()) {
                            let bias = (run == 0).then(|| &self.weights.bias[block]);
                            add_products::<S, MR>(s, bias, &orders.run(block, run), weights, &activations.0, &mut sums[start..end]);
                        }
                    }
                }
                for (acc, block) in sums.0.iter().zip(blocks) {
                    self.finish_block(s, acc, row..end, block, bounds);
                }
            }
        }
        look_up(s, &self.finish, self.rows.clone(), self.channels(), &mut self.to);
    }
}

/// Stages a run of some rows in all orders. A kernel of its own, so that it has all registers.
struct Stage<'a> {
    source: &'a Source<'a>,
    base: &'a [usize],
    quads: Range<usize>,
    to: &'a mut [Staged],
}

impl Kernel for Stage<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Source { bytes, segments, quads: of_segment, .. } = *self.source;
        let (mut segment, mut offset) = (self.quads.start / of_segment, self.quads.start % of_segment);
        let mut done = 0;
        while done < self.quads.len() {
            let quads = (of_segment - offset).min(self.quads.len() - done);
            for (base, to) in self.base.iter().zip(&mut *self.to) {
                let bytes = &bytes[base + segments[segment] + offset * 4..];
                for k in (0..quads).step_by(STEP) {
                    let x = load(s, &bytes[k * 4..]);
                    for order in 0..ORDERS.len() {
                        if let Some(to) = to[order * ORDER + done + k..].first_chunk_mut::<STEP>() {
                            s.stage_order(x, order, to);
                        }
                    }
                }
            }
            done += quads;
            (segment, offset) = (segment + 1, 0);
        }
    }
}

/// Puts the weights of some blocks in their orders, likewise.
struct Fill<'a> {
    packed: &'a [[i8; 64]],
    run: Run<'a>,
    to: &'a mut Weights,
}

impl Kernel for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.to.fill(s, self.packed, &self.run);
    }
}

/// Adds the products of a run to the sums of up to `MR` rows, or to the bias.
#[inline(always)]
fn add_products<S: Simd, const MR: usize>(
    s: S,
    bias: Option<&[i32; 16]>,
    run: &Run<'_>,
    weights: &Weights,
    x: &[Staged],
    sums: &mut [[[i32; 16]; 1]],
) {
    macro_rules! heights {
        ($($n:literal)*) => {
            match sums.len() {
                $($n if const { $n <= MR } => {
                    if let (Some(x), Some(sums)) = (x.first_chunk::<$n>(), sums.first_chunk_mut::<$n>()) {
                        s.paired_products(bias, sums, x, run, weights);
                    }
                })*
                _ => {}
            }
        };
    }
    // One or two rows are multiplied by themselves, and the last two tiles share what is left.
    heights!(3 4 5 6);
}

/// [`Simd::paired_products`], as it is defined.
#[inline(always)]
pub(super) fn products<const N: usize>(
    bias: Option<&[i32; 16]>,
    sums: &mut [[[i32; 16]; 1]; N],
    x: &[Staged; N],
    run: &Run<'_>,
    weights: &Weights,
) {
    for ([sums], x) in sums.iter_mut().zip(x) {
        if let Some(bias) = bias {
            *sums = *bias;
        }
        for (&at, weights) in run.at.iter().zip(weights.ordered()) {
            add_half(&mut sums[..8], x[usize::from(at)], &weights[..32]);
            add_half(&mut sums[8..], x[usize::from(at)], &weights[32..]);
        }
        for (&[low, high], weights) in run.excess.iter().zip(weights.excess()) {
            add_half(&mut sums[..8], x[usize::from(low)], &weights[..32]);
            add_half(&mut sums[8..], x[usize::from(high)], &weights[32..]);
        }
    }
}

#[inline(always)]
fn add_half(sums: &mut [i32], x: i32, weights: &[i8]) {
    let x = x.to_le_bytes().map(i32::from);
    for (sum, w) in sums.iter_mut().zip(weights.as_chunks::<4>().0) {
        let w = w.map(i32::from);
        let fits = |sum: i32| sum.clamp(i16::MIN.into(), i16::MAX.into());
        *sum = sum.wrapping_add(fits(x[0] * w[0] + x[1] * w[1]) + fits(x[2] * w[2] + x[3] * w[3]));
    }
}
