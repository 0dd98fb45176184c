//! AVX-512 with VNNI: one register of 16 lanes, `vpdpbusd`; tables by VBMI where there is that.

use core::arch::x86_64::*;

use quaver_core::kernel::addend::Addend;
use quaver_core::kernel::depthwise::lines::Lines;
use quaver_core::kernel::simd::{Kernel, Simd, Tile};
use quaver_core::kernel::tile::{Panel, TileRows};

mod lookup;
mod slide;
mod tile;
mod widen;

use widen::Zero;

/// Proof that the processor has AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Debug, Clone, Copy)]
pub struct Avx512Vnni {
    /// Proof of VBMI, where true.
    vbmi: bool,
}

impl Avx512Vnni {
    /// The token, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        let base = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        base.then(|| Self { vbmi: is_x86_feature_detected!("avx512vbmi") })
    }
}

/// Word i of each lane, lane by lane.
static ORDER: Words = Words::new([0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15]);
/// Words 0 to 2 of each lane, lane by lane, then the others.
static TWELVE: Words = Words::new([0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7, 11, 15]);

/// Places of sixteen words for a permutation, which are read from memory: of an order that it knows, the compiler makes many
/// shuffles instead of one behind another.
struct Words(__m512i);

impl Words {
    const fn new(words: [i32; 16]) -> Self {
        // SAFETY: both are 64 bytes, and any bits are a vector.
        Words(unsafe { core::mem::transmute::<[i32; 16], __m512i>(words) })
    }

    #[inline(always)]
    fn get(&'static self) -> __m512i {
        // SAFETY: a reference can be read.
        unsafe { core::ptr::read_volatile(&raw const self.0) }
    }
}

/// Limits of a narrowing.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    zero_point: __m512i,
    lo: __m512i,
    hi: __m512i,
    /// In bytes: zero point, and both limits less that.
    above: [__m512i; 3],
}

// In every method below, `self` is the proof that the processor has the instructions, and what is loaded or stored is
// covered by a reference to an array of that size; unaligned forms are used throughout.
impl Simd for Avx512Vnni {
    type I = __m512i;
    type F = __m512;
    type B = __m512i;
    type Quad = __m512i;
    type W = __m512i;
    type Zero = Zero;
    type Limits = Limits;

    const TILE: Tile = Tile::Rows14Blocks2;
    const SLIDES: [bool; 2] = [true; 2];
    const SLIDES_TO_TABLES: bool = true;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        fn enabled<K: Kernel>(isa: Avx512Vnni, kernel: K) -> K::Output {
            kernel.run(isa)
        }
        // A kernel within a kernel is compiled by itself: a function without the features cannot be inlined into one with
        // them, nor the other way round, where it says so.
        #[inline(never)]
        fn apart<K: Kernel>(isa: Avx512Vnni, kernel: K) -> K::Output {
            // SAFETY: `isa` proves the features that `enabled` enables.
            unsafe { enabled(isa, kernel) }
        }
        apart(self, kernel)
    }

    #[inline(always)]
    fn splat_i32(self, x: i32) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_set1_epi32(x) }
    }

    #[inline(always)]
    fn load_i32(self, x: &[i32; 16]) -> __m512i {
        // SAFETY: `self` proves the feature; the reference covers 64 bytes.
        unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
    }

    #[inline(always)]
    fn add_i32(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    fn widen(self, x: &[u8; 16]) -> __m512i {
        // SAFETY: `self` proves the feature; the reference covers 16 bytes.
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(x.as_ptr().cast())) }
    }

    #[inline(always)]
    fn zero(self, z: u8) -> Zero {
        Zero::new(self, z)
    }

    #[inline(always)]
    fn widen_from(self, x: &[u8; 16], z: Zero) -> __m512 {
        // SAFETY: `self` proves the feature; the reference covers 16 bytes.
        unsafe { z.widen(_mm_loadu_si128(x.as_ptr().cast())) }
    }

    #[inline(always)]
    fn widen_some_from(self, x: &[u8], z: Zero) -> __m512 {
        let mask = ((1u32 << x.len().min(16)) - 1) as u16;
        // SAFETY: `self` proves the features; the mask leaves out what is behind the slice.
        unsafe { z.widen(_mm_maskz_loadu_epi8(mask, x.as_ptr().cast())) }
    }

    #[inline(always)]
    fn widen_row<const L: usize, const MR: usize>(self, rows: &Addend<'_, L, MR>, m: usize, n: usize, z: Zero) -> __m512 {
        // SAFETY: `self` proves the feature.
        unsafe { z.widen(widen::load(self, rows, m, n)) }
    }

    #[inline(always)]
    fn scale_row<const L: usize, const MR: usize>(
        self,
        rows: &Addend<'_, L, MR>,
        [m, n]: [usize; 2],
        f: __m512,
        f_lifted: __m512,
    ) -> __m512 {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_fmsub_ps(self.zero(0).lift(widen::load(self, rows, m, n)), f, f_lifted) }
    }

    #[inline(always)]
    fn store_i32(self, v: __m512i, to: &mut [i32; 16]) {
        // SAFETY: `self` proves the feature; the reference covers 64 bytes.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), v) }
    }

    #[inline(always)]
    fn splat_f32(self, x: f32) -> __m512 {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load_f32(self, x: &[f32; 16]) -> __m512 {
        // SAFETY: `self` proves the feature; the reference covers 64 bytes.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn lesser(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves the feature. The second operand is the result where the comparison fails.
        unsafe { _mm512_min_ps(b, a) }
    }

    #[inline(always)]
    fn greater(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_max_ps(b, a) }
    }

    #[inline(always)]
    fn share(self, a: __m512) -> __m512 {
        // By the bits of numbers: those of negative ones are negative integers, others' grow with them. Multiplications have the
        // units to themselves then that floats are compared by.
        // SAFETY: `self` proves the feature.
        unsafe {
            let positive = _mm512_max_epi32(_mm512_castps_si512(a), _mm512_setzero_si512());
            _mm512_castsi512_ps(_mm512_min_epi32(positive, _mm512_castps_si512(_mm512_set1_ps(1.0))))
        }
    }

    #[inline(always)]
    fn to_f32(self, v: __m512i) -> __m512 {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_cvtepi32_ps(v) }
    }

    #[inline(always)]
    fn store_f32(self, v: __m512, to: &mut [u8; 64]) {
        // SAFETY: `self` proves the feature; the reference covers 64 bytes.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr().cast(), v) }
    }

    #[inline(always)]
    fn round_below(self, t: __m512, hi: __m512) -> __m512i {
        // `vminps` gives its second operand where one is NaN, and the conversion gives −2³¹ for NaN and what is below.
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_cvtps_epi32(_mm512_min_ps(hi, t)) }
    }

    #[inline(always)]
    fn round(self, t: __m512) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_cvtps_epi32(t) }
    }

    /// As bits of an f32, 2²³ + a for a not negative, which an exact product and difference rounded once make f32(a)·m;
    /// 2²³ + a/2 for a negative.
    const LIFT: i32 = 0x4B00_0000;

    #[inline(always)]
    fn scale_lifted(self, v: __m512i, m: __m512, m_lifted: __m512) -> __m512 {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_fmsub_ps(_mm512_castsi512_ps(v), m, m_lifted) }
    }

    #[inline(always)]
    fn load_b(self, x: &[u8; 64]) -> __m512i {
        // SAFETY: `self` proves the feature; the reference covers 64 bytes.
        unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
    }

    #[inline(always)]
    fn splat_b(self, x: u8) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_set1_epi8(x as i8) }
    }

    #[inline(always)]
    fn store_b(self, v: __m512i, to: &mut [u8; 64]) {
        // SAFETY: `self` proves the feature; the reference covers 64 bytes.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), v) }
    }

    #[inline(always)]
    fn store_quarter(self, v: __m512i, j: usize, to: &mut [u8; 16]) {
        // SAFETY: `self` proves the feature; the reference covers 16 bytes.
        unsafe {
            let quarter = match j {
                0 => _mm512_castsi512_si128(v),
                1 => _mm512_extracti32x4_epi32::<1>(v),
                2 => _mm512_extracti32x4_epi32::<2>(v),
                _ => _mm512_extracti32x4_epi32::<3>(v),
            };
            _mm_storeu_si128(to.as_mut_ptr().cast(), quarter);
        }
    }

    #[inline(always)]
    fn store_half(self, v: __m512i, j: usize, to: &mut [u8; 32]) {
        // SAFETY: `self` proves the feature; the reference covers 32 bytes.
        unsafe {
            let half = if j == 0 { _mm512_castsi512_si256(v) } else { _mm512_extracti64x4_epi64::<1>(v) };
            _mm256_storeu_si256(to.as_mut_ptr().cast(), half);
        }
    }

    #[inline(always)]
    fn store_some(self, v: __m512i, j: usize, to: &mut [u8]) {
        let mask = if to.len() < 32 { (1u32 << to.len()) - 1 } else { u32::MAX };
        // SAFETY: `self` proves the features; the mask leaves out what is behind the slice.
        unsafe {
            let part = match j {
                0 => _mm512_castsi512_si256(v),
                1 => _mm256_castsi128_si256(_mm512_extracti32x4_epi32::<1>(v)),
                2 => _mm512_extracti64x4_epi64::<1>(v),
                _ => _mm256_castsi128_si256(_mm512_extracti32x4_epi32::<3>(v)),
            };
            _mm256_mask_storeu_epi8(to.as_mut_ptr().cast(), mask, part);
        }
    }

    #[inline(always)]
    fn max_b(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_max_epu8(a, b) }
    }

    #[inline(always)]
    fn interleave(self, [a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
        // SAFETY: `self` proves the feature.
        unsafe {
            let (ab_lo, ab_hi) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
            let (cd_lo, cd_hi) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
            [
                _mm512_unpacklo_epi16(ab_lo, cd_lo),
                _mm512_unpackhi_epi16(ab_lo, cd_lo),
                _mm512_unpacklo_epi16(ab_hi, cd_hi),
                _mm512_unpackhi_epi16(ab_hi, cd_hi),
            ]
        }
    }

    #[inline(always)]
    fn interleave_words(self, [a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
        // SAFETY: `self` proves the feature.
        unsafe {
            let (ab_lo, ab_hi) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (cd_lo, cd_hi) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(ab_lo, cd_lo),
                _mm512_unpackhi_epi64(ab_lo, cd_lo),
                _mm512_unpacklo_epi64(ab_hi, cd_hi),
                _mm512_unpackhi_epi64(ab_hi, cd_hi),
            ]
        }
    }

    #[inline(always)]
    fn quads(self, [a, b, c, d]: [&[u8; 16]; 4]) -> __m512i {
        // SAFETY: `self` proves the features; each reference covers 16 bytes.
        unsafe {
            let load = |x: &[u8; 16]| _mm_loadu_si128(x.as_ptr().cast());
            let ab = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(load(a)), load(b));
            let abcd = _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(ab, load(c)), load(d));
            // Words 4 channels wide are gathered by channel, then bytes within each 4 × 4 of them.
            let words = _mm512_permutexvar_epi32(ORDER.get(), abcd);
            let bytes = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_shuffle_epi8(words, _mm512_broadcast_i32x4(bytes))
        }
    }

    #[inline(always)]
    fn join_halves(self, [a, b]: [&[u8; 32]; 2]) -> __m512i {
        // SAFETY: `self` proves the feature; each reference covers 32 bytes.
        unsafe {
            let load = |x: &[u8; 32]| _mm256_loadu_si256(x.as_ptr().cast());
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(load(a)), load(b))
        }
    }

    #[inline(always)]
    fn join_quarters(self, [a, b, c, d]: [&[u8; 16]; 4]) -> __m512i {
        // SAFETY: `self` proves the feature; each reference covers 16 bytes.
        unsafe {
            let load = |x: &[u8; 16]| _mm_loadu_si128(x.as_ptr().cast());
            let ab = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(load(a)), load(b));
            _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(ab, load(c)), load(d))
        }
    }

    #[inline(always)]
    fn shift_in(self, a: __m512i, b: __m512i, quarters: usize) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe { if quarters == 1 { _mm512_alignr_epi64::<2>(b, a) } else { _mm512_alignr_epi64::<4>(b, a) } }
    }

    #[inline(always)]
    fn triples(self, quads: __m512i) -> __m512i {
        // SAFETY: `self` proves the features.
        unsafe {
            // Twelve bytes of each lane, then the twelve words that hold them.
            let bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
            _mm512_permutexvar_epi32(TWELVE.get(), _mm512_shuffle_epi8(quads, bytes))
        }
    }

    #[inline(always)]
    fn store_first(self, v: __m512i, to: &mut [u8]) {
        let mask = u64::MAX.checked_shr(64 - to.len().min(64) as u32).unwrap_or(0);
        // SAFETY: `self` proves the feature; the mask leaves out what is behind the slice.
        unsafe { _mm512_mask_storeu_epi8(to.as_mut_ptr().cast(), mask, v) }
    }

    #[inline(always)]
    fn limits(self, zero_point: u8, lo: u8, hi: u8) -> Limits {
        // SAFETY: `self` proves the feature.
        let word = unsafe { _mm512_set1_epi16(i16::from(zero_point)) };
        let less = |x: u8| self.splat_b(x.wrapping_sub(zero_point));
        let above = [self.splat_b(zero_point), less(lo), less(hi)];
        Limits { zero_point: word, lo: self.splat_b(lo), hi: self.splat_b(hi), above }
    }

    #[inline(always)]
    fn narrow(self, v: [__m512i; 4], limits: Limits) -> __m512i {
        let bytes = self.narrow_interleaved(v, limits);
        // Word 4l + j of the packed bytes is word l of vector j.
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes) }
    }

    #[inline(always)]
    fn narrow_interleaved(self, [a, b, c, d]: [__m512i; 4], limits: Limits) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe {
            let ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), limits.zero_point);
            let cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), limits.zero_point);
            _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(ab, cd), limits.lo), limits.hi)
        }
    }

    #[inline(always)]
    fn narrow_unlimited(self, [a, b, c, d]: [__m512i; 4], limits: Limits) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe {
            let ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), limits.zero_point);
            let cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), limits.zero_point);
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_permutexvar_epi32(order, _mm512_packus_epi16(ab, cd))
        }
    }

    #[inline(always)]
    fn saturate(self, v: [__m512i; 4]) -> __m512i {
        let bytes = self.saturate_interleaved(v);
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes) }
    }

    #[inline(always)]
    fn saturate_interleaved(self, [a, b, c, d]: [__m512i; 4]) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d)) }
    }

    #[inline(always)]
    fn narrow_above_interleaved(self, v: [__m512i; 4], limits: Limits) -> __m512i {
        let bytes = self.saturate_interleaved(v);
        let [zero_point, lo, hi] = limits.above;
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_add_epi8(_mm512_min_epu8(_mm512_max_epu8(bytes, lo), hi), zero_point) }
    }

    #[inline(always)]
    fn slide<const P: usize, const ST: usize>(self, lines: &mut Lines<'_>) {
        slide::run::<Self, P, ST>(self, lines);
    }

    #[inline(always)]
    fn prefetch(self, line: &[i8; 64]) {
        // SAFETY: a hint, for an address that the reference covers.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) }
    }

    #[inline(always)]
    fn quad(self, x: [u8; 4]) -> __m512i {
        self.splat_i32(i32::from_le_bytes(x))
    }

    #[inline(always)]
    fn stage(self, x: __m512i, even: &mut [i32; 16], odd: &mut [i32; 16]) {
        // Quads are taken as they are.
        self.store_i32(x, even);
        *odd = [0; 16];
    }

    #[inline(always)]
    fn staged(self, even: i32, _odd: i32) -> __m512i {
        self.splat_i32(even)
    }

    #[inline(always)]
    fn weights(self, w: &[i8; 64]) -> __m512i {
        // SAFETY: `self` proves the feature; the reference covers 64 bytes.
        unsafe { _mm512_loadu_si512(w.as_ptr().cast()) }
    }

    #[inline(always)]
    fn dot4(self, acc: __m512i, x: __m512i, w: __m512i) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_dpbusd_epi32(acc, x, w) }
    }

    #[inline(always)]
    fn dot4_lanes(self, acc: __m512i, x: __m512i, w: __m512i) -> __m512i {
        // SAFETY: `self` proves the feature.
        unsafe { _mm512_dpbusd_epi32(acc, x, w) }
    }

    #[inline(always)]
    fn products<const MR: usize, const NB: usize>(self, acc: &mut [[__m512i; NB]; MR], rows: &TileRows<'_, MR>, panel: &Panel<'_, NB>) {
        tile::products(self, acc, rows, panel);
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 256], bytes: &mut [u8]) {
        if self.vbmi {
            // SAFETY: `vbmi` proves that feature, `self` the other.
            unsafe { lookup::vbmi(table, bytes) }
        } else {
            lookup::each(table, bytes);
        }
    }
}
