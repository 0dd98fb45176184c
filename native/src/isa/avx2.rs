//! AVX2: exact dot products without an instruction for them. All else is [`super::ymm`].
//!
//! `vpmaddubsw` adds two products in 16 bits, which saturates. So [`Avx2`] widens both operands to 16 bits, but for constant
//! weights, which have orders where nothing saturates ([`quaver_core::kernel::pairing`]). [`Avx2Reduced`] takes no activation
//! above 127: then the sum of two products is within −32 512 ..= 32 258.

mod slide;

use core::arch::x86_64::*;

use quaver_core::kernel::depthwise::lines::Lines;
use quaver_core::kernel::simd::{Kernel, Tile};

use super::ymm::{Dot, Ymm};

/// Proof that the processor has AVX2.
pub type Avx2 = Ymm<Widened>;

/// Proof that the processor has AVX2; for models of reduced range only.
pub type Avx2Reduced = Ymm<Reduced>;

/// `vpmaddwd` over even and odd bytes.
#[derive(Debug, Clone, Copy)]
pub struct Widened(());

/// `vpmaddubsw` over activations up to 127.
#[derive(Debug, Clone, Copy)]
pub struct Reduced(());

impl Avx2 {
    /// The token, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Ymm(Widened(())))
    }
}

impl Avx2Reduced {
    /// The token, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Ymm(Reduced(())))
    }
}

#[target_feature(enable = "avx2")]
fn enabled<D: Dot, K: Kernel>(isa: Ymm<D>, kernel: K) -> K::Output {
    kernel.run(isa)
}

/// Bytes 0 and 2 of each lane, and bytes 1 and 3, as 16-bit integers.
#[derive(Debug, Clone, Copy)]
pub struct Pairs {
    even: __m256i,
    odd: __m256i,
}

impl Dot for Widened {
    const TILE: Tile = Tile::Rows4Blocks1;
    const PAIRS: bool = true;
    const SLIDES: [bool; 2] = [true, false];

    type X = Pairs;
    type W = Pairs;

    #[inline(always)]
    fn vectorize<K: Kernel>(isa: Avx2, kernel: K) -> K::Output {
        // SAFETY: `isa` proves the feature that `enabled` enables.
        unsafe { enabled(isa, kernel) }
    }

    #[inline(always)]
    fn activations(self, x: __m256i) -> Pairs {
        // SAFETY: `self` proves the feature.
        unsafe { Pairs { even: _mm256_and_si256(x, _mm256_set1_epi16(0xff)), odd: _mm256_srli_epi16::<8>(x) } }
    }

    #[inline(always)]
    fn stage(self, x: __m256i) -> [__m256i; 2] {
        let Pairs { even, odd } = self.activations(x);
        [even, odd]
    }

    #[inline(always)]
    fn staged(self, even: __m256i, odd: __m256i) -> Pairs {
        Pairs { even, odd }
    }

    #[inline(always)]
    fn weights(self, w: __m256i) -> Pairs {
        // SAFETY: `self` proves the feature.
        unsafe { Pairs { even: _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w)), odd: _mm256_srai_epi16::<8>(w) } }
    }

    #[inline(always)]
    fn dot4(self, acc: __m256i, x: Pairs, w: Pairs) -> __m256i {
        // SAFETY: `self` proves the feature.
        unsafe {
            let acc = _mm256_add_epi32(acc, _mm256_madd_epi16(x.even, w.even));
            _mm256_add_epi32(acc, _mm256_madd_epi16(x.odd, w.odd))
        }
    }

    #[inline(always)]
    fn slide<const P: usize, const ST: usize>(isa: Avx2, lines: &mut Lines<'_>) {
        if const { Self::SLIDES[ST - 1] } {
            slide::run::<P>(isa, lines);
        } else {
            lines.run::<Avx2, P, ST>(isa);
        }
    }
}

impl Dot for Reduced {
    const TILE: Tile = Tile::Rows6Blocks1;
    const MAX_ACTIVATION: u8 = 127;

    type X = __m256i;
    type W = __m256i;

    #[inline(always)]
    fn vectorize<K: Kernel>(isa: Avx2Reduced, kernel: K) -> K::Output {
        // SAFETY: `isa` proves the feature that `enabled` enables.
        unsafe { enabled(isa, kernel) }
    }

    #[inline(always)]
    fn activations(self, x: __m256i) -> __m256i {
        x
    }

    #[inline(always)]
    fn stage(self, x: __m256i) -> [__m256i; 2] {
        // Quads are taken as they are.
        [x; 2]
    }

    #[inline(always)]
    fn staged(self, even: __m256i, _odd: __m256i) -> __m256i {
        even
    }

    #[inline(always)]
    fn weights(self, w: __m256i) -> __m256i {
        w
    }

    #[inline(always)]
    fn dot4(self, acc: __m256i, x: __m256i, w: __m256i) -> __m256i {
        // SAFETY: `self` proves the feature.
        unsafe {
            let pairs = _mm256_maddubs_epi16(x, w);
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}
