//! USDOT: the relaxed dot product takes activations as they are, unsigned. All else is [`super::v128`].

use core::arch::wasm32::*;

use quaver_core::kernel::simd::{Kernel, Tile};

use super::probe::{Lowering, probe};
use super::v128::{Dot, V128};

/// Proof that the engine multiplies signed by unsigned bytes, exactly.
pub type Usdot = V128<Unsigned>;

/// `i32x4.relaxed_dot_i8x16_i7x16_add_s`, whose second operand is unsigned.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned(());

impl Usdot {
    /// The token, where the engine is such.
    pub fn detect() -> Option<Self> {
        (probe() == Lowering::Unsigned).then_some(V128(Unsigned(())))
    }
}

impl Dot for Unsigned {
    const TILE: Tile = Tile::Rows6Halves;

    type X = v128;
    type W = v128;

    #[inline(always)]
    fn vectorize<K: Kernel>(isa: Usdot, kernel: K) -> K::Output {
        #[target_feature(enable = "relaxed-simd")]
        #[inline(never)]
        fn enabled<K: Kernel>(isa: Usdot, kernel: K) -> K::Output {
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
        i32x4_relaxed_dot_i8x16_i7x16_add(w, x, acc)
    }
}
