//! SAT: the relaxed dot product may saturate, so it is for activations up to 127, which it takes exactly on every engine: the
//! sum of two products is within −32 512 ..= 32 258. All else is [`super::v128`].
//!
//! Where it saturates, an engine makes the form that adds to sums of five instructions. So this takes the form of 16 bits.

use core::arch::wasm32::*;

use quaver_core::kernel::simd::{Kernel, Tile};

use super::v128::{Dot, V128};

/// The token, for models of reduced range only.
pub type Sat = V128<Split>;

/// `i16x8.relaxed_dot_i8x16_i7x16_s` over activations up to 127.
#[derive(Debug, Clone, Copy)]
pub struct Split(());

impl Sat {
    /// The token.
    pub const fn new() -> Self {
        V128(Split(()))
    }
}

impl Default for Sat {
    fn default() -> Self {
        Self::new()
    }
}

impl Dot for Split {
    const TILE: Tile = Tile::Rows4Halves;
    const MAX_ACTIVATION: u8 = 127;

    type X = v128;
    type W = v128;

    #[inline(always)]
    fn vectorize<K: Kernel>(isa: Sat, kernel: K) -> K::Output {
        #[target_feature(enable = "relaxed-simd")]
        #[inline(never)]
        fn enabled<K: Kernel>(isa: Sat, kernel: K) -> K::Output {
            kernel.run(isa)
        }
        enabled(isa, kernel)
    }

    #[inline(always)]
    fn activations(self, x: v128) -> v128 {
        x
    }

    #[inline(always)]
    fn staged(self, even: v128, _odd: v128) -> v128 {
        even
    }

    #[inline(always)]
    fn weights(self, w: v128) -> v128 {
        w
    }

    #[inline(always)]
    fn dot4(self, acc: v128, x: v128, w: v128) -> v128 {
        i32x4_add(acc, i32x4_dot_i16x8(i16x8_relaxed_dot_i8x16_i7x16(w, x), i16x8_splat(1)))
    }
}
