//! HardSwish between a sum's scaling and its rounding, with constants of its own for each channel.

use super::simd::Simd;

/// HardSwish, as [`crate::arith::requant::hard_swish`] defines it.
#[derive(Debug, Clone, Copy)]
pub struct HardSwish<'a> {
    /// Of each channel, in blocks as multipliers are.
    pub slope: &'a [[f32; 16]],
    /// Likewise, what is added.
    pub shift: &'a [[f32; 16]],
}

/// What [`crate::arith::requant::hard_swish`] is of each lane.
#[inline(always)]
pub fn hard_swish<S: Simd>(s: S, t: S::F, [slope, shift]: [S::F; 2]) -> S::F {
    let line = s.add(s.mul(t, slope), s.splat_f32(0.5));
    // Where that is NaN, t is, and so is any product with it.
    s.add(s.mul(t, s.share(line)), shift)
}

impl HardSwish<'_> {
    /// The slopes and shifts of a block; of one that doesn't exist, any.
    #[inline(always)]
    pub(super) fn of<S: Simd>(&self, s: S, block: usize) -> [S::F; 2] {
        let load = |of: &[[f32; 16]]| s.load_f32(of.get(block).unwrap_or(&[0.0; 16]));
        [load(self.slope), load(self.shift)]
    }

    /// The largest shift.
    pub(super) fn reach(&self) -> f32 {
        self.shift.as_flattened().iter().fold(0.0, |most, shift| shift.abs().max(most))
    }
}
