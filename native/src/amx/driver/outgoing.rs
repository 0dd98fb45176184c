//! The way out of a unit's sums: a buffer for what leaves the tiles, and from there to bytes.

use quaver_core::kernel::epilogue::{Bounds, Finish, Requantize, Rows, Sums, finish};
use quaver_core::kernel::gemm::Weights;
use quaver_core::kernel::simd::{Kernel, Simd};

use crate::amx::machine::{BYTES, ROWS};

/// Rows of sums of 16 channels: of two tiles by four blocks, and of three rows behind them, as the epilogue takes rows by four.
const SUMS: usize = (2 * ROWS + 3) * 4;

/// Rows of sums that cross no line of a cache: a tile is stored in twice the time where they do.
#[repr(align(64))]
struct Aligned<T>(T);

/// A unit whose sums are in the buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    /// The first block of its channels.
    pub block: usize,
    /// Rows of the buffer that are written already.
    pub done: usize,
    /// Rows of the buffer.
    pub rows: usize,
    /// The output row of the first of the buffer.
    pub row: usize,
}

/// The way out of the sums.
pub(super) struct Outgoing<'a, R> {
    finish: Finish<'a>,
    /// With biases and multipliers.
    weights: Weights<'a>,
    /// Channels of the output before them.
    channel: usize,
    /// Elements of a row of the output.
    width: usize,
    bounds: Bounds,
    /// The output.
    pub to: R,
    sums: Aligned<[[i32; 16]; SUMS]>,
}

impl<'a, R: Rows> Outgoing<'a, R> {
    /// For a part of a product whose sums are known to be within bounds.
    #[inline(always)]
    pub fn new(finish: Finish<'a>, weights: Weights<'a>, channel: usize, width: usize, bounds: Bounds, to: R) -> Self {
        Self { finish, weights, channel, width, bounds, to, sums: Aligned([[0; 16]; SUMS]) }
    }

    /// Where a unit's sums are stored, row behind row.
    #[inline(always)]
    pub fn sums(&mut self) -> &mut [i32] {
        self.sums.0.as_flattened_mut()
    }

    /// Asks for what is added to a unit's results. A line of a cache is asked for by the unit that has its first block.
    #[inline(always)]
    pub fn ask<S: Simd>(&self, s: S, ready: Ready) {
        let Finish::U8(Requantize { residual: Some(residual), .. }) = self.finish else { return };
        let Ready { block, done, rows, row } = ready;
        let channel = self.channel + block * 16;
        if !channel.is_multiple_of(BYTES) {
            return;
        }
        for row in row + done..row + rows {
            let bytes = residual.bytes.get(row * self.width + channel..).unwrap_or_default();
            if let Some(line) = bytes.first_chunk::<BYTES>() {
                s.prefetch(bytemuck::cast_ref(line));
            }
        }
    }

    /// Writes a unit's results, of `NB` blocks.
    #[inline(always)]
    pub fn write<S: Simd, const NB: usize>(&mut self, s: S, ready: Ready) {
        let Ready { block, done, rows, row } = ready;
        let channel = block * 16;
        let sums = Sums {
            acc: &self.sums.0.as_chunks::<NB>().0[done..],
            block,
            rows: rows - done,
            row: row + done,
            channel: self.channel + channel,
            channels: (self.weights.channels - channel).min(NB * 16),
            bias: Some(&self.weights.bias[block..block + NB]),
            multiplier: &self.weights.multiplier[block..block + NB],
            width: self.width,
            bounds: self.bounds,
        };
        s.vectorize(Out { sums, finish: &self.finish, to: &mut self.to });
    }
}

/// The way from sums to bytes, compiled by itself.
struct Out<'x, 'a, R, const NB: usize> {
    sums: Sums<'x, NB>,
    finish: &'x Finish<'a>,
    to: &'x mut R,
}

impl<R: Rows, const NB: usize> Kernel for Out<'_, '_, R, NB> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        finish(s, &self.sums, self.finish, self.to);
    }
}
