//! Sums in memory, as kernels hand them to the epilogue.

use super::epilogue::Bounds;
use super::simd::Simd;

/// Sums of a tile on their way out.
#[derive(Debug, Clone, Copy)]
pub struct Sums<'a, const NB: usize> {
    /// For each row, `NB` blocks of 16 channels; three rows more than there are, of any content.
    pub acc: &'a [[[i32; 16]; NB]],
    /// The first of these blocks, of all that the operation or its group has.
    pub block: usize,
    /// The output row of the first.
    pub row: usize,
    /// Rows that exist.
    pub rows: usize,
    /// Output channels before the first one.
    pub channel: usize,
    /// Channels that exist, at most 16·NB.
    pub channels: usize,
    /// Biases of the blocks, where the sums lack them.
    pub bias: Option<&'a [[i32; 16]]>,
    /// Multipliers of the blocks.
    pub multiplier: &'a [[f32; 16]],
    /// Elements of a row of the output.
    pub width: usize,
    /// What is known of the sums. Where it is [`Bounds::Lifts`], they are too high by [`Simd::LIFT`], unless they lack their bias.
    pub bounds: Bounds,
}

impl<const NB: usize> Sums<'_, NB> {
    /// What all sums of a block lack, or zeros.
    #[inline(always)]
    pub(super) fn lacking<S: Simd>(&self, s: S, lift: bool) -> [S::I; NB] {
        let mut lacking = [s.splat_i32(0); NB];
        if let Some(bias) = self.bias {
            let lift = s.splat_i32(if lift { S::LIFT } else { 0 });
            for n in 0..NB {
                lacking[n] = s.add_i32(s.load_i32(&bias[n]), lift);
            }
        }
        lacking
    }

    /// The sums of a row and a block, with what they lacked. None of the instruction sets whose code is to be short computes
    /// sums that lack anything.
    #[inline(always)]
    pub(super) fn load<S: Simd>(&self, s: S, [row, n]: [usize; 2], lacking: &[S::I; NB]) -> S::I {
        let sums = s.load_i32(&self.acc[row][n]);
        if const { S::COMPACT } { sums } else { s.add_i32(sums, lacking[n]) }
    }
}
