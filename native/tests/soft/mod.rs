//! The vector vocabulary on arrays: what runs where a test shall not depend on the processor.

use quaver_core::kernel::simd::{Kernel, Simd, Tile};

/// Sixteen lanes in arrays, and the tile of this number: bodies choose by it what suits an instruction set's registers.
#[derive(Debug, Clone, Copy)]
pub struct Soft<const TILE: usize>;

type I = [i32; 16];
type F = [f32; 16];

fn each<A: Copy, B: Copy, C>(a: [A; 16], b: [B; 16], f: impl Fn(A, B) -> C) -> [C; 16] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl<const TILE: usize> Simd for Soft<TILE> {
    type I = I;
    type F = F;
    type B = [u8; 64];
    type Quad = [u8; 4];
    type W = [i8; 64];
    type Limits = [u8; 3];

    const TILE: Tile = [Tile::Rows14Blocks2, Tile::Rows6Blocks1, Tile::Rows4Blocks1, Tile::Rows2Blocks1][TILE];

    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    fn splat_i32(self, x: i32) -> I {
        [x; 16]
    }

    fn load_i32(self, x: &I) -> I {
        *x
    }

    fn add_i32(self, a: I, b: I) -> I {
        each(a, b, i32::wrapping_add)
    }

    fn widen(self, x: &[u8; 16]) -> I {
        x.map(i32::from)
    }

    fn store_i32(self, v: I, to: &mut I) {
        *to = v;
    }

    fn splat_f32(self, x: f32) -> F {
        [x; 16]
    }

    fn load_f32(self, x: &F) -> F {
        *x
    }

    fn add(self, a: F, b: F) -> F {
        each(a, b, |a, b| a + b)
    }

    fn mul(self, a: F, b: F) -> F {
        each(a, b, |a, b| a * b)
    }

    fn div(self, a: F, b: F) -> F {
        each(a, b, |a, b| a / b)
    }

    fn to_f32(self, v: I) -> F {
        v.map(|v| v as f32)
    }

    fn store_f32(self, v: F, to: &mut [u8; 64]) {
        for (to, v) in to.as_chunks_mut::<4>().0.iter_mut().zip(v) {
            *to = v.to_le_bytes();
        }
    }

    fn round_below(self, t: F, hi: F) -> I {
        each(t, hi, |t, hi| if t.is_nan() { i32::MIN } else { t.min(hi).round_ties_even() as i32 })
    }

    fn load_b(self, x: &[u8; 64]) -> [u8; 64] {
        *x
    }

    fn splat_b(self, x: u8) -> [u8; 64] {
        [x; 64]
    }

    fn store_b(self, v: [u8; 64], to: &mut [u8; 64]) {
        *to = v;
    }

    fn store_quarter(self, v: [u8; 64], j: usize, to: &mut [u8; 16]) {
        to.copy_from_slice(&v[16 * j..][..16]);
    }

    fn max_b(self, a: [u8; 64], b: [u8; 64]) -> [u8; 64] {
        std::array::from_fn(|i| a[i].max(b[i]))
    }

    fn interleave(self, rows: [[u8; 64]; 4]) -> [[u8; 64]; 4] {
        // Byte k of lane 4l + i of vector v.
        std::array::from_fn(|v| std::array::from_fn(|b| rows[b % 4][16 * (b / 16) + 4 * v + b / 4 % 4]))
    }

    fn limits(self, zero_point: u8, lo: u8, hi: u8) -> [u8; 3] {
        [zero_point, lo, hi]
    }

    fn narrow(self, v: [I; 4], [z, lo, hi]: [u8; 3]) -> [u8; 64] {
        std::array::from_fn(|i| v[i / 16][i % 16].saturating_add(i32::from(z)).clamp(i32::from(lo), i32::from(hi)) as u8)
    }

    fn narrow_interleaved(self, v: [I; 4], limits: [u8; 3]) -> [u8; 64] {
        let bytes = self.narrow(v, limits);
        std::array::from_fn(|c| bytes[16 * (c / 4 % 4) + 4 * (c / 16) + c % 4])
    }

    fn quad(self, x: [u8; 4]) -> [u8; 4] {
        x
    }

    fn weights(self, w: &[i8; 64]) -> [i8; 64] {
        *w
    }

    fn dot4(self, acc: I, x: [u8; 4], w: [i8; 64]) -> I {
        self.dot4_lanes(acc, std::array::from_fn(|i| x[i % 4]), w)
    }

    fn dot4_lanes(self, acc: I, x: [u8; 64], w: [i8; 64]) -> I {
        std::array::from_fn(|i| (0..4).fold(acc[i], |acc, k| acc.wrapping_add(i32::from(x[4 * i + k]) * i32::from(w[4 * i + k]))))
    }

    fn lookup(self, table: &[u8; 256], bytes: &mut [u8]) {
        for b in bytes {
            *b = table[usize::from(*b)];
        }
    }
}
