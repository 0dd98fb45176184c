//! The kernel of [`super::paired`] for sums of one run, whose way to bytes is a large part of them: it leads from the bias through
//! the products to the output without leaving the registers.

use std::ops::Range;

use super::addend::Addend;
use super::epilogue::{
    ADDED, ADDED_FROM_0, ALONE, Bounds, Fixed, LIMITED, ROUNDS, Requantize, Residual, Rows, SHIFTED, SWISHED, UNLIMITED, limited,
};
use super::gemm::{Gemm, Lines};
use super::paired::{BLOCKS, Part, STAGED, Stage, in_memory};
use super::pairing::{Orders, Staged, Weights};
use super::simd::{Kernel, Simd};

/// Rows of a tile: as many as are narrowed at once, with registers to spare.
const TILE: usize = 4;

impl<R: Rows> Gemm<'_, R> {
    /// All tiles, but for the table; at most `ROWS` rows share ordered weights. What is rounded lies within bounds.
    #[inline(always)]
    pub(super) fn brief<S: Simd, const ROWS: usize>(&mut self, s: S, orders: Orders<'_>, how: Requantize<'_>) {
        let mut base = [0; ROWS];
        let mut weights = [const { Weights::NONE }; BLOCKS];
        let mut activations = Lines([STAGED; TILE]);
        for Part { rows, blocks, new_rows } in self.parts::<TILE, ROWS>() {
            let base = &mut base[..rows.len()];
            if new_rows {
                self.source.bases.fill(rows.start, base);
            }
            self.fill(s, &orders, 0, blocks.clone(), &mut weights);
            let (whole, rest) = base.as_chunks::<TILE>();
            let strip = Strip { base: whole, row: rows.start, blocks: blocks.clone(), weights: &weights, orders, how };
            self.brief_tiles(s, strip, &mut activations.0);
            if let Some(&last) = rest.last() {
                let mut padded = [last; TILE];
                padded[..rest.len()].copy_from_slice(rest);
                let (quads, used) = (orders.quads(0), orders.used(blocks.clone(), 0));
                s.vectorize(Stage { source: &self.source, base: &padded, quads, used, to: &mut activations.0 });
                for (weights, block) in weights.iter().zip(blocks) {
                    let mut sums = Lines([[[0; 16]; 1]; TILE]);
                    in_memory(s, Some(&self.weights.bias[block]), &orders.run(block, 0), weights, &activations.0, &mut sums.0);
                    self.finish_block(s, &sums.0, rows.end - rest.len()..rows.end, block, Bounds::Rounds);
                }
            }
        }
    }

    /// Whole tiles, by what the epilogue adds.
    #[inline(always)]
    fn brief_tiles<S: Simd>(&mut self, s: S, strip: Strip<'_>, activations: &mut [Staged; TILE]) {
        match strip.how {
            Requantize { hard_swish: Some(_), .. } => self.brief_way::<S, SWISHED>(s, strip, activations),
            Requantize { residual: None, .. } => self.brief_way::<S, ALONE>(s, strip, activations),
            Requantize { residual: Some(Residual { zero_point: 0, .. }), .. } => self.brief_way::<S, ADDED_FROM_0>(s, strip, activations),
            Requantize { residual: Some(_), .. } => self.brief_way::<S, ADDED>(s, strip, activations),
        }
    }

    /// The same, by what limits need.
    #[inline(always)]
    fn brief_way<S: Simd, const RESIDUAL: u8>(&mut self, s: S, strip: Strip<'_>, activations: &mut [Staged; TILE]) {
        match limited(&strip.how) {
            UNLIMITED => s.vectorize(Way::<R, UNLIMITED, RESIDUAL> { gemm: self, strip, activations }),
            SHIFTED => s.vectorize(Way::<R, SHIFTED, RESIDUAL> { gemm: self, strip, activations }),
            _ => s.vectorize(Way::<R, LIMITED, RESIDUAL> { gemm: self, strip, activations }),
        }
    }
}

/// Whole tiles, one below the other, and a panel of blocks.
struct Strip<'a> {
    /// Of each tile's rows, their bases.
    base: &'a [[usize; TILE]],
    /// The first row.
    row: usize,
    blocks: Range<usize>,
    /// Of each block.
    weights: &'a [Weights; BLOCKS],
    orders: Orders<'a>,
    how: Requantize<'a>,
}

/// Tiles and their way to bytes, compiled by itself, so that it has all registers.
struct Way<'a, 'b, 'g, R, const LIMITS: u8, const RESIDUAL: u8> {
    gemm: &'a mut Gemm<'g, R>,
    strip: Strip<'b>,
    activations: &'a mut [Staged; TILE],
}

impl<R: Rows, const LIMITS: u8, const RESIDUAL: u8> Kernel for Way<'_, '_, '_, R, LIMITS, RESIDUAL> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { gemm, strip: Strip { base, row, blocks, weights, orders, how }, activations } = self;
        let used = orders.used(blocks.clone(), 0);
        let runs = orders.of_blocks::<BLOCKS>(blocks.clone(), 0);
        let (bias, multiplier) = (&gemm.weights.bias[blocks.clone()], &gemm.weights.multiplier[blocks.clone()]);
        let constants = runs.iter().zip(weights).zip(bias).zip(multiplier).zip(blocks.clone());
        let (channel, channels) = (gemm.channel + blocks.start * 16, (gemm.weights.channels - blocks.start * 16).min(blocks.len() * 16));
        let residual = how.residual.unwrap_or(Residual { bytes: &[], zero_point: 0, multiplier: 0.0 });
        let mut at = row * gemm.width + channel;
        for (base, places) in base.iter().zip(gemm.to.lines::<TILE>(row, base.len(), channel, channels)) {
            s.vectorize(Stage { source: &gemm.source, base, quads: orders.quads(0), used, to: activations });
            let mut rows: [&mut [u8]; TILE] = Default::default();
            for (row, place) in rows.iter_mut().zip(places) {
                *row = place;
            }
            macro_rules! bytes {
                ($constants:expr, $added:expr) => {{
                    let ((((run, weights), bias), multiplier), block) = $constants;
                    let mut acc = [s.load_i32(bias); TILE];
                    s.paired_products(&mut acc, activations, run, weights);
                    let fixed = Fixed::<S, 1>::new(s, std::slice::from_ref(multiplier), block, &how, &residual);
                    fixed.bytes::<ROUNDS, LIMITS, RESIDUAL>(s, acc, $added)
                }};
            }
            // Zipped, they are found to be as many once, instead of one by one.
            let [(a, rest_a), (b, rest_b), (c, rest_c), (d, rest_d)] = rows.map(<[u8]>::as_chunks_mut::<16>);
            let mut from = at;
            for (constants, (((a, b), c), d)) in constants.clone().zip(a.iter_mut().zip(b).zip(c).zip(d)) {
                let bytes = if RESIDUAL == ADDED || RESIDUAL == ADDED_FROM_0 {
                    let addend = Addend::<16, TILE>::new(&residual, from, gemm.width);
                    bytes!(constants, (&addend, 0, [(); 1]))
                } else {
                    bytes!(constants, [&[][..]; 4])
                };
                for (j, place) in [a, b, c, d].into_iter().enumerate() {
                    s.store_quarter(bytes, j, place);
                }
                from += 16;
            }
            if let (false, Some(constants)) = (rest_a.is_empty(), constants.clone().nth(channels / 16)) {
                let mut added: [&[u8]; TILE] = [&[]; TILE];
                if RESIDUAL == ADDED || RESIDUAL == ADDED_FROM_0 {
                    for j in 0..TILE {
                        added[j] = &residual.bytes[from + j * gemm.width..][..rest_a.len()];
                    }
                }
                let bytes = bytes!(constants, added);
                for (j, place) in [rest_a, rest_b, rest_c, rest_d].into_iter().enumerate() {
                    s.store_some(bytes, j, place);
                }
            }
            at += TILE * gemm.width;
        }
    }
}
