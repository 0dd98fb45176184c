//! Tables of bytes: [`Simd::lookup`](quaver_core::kernel::simd::Simd::lookup) with VBMI, and without.

use core::arch::x86_64::*;

/// Four registers hold the table; each half is indexed by seven bits, and the eighth chooses.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
pub(super) fn vbmi(table: &[u8; 256], bytes: &mut [u8]) {
    // SAFETY: the reference covers 256 bytes.
    let part = |i: usize| unsafe { _mm512_loadu_si512(table.as_ptr().add(64 * i).cast()) };
    let (t0, t1, t2, t3) = (part(0), part(1), part(2), part(3));
    let look = |q: __m512i| {
        let low = _mm512_permutex2var_epi8(t0, q, t1);
        let high = _mm512_permutex2var_epi8(t2, q, t3);
        _mm512_mask_blend_epi8(_mm512_movepi8_mask(q), low, high)
    };
    let (whole, rest) = bytes.as_chunks_mut::<64>();
    for chunk in whole {
        // SAFETY: the reference covers 64 bytes.
        unsafe {
            let q = _mm512_loadu_si512(chunk.as_ptr().cast());
            _mm512_storeu_si512(chunk.as_mut_ptr().cast(), look(q));
        }
    }
    if !rest.is_empty() {
        let mask = (1u64 << rest.len()) - 1;
        // SAFETY: the mask leaves out what is behind the slice.
        unsafe {
            let q = _mm512_maskz_loadu_epi8(mask, rest.as_ptr().cast());
            _mm512_mask_storeu_epi8(rest.as_mut_ptr().cast(), mask, look(q));
        }
    }
}

/// Looks up one by one.
#[inline(never)]
pub(super) fn each(table: &[u8; 256], bytes: &mut [u8]) {
    for q in bytes {
        *q = table[usize::from(*q)];
    }
}
