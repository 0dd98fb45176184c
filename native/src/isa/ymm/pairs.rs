//! Products in pairs by `vpmaddubsw`: what [`quaver_core::kernel::pairing`] makes ready.

use core::arch::x86_64::*;

use quaver_core::kernel::pairing::{ORDER, ORDERS, Run, Staged, Weights};

use super::load;

/// [`Simd::paired_products`](quaver_core::kernel::simd::Simd::paired_products).
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub(super) unsafe fn paired_products<const N: usize>(acc: &mut [[__m256i; 2]; N], x: &[Staged; N], run: &Run<'_>, weights: &Weights) {
    // SAFETY: by this function's own condition; references cover 64 bytes.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let pairs = |acc, x, w| _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), ones));
        for (at, weights) in weights.paired(run) {
            let w = load(weights.as_ptr().cast());
            for m in 0..N {
                let x = _mm256_set1_epi32(x[m][usize::from(at)]);
                acc[m] = [pairs(acc[m][0], x, w[0]), pairs(acc[m][1], x, w[1])];
            }
        }
        for (at, weights) in weights.wide(run) {
            for (i, weights) in weights.iter().enumerate() {
                let w = load(weights.as_ptr().cast());
                for m in 0..N {
                    let x = _mm256_set1_epi32(x[m][usize::from(at) + i * ORDER]);
                    acc[m] =
                        [_mm256_add_epi32(acc[m][0], _mm256_madd_epi16(x, w[0])), _mm256_add_epi32(acc[m][1], _mm256_madd_epi16(x, w[1]))];
                }
            }
        }
    }
}

/// Quads in that order.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
pub(super) unsafe fn in_order(quads: [__m256i; 2], order: usize) -> [__m256i; 2] {
    // One more than there are, so that no index of two bits is out of reach.
    const PLACES: [[u8; 32]; ORDERS.len() + 1] = {
        let mut places = [[0; 32]; ORDERS.len() + 1];
        let mut i = 0;
        while i < 32 * ORDERS.len() {
            let byte = i % 32;
            places[i / 32][byte] = (byte % 16 / 4 * 4 + ORDERS[i / 32][byte % 4]) as u8;
            i += 1;
        }
        places
    };
    // SAFETY: by this function's own condition; an array covers 32 bytes.
    unsafe {
        let places = _mm256_loadu_si256(PLACES[order & 3].as_ptr().cast());
        [_mm256_shuffle_epi8(quads[0], places), _mm256_shuffle_epi8(quads[1], places)]
    }
}
