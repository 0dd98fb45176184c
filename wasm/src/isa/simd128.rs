//! What every engine has: activations and weights are widened to 16 bits, for `i32x4.dot_i16x8_s`. All else is
//! [`super::v128`].

use core::arch::wasm32::*;

use quaver_core::kernel::simd::{Kernel, Tile};

use super::v128::{Dot, V128};

/// The token. A module with its instructions loads only where they exist, so anyone may have it.
pub type Simd128 = V128<Widened>;

/// `i32x4.dot_i16x8_s` over even and odd bytes.
#[derive(Debug, Clone, Copy)]
pub struct Widened(());

impl Simd128 {
    /// The token.
    pub const fn new() -> Self {
        V128(Widened(()))
    }
}

impl Default for Simd128 {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes 0 and 2 of each lane, and bytes 1 and 3, as 16-bit integers.
#[derive(Debug, Clone, Copy)]
pub struct Pairs {
    even: v128,
    odd: v128,
}

impl Dot for Widened {
    const TILE: Tile = Tile::Rows4HalvesStaged;

    type X = Pairs;
    type W = Pairs;

    #[inline(always)]
    fn vectorize<K: Kernel>(isa: Simd128, kernel: K) -> K::Output {
        apart(isa, kernel)
    }

    #[inline(always)]
    fn activations(self, x: v128) -> Pairs {
        Pairs { even: v128_and(x, i16x8_splat(0xff)), odd: u16x8_shr(x, 8) }
    }

    #[inline(always)]
    fn stage(self, x: v128) -> [v128; 2] {
        let Pairs { even, odd } = self.activations(x);
        [even, odd]
    }

    #[inline(always)]
    fn staged(self, even: v128, odd: v128) -> Pairs {
        Pairs { even, odd }
    }

    #[inline(always)]
    fn weights(self, w: v128) -> Pairs {
        Pairs { even: i16x8_shr(i16x8_shl(w, 8), 8), odd: i16x8_shr(w, 8) }
    }

    #[inline(always)]
    fn dot4(self, acc: v128, x: Pairs, w: Pairs) -> v128 {
        let acc = i32x4_add(acc, i32x4_dot_i16x8(x.even, w.even));
        i32x4_add(acc, i32x4_dot_i16x8(x.odd, w.odd))
    }
}

/// A function for each kernel, so that registers are all there for one loop.
#[inline(never)]
fn apart<K: Kernel>(isa: Simd128, kernel: K) -> K::Output {
    kernel.run(isa)
}
