//! Rounding and clamping, the two float steps that every requantization ends with.

/// `t` limited to `lo ..= hi`; NaN becomes `lo`.
///
/// This is what `maxps(t, lo)` then `minps(_, hi)` (x86) and `pmax(lo, t)` then `pmin(hi, _)` (WebAssembly) compute.
#[inline(always)]
pub fn clamp(t: f32, lo: f32, hi: f32) -> f32 {
    let t = if t > lo { t } else { lo };
    if t < hi { t } else { hi }
}

/// Round to nearest, ties to even, for |t| ≤ 2²²: the caller has clamped `t`.
#[inline(always)]
pub fn rne(t: f32) -> i32 {
    // 1.5·2²³ moves t to where an ulp is 1: the addition itself rounds to nearest even, on every target and without a
    // branch or a call, so that loops over it vectorise; the integer is then in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    (t + MAGIC).to_bits() as i32 - MAGIC.to_bits() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_even() {
        for (t, q) in [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (254.5, 254), (0.49999997, 0), (-4_194_304.0, -4_194_304)] {
            assert_eq!(rne(t), q, "{t}");
        }
    }

    #[test]
    fn rne_equals_rint() {
        for i in -600_000..600_000 {
            let t = i as f32 / 1024.0;
            assert_eq!(rne(t), libm::rintf(t) as i32, "{t}");
        }
    }

    #[test]
    fn nan_clamps_to_the_lower_limit() {
        assert_eq!(clamp(f32::NAN, -3.0, 5.0), -3.0);
    }
}
