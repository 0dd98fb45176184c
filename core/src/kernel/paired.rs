//! The matrix kernel where a dot product adds two products in 16 bits, which saturate: it computes what [`super::gemm`] does.
//!
//! Of a run of K, weights are put into the orders of [`super::pairing`] and activations into those that occur, in memory that stays
//! in the nearest cache: weights once for many rows, activations once for many channels. Then a step is a vector of weights, and
//! the place of the activations that meet it; two where weights are wide.

use std::ops::Range;

use super::edge::bytes_at;
use super::epilogue::{Bounds, Finish, Rows, look_up};
use super::gemm::{Gemm, Lines, Source, starts};
use super::pairing::{ORDER, ORDERS, Orders, RUN, Run, Staged, WIDE, Weights};
use super::simd::{Kernel, Simd};
use super::staged::{STEP, load};

/// Most blocks of channels that share staged activations.
pub(super) const BLOCKS: usize = 8;

/// No activations yet.
pub(super) const STAGED: Staged = [0; _];

/// A part of a product: a band of rows, and a panel of blocks of channels.
pub(super) struct Part {
    pub rows: Range<usize>,
    pub blocks: Range<usize>,
    /// Whether its rows are not those of the part before.
    pub new_rows: bool,
}

impl<R: Rows> Gemm<'_, R> {
    /// All tiles, by `MR` rows, of which at most `ROWS` share ordered weights; `SUMS` is as many, and three where rows are written
    /// out by four vectors at a time.
    #[inline(always)]
    pub(super) fn paired<S: Simd, const MR: usize, const ROWS: usize, const SUMS: usize>(&mut self, s: S, orders: Orders<'_>) {
        let bounds = self.bounds().of_use::<S>().without_lift();
        if orders.runs() == 1
            && bounds != Bounds::None
            && let Finish::U8(how) = self.finish
        {
            self.brief::<S, ROWS>(s, orders, how);
        } else {
            self.long::<S, MR, ROWS, SUMS>(s, orders, bounds);
        }
        look_up(s, &self.finish, self.rows.clone(), self.channels(), &mut self.to);
    }

    /// All parts, of bands of at most `ROWS` rows, but for the last in tiles of `MR`: by rows first where the weights stay at hand,
    /// else by channels first.
    pub(super) fn parts<const MR: usize, const ROWS: usize>(&self) -> impl Iterator<Item = Part> + use<R, MR, ROWS> {
        let (rows, blocks) = (self.rows.clone(), self.blocks.clone());
        let tiles = rows.len().div_ceil(MR);
        let bands = rows.len().div_ceil(ROWS);
        let panels = blocks.len().div_ceil(BLOCKS);
        let rows_first = self.rows_first();
        (0..bands * panels).map(move |i| {
            let (band, panel) = if rows_first { (i / panels, i % panels) } else { (i % bands, i / bands) };
            // Only the last band has a tile that is not full.
            let start = |band: usize| rows.end.min(rows.start + tiles * band / bands * MR);
            let first = blocks.start + panel * BLOCKS;
            Part { rows: start(band)..start(band + 1), blocks: first..blocks.end.min(first + BLOCKS), new_rows: !rows_first || panel == 0 }
        })
    }

    /// Sums of any length, which are in memory between runs.
    #[inline(always)]
    fn long<S: Simd, const MR: usize, const ROWS: usize, const SUMS: usize>(&mut self, s: S, orders: Orders<'_>, bounds: Bounds) {
        let mut base = [0; ROWS];
        let mut weights = [const { Weights::NONE }; BLOCKS];
        let mut activations = Lines([STAGED; MR]);
        let mut sums = Lines([[[[0; 16]; 1]; SUMS]; BLOCKS]);
        for Part { rows, blocks, new_rows } in self.parts::<MR, ROWS>() {
            let base = &mut base[..rows.len()];
            if new_rows {
                self.source.bases.fill(rows.start, base);
            }
            for run in 0..orders.runs() {
                let quads = orders.quads(run);
                self.fill(s, &orders, run, blocks.clone(), &mut weights);
                let (steps, used) = (orders.of_blocks::<BLOCKS>(blocks.clone(), run), orders.used(blocks.clone(), run));
                let bias = &self.weights.bias[blocks.clone()];
                for tile in 0..base.len().div_ceil(MR) {
                    let (start, end) = (starts(base.len(), MR, tile), starts(base.len(), MR, tile + 1));
                    let base = &base[start..end];
                    s.vectorize(Stage { source: &self.source, base, quads: quads.clone(), used, to: &mut activations.0 });
                    for (((steps, weights), sums), bias) in steps.iter().zip(&weights).zip(&mut sums.0).zip(bias) {
                        let bias = (run == 0).then_some(bias);
                        add_products::<S, MR>(s, bias, steps, weights, &activations.0, &mut sums[start..end]);
                    }
                }
            }
            for (acc, block) in sums.0.iter().zip(blocks) {
                self.finish_block(s, acc, rows.clone(), block, bounds);
            }
        }
    }

    /// Puts a run's weights of a panel in their orders.
    #[inline(always)]
    pub(super) fn fill<S: Simd>(&self, s: S, orders: &Orders<'_>, run: usize, blocks: Range<usize>, to: &mut [Weights; BLOCKS]) {
        let quads = orders.quads(run);
        for (to, block) in to.iter_mut().zip(blocks) {
            let packed = &self.weights.packed[block * self.weights.quads..][quads.clone()];
            s.vectorize(Fill { packed, run: orders.run(block, run), to });
        }
    }
}

/// Stages a run of some rows. A kernel of its own, so that it has all registers.
pub(super) struct Stage<'a> {
    pub source: &'a Source<'a>,
    pub base: &'a [usize],
    pub quads: Range<usize>,
    /// The orders that are needed, a bit for each.
    pub used: u8,
    pub to: &'a mut [Staged],
}

impl Kernel for Stage<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { source: &Source { bytes, segments, quads: of_segment, .. }, base, quads, used, to } = self;
        let (segment, offset) =
            if quads.end <= of_segment { (0, quads.start) } else { (quads.start / of_segment, quads.start % of_segment) };
        if offset + quads.len() <= of_segment {
            let from = segments[segment] + offset * 4;
            for (base, to) in base.iter().zip(to) {
                orders(s, &bytes[base + from..], quads.len(), used, to);
            }
            return;
        }
        // All rows are gathered before the first is read again, which has reached its cache by then.
        let mut rows = Lines([[0; GATHERED]; GATHERED_ROWS]);
        for (base, to) in base.iter().zip(&mut rows.0) {
            gather(&bytes[*base..], segments, [segment, offset, of_segment], quads.len(), to);
        }
        for (row, to) in rows.0.iter().zip(to.iter_mut().take(base.len())) {
            orders(s, row, quads.len(), used, to);
        }
    }
}

/// Bytes of a gathered run, behind which a piece may end.
const GATHERED: usize = RUN * 4 + PIECE;
/// Most rows that are staged together.
const GATHERED_ROWS: usize = 6;
/// Bytes that are gathered at once.
const PIECE: usize = 16;

/// Puts the quads of a run from several segments together: the first is that segment's of so many, from an offset on.
#[inline(always)]
fn gather(bytes: &[u8], segments: &[usize], [segment, mut offset, of_segment]: [usize; 3], quads: usize, to: &mut [u8; GATHERED]) {
    let mut done = 0;
    for segment in &segments[segment..] {
        let count = (of_segment - offset).min(quads - done);
        let bytes = &bytes[segment + offset * 4..];
        for at in (0..count * 4).step_by(PIECE) {
            let Some(to) = to[done * 4 + at..].first_chunk_mut::<PIECE>() else { break };
            *to = bytes_at(bytes, at);
        }
        done += count;
        offset = 0;
        if done == quads {
            break;
        }
    }
}

/// Stages a row in the orders that are needed.
#[inline(always)]
fn orders<S: Simd>(s: S, bytes: &[u8], quads: usize, used: u8, to: &mut Staged) {
    const STEPS: usize = ORDER / STEP;
    let to = to.as_chunks_mut::<STEP>().0;
    for i in 0..quads.div_ceil(STEP).min(STEPS) {
        let x = load(s, &bytes[4 * STEP * i..]);
        for order in 0..ORDERS.len() {
            if used >> order & 1 == 1 {
                s.stage_order(x, order, &mut to[order * STEPS + i]);
            }
        }
        if used >> WIDE & 1 == 1 {
            let (to, odd) = to.split_at_mut((WIDE + 1) * STEPS);
            s.stage(x, &mut to[WIDE * STEPS + i], &mut odd[i]);
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
                        in_memory(s, bias, run, weights, x, sums);
                    }
                })*
                _ => {}
            }
        };
    }
    // One or two rows are multiplied by themselves, and the last two tiles share what is left.
    heights!(3 4 5 6);
}

/// Adds the products of a run to sums in memory, or to the bias.
#[inline(always)]
pub(super) fn in_memory<S: Simd, const N: usize>(
    s: S,
    bias: Option<&[i32; 16]>,
    run: &Run<'_>,
    weights: &Weights,
    x: &[Staged; N],
    sums: &mut [[[i32; 16]; 1]; N],
) {
    let mut acc = [s.splat_i32(0); N];
    for m in 0..N {
        acc[m] = s.load_i32(bias.unwrap_or(&sums[m][0]));
    }
    s.paired_products(&mut acc, x, run, weights);
    for m in 0..N {
        s.store_i32(acc[m], &mut sums[m][0]);
    }
}

/// [`Simd::paired_products`], as it is defined.
#[inline(always)]
pub(super) fn products<S: Simd, const N: usize>(s: S, acc: &mut [S::I; N], x: &[Staged; N], run: &Run<'_>, weights: &Weights) {
    for (acc, x) in acc.iter_mut().zip(x) {
        let mut sums = [0; 16];
        s.store_i32(*acc, &mut sums);
        for (at, weights) in weights.paired(run) {
            let x = x[usize::from(at)].to_le_bytes().map(i32::from);
            for (sum, w) in sums.iter_mut().zip(weights.as_chunks::<4>().0) {
                let w = w.map(i32::from);
                let fits = |sum: i32| sum.clamp(i16::MIN.into(), i16::MAX.into());
                *sum = sum.wrapping_add(fits(x[0] * w[0] + x[1] * w[1]) + fits(x[2] * w[2] + x[3] * w[3]));
            }
        }
        for (at, weights) in weights.wide(run) {
            for (weights, at) in weights.iter().zip((usize::from(at)..).step_by(ORDER)) {
                let x = halves(x[at].to_le_bytes());
                for (sum, w) in sums.iter_mut().zip(weights.as_chunks::<4>().0) {
                    let w = halves(w.map(|w| w as u8));
                    *sum = sum.wrapping_add(x[0] * w[0]).wrapping_add(x[1] * w[1]);
                }
            }
        }
        *acc = s.load_i32(&sums);
    }
}

/// Integers of 16 bits.
fn halves([a, b, c, d]: [u8; 4]) -> [i32; 2] {
    [[a, b], [c, d]].map(|half| i16::from_le_bytes(half).into())
}
