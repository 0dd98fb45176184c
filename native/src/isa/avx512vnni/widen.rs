//! Bytes become numbers: for what epilogues add.

use core::arch::x86_64::*;

use quaver_core::kernel::addend::Addend;

use super::{Avx512Vnni, Words};

/// Byte i goes to lane i.
static WIDEN: Words = {
    // SAFETY: as above.
    Words(unsafe { core::mem::transmute::<[i32; 16], __m512i>([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]) })
};

/// A zero point z.
#[derive(Debug, Clone, Copy)]
pub struct Zero {
    /// 2²³ + z.
    lifted: __m512,
    order: __m512i,
}

impl Zero {
    /// Of this zero point.
    #[inline(always)]
    pub(super) fn new(_isa: Avx512Vnni, z: u8) -> Self {
        // The compiler must not see the order, or it makes a conversion and a blend of the shuffle.
        // SAFETY: the token proves the feature; the static is there to be read.
        unsafe { Self { lifted: _mm512_set1_ps(8_388_608.0 + f32::from(z)), order: core::ptr::read_volatile(&raw const WIDEN.0) } }
    }

    /// f32(x − z). Bytes are put below 2²³'s upper bits, whence a difference makes numbers: an operation less than to widen,
    /// to subtract and to convert.
    ///
    /// # Safety
    /// The processor must have AVX-512 BW.
    #[inline(always)]
    pub(super) unsafe fn widen(self, x: __m128i) -> __m512 {
        // SAFETY: the caller promises the feature.
        unsafe { _mm512_sub_ps(self.lift(x), self.lifted) }
    }

    /// 2²³ + x of sixteen bytes.
    ///
    /// # Safety
    /// The processor must have AVX-512 BW.
    #[inline(always)]
    pub(super) unsafe fn lift(self, x: __m128i) -> __m512 {
        // SAFETY: the caller promises the feature.
        unsafe {
            let above = _mm512_set1_epi32(0x4B00_0000);
            _mm512_castsi512_ps(_mm512_mask_shuffle_epi8(above, 0x1111_1111_1111_1111, _mm512_broadcast_i32x4(x), self.order))
        }
    }
}

/// The `n`-th sixteen bytes of row `m`.
#[inline(always)]
pub(super) fn load<const L: usize, const MR: usize>(_isa: Avx512Vnni, rows: &Addend<'_, L, MR>, m: usize, n: usize) -> __m128i {
    // Of constants, and so no code.
    assert!(m < MR && 16 * n + 16 <= L, "no such row or column");
    let at = rows.bytes().as_ptr().wrapping_add(m * rows.pitch() + 16 * n);
    // SAFETY: the token proves the feature; `Addend` has made sure that each row's bytes lie within its slice.
    unsafe { _mm_loadu_si128(at.cast()) }
}
