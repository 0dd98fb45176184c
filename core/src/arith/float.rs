//! f32 steps in one stated order: elementary functions, and the sum of a reduction.
//!
//! Each function is a fixed sequence of IEEE operations: no FMA, no function of the platform, no loop whose length depends
//! on data. What differs between ranges is computed for all and selected, so that vector code can take the same steps.
//! The polynomials are minimax fits of this project's own (Lawson's iteration in f64), rounded to f32. Errors are stated
//! in units of the last place of the exact result, u, and tested. NaN stays NaN.

/// ln 2 in two parts; products of the first with |n| < 2¹⁵ are exact.
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// Horner's scheme, the coefficient of the highest power first.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut y = coefficients[0];
    for &c in &coefficients[1..] {
        y = y * x + c;
    }
    y
}

/// eˣ, to 1.1 u; subnormal results too. 2ⁿ·e^r with n = rne(x·log₂e), e^r = 1 + r + r²·P(r).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    // Beyond, the result is 0 or ∞. The comparisons let NaN through.
    let t = if x < -104.0 { -104.0 } else { x };
    let t = if t > 89.0 { 89.0 } else { t };
    // The sum has n in its low bits, too, where a conversion would have to look out for NaN.
    let shifted = t * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = t - n * LN2_HIGH - n * LN2_LOW;
    let p = polynomial(r, [1.381_443_3e-3, 8.368_797e-3, 4.166_832_4e-2, 1.666_652e-1, 4.999_999_4e-1]);
    let y = p * (r * r) + r + 1.0;
    // Two factors, since 2ⁿ alone can overflow or be subnormal.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    y * power_of_two(n >> 1) * power_of_two(n.wrapping_sub(n >> 1))
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// Natural logarithm, to 1 u. x = 2ᵉ·(1 + f) with 1 + f in √½ .. √2, ln(1 + f) = f − f²/2 + f³·P(f).
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    // A subnormal is scaled up first.
    let (y, shift) = if x < f32::MIN_POSITIVE { (x * 8_388_608.0, 23) } else { (x, 0) };
    let bits = y.to_bits();
    let e = ((bits >> 23) & 0xff) as i32 - 126 - shift;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    let (m, e) = if m < std::f32::consts::FRAC_1_SQRT_2 { (m + m, e - 1) } else { (m, e) };
    let (f, e) = (m - 1.0, e as f32);
    let z = f * f;
    let p = polynomial(
        f,
        [-7.634_497e-2, 1.276_157_6e-1, -1.316_018_3e-1, 1.420_175_7e-1, -1.662_335_7e-1, 2.000_122_7e-1, -2.500_082e-1, 3.333_333e-1],
    );
    let y = p * f * z + e * LN2_LOW - 0.5 * z;
    let y = f + y + e * LN2_HIGH;
    if x == 0.0 {
        f32::NEG_INFINITY
    } else if x < 0.0 {
        f32::NAN
    } else if x < f32::INFINITY {
        y
    } else {
        // ∞ and NaN
        x
    }
}

/// Hyperbolic tangent, to 1.5 u: x + x³·P(x²) below 0.625, else ±(1 − 2 / (e^2|x| + 1)).
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let small = x + x * (z * polynomial(z, [-5.697_384e-3, 2.063_254_6e-2, -5.373_779_7e-2, 1.333_142e-1, -3.333_328e-1]));
    let large = 1.0 - 2.0 / (exp(a + a) + 1.0);
    (if a < 0.625 { small } else { large }).copysign(x)
}

/// Error function, to 2 u: x + x·P(x²) below 1, else ±(1 − e^Q(|x|)).
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let p = [7.853_882_6e-5, -8.010_200_7e-4, 5.188_328_7e-3, -2.685_376_3e-2, 1.128_358_54e-1, -3.761_262_6e-1, 1.283_791_7e-1];
    let small = x + x * polynomial(z, p);
    // From 3.95 on, the result is ±1.
    let t = if a > 3.95 { 3.95 } else { a };
    let q = [1.863_792_1e-4, -2.947_658_5e-3, 2.183_806_5e-2, -1.031_067_6e-1, -6.381_448_5e-1, -1.127_089_1, -3.415_228_6e-4];
    let large = 1.0 - exp(polynomial(t, q));
    if a < 1.0 { small } else { large.copysign(x) }
}

/// 1 / (1 + e⁻ˣ), to 2.5 u down to x = −87; 0 below −88.8, where e⁻ˣ overflows.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// aᵇ, by the crate `libm`.
#[inline]
pub fn pow(a: f32, b: f32) -> f32 {
    libm::powf(a, b)
}

/// Partial sums of a float reduction.
pub const LANES: usize = 16;

/// The sum of a float reduction: element i is added to partial sum i mod 16, in order; [`LaneSum::tree`] adds those up.
#[derive(Debug, Clone, Copy)]
pub struct LaneSum {
    lanes: [f32; LANES],
    next: usize,
}

impl Default for LaneSum {
    fn default() -> Self {
        Self { lanes: [0.0; LANES], next: 0 }
    }
}

impl LaneSum {
    /// Adds the next element.
    #[inline]
    pub fn push(&mut self, x: f32) {
        self.lanes[self.next] += x;
        self.next = (self.next + 1) % LANES;
    }

    /// The sum.
    #[inline]
    pub fn finish(self) -> f32 {
        Self::tree(self.lanes)
    }

    /// Adds partial sums 8, 4, 2 and 1 apart.
    #[inline]
    pub fn tree(mut lanes: [f32; LANES]) -> f32 {
        for width in [8, 4, 2, 1] {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
        }
        lanes[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error in units of the last place of the exact result (of the smallest normal number, where it is below),
    /// over every 1009th f32 in `from ..= to`.
    fn worst(f: fn(f32) -> f32, exact: fn(f64) -> f64, from: f32, to: f32) -> f64 {
        let bits = (0..f32::INFINITY.to_bits()).step_by(1009);
        let xs = bits.flat_map(|b| [f32::from_bits(b), -f32::from_bits(b)]).filter(|x| (from..=to).contains(x));
        xs.fold(0.0, |worst, x| {
            let y = exact(f64::from(x));
            let magnitude = (y.abs() as f32).max(f32::MIN_POSITIVE);
            let ulp = f64::from(f32::from_bits(magnitude.to_bits() + 1)) - f64::from(magnitude);
            f64::max(worst, (f64::from(f(x)) - y).abs() / ulp)
        })
    }

    #[test]
    fn functions_are_as_near_as_they_say() {
        let check = |name: &str, f: fn(f32) -> f32, exact: fn(f64) -> f64, [from, to]: [f32; 2], bound: f64| {
            let worst = worst(f, exact, from, to);
            // A function that is better by far than it says was not measured.
            assert!(worst > bound / 4.0 && worst < bound, "{name}: {worst} u, but {bound} u are stated");
            // The maximum passes over NaN.
            assert!((-2000..2000).map(|i| i as f32 * 0.05).filter(|x| (from..=to).contains(x)).all(|x| !f(x).is_nan()), "{name}");
        };
        check("exp", exp, libm::exp, [f32::MIN, 88.72], 1.1);
        check("ln", ln, libm::log, [1e-45, f32::MAX], 1.0);
        check("tanh", tanh, libm::tanh, [f32::MIN, f32::MAX], 1.5);
        check("erf", erf, libm::erf, [f32::MIN, f32::MAX], 2.0);
        check("sigmoid", sigmoid, |x| 1.0 / (1.0 + libm::exp(-x)), [-87.0, f32::MAX], 2.5);
    }

    #[test]
    fn edges() {
        let infinity = f32::INFINITY;
        assert_eq!([exp(-infinity), exp(infinity), exp(0.0), exp(-104.0), exp(88.73)], [0.0, infinity, 1.0, 0.0, infinity]);
        assert_eq!([ln(0.0), ln(-0.0), ln(1.0), ln(infinity)], [-infinity, -infinity, 0.0, infinity]);
        assert_eq!([tanh(infinity), tanh(-50.0), tanh(1e-45)], [1.0, -1.0, 1e-45]);
        assert_eq!([erf(infinity), erf(-3.95), erf(-1e30)], [1.0, -1.0, -1.0]);
        assert_eq!([sigmoid(-infinity), sigmoid(0.0), sigmoid(infinity)], [0.0, 0.5, 1.0]);
        assert_eq!([tanh(-0.0).to_bits(), erf(-0.0).to_bits()], [(-0.0f32).to_bits(); 2]);
        assert!([exp, ln, tanh, erf, sigmoid].iter().all(|f| f(f32::NAN).is_nan()));
        assert!([-1.0, -1e-45, -infinity].iter().all(|&x| ln(x).is_nan()));
    }

    #[test]
    fn pieces_meet() {
        for (f, at) in [(tanh as fn(f32) -> f32, 0.625f32), (erf, 1.0)] {
            let before = f(f32::from_bits(at.to_bits() - 1));
            assert!((f(at) - before).abs() < 2e-7 && f(at) == -f(-at));
        }
    }

    #[test]
    fn lane_sum_has_its_stated_order() {
        let data: Vec<f32> = (0..100).map(|i| libm::sinf(i as f32) * 1e4).collect();
        let mut sum = LaneSum::default();
        data.iter().for_each(|&x| sum.push(x));
        let lane = |i: usize| data.iter().skip(i).step_by(16).fold(0.0f32, |s, &x| s + x);
        let eight: Vec<f32> = (0..8).map(|i| lane(i) + lane(i + 8)).collect();
        let four: Vec<f32> = (0..4).map(|i| eight[i] + eight[i + 4]).collect();
        let stated = (four[0] + four[2]) + (four[1] + four[3]);
        assert_eq!(sum.finish(), stated);
        assert_ne!(stated, data.iter().sum::<f32>(), "this data can't tell one order from another");
    }
}
