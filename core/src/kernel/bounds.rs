//! What the constants of a packed operation say of its sums.

use super::epilogue::Finish;
use super::simd::Simd;

/// What is known of an operation's sums before they are computed. The less is possible, the less is to be done; all ways give
/// the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// Nothing.
    None,
    /// What is rounded lies within ±2²².
    Rounds,
    /// That; also |acc| < 2²³, and where it is negative, the result is the lower limit.
    Lifts,
}

impl Bounds {
    /// Of sums whose products add up to no more than `reach` in magnitude.
    pub fn of(reach: u64, bias: &[[i32; 16]], multiplier: &[[f32; 16]], finish: &Finish<'_>) -> Self {
        // So far from 2²² that what the comparison's own steps round does not matter.
        const LARGE: f32 = 4e6;
        let Finish::U8(how) = finish else { return Self::None };
        let added = how.residual.map_or(0.0, |r| 255.0 * r.multiplier.abs()) + how.hard_swish.map_or(0.0, |swish| swish.reach());
        let mut rounds = true;
        let mut lifts = how.residual.is_none() && how.hard_swish.is_none() && how.lo >= how.zero_point && reach < 1 << 22;
        for (&bias, &m) in bias.as_flattened().iter().zip(multiplier.as_flattened()) {
            // NaN is not below anything. The conversion is of a signed number, which vectors have.
            rounds &= ((bias as f32).abs() + reach as f32) * m.abs() + added < LARGE;
            lifts &= (-(1 << 22) < bias) & (bias < 1 << 22) & (m >= 0.0);
        }
        match (rounds, lifts) {
            (true, true) => Self::Lifts,
            (true, false) => Self::Rounds,
            (false, _) => Self::None,
        }
    }

    /// What an instruction set makes use of.
    #[inline(always)]
    pub(super) fn of_use<S: Simd>(self) -> Self {
        match self {
            Self::Lifts if const { S::COMPACT } => Self::Rounds,
            _ => self,
        }
    }

    /// The same for sums that start with their bias alone.
    pub fn without_lift(self) -> Self {
        if self == Self::Lifts { Self::Rounds } else { self }
    }
}
