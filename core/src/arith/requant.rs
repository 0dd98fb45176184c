//! From exact integer sums to u8: one float step a term, then round to nearest even and clamp.
//!
//! Every multiplication and addition rounds by itself. Multipliers are quotients of scales, computed in f64 and rounded
//! once to f32.

use super::round::{clamp, rne};
use crate::graph::op::Epilogue;
use crate::quant::Affine;

/// q = z + rne(clamp(t, lo − z, hi − z)).
#[inline]
pub fn round_to_u8(t: f32, zero_point: u8, lo: u8, hi: u8) -> u8 {
    let z = f32::from(zero_point);
    let t = clamp(t, f32::from(lo) - z, f32::from(hi) - z);
    (rne(t) + i32::from(zero_point)) as u8
}

/// Requantizes an accumulator: t = f32(acc)·m, plus f32(r − z_r)·m_r where a residual is fused. With HardSwish it is
/// [`requantize_swished`].
#[inline]
pub fn requantize(acc: i32, multiplier: f32, residual: Option<u8>, epilogue: &Epilogue) -> u8 {
    let mut t = scale(acc, multiplier);
    if let (Some(r), Some(fused)) = (residual, epilogue.residual) {
        t += (i32::from(r) - i32::from(fused.zero_point)) as f32 * fused.multiplier;
    }
    round_to_u8(t, epilogue.zero_point, epilogue.lo, epilogue.hi)
}

/// Requantizes an accumulator by way of HardSwish: [`hard_swish`] of f32(acc)·m.
#[inline]
pub fn requantize_swished(acc: i32, multiplier: f32, [slope, shift]: [f32; 2], epilogue: &Epilogue) -> u8 {
    let t = hard_swish(scale(acc, multiplier), slope, shift);
    round_to_u8(t, epilogue.zero_point, epilogue.lo, epilogue.hi)
}

/// t·clamp(t·a + ½, 0, 1) + b: with a = s / 6, HardSwish of s·t over s, and b. The product is no further from 0 than t.
#[inline]
pub fn hard_swish(t: f32, slope: f32, shift: f32) -> f32 {
    t * clamp(t * slope + 0.5, 0.0, 1.0) + shift
}

/// The real number that an accumulator stands for: f32(acc)·m.
#[inline]
pub fn scale(acc: i32, multiplier: f32) -> f32 {
    acc as f32 * multiplier
}

/// The multiplier from one scale to another.
fn ratio(numerator: f64, denominator: f64) -> f32 {
    (numerator / denominator) as f32
}

/// y = a ± b on u8: t = f32(a − z_a)·m_a ± f32(b − z_b)·m_b.
#[derive(Debug, Clone, Copy)]
pub struct AddU8 {
    zeros: [i32; 2],
    multipliers: [f32; 2],
    y: Affine,
}

impl AddU8 {
    /// Addition.
    pub fn new(a: Affine, b: Affine, y: Affine) -> Self {
        let to = |x: Affine| ratio(f64::from(x.scale), f64::from(y.scale));
        Self { zeros: [i32::from(a.zero_point), i32::from(b.zero_point)], multipliers: [to(a), to(b)], y }
    }

    /// Subtraction: b's multiplier is negated.
    pub fn subtract(a: Affine, b: Affine, y: Affine) -> Self {
        let mut add = Self::new(a, b, y);
        add.multipliers[1] = -add.multipliers[1];
        add
    }

    /// m_a and ±m_b.
    pub fn multipliers(&self) -> [f32; 2] {
        self.multipliers
    }

    /// One element.
    #[inline]
    pub fn apply(&self, a: u8, b: u8) -> u8 {
        let term = |q: u8, i: usize| (i32::from(q) - self.zeros[i]) as f32 * self.multipliers[i];
        round_to_u8(term(a, 0) + term(b, 1), self.y.zero_point, 0, self.y.q_max)
    }
}

/// y = a·b on u8: t = f32((a − z_a)(b − z_b))·m with m = s_a·s_b / s_y.
#[derive(Debug, Clone, Copy)]
pub struct MulU8 {
    zeros: [i32; 2],
    multiplier: f32,
    y: Affine,
}

impl MulU8 {
    /// Multiplication.
    pub fn new(a: Affine, b: Affine, y: Affine) -> Self {
        let multiplier = ratio(f64::from(a.scale) * f64::from(b.scale), f64::from(y.scale));
        Self { zeros: [i32::from(a.zero_point), i32::from(b.zero_point)], multiplier, y }
    }

    /// m.
    pub fn multiplier(&self) -> f32 {
        self.multiplier
    }

    /// One element.
    #[inline]
    pub fn apply(&self, a: u8, b: u8) -> u8 {
        let product = (i32::from(a) - self.zeros[0]) * (i32::from(b) - self.zeros[1]);
        round_to_u8(product as f32 * self.multiplier, self.y.zero_point, 0, self.y.q_max)
    }
}

/// The product of two matrices of u8, from the exact sum of (a − z_a)(b − z_b): t = f32(sum)·m with m = s_a·s_b / s_y.
#[derive(Debug, Clone, Copy)]
pub struct ProductU8 {
    multiplier: f32,
    y: Affine,
}

impl ProductU8 {
    /// To u8 under `y`, or without it to f32, with m = s_a·s_b.
    pub fn new(a: Affine, b: Affine, y: Option<Affine>) -> Self {
        let y = y.unwrap_or(Affine { scale: 1.0, zero_point: 0, q_max: u8::MAX });
        Self { multiplier: MulU8::new(a, b, y).multiplier, y }
    }

    /// m.
    pub fn multiplier(&self) -> f32 {
        self.multiplier
    }

    /// From the sum to a byte.
    #[inline]
    pub fn apply(&self, sum: i32) -> u8 {
        round_to_u8(scale(sum, self.multiplier), self.y.zero_point, 0, self.y.q_max)
    }
}

/// The mean of n bytes, from the exact sum of (q − z): t = f32(sum)·m with m = s_x / (s_y·n).
#[derive(Debug, Clone, Copy)]
pub struct Mean {
    multiplier: f32,
    y: Affine,
}

impl Mean {
    /// Of `count` elements of parameters `x`.
    pub fn new(x: Affine, y: Affine, count: usize) -> Self {
        Self { multiplier: ratio(f64::from(x.scale), f64::from(y.scale) * count as f64), y }
    }

    /// The multiplier of a real mean: y = f32(sum)·m with m = s_x / n.
    pub fn real(x: Affine, count: usize) -> f32 {
        ratio(f64::from(x.scale), count as f64)
    }

    /// m.
    #[inline]
    pub fn multiplier(&self) -> f32 {
        self.multiplier
    }

    /// From the sum.
    #[inline]
    pub fn apply(&self, sum: i32) -> u8 {
        round_to_u8(sum as f32 * self.multiplier, self.y.zero_point, 0, self.y.q_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::op::Residual;
    use proptest::prelude::*;

    #[test]
    fn ties_and_extremes() {
        let e = Epilogue { zero_point: 10, lo: 10, hi: 200, residual: None, hard_swish: false, table: false };
        for (acc, m, q) in [(1, 0.5, 10), (3, 0.5, 12), (-9, 1.0, 10), (i32::MAX, 1.0, 200), (i32::MIN, 1.0, 10), (5, f32::NAN, 10)] {
            assert_eq!(requantize(acc, m, None, &e), q, "{acc} {m}");
        }
    }

    #[test]
    fn multipliers_are_rounded_once() {
        let affine = |scale: f32| Affine { scale, zero_point: 0, q_max: 255 };
        let (a, b, y) = (affine(0.1), affine(0.3), affine(0.7));
        // (0.1·0.3)/0.7 in f32 steps is another number.
        let exact = f64::from(0.1f32) * f64::from(0.3f32) / f64::from(0.7f32);
        assert_eq!(MulU8::new(a, b, y).multiplier, exact as f32);
        assert_eq!(Mean::new(a, y, 49).multiplier, (f64::from(0.1f32) / (f64::from(0.7f32) * 49.0)) as f32);
        assert_eq!(Mean::real(a, 49), (f64::from(0.1f32) / 49.0) as f32);
    }

    proptest! {
        #[test]
        fn requantize_equals_its_formula_in_f64(
            acc: i32, exponent in -40i32..4, fraction in 1.0f32..2.0, z: u8, limits: (u8, u8), r: Option<u8>, z_r: u8, m_r in 1e-3f32..30.0,
        ) {
            let m = fraction * f32::powi(2.0, exponent);
            let (lo, hi) = (limits.0.min(limits.1), limits.0.max(limits.1));
            let residual = r.map(|_| Residual { zero_point: z_r, multiplier: m_r });
            let q = requantize(acc, m, r, &Epilogue { zero_point: z, lo, hi, residual, hard_swish: false, table: false });
            // f64 holds a product of two f32 exactly, so that one rounding to f32 is left.
            let mut t = (f64::from(acc as f32) * f64::from(m)) as f32;
            if let Some(r) = r {
                t = (f64::from(t) + f64::from((f64::from(i32::from(r) - i32::from(z_r)) * f64::from(m_r)) as f32)) as f32;
            }
            let exact = (f64::from(t).round_ties_even() + f64::from(z)).clamp(f64::from(lo), f64::from(hi));
            prop_assert_eq!(f64::from(q), exact);
        }
    }

    #[test]
    fn the_residual_is_added_before_rounding() {
        let residual = Some(Residual { zero_point: 4, multiplier: 0.3 });
        let e = Epilogue { zero_point: 0, lo: 0, hi: 255, residual, hard_swish: false, table: false };
        // 0.4 + 0.3 rounds to 1, though each alone rounds to 0.
        assert_eq!(requantize(4, 0.1, Some(5), &e), 1);
    }

    #[test]
    fn hard_swish_takes_any_sum() {
        let e = Epilogue { zero_point: 10, lo: 3, hi: 200, residual: None, hard_swish: true, table: false };
        // With s = 0.05, sums of 20 and 60 are 1 and 3; −∞·0 is NaN, which gives the lower limit.
        let slope = (0.05f64 / 6.0) as f32;
        for (acc, m, q) in [
            (0, 1.0, 10),
            (20, 1.0, 10 + 13),
            (60, 1.0, 10 + 60),
            (80, 1.0, 10 + 80),
            (-30, 1.0, 10 - 7),
            (-60, 1.0, 10),
            (i32::MIN, 1.0, 10),
            (i32::MAX, f32::MAX, 200),
            (i32::MIN, f32::MAX, 3),
            (5, f32::NAN, 3),
        ] {
            assert_eq!(requantize_swished(acc, m, [slope, 0.0], &e), q, "{acc} {m}");
        }
        assert_eq!([-60, 0, 20].map(|acc| requantize_swished(acc, 1.0, [slope, 0.6], &e)), [11, 11, 10 + 14]);
        // However steep: an infinite product with the slope is beyond both ends.
        assert_eq!([-7, 0, 7].map(|acc| requantize_swished(acc, 1.0, [f32::MAX, 0.0], &e)), [10, 10, 17]);
    }

    proptest! {
        #[test]
        fn hard_swish_is_within_the_rounding_of_the_real_one(acc in -1_000_000i32..1_000_000, m in 1e-5f32..1e-2, scale in 1e-3f32..1.0) {
            let slope = (f64::from(scale) / 6.0) as f32;
            let t = super::scale(acc, m);
            let x = f64::from(t) * f64::from(scale);
            let real = x * (x / 6.0 + 0.5).clamp(0.0, 1.0) / f64::from(scale);
            prop_assert!((f64::from(hard_swish(t, slope, 0.25)) - 0.25 - real).abs() <= 1e-6 * f64::from(t).abs().max(1.0), "{t}");
        }
    }

    #[test]
    fn binary_results_equal_the_real_ones() {
        let a = Affine { scale: 0.02, zero_point: 128, q_max: 255 };
        let b = Affine { scale: 0.05, zero_point: 3, q_max: 255 };
        let y = Affine { scale: 0.04, zero_point: 77, q_max: 255 };
        let (add, sub, mul) = (AddU8::new(a, b, y), AddU8::subtract(a, b, y), MulU8::new(a, b, y));
        for p in (0..=255u8).step_by(3) {
            for q in (0..=255u8).step_by(7) {
                let (x, z) = (f64::from(a.dequantize(p)), f64::from(b.dequantize(q)));
                for (got, real) in [(add.apply(p, q), x + z), (sub.apply(p, q), x - z), (mul.apply(p, q), x * z)] {
                    let exact = (real / f64::from(y.scale) + 77.0).clamp(0.0, 255.0);
                    assert!((f64::from(got) - exact).abs() <= 0.5 + 1e-4, "{p} {q}: {got} {exact}");
                }
            }
        }
    }
}
