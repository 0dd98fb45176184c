//! The vocabulary in registers of 128 bits, four for each vector: all but the dot product, which is where the classes of
//! WebAssembly's instructions differ. A dot product is a [`Dot`]; [`V128`] makes a [`Simd`] of it.
//!
//! What an engine would make of the plain instructions is kept in mind: a conversion of floats that saturates, as the
//! instruction does, is six instructions of a processor, and a table in registers costs more than one in memory.

#![allow(clippy::needless_range_loop, reason = "loops over constants keep arrays of vectors in registers")]

use core::arch::wasm32::*;
use core::hint::black_box;

use quaver_core::kernel::simd::{Kernel, Simd, Tile};
use quaver_core::kernel::tile::{Panel, TileRows};

use super::products::store_pair;

/// The token of a class of instructions. Only the probe makes those that not every engine has, so that it is proof.
#[derive(Debug, Clone, Copy)]
pub struct V128<D>(pub(super) D);

/// A dot product in registers of 128 bits.
pub trait Dot: Copy + Send + Sync {
    /// The tile for the matrix kernel.
    const TILE: Tile;
    /// The largest activation.
    const MAX_ACTIVATION: u8 = u8::MAX;
    /// What activations are lessened by.
    const OFFSET: u8 = 0;

    /// Activations of four lanes.
    type X: Copy;
    /// Weights of four channels.
    type W: Copy;

    /// Runs a kernel with the instructions enabled.
    fn vectorize<K: Kernel>(isa: V128<Self>, kernel: K) -> K::Output;

    /// [`Simd::lessen`].
    #[inline(always)]
    fn lessen(self, _x: &mut [[v128; 4]]) {}
    /// Activations, four a lane.
    fn activations(self, x: v128) -> Self::X;
    /// Both words of [`Simd::stage`] for four quads. Most take quads as they are.
    #[inline(always)]
    fn stage(self, x: v128) -> [v128; 2] {
        [x; 2]
    }
    /// Activations from words in every lane.
    fn staged(self, even: v128, odd: v128) -> Self::X;
    /// Weights, four a lane.
    fn weights(self, w: v128) -> Self::W;
    /// acc + Σ (x − [`Dot::OFFSET`])·w over the four products of each lane.
    fn dot4(self, acc: v128, x: Self::X, w: Self::W) -> v128;
}

/// Limits of a narrowing: bytes are signed until the last step, as the compiler knows the instruction that makes such ones.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// z − 128.
    zero_point: v128,
    /// Limits − 128.
    lo: v128,
    hi: v128,
    /// Signed bytes and unsigned ones differ by this.
    sign: v128,
    /// [`ROUNDS`].
    rounds: v128,
}

/// A zero point z. An integer below 2¹⁶ in the last bits of 2²³ is a number, without a conversion.
#[derive(Debug, Clone, Copy)]
pub struct Zero {
    /// Zeros, of which the compiler does not know that: it would make what is slower of shuffles with them.
    none: v128,
    /// The first bits of 2²³.
    lift: v128,
    /// 2²³ + z.
    lifted: v128,
}

/// Runs `$body` for each of the four registers `$i` of a vector.
macro_rules! each {
    ($i:ident => $body:expr) => {{
        // Written out, as closures are not reliably inlined.
        [
            {
                let $i = 0;
                $body
            },
            {
                let $i = 1;
                $body
            },
            {
                let $i = 2;
                $body
            },
            {
                let $i = 3;
                $body
            },
        ]
    }};
}

/// 1.5·2²³: what is added to a number up to 2²² in magnitude becomes, in its last bits, the nearest integer, ties to even.
const ROUNDS: f32 = 12_582_912.0;
/// 2²³.
const LIFT: f32 = 8_388_608.0;
/// What signed bytes and unsigned ones differ by.
const SIGN: u8 = 0x80;
/// The most that [`ROUNDS`] takes.
const MOST: f32 = 4_194_304.0;

impl<D: Dot> Simd for V128<D> {
    type I = [v128; 4];
    type F = [v128; 4];
    type B = [v128; 4];
    type Quad = D::X;
    type W = [D::W; 4];
    type Zero = Zero;
    type Limits = Limits;

    const TILE: Tile = D::TILE;
    const MAX_ACTIVATION: u8 = D::MAX_ACTIVATION;
    const OFFSET: u8 = D::OFFSET;
    const COMPACT: bool = true;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        D::vectorize(self, kernel)
    }

    #[inline(always)]
    fn splat_i32(self, x: i32) -> [v128; 4] {
        [i32x4_splat(x); 4]
    }

    #[inline(always)]
    fn load_i32(self, x: &[i32; 16]) -> [v128; 4] {
        // SAFETY: the reference covers 64 bytes.
        unsafe { load(x.as_ptr().cast()) }
    }

    #[inline(always)]
    fn add_i32(self, a: [v128; 4], b: [v128; 4]) -> [v128; 4] {
        each!(i => i32x4_add(a[i], b[i]))
    }

    #[inline(always)]
    fn zero(self, z: u8) -> Zero {
        let lift = black_box(i16x8_splat((LIFT.to_bits() >> 16) as i16));
        Zero { none: black_box(i8x16_splat(0)), lift, lifted: f32x4_splat(LIFT + f32::from(z)) }
    }

    #[inline(always)]
    fn widen_from(self, x: &[u8; 16], z: Zero) -> [v128; 4] {
        // SAFETY: the reference covers 16 bytes.
        let x = unsafe { v128_load(x.as_ptr().cast()) };
        let (lo, hi) = (low_bytes(x, z.none), high_bytes(x, z.none));
        let lifted = [low_halves(lo, z.lift), high_halves(lo, z.lift), low_halves(hi, z.lift), high_halves(hi, z.lift)];
        each!(i => f32x4_sub(lifted[i], z.lifted))
    }

    #[inline(always)]
    fn widen(self, x: &[u8; 16]) -> [v128; 4] {
        // SAFETY: the reference covers 16 bytes.
        let x = unsafe { v128_load(x.as_ptr().cast()) };
        let (lo, hi) = (u16x8_extend_low_u8x16(x), u16x8_extend_high_u8x16(x));
        [u32x4_extend_low_u16x8(lo), u32x4_extend_high_u16x8(lo), u32x4_extend_low_u16x8(hi), u32x4_extend_high_u16x8(hi)]
    }

    #[inline(always)]
    fn store_i32(self, v: [v128; 4], to: &mut [i32; 16]) {
        // SAFETY: the reference covers 64 bytes.
        unsafe { store(v, to.as_mut_ptr().cast()) }
    }

    #[inline(always)]
    fn splat_f32(self, x: f32) -> [v128; 4] {
        [f32x4_splat(x); 4]
    }

    #[inline(always)]
    fn load_f32(self, x: &[f32; 16]) -> [v128; 4] {
        // SAFETY: the reference covers 64 bytes.
        unsafe { load(x.as_ptr().cast()) }
    }

    #[inline(always)]
    fn add(self, a: [v128; 4], b: [v128; 4]) -> [v128; 4] {
        each!(i => f32x4_add(a[i], b[i]))
    }

    #[inline(always)]
    fn mul(self, a: [v128; 4], b: [v128; 4]) -> [v128; 4] {
        each!(i => f32x4_mul(a[i], b[i]))
    }

    #[inline(always)]
    fn div(self, a: [v128; 4], b: [v128; 4]) -> [v128; 4] {
        each!(i => f32x4_div(a[i], b[i]))
    }

    #[inline(always)]
    fn lesser(self, a: [v128; 4], b: [v128; 4]) -> [v128; 4] {
        each!(i => f32x4_pmin(a[i], b[i]))
    }

    #[inline(always)]
    fn greater(self, a: [v128; 4], b: [v128; 4]) -> [v128; 4] {
        each!(i => f32x4_pmax(a[i], b[i]))
    }

    #[inline(always)]
    fn share(self, a: [v128; 4]) -> [v128; 4] {
        // By the bits, as in `round_below`: those of negative numbers are negative, others' grow with them.
        each!(i => i32x4_min(i32x4_max(a[i], i32x4_splat(0)), f32x4_splat(1.0)))
    }

    #[inline(always)]
    fn to_f32(self, v: [v128; 4]) -> [v128; 4] {
        each!(i => f32x4_convert_i32x4(v[i]))
    }

    #[inline(always)]
    fn store_f32(self, v: [v128; 4], to: &mut [u8; 64]) {
        self.store_b(v, to);
    }

    #[inline(always)]
    fn round_below(self, t: [v128; 4], _hi: [v128; 4]) -> [v128; 4] {
        // By the bits of numbers, since comparisons and selections become relaxed instructions where there are such. Those of
        // negative numbers, without a sign, grow as the numbers fall, and NaN becomes the last of them.
        let (most, least) = (f32x4_splat(MOST), f32x4_splat(-MOST));
        self.round(each!(i => {
            let number = v128_or(t[i], f32x4_ne(t[i], t[i]));
            u32x4_min(i32x4_min(number, most), least)
        }))
    }

    #[inline(always)]
    fn round(self, t: [v128; 4]) -> [v128; 4] {
        let rounds = f32x4_splat(ROUNDS);
        each!(i => i32x4_sub(f32x4_add(t[i], rounds), rounds))
    }

    #[inline(always)]
    fn load_b(self, x: &[u8; 64]) -> [v128; 4] {
        // SAFETY: the reference covers 64 bytes.
        unsafe { load(x.as_ptr().cast()) }
    }

    #[inline(always)]
    fn splat_b(self, x: u8) -> [v128; 4] {
        [u8x16_splat(x); 4]
    }

    #[inline(always)]
    fn store_b(self, v: [v128; 4], to: &mut [u8; 64]) {
        // SAFETY: the reference covers 64 bytes.
        unsafe { store(v, to.as_mut_ptr().cast()) }
    }

    #[inline(always)]
    fn store_quarter(self, v: [v128; 4], j: usize, to: &mut [u8; 16]) {
        // SAFETY: the reference covers 16 bytes.
        unsafe { v128_store(to.as_mut_ptr().cast(), v[j]) }
    }

    #[inline(always)]
    fn store_half(self, v: [v128; 4], j: usize, to: &mut [u8; 32]) {
        let to = to.as_mut_ptr().cast::<v128>();
        // SAFETY: the reference covers two times 16 bytes.
        unsafe {
            v128_store(to, v[2 * j]);
            v128_store(to.add(1), v[2 * j + 1]);
        }
    }

    #[inline(always)]
    fn max_b(self, a: [v128; 4], b: [v128; 4]) -> [v128; 4] {
        each!(i => u8x16_max(a[i], b[i]))
    }

    #[inline(always)]
    fn interleave(self, [a, b, c, d]: [[v128; 4]; 4]) -> [[v128; 4]; 4] {
        let of = each!(l => {
            let (ab_lo, ab_hi) = (low_bytes(a[l], b[l]), high_bytes(a[l], b[l]));
            let (cd_lo, cd_hi) = (low_bytes(c[l], d[l]), high_bytes(c[l], d[l]));
            [low_halves(ab_lo, cd_lo), high_halves(ab_lo, cd_lo), low_halves(ab_hi, cd_hi), high_halves(ab_hi, cd_hi)]
        });
        each!(v => [of[0][v], of[1][v], of[2][v], of[3][v]])
    }

    #[inline(always)]
    fn interleave_words(self, [a, b, c, d]: [[v128; 4]; 4]) -> [[v128; 4]; 4] {
        let of = each!(l => {
            let (ab_lo, ab_hi) = (low_words(a[l], b[l]), high_words(a[l], b[l]));
            let (cd_lo, cd_hi) = (low_words(c[l], d[l]), high_words(c[l], d[l]));
            [low_doubles(ab_lo, cd_lo), high_doubles(ab_lo, cd_lo), low_doubles(ab_hi, cd_hi), high_doubles(ab_hi, cd_hi)]
        });
        each!(k => [of[0][k], of[1][k], of[2][k], of[3][k]])
    }

    #[inline(always)]
    fn quads(self, rows: [&[u8; 16]; 4]) -> [v128; 4] {
        // SAFETY: the references cover 16 bytes each.
        let [a, b, c, d] = unsafe { each!(k => v128_load(rows[k].as_ptr().cast())) };
        let (ab_lo, ab_hi) = (low_bytes(a, b), high_bytes(a, b));
        let (cd_lo, cd_hi) = (low_bytes(c, d), high_bytes(c, d));
        [low_halves(ab_lo, cd_lo), high_halves(ab_lo, cd_lo), low_halves(ab_hi, cd_hi), high_halves(ab_hi, cd_hi)]
    }

    #[inline(always)]
    fn shift_in(self, a: [v128; 4], b: [v128; 4], quarters: usize) -> [v128; 4] {
        if quarters == 1 { [a[1], a[2], a[3], b[0]] } else { [a[2], a[3], b[0], b[1]] }
    }

    #[inline(always)]
    fn limits(self, zero_point: u8, lo: u8, hi: u8) -> Limits {
        // An engine makes a constant anew wherever it is used, but for those that it does not know.
        let (sign, rounds) = (black_box(u8x16_splat(SIGN)), black_box(f32x4_splat(ROUNDS)));
        let zero_point = i16x8_splat(i16::from(zero_point) - i16::from(SIGN));
        Limits { zero_point, lo: u8x16_splat(lo ^ SIGN), hi: u8x16_splat(hi ^ SIGN), sign, rounds }
    }

    #[inline(always)]
    fn round_narrow(self, t: [[v128; 4]; 4], limits: Limits) -> [v128; 4] {
        each!(j => round_pack(t[j], limits))
    }

    #[inline(always)]
    fn round_narrow_interleaved(self, [a, b, c, d]: [[v128; 4]; 4], limits: Limits) -> [v128; 4] {
        each!(l => round_pack([a[l], b[l], c[l], d[l]], limits))
    }

    #[inline(always)]
    fn narrow(self, v: [[v128; 4]; 4], limits: Limits) -> [v128; 4] {
        each!(j => pack(v[j], limits))
    }

    #[inline(always)]
    fn narrow_interleaved(self, [a, b, c, d]: [[v128; 4]; 4], limits: Limits) -> [v128; 4] {
        each!(l => pack([a[l], b[l], c[l], d[l]], limits))
    }

    #[inline(always)]
    fn quad(self, x: [u8; 4]) -> D::X {
        self.0.activations(i32x4_splat(i32::from_le_bytes(x)))
    }

    #[inline(always)]
    fn stage(self, x: [v128; 4], even: &mut [i32; 16], odd: &mut [i32; 16]) {
        let of = each!(i => self.0.stage(x[i]));
        self.store_i32(each!(i => of[i][0]), even);
        self.store_i32(each!(i => of[i][1]), odd);
    }

    #[inline(always)]
    fn staged(self, even: i32, odd: i32) -> D::X {
        self.0.staged(i32x4_splat(even), i32x4_splat(odd))
    }

    #[inline(always)]
    fn weights(self, w: &[i8; 64]) -> [D::W; 4] {
        // SAFETY: the reference covers 64 bytes.
        let w = unsafe { load(w.as_ptr().cast()) };
        each!(i => self.0.weights(w[i]))
    }

    #[inline(always)]
    fn dot4(self, acc: [v128; 4], x: D::X, w: [D::W; 4]) -> [v128; 4] {
        each!(i => self.0.dot4(acc[i], x, w[i]))
    }

    #[inline(always)]
    fn dot4_lanes(self, acc: [v128; 4], x: [v128; 4], w: [D::W; 4]) -> [v128; 4] {
        each!(i => self.0.dot4(acc[i], self.0.activations(x[i]), w[i]))
    }

    #[inline(always)]
    fn lessen(self, x: &mut [[v128; 4]]) {
        self.0.lessen(x);
    }

    #[inline(always)]
    fn sum4_lanes(self, acc: [v128; 4], x: [v128; 4]) -> [v128; 4] {
        each!(i => i32x4_add(acc[i], u32x4_extadd_pairwise_u16x8(u16x8_extadd_pairwise_u8x16(x[i]))))
    }

    #[inline(always)]
    fn sums<const MR: usize, const NB: usize>(
        self,
        start: [[v128; 4]; NB],
        rows: &TileRows<'_, MR>,
        panel: &Panel<'_, NB>,
        to: &mut [[[i32; 16]; NB]; MR],
    ) {
        for n in 0..NB {
            for v in [0, 2] {
                let mut sums = [[start[n][v], start[n][v + 1]]; MR];
                self.half(&mut sums, rows, panel, [n, v]);
                for m in 0..MR {
                    // SAFETY: 0 or 2.
                    unsafe { store_pair(sums[m], &mut to[m][n], v) }
                }
            }
        }
    }

    #[inline(always)]
    fn staged_products<const N: usize>(self, sums: &mut [[[i32; 16]; 1]; N], even: [&[i32]; N], odd: [&[i32]; N], weights: &[[D::W; 4]]) {
        self.staged_halves(sums, even, odd, weights);
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 256], bytes: &mut [u8]) {
        lookup(table, bytes);
    }
}

/// 64 bytes.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn load(from: *const v128) -> [v128; 4] {
    // SAFETY: by this function's own condition.
    unsafe { each!(i => v128_load(from.add(i))) }
}

/// 64 bytes.
///
/// # Safety
/// They can be written.
#[inline(always)]
unsafe fn store(v: [v128; 4], to: *mut v128) {
    for i in 0..4 {
        // SAFETY: by this function's own condition.
        unsafe { v128_store(to.add(i), v[i]) }
    }
}

/// Sixteen integers as bytes. Two narrowings without a step between them would become one, which takes more instructions.
#[inline(always)]
fn pack([a, b, c, d]: [v128; 4], limits: Limits) -> v128 {
    let ab = i16x8_add_sat(i16x8_narrow_i32x4(a, b), limits.zero_point);
    let cd = i16x8_add_sat(i16x8_narrow_i32x4(c, d), limits.zero_point);
    limit(i8x16_narrow_i16x8(ab, cd), limits)
}

/// The integers nearest to sixteen numbers up to [`MOST`] as bytes.
#[inline(always)]
fn round_pack(t: [v128; 4], limits: Limits) -> v128 {
    pack(each!(i => i32x4_sub(f32x4_add(t[i], limits.rounds), limits.rounds)), limits)
}

/// Signed bytes within limits, as unsigned ones.
#[inline(always)]
fn limit(q: v128, limits: Limits) -> v128 {
    v128_xor(i8x16_min(i8x16_max(q, limits.lo), limits.hi), limits.sign)
}

#[inline(always)]
fn low_bytes(a: v128, b: v128) -> v128 {
    i8x16_shuffle::<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(a, b)
}

#[inline(always)]
fn high_bytes(a: v128, b: v128) -> v128 {
    i8x16_shuffle::<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(a, b)
}

#[inline(always)]
fn low_halves(a: v128, b: v128) -> v128 {
    i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(a, b)
}

#[inline(always)]
fn high_halves(a: v128, b: v128) -> v128 {
    i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(a, b)
}

#[inline(always)]
fn low_words(a: v128, b: v128) -> v128 {
    i32x4_shuffle::<0, 4, 1, 5>(a, b)
}

#[inline(always)]
fn high_words(a: v128, b: v128) -> v128 {
    i32x4_shuffle::<2, 6, 3, 7>(a, b)
}

#[inline(always)]
fn low_doubles(a: v128, b: v128) -> v128 {
    i64x2_shuffle::<0, 2>(a, b)
}

#[inline(always)]
fn high_doubles(a: v128, b: v128) -> v128 {
    i64x2_shuffle::<1, 3>(a, b)
}

#[inline(never)]
fn lookup(table: &[u8; 256], bytes: &mut [u8]) {
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        for q in chunk {
            *q = table[usize::from(*q)];
        }
    }
    for q in rest {
        *q = table[usize::from(*q)];
    }
}
