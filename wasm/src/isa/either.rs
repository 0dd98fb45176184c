//! USDOT or SDOT, whichever the engine has, in one body, for kernels that make their activations ready once for many products:
//! there, what SDOT moves them by is nothing that USDOT waits for. All else is [`super::v128`].

use core::arch::wasm32::*;

use quaver_core::kernel::simd::{Kernel, Simd, Tile};

use super::sdot::Sdot;
use super::usdot::Usdot;
use super::v128::{Dot, V128};

/// Proof that the engine multiplies exactly, in one of two ways.
pub type Either = V128<Lowered>;

/// `i32x4.relaxed_dot_i8x16_i7x16_add_s` over activations that are ready for it.
#[derive(Debug, Clone, Copy)]
pub struct Lowered {
    /// What activations are lessened by.
    offset: u8,
}

impl From<Usdot> for Either {
    fn from(_: Usdot) -> Self {
        V128(Lowered { offset: Usdot::OFFSET })
    }
}

impl From<Sdot> for Either {
    fn from(_: Sdot) -> Self {
        V128(Lowered { offset: Sdot::OFFSET })
    }
}

impl Dot for Lowered {
    const TILE: Tile = Tile::Rows6Halves;

    type X = v128;
    type W = v128;

    #[inline(always)]
    fn vectorize<K: Kernel>(isa: Either, kernel: K) -> K::Output {
        #[target_feature(enable = "relaxed-simd")]
        #[inline(never)]
        fn enabled<K: Kernel>(isa: Either, kernel: K) -> K::Output {
            kernel.run(isa)
        }
        enabled(isa, kernel)
    }

    #[inline(always)]
    fn lessen(self, x: &mut [[v128; 4]]) {
        // A flipped sign lessens an unsigned byte by 128.
        if self.offset != 0 {
            let offset = u8x16_splat(self.offset);
            for x in x.as_flattened_mut() {
                *x = v128_xor(*x, offset);
            }
        }
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
        i32x4_relaxed_dot_i8x16_i7x16_add(w, x, acc)
    }
}
