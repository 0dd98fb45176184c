//! SDOT: the relaxed dot product takes both operands signed, so activations are moved by 128, and sums start with what that
//! takes away ([`quaver_core::kernel::simd::Simd::OFFSET`]). All else is [`super::v128`].

use core::arch::wasm32::*;

use quaver_core::kernel::simd::{Kernel, Tile};

use super::probe::{Lowering, probe};
use super::v128::{Dot, V128};

/// Proof that the engine multiplies signed by signed bytes, exactly.
pub type Sdot = V128<Signed>;

/// `i32x4.relaxed_dot_i8x16_i7x16_add_s`, whose second operand is signed.
#[derive(Debug, Clone, Copy)]
pub struct Signed(());

impl Sdot {
    /// The token, where the engine is such.
    pub fn detect() -> Option<Self> {
        (probe() == Lowering::Signed).then_some(V128(Signed(())))
    }
}

impl Dot for Signed {
    const TILE: Tile = Tile::Rows6Halves;
    const OFFSET: u8 = 128;

    type X = v128;
    type W = v128;

    #[inline(always)]
    fn vectorize<K: Kernel>(isa: Sdot, kernel: K) -> K::Output {
        #[target_feature(enable = "relaxed-simd")]
        #[inline(never)]
        fn enabled<K: Kernel>(isa: Sdot, kernel: K) -> K::Output {
            kernel.run(isa)
        }
        enabled(isa, kernel)
    }

    #[inline(always)]
    fn activations(self, x: v128) -> v128 {
        v128_xor(x, u8x16_splat(Self::OFFSET))
    }

    #[inline(always)]
    fn staged(self, even: v128, _odd: v128) -> v128 {
        self.activations(even)
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
