//! The way out of a driver's sums: a buffer for those of the tiles at hand, and one for those before, which are finished a part
//! at a time.

use quaver_core::kernel::epilogue::{Bounds, Finish, Rows, Sums, finish};
use quaver_core::kernel::gemm::Weights;
use quaver_core::kernel::simd::{Kernel, Simd};

use crate::amx::machine::ROWS;

/// Rows of sums of 16 channels: of two tiles by four blocks, and of three rows behind them, as the epilogue takes rows by four.
const SUMS: usize = (2 * ROWS + 3) * 4;

/// Rows of sums that cross no line of a cache: a tile is stored in twice the time where they do.
#[repr(align(64))]
pub(super) struct Aligned<T>(pub T);

/// Sums on their way out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pending {
    /// Blocks of a row.
    pub blocks: usize,
    /// The first.
    pub block: usize,
    /// Rows of the buffer that are written, or not to be.
    pub done: usize,
    /// Rows of the buffer.
    pub rows: usize,
    /// The output row of the first of the buffer.
    pub row: usize,
}

/// The way out of the sums.
pub(super) struct Outgoing<'a, R> {
    /// Epilogue.
    pub finish: Finish<'a>,
    /// With biases and multipliers.
    pub weights: Weights<'a>,
    /// Channels of the output before them.
    pub channel: usize,
    /// Elements of a row of the output.
    pub width: usize,
    /// What is known of the sums.
    pub bounds: Bounds,
    /// The output.
    pub to: R,
    /// The sums of a unit, and those before.
    pub buffers: Buffers,
    /// Those before.
    pub pending: Pending,
}

/// Two buffers of sums, in turns.
pub(super) struct Buffers {
    sums: [Aligned<[[i32; 16]; SUMS]>; 2],
    /// The one in which sums are pending.
    pending: usize,
}

impl Buffers {
    /// With all sums zero.
    #[inline(always)]
    pub fn new() -> Self {
        Self { sums: [const { Aligned([[0; 16]; SUMS]) }; 2], pending: 0 }
    }

    /// The buffer for the next sums.
    #[inline(always)]
    pub fn next(&mut self) -> &mut [i32] {
        self.sums[1 - self.pending].0.as_flattened_mut()
    }

    /// From now on, those are pending, and what was so is done with.
    #[inline(always)]
    pub fn turn(&mut self) {
        self.pending = 1 - self.pending;
    }
}

impl<R: Rows> Outgoing<'_, R> {
    /// Writes up to `most` rows of the pending sums.
    #[inline(always)]
    pub fn finish<S: Simd>(&mut self, s: S, most: usize) {
        let rows = most.min(self.pending.rows - self.pending.done);
        match self.pending.blocks {
            _ if rows == 0 => return,
            4 => self.finish_blocks::<S, 4>(s, rows),
            2 => self.finish_blocks::<S, 2>(s, rows),
            _ => self.finish_blocks::<S, 1>(s, rows),
        }
        self.pending.done += rows;
    }

    #[inline(always)]
    fn finish_blocks<S: Simd, const NB: usize>(&mut self, s: S, rows: usize) {
        let Pending { block, done, row, .. } = self.pending;
        let channel = block * 16;
        let sums = Sums {
            acc: &self.buffers.sums[self.buffers.pending].0.as_chunks::<NB>().0[done..],
            block,
            rows,
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
