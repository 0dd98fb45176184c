//! Tables of bytes: [`Simd::lookup`](quaver_core::kernel::simd::Simd::lookup) by shuffles, and one by one.

use core::arch::x86_64::*;

/// Bytes from which on it pays to make the tables of [`shuffled`].
pub(super) const SHUFFLED: usize = 128;

/// A table as sixteen registers.
///
/// A byte looks into every sixteen entries up to its own, by the distance to them; past its own the distance is negative,
/// and the shuffle gives 0. So entries are stored as differences (exclusive or) to those sixteen places before, and the sum
/// is the entry. Distances are signed, hence two halves of the table, each with a difference to nothing at its start.
#[inline(never)]
#[target_feature(enable = "avx2")]
pub(super) fn shuffled(table: &[u8; 256], bytes: &mut [[u8; 32]]) {
    let mut parts = [_mm256_setzero_si256(); 16];
    let mut before = _mm_setzero_si128();
    for (i, part) in parts.iter_mut().enumerate() {
        // SAFETY: the reference covers sixteen times 16 bytes.
        let entries = unsafe { _mm_loadu_si128(table.as_ptr().add(16 * i).cast()) };
        *part = _mm256_broadcastsi128_si256(if i == 8 { entries } else { _mm_xor_si128(entries, before) });
        before = entries;
    }
    let (sixteen, half) = (_mm256_set1_epi8(16), _mm256_set1_epi8(-128));
    for chunk in bytes {
        // SAFETY: the reference covers 32 bytes.
        let mut low = unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) };
        let mut high = _mm256_xor_si256(low, half);
        let mut entry = _mm256_setzero_si256();
        for i in 0..8 {
            let both = _mm256_xor_si256(_mm256_shuffle_epi8(parts[i], low), _mm256_shuffle_epi8(parts[i + 8], high));
            entry = _mm256_xor_si256(entry, both);
            (low, high) = (_mm256_subs_epi8(low, sixteen), _mm256_subs_epi8(high, sixteen));
        }
        // SAFETY: the reference covers 32 bytes.
        unsafe { _mm256_storeu_si256(chunk.as_mut_ptr().cast(), entry) }
    }
}

/// Looks up one by one.
#[inline(never)]
pub(super) fn each(table: &[u8; 256], bytes: &mut [u8]) {
    for q in bytes {
        *q = table[usize::from(*q)];
    }
}
