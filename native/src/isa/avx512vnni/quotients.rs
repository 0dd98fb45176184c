//! Quotients to be rounded to integers, mostly without a division, which takes as long as ten other instructions.
//!
//! With t = x·(1/d), where each step rounds, t differs from the rounded quotient by less than 2⁻²² of itself: by less than 2⁻¹⁴
//! where |t| < 2⁸. So where t is farther than 2⁻¹³ from the middle between two integers, both round to the same one. Beyond
//! 2⁸ the result is limited, and neither matters by how much it is beyond. If any of 64 numbers is too near to a middle, or
//! no number at all, they are divided.

use core::arch::x86_64::*;

use quaver_core::kernel::simd::{Divisor, Simd};

use super::Avx512Vnni;

/// How far a number may be from an integer.
const CLEAR: f32 = 0.5 - 1.0 / 8192.0;

/// [`Simd::quotients`].
#[inline(always)]
pub(super) fn quotients(isa: Avx512Vnni, x: [__m512; 4], d: Divisor<__m512>, hi: __m512) -> [__m512i; 4] {
    let mut y = [isa.splat_i32(0); 4];
    let mut unclear = 0;
    for v in 0..4 {
        // SAFETY: `isa` proves the features.
        unsafe {
            // `vminps` gives its second operand where one is NaN.
            let t = _mm512_min_ps(hi, _mm512_mul_ps(x[v], d.inverse));
            y[v] = _mm512_cvtps_epi32(t);
            let distance = _mm512_abs_ps(_mm512_sub_ps(t, _mm512_cvtepi32_ps(y[v])));
            // True also where the distance is NaN.
            unclear |= _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(distance, _mm512_set1_ps(CLEAR));
        }
    }
    if unclear != 0 {
        for v in 0..4 {
            y[v] = isa.round_below(isa.div(x[v], d.by), hi);
        }
    }
    y
}
