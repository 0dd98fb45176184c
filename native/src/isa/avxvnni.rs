//! AVX-VNNI: `vpdpbusd` in registers of 256 bits. All else is [`super::ymm`].

use core::arch::x86_64::*;

use quaver_core::kernel::simd::{Kernel, Tile};

use super::ymm::{Dot, Ymm};

/// Proof that the processor has AVX-VNNI and AVX2.
pub type AvxVnni = Ymm<Vnni>;

/// `vpdpbusd`, VEX-encoded.
#[derive(Debug, Clone, Copy)]
pub struct Vnni(());

impl AvxVnni {
    /// The token, where the processor has the instructions.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni")).then_some(Ymm(Vnni(())))
    }
}

impl Dot for Vnni {
    const TILE: Tile = Tile::Rows6Blocks1;

    type X = __m256i;
    type W = __m256i;

    #[inline(always)]
    fn vectorize<K: Kernel>(isa: AvxVnni, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,avxvnni")]
        fn enabled<K: Kernel>(isa: AvxVnni, kernel: K) -> K::Output {
            kernel.run(isa)
        }
        // SAFETY: `isa` proves the features that `enabled` enables.
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
        unsafe { _mm256_dpbusd_avx_epi32(acc, x, w) }
    }
}
