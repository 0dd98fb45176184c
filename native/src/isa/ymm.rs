//! The vocabulary in registers of 256 bits, two for each vector: all but the dot product, which is where AVX2 and AVX-VNNI
//! differ. A dot product is a [`Dot`]; [`Ymm`] makes a [`Simd`] of it.

mod lookup;
mod pairs;

use core::arch::x86_64::*;

use pairs::{in_order, paired_products};
use quaver_core::kernel::depthwise::lines::Lines;
use quaver_core::kernel::pairing::{ORDER, Run, Staged, Weights};
use quaver_core::kernel::simd::{Kernel, Simd, Tile};

/// The token of an instruction set that has AVX2 and `D`'s dot product. Only its `detect` makes it, so that it is proof.
#[derive(Debug, Clone, Copy)]
pub struct Ymm<D>(pub(super) D);

/// A dot product in registers of 256 bits. Its values are proof of its instructions and of AVX2.
pub trait Dot: Copy + Send + Sync {
    /// The tile for the matrix kernel.
    const TILE: Tile;
    /// The largest activation.
    const MAX_ACTIVATION: u8 = u8::MAX;
    /// Whether `vpmaddubsw` is faster, where it does not saturate.
    const PAIRS: bool = false;
    /// [`Simd::SLIDES`].
    const SLIDES: [bool; 2] = [false; 2];

    /// Activations of eight lanes.
    type X: Copy;
    /// Weights of eight channels.
    type W: Copy;

    /// Runs a kernel with the instructions enabled.
    fn vectorize<K: Kernel>(isa: Ymm<Self>, kernel: K) -> K::Output;

    /// Activations, four a lane.
    fn activations(self, x: __m256i) -> Self::X;
    /// Both words of [`Simd::stage`] for eight quads.
    fn stage(self, x: __m256i) -> [__m256i; 2];
    /// Activations from words in every lane.
    fn staged(self, even: __m256i, odd: __m256i) -> Self::X;
    /// Weights, four a lane.
    fn weights(self, w: __m256i) -> Self::W;
    /// acc + Σ x·w over the four products of each lane.
    fn dot4(self, acc: __m256i, x: Self::X, w: Self::W) -> __m256i;
    /// [`Simd::slide`].
    #[inline(always)]
    fn slide<const P: usize, const ST: usize>(isa: Ymm<Self>, lines: &mut Lines<'_>) {
        lines.run::<Ymm<Self>, P, ST>(isa);
    }
}

/// Limits of a narrowing.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub(super) zero_point: __m256i,
    pub(super) lo: __m256i,
    pub(super) hi: __m256i,
}

// In every method below, `self` is the proof that the processor has AVX2, and what is loaded or stored is covered by a
// reference to an array of that size; unaligned forms are used throughout.
impl<D: Dot> Simd for Ymm<D> {
    type I = [__m256i; 2];
    type F = [__m256; 2];
    type B = [__m256i; 2];
    type Quad = D::X;
    type W = [D::W; 2];
    /// −z.
    type Zero = [__m256i; 2];
    type Limits = Limits;

    const TILE: Tile = D::TILE;
    const MAX_ACTIVATION: u8 = D::MAX_ACTIVATION;
    const PAIRS: bool = D::PAIRS;
    const SLIDES: [bool; 2] = D::SLIDES;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        D::vectorize(self, kernel)
    }

    #[inline(always)]
    fn splat_i32(self, x: i32) -> [__m256i; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [_mm256_set1_epi32(x); 2] }
    }

    #[inline(always)]
    fn load_i32(self, x: &[i32; 16]) -> [__m256i; 2] {
        // SAFETY: `self` proves the feature; the reference covers 64 bytes.
        unsafe { load(x.as_ptr().cast()) }
    }

    #[inline(always)]
    fn add_i32(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
    }

    #[inline(always)]
    fn zero(self, z: u8) -> [__m256i; 2] {
        self.splat_i32(-i32::from(z))
    }

    #[inline(always)]
    fn widen_from(self, x: &[u8; 16], minus_z: [__m256i; 2]) -> [__m256; 2] {
        self.to_f32(self.add_i32(self.widen(x), minus_z))
    }

    #[inline(always)]
    fn widen(self, x: &[u8; 16]) -> [__m256i; 2] {
        let x = x.as_ptr().cast::<__m128i>();
        // SAFETY: `self` proves the feature; the reference covers two halves of 8 bytes.
        unsafe { [_mm256_cvtepu8_epi32(_mm_loadl_epi64(x)), _mm256_cvtepu8_epi32(_mm_loadl_epi64(x.byte_add(8)))] }
    }

    #[inline(always)]
    fn store_i32(self, v: [__m256i; 2], to: &mut [i32; 16]) {
        // SAFETY: `self` proves the feature; the reference covers 64 bytes.
        unsafe { store(v, to.as_mut_ptr().cast()) }
    }

    #[inline(always)]
    fn splat_f32(self, x: f32) -> [__m256; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    fn load_f32(self, x: &[f32; 16]) -> [__m256; 2] {
        // SAFETY: `self` proves the feature; the reference covers two halves of 8 numbers.
        unsafe { [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))] }
    }

    #[inline(always)]
    fn add(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn div(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn lesser(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: `self` proves the feature. The second operand is the result where the comparison fails.
        unsafe { [_mm256_min_ps(b[0], a[0]), _mm256_min_ps(b[1], a[1])] }
    }

    #[inline(always)]
    fn greater(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: as above.
        unsafe { [_mm256_max_ps(b[0], a[0]), _mm256_max_ps(b[1], a[1])] }
    }

    #[inline(always)]
    fn to_f32(self, v: [__m256i; 2]) -> [__m256; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [_mm256_cvtepi32_ps(v[0]), _mm256_cvtepi32_ps(v[1])] }
    }

    #[inline(always)]
    fn store_f32(self, v: [__m256; 2], to: &mut [u8; 64]) {
        let to = to.as_mut_ptr().cast::<f32>();
        // SAFETY: `self` proves the feature; the reference covers two halves of 32 bytes.
        unsafe {
            _mm256_storeu_ps(to, v[0]);
            _mm256_storeu_ps(to.add(8), v[1]);
        }
    }

    #[inline(always)]
    fn round_below(self, t: [__m256; 2], hi: [__m256; 2]) -> [__m256i; 2] {
        // `vminps` gives its second operand where one is NaN, and the conversion gives −2³¹ for NaN and what is below.
        // SAFETY: `self` proves the feature.
        unsafe { [_mm256_cvtps_epi32(_mm256_min_ps(hi[0], t[0])), _mm256_cvtps_epi32(_mm256_min_ps(hi[1], t[1]))] }
    }

    #[inline(always)]
    fn round(self, t: [__m256; 2]) -> [__m256i; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [_mm256_cvtps_epi32(t[0]), _mm256_cvtps_epi32(t[1])] }
    }

    #[inline(always)]
    fn load_b(self, x: &[u8; 64]) -> [__m256i; 2] {
        // SAFETY: `self` proves the feature; the reference covers 64 bytes.
        unsafe { load(x.as_ptr().cast()) }
    }

    #[inline(always)]
    fn splat_b(self, x: u8) -> [__m256i; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [_mm256_set1_epi8(x as i8); 2] }
    }

    #[inline(always)]
    fn store_b(self, v: [__m256i; 2], to: &mut [u8; 64]) {
        // SAFETY: `self` proves the feature; the reference covers 64 bytes.
        unsafe { store(v, to.as_mut_ptr().cast()) }
    }

    #[inline(always)]
    fn store_quarter(self, v: [__m256i; 2], j: usize, to: &mut [u8; 16]) {
        // SAFETY: `self` proves the feature; the reference covers 16 bytes.
        unsafe {
            let quarter = match j {
                0 => _mm256_castsi256_si128(v[0]),
                1 => _mm256_extracti128_si256::<1>(v[0]),
                2 => _mm256_castsi256_si128(v[1]),
                _ => _mm256_extracti128_si256::<1>(v[1]),
            };
            _mm_storeu_si128(to.as_mut_ptr().cast(), quarter);
        }
    }

    #[inline(always)]
    fn store_half(self, v: [__m256i; 2], j: usize, to: &mut [u8; 32]) {
        // SAFETY: `self` proves the feature; the reference covers 32 bytes.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), v[j]) }
    }

    #[inline(always)]
    fn max_b(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [_mm256_max_epu8(a[0], b[0]), _mm256_max_epu8(a[1], b[1])] }
    }

    #[inline(always)]
    fn interleave(self, [a, b, c, d]: [[__m256i; 2]; 4]) -> [[__m256i; 2]; 4] {
        let mut to = [a, b, c, d];
        for h in 0..2 {
            // SAFETY: `self` proves the feature.
            unsafe {
                let (ab_lo, ab_hi) = (_mm256_unpacklo_epi8(a[h], b[h]), _mm256_unpackhi_epi8(a[h], b[h]));
                let (cd_lo, cd_hi) = (_mm256_unpacklo_epi8(c[h], d[h]), _mm256_unpackhi_epi8(c[h], d[h]));
                to[0][h] = _mm256_unpacklo_epi16(ab_lo, cd_lo);
                to[1][h] = _mm256_unpackhi_epi16(ab_lo, cd_lo);
                to[2][h] = _mm256_unpacklo_epi16(ab_hi, cd_hi);
                to[3][h] = _mm256_unpackhi_epi16(ab_hi, cd_hi);
            }
        }
        to
    }

    #[inline(always)]
    fn interleave_words(self, [a, b, c, d]: [[__m256i; 2]; 4]) -> [[__m256i; 2]; 4] {
        let mut to = [a, b, c, d];
        for h in 0..2 {
            // SAFETY: `self` proves the feature.
            unsafe {
                let (ab_lo, ab_hi) = (_mm256_unpacklo_epi32(a[h], b[h]), _mm256_unpackhi_epi32(a[h], b[h]));
                let (cd_lo, cd_hi) = (_mm256_unpacklo_epi32(c[h], d[h]), _mm256_unpackhi_epi32(c[h], d[h]));
                to[0][h] = _mm256_unpacklo_epi64(ab_lo, cd_lo);
                to[1][h] = _mm256_unpackhi_epi64(ab_lo, cd_lo);
                to[2][h] = _mm256_unpacklo_epi64(ab_hi, cd_hi);
                to[3][h] = _mm256_unpackhi_epi64(ab_hi, cd_hi);
            }
        }
        to
    }

    #[inline(always)]
    fn limits(self, zero_point: u8, lo: u8, hi: u8) -> Limits {
        // SAFETY: `self` proves the feature.
        unsafe {
            Limits { zero_point: _mm256_set1_epi16(i16::from(zero_point)), lo: _mm256_set1_epi8(lo as i8), hi: _mm256_set1_epi8(hi as i8) }
        }
    }

    #[inline(always)]
    fn narrow(self, [a, b, c, d]: [[__m256i; 2]; 4], limits: Limits) -> [__m256i; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [in_lanes(pack([a, b], limits)), in_lanes(pack([c, d], limits))] }
    }

    #[inline(always)]
    fn narrow_interleaved(self, [a, b, c, d]: [[__m256i; 2]; 4], limits: Limits) -> [__m256i; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [pack([[a[0], b[0]], [c[0], d[0]]], limits), pack([[a[1], b[1]], [c[1], d[1]]], limits)] }
    }

    #[inline(always)]
    fn narrow_unlimited(self, [a, b, c, d]: [[__m256i; 2]; 4], limits: Limits) -> [__m256i; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [in_lanes(saturate(shifted([a, b], limits))), in_lanes(saturate(shifted([c, d], limits)))] }
    }

    #[inline(always)]
    fn saturate(self, [a, b, c, d]: [[__m256i; 2]; 4]) -> [__m256i; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [in_lanes(saturate(words([a, b]))), in_lanes(saturate(words([c, d])))] }
    }

    #[inline(always)]
    fn saturate_interleaved(self, [a, b, c, d]: [[__m256i; 2]; 4]) -> [__m256i; 2] {
        // SAFETY: `self` proves the feature.
        unsafe { [saturate(words([[a[0], b[0]], [c[0], d[0]]])), saturate(words([[a[1], b[1]], [c[1], d[1]]]))] }
    }

    #[inline(always)]
    fn prefetch(self, line: &[i8; 64]) {
        // SAFETY: a hint, for an address that the reference covers.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) }
    }

    #[inline(always)]
    fn quad(self, x: [u8; 4]) -> D::X {
        // SAFETY: `self` proves the feature.
        self.0.activations(unsafe { _mm256_set1_epi32(i32::from_le_bytes(x)) })
    }

    #[inline(always)]
    fn stage(self, x: [__m256i; 2], even: &mut [i32; 16], odd: &mut [i32; 16]) {
        let ([even_lo, odd_lo], [even_hi, odd_hi]) = (self.0.stage(x[0]), self.0.stage(x[1]));
        self.store_i32([even_lo, even_hi], even);
        self.store_i32([odd_lo, odd_hi], odd);
    }

    #[inline(always)]
    fn staged(self, even: i32, odd: i32) -> D::X {
        self.0.staged(self.splat_i32(even)[0], self.splat_i32(odd)[0])
    }

    #[inline(always)]
    fn weights(self, w: &[i8; 64]) -> [D::W; 2] {
        // SAFETY: `self` proves the feature; the reference covers 64 bytes.
        let [lo, hi] = unsafe { load(w.as_ptr().cast()) };
        [self.0.weights(lo), self.0.weights(hi)]
    }

    #[inline(always)]
    fn dot4(self, acc: [__m256i; 2], x: D::X, w: [D::W; 2]) -> [__m256i; 2] {
        [self.0.dot4(acc[0], x, w[0]), self.0.dot4(acc[1], x, w[1])]
    }

    #[inline(always)]
    fn dot4_lanes(self, acc: [__m256i; 2], x: [__m256i; 2], w: [D::W; 2]) -> [__m256i; 2] {
        [self.0.dot4(acc[0], self.0.activations(x[0]), w[0]), self.0.dot4(acc[1], self.0.activations(x[1]), w[1])]
    }

    #[inline(always)]
    fn slide<const P: usize, const ST: usize>(self, lines: &mut Lines<'_>) {
        D::slide::<P, ST>(self, lines);
    }

    #[inline(always)]
    fn stage_order(self, x: [__m256i; 2], order: usize, to: &mut [i32; 16]) {
        // SAFETY: `self` proves the feature.
        let x = unsafe { in_order(x, order) };
        self.store_i32(x, to);
    }

    #[inline(always)]
    fn ordered(self, weights: &[i8; 64], at: u8) -> [i8; 64] {
        let mut to = [0; _];
        // SAFETY: `self` proves the feature; the references cover 64 bytes.
        unsafe { store(in_order(load(weights.as_ptr().cast()), usize::from(at) / ORDER), to.as_mut_ptr().cast()) }
        to
    }

    #[inline(always)]
    fn widen_weights(self, weights: &[i8; 64], [even, odd]: &mut [[i8; 64]; 2]) {
        // SAFETY: `self` proves the feature; the references cover 64 bytes.
        unsafe {
            let w = load(weights.as_ptr().cast());
            let low = |w| _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w));
            store([low(w[0]), low(w[1])], even.as_mut_ptr().cast());
            store([_mm256_srai_epi16::<8>(w[0]), _mm256_srai_epi16::<8>(w[1])], odd.as_mut_ptr().cast());
        }
    }

    #[inline(always)]
    fn paired_products<const N: usize>(self, acc: &mut [[__m256i; 2]; N], x: &[Staged; N], run: &Run<'_>, weights: &Weights) {
        // SAFETY: `self` proves the feature.
        unsafe { paired_products(acc, x, run, weights) }
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 256], bytes: &mut [u8]) {
        let (whole, rest) = if bytes.len() < lookup::SHUFFLED { (&mut [][..], bytes) } else { bytes.as_chunks_mut::<32>() };
        if !whole.is_empty() {
            // SAFETY: `self` proves the feature.
            unsafe { lookup::shuffled(table, whole) }
        }
        lookup::each(table, rest);
    }
}

/// 64 bytes.
///
/// # Safety
/// They can be read, and the processor has AVX2.
#[inline(always)]
unsafe fn load(from: *const __m256i) -> [__m256i; 2] {
    // SAFETY: by this function's own condition.
    unsafe { [_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))] }
}

/// 64 bytes.
///
/// # Safety
/// They can be written, and the processor has AVX2.
#[inline(always)]
unsafe fn store(v: [__m256i; 2], to: *mut __m256i) {
    // SAFETY: by this function's own condition.
    unsafe {
        _mm256_storeu_si256(to, v[0]);
        _mm256_storeu_si256(to.add(1), v[1]);
    }
}

/// 32 integers as words, in the order that packing gives.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn words([ab, cd]: [[__m256i; 2]; 2]) -> [__m256i; 2] {
    // SAFETY: by this function's own condition.
    unsafe { [_mm256_packs_epi32(ab[0], ab[1]), _mm256_packs_epi32(cd[0], cd[1])] }
}

/// The same plus the zero point.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn shifted(v: [[__m256i; 2]; 2], limits: Limits) -> [__m256i; 2] {
    // SAFETY: by this function's own condition.
    unsafe {
        let [ab, cd] = words(v);
        [_mm256_adds_epi16(ab, limits.zero_point), _mm256_adds_epi16(cd, limits.zero_point)]
    }
}

/// Words as bytes, in the order that packing gives.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn saturate([ab, cd]: [__m256i; 2]) -> __m256i {
    // SAFETY: by this function's own condition.
    unsafe { _mm256_packus_epi16(ab, cd) }
}

/// 32 integers as bytes, in the order that packing twice gives.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn pack(v: [[__m256i; 2]; 2], limits: Limits) -> __m256i {
    // SAFETY: by this function's own condition.
    unsafe { _mm256_min_epu8(_mm256_max_epu8(saturate(shifted(v, limits)), limits.lo), limits.hi) }
}

/// What packing twice gave of two vectors, in their order: of lanes 0–3, 8–11, 4–7, 12–15 there are words 0, 1, 4, 5 of one
/// vector, and 2, 3, 6, 7 of the other.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn in_lanes(packed: __m256i) -> __m256i {
    // SAFETY: by this function's own condition.
    unsafe { _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)) }
}
