//! The vector vocabulary that kernel bodies are written in: [`Simd`], and [`Kernel`], a body to run with it.
//!
//! The unit is sixteen 32-bit lanes and 64 bytes on every instruction set, whether that is one register, two or four: so a
//! body has one shape, its operands are arrays of a fixed size, and nothing in it is `unsafe`. An implementation is a token
//! that only detection can make; holding it is the proof that its instructions exist.
//!
//! Implementations mark every method `#[inline(always)]`: a method that is not inlined into the one function that enables
//! the instruction set turns each intrinsic into a call.

use super::addend::{self, Addend};
use super::depthwise::lines::Lines;
use super::edge;
use super::paired;
use super::pairing::{self, Staged, Weights};
use super::staged;
use super::tile::{self, Panel, TileRows};

/// Tile of the matrix kernel that suits an instruction set's registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// 14 rows × 32 channels: 28 of 32 registers of 16 lanes are sums.
    Rows14Blocks2,
    /// 6 rows × 16 channels: 12 of 16 registers of 8 lanes are sums.
    Rows6Blocks1,
    /// 4 rows × 16 channels: 8 of 16 registers of 8 lanes are sums, where quads and weights need two registers each. But for constant
    /// weights, which have orders ([`pairing`]), both are staged: see `kernel/staged.rs`.
    Rows4Blocks1,
    /// 6 rows × 16 channels, of which an instruction set sums 8 at a time: 12 of 16 registers of 4 lanes are sums.
    Rows6Halves,
    /// 4 rows × 16 channels, likewise: 8 of 16 registers of 4 lanes are sums, where a product needs more than one more.
    Rows4Halves,
    /// The same, staged.
    Rows4HalvesStaged,
}

impl Tile {
    /// All of them.
    pub const ALL: [Tile; 6] =
        [Tile::Rows14Blocks2, Tile::Rows6Blocks1, Tile::Rows4Blocks1, Tile::Rows6Halves, Tile::Rows4Halves, Tile::Rows4HalvesStaged];

    /// Most rows of a tile.
    pub const fn rows(self) -> usize {
        match self {
            Tile::Rows14Blocks2 => 14,
            Tile::Rows6Blocks1 | Tile::Rows6Halves => 6,
            Tile::Rows4Blocks1 | Tile::Rows4Halves | Tile::Rows4HalvesStaged => 4,
        }
    }

    /// Blocks of 16 channels of a tile.
    pub const fn blocks(self) -> usize {
        match self {
            Tile::Rows14Blocks2 => 2,
            _ => 1,
        }
    }

    /// Blocks that a single row is multiplied with at once.
    pub(super) const fn blocks_of_a_row(self) -> usize {
        match self {
            Tile::Rows14Blocks2 => 8,
            Tile::Rows6Blocks1 | Tile::Rows4Blocks1 => 4,
            _ => 2,
        }
    }
}

/// A set of vector instructions.
///
/// *Interleaved order*: four vectors v = 0 … 3 of 16 lanes hold 64 channels such that lane 4l + i of vector v is channel
/// 16l + 4v + i. It is what unpacking 64 bytes twice gives on every instruction set, and what packing undoes.
pub trait Simd: Copy + Send + Sync {
    /// 16 × i32.
    type I: Copy;
    /// 16 × f32.
    type F: Copy;
    /// 64 bytes.
    type B: Copy;
    /// Four activations, ready to meet weights in every lane.
    type Quad: Copy;
    /// 16 channels × 4 weights, ready for a dot product.
    type W: Copy;
    /// A zero point, ready for [`Simd::widen_from`].
    type Zero: Copy;
    /// A zero point and limits, ready for [`Simd::narrow`].
    type Limits: Copy;

    /// The tile for the matrix kernel.
    const TILE: Tile;
    /// The largest activation that its dot products take: less than 255 only where a model of reduced range is asked for.
    const MAX_ACTIVATION: u8 = u8::MAX;
    /// What its dot products lessen each activation by. Where it is not 0, the biases of a packed operation have to be larger by
    /// as much times the sum of the channel's weights.
    const OFFSET: u8 = 0;

    /// Whether products in pairs are the faster ones: see [`super::pairing`].
    const PAIRS: bool = false;

    /// Runs a kernel with this instruction set enabled.
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output;

    /// All lanes `x`.
    fn splat_i32(self, x: i32) -> Self::I;
    /// Sixteen integers.
    fn load_i32(self, x: &[i32; 16]) -> Self::I;
    /// Their sum, wrapping.
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I;
    /// Sixteen bytes as integers.
    fn widen(self, x: &[u8; 16]) -> Self::I;
    /// A zero point z, ready for [`Simd::widen_from`].
    fn zero(self, z: u8) -> Self::Zero;
    /// f32(x − z) of sixteen bytes.
    fn widen_from(self, x: &[u8; 16], z: Self::Zero) -> Self::F;
    /// The same of fewer bytes than sixteen; behind them, anything.
    #[inline(always)]
    fn widen_some_from(self, x: &[u8], z: Self::Zero) -> Self::F {
        let mut whole = [0; 16];
        edge::copy(x, &mut whole[..x.len()]);
        self.widen_from(&whole, z)
    }
    /// f32(x − z) of the `n`-th sixteen bytes of row `m`.
    #[inline(always)]
    fn widen_row<const L: usize, const MR: usize>(self, rows: &Addend<'_, L, MR>, m: usize, n: usize, z: Self::Zero) -> Self::F {
        addend::widen_row(self, rows, m, n, z)
    }
    /// f32(x)·f, rounded, of the `n`-th sixteen bytes of row `m`; `f_lifted` is 2²³·f.
    #[inline(always)]
    fn scale_row<const L: usize, const MR: usize>(
        self,
        rows: &Addend<'_, L, MR>,
        [m, n]: [usize; 2],
        f: Self::F,
        _f_lifted: Self::F,
    ) -> Self::F {
        self.mul(self.widen_row(rows, m, n, self.zero(0)), f)
    }
    /// The integers in memory.
    fn store_i32(self, v: Self::I, to: &mut [i32; 16]);

    /// All lanes `x`.
    fn splat_f32(self, x: f32) -> Self::F;
    /// Sixteen numbers.
    fn load_f32(self, x: &[f32; 16]) -> Self::F;
    /// a + b, rounded.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// a · b, rounded; never contracted with an addition.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// a / b, rounded.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// b where b < a, else a: so a where either is NaN.
    fn lesser(self, a: Self::F, b: Self::F) -> Self::F;
    /// b where b > a, else a: so a where either is NaN.
    fn greater(self, a: Self::F, b: Self::F) -> Self::F;
    /// a limited to 0 ..= 1; anything where it is NaN.
    #[inline(always)]
    fn share(self, a: Self::F) -> Self::F {
        self.lesser(self.splat_f32(1.0), self.greater(self.splat_f32(0.0), a))
    }
    /// The nearest numbers.
    fn to_f32(self, v: Self::I) -> Self::F;
    /// The numbers as little-endian bytes.
    fn store_f32(self, v: Self::F, to: &mut [u8; 64]);
    /// rne(min(t, hi)), where |hi| ≤ 2²², or where t is above hi, any integer from there to 2²². NaN and what is below −2²² become
    /// any integer below −2¹⁶.
    fn round_below(self, t: Self::F, hi: Self::F) -> Self::I;
    /// rne(t) where |t| ≤ 2²²: less work than [`Simd::round_below`].
    #[inline(always)]
    fn round(self, t: Self::F) -> Self::I {
        self.round_below(t, self.splat_f32(4_194_304.0))
    }
    /// Whether kernels are to be small, as their code is loaded before it runs: then what is rare, or saves this instruction set
    /// little, is not compiled for it, such as ways for sums of known bounds ([`super::epilogue::Bounds`]); and what ends a run
    /// of products is a function of its own.
    const COMPACT: bool = false;
    /// What sums start with more than their bias, for [`Simd::scale_lifted`]: 2²³'s bits where that is of use, else 0.
    const LIFT: i32 = 0;
    /// f32(a)·m, rounded, for v = a + [`Simd::LIFT`] and 0 ≤ a < 2²³; where −2²³ ≤ a < 0, anything that is not above 0.
    /// `m` is not negative, and `m_lifted` is 2²³·m.
    #[inline(always)]
    fn scale_lifted(self, v: Self::I, m: Self::F, _m_lifted: Self::F) -> Self::F {
        self.mul(self.to_f32(v), m)
    }

    /// The bytes.
    fn load_b(self, x: &[u8; 64]) -> Self::B;
    /// All bytes `x`.
    fn splat_b(self, x: u8) -> Self::B;
    /// The bytes in memory.
    fn store_b(self, v: Self::B, to: &mut [u8; 64]);
    /// Bytes 16j .. 16j + 16 in memory.
    fn store_quarter(self, v: Self::B, j: usize, to: &mut [u8; 16]);
    /// Bytes 32j .. 32j + 32 in memory.
    fn store_half(self, v: Self::B, j: usize, to: &mut [u8; 32]);
    /// The first of bytes 16j .. in memory: as many as `to` has, at most 32 for an even j, 16 for an odd one.
    #[inline(always)]
    fn store_some(self, v: Self::B, j: usize, to: &mut [u8]) {
        let mut whole = [0; 64];
        self.store_b(v, &mut whole);
        edge::copy(&whole[16 * j..][..to.len()], to);
    }
    /// The larger of each pair, unsigned.
    fn max_b(self, a: Self::B, b: Self::B) -> Self::B;
    /// Four rows of 64 channels become quads: in interleaved order, byte k of a lane is row k's.
    fn interleave(self, rows: [Self::B; 4]) -> [Self::B; 4];
    /// Four rows of sixteen 4-byte words become columns: bytes 16l .. 16l + 16 of vector k are word 4l + k of each row.
    fn interleave_words(self, rows: [Self::B; 4]) -> [Self::B; 4];
    /// Four rows of 16 channels become quads, channels in their order: byte 4c + k is row k's byte c.
    #[inline(always)]
    fn quads(self, rows: [&[u8; 16]; 4]) -> Self::B {
        let mut bytes = [0; 64];
        for c in 0..16 {
            for k in 0..4 {
                bytes[4 * c + k] = rows[k][c];
            }
        }
        self.load_b(&bytes)
    }

    /// Two times 32 bytes.
    #[inline(always)]
    fn join_halves(self, [a, b]: [&[u8; 32]; 2]) -> Self::B {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(a);
        bytes[32..].copy_from_slice(b);
        self.load_b(&bytes)
    }
    /// Four times 16 bytes.
    #[inline(always)]
    fn join_quarters(self, quarters: [&[u8; 16]; 4]) -> Self::B {
        let mut bytes = [0; 64];
        for j in 0..4 {
            bytes[16 * j..16 * j + 16].copy_from_slice(quarters[j]);
        }
        self.load_b(&bytes)
    }
    /// The 64 bytes from byte 16·`quarters` of `a` followed by `b` on, for 1 or 2 quarters.
    #[inline(always)]
    fn shift_in(self, a: Self::B, b: Self::B, quarters: usize) -> Self::B {
        let mut both = [0; 128];
        if let Some((first, second)) = both.split_first_chunk_mut::<64>() {
            self.store_b(a, first);
            if let Some(second) = second.first_chunk_mut() {
                self.store_b(b, second);
            }
        }
        let mut bytes = [0; 64];
        bytes.copy_from_slice(&both[16 * quarters..16 * quarters + 64]);
        self.load_b(&bytes)
    }
    /// Sixteen quads without their fourth bytes, one behind the other; behind them, anything.
    #[inline(always)]
    fn triples(self, quads: Self::B) -> Self::B {
        let (mut from, mut to) = ([0; 64], [0; 64]);
        self.store_b(quads, &mut from);
        for i in 0..16 {
            to[3 * i..3 * i + 3].copy_from_slice(&from[4 * i..4 * i + 3]);
        }
        self.load_b(&to)
    }
    /// The first bytes in memory: as many as there are, at most 64.
    #[inline(always)]
    fn store_first(self, v: Self::B, to: &mut [u8]) {
        let mut whole = [0; 64];
        self.store_b(v, &mut whole);
        to.copy_from_slice(&whole[..to.len()]);
    }

    /// A zero point z and limits lo ≤ hi of bytes.
    fn limits(self, zero_point: u8, lo: u8, hi: u8) -> Self::Limits;
    /// clamp(v + z, lo, hi), the sum saturating, for v in −2³¹ ..= 2²²: byte 16j + i is lane i of vector j.
    fn narrow(self, v: [Self::I; 4], limits: Self::Limits) -> Self::B;
    /// As [`Simd::narrow`], from interleaved order: byte c is channel c.
    fn narrow_interleaved(self, v: [Self::I; 4], limits: Self::Limits) -> Self::B;

    /// clamp(rne(t) + z, lo, hi) in the order of [`Simd::narrow`], where |t| ≤ 2²²: [`Simd::round`] and then that.
    #[inline(always)]
    fn round_narrow(self, t: [Self::F; 4], limits: Self::Limits) -> Self::B {
        self.narrow([self.round(t[0]), self.round(t[1]), self.round(t[2]), self.round(t[3])], limits)
    }

    /// The same from interleaved order, as [`Simd::narrow_interleaved`].
    #[inline(always)]
    fn round_narrow_interleaved(self, t: [Self::F; 4], limits: Self::Limits) -> Self::B {
        self.narrow_interleaved([self.round(t[0]), self.round(t[1]), self.round(t[2]), self.round(t[3])], limits)
    }

    /// clamp(v + z, 0, 255), the sum saturating, in the order of [`Simd::narrow`], where these are the limits: less work.
    #[inline(always)]
    fn narrow_unlimited(self, v: [Self::I; 4], limits: Self::Limits) -> Self::B {
        self.narrow(v, limits)
    }
    /// clamp(v, 0, 255) in the order of [`Simd::narrow`]: less work than that.
    #[inline(always)]
    fn saturate(self, v: [Self::I; 4]) -> Self::B {
        self.narrow(v, self.limits(0, 0, 255))
    }
    /// clamp(v, 0, 255) in the order of [`Simd::narrow_interleaved`]: less work than that.
    #[inline(always)]
    fn saturate_interleaved(self, v: [Self::I; 4]) -> Self::B {
        self.narrow_interleaved(v, self.limits(0, 0, 255))
    }

    /// As [`Simd::narrow_interleaved`], where z ≤ lo: less work than that.
    #[inline(always)]
    fn narrow_above_interleaved(self, v: [Self::I; 4], limits: Self::Limits) -> Self::B {
        self.narrow_interleaved(v, limits)
    }

    /// Whether [`Simd::slide`] is the faster way for 3×3 depthwise convolutions, of stride 1 and 2.
    const SLIDES: [bool; 2] = [false; 2];
    /// Whether it is also where a table replaces their bytes.
    const SLIDES_TO_TABLES: bool = false;
    /// The innermost loop of a depthwise convolution of stride `ST`; vectors are `P` pieces, as [`Lines`] says.
    #[inline(always)]
    fn slide<const P: usize, const ST: usize>(self, lines: &mut Lines<'_>) {
        lines.run::<Self, P, ST>(self);
    }

    /// Asks for a line of memory that will be read soon, into the cache behind the closest.
    #[inline(always)]
    fn prefetch(self, _line: &[i8; 64]) {}

    /// The quad in every lane.
    fn quad(self, x: [u8; 4]) -> Self::Quad;
    /// Sixteen quads, each as two words: what [`Simd::staged`] makes a quad of at less cost than [`Simd::quad`].
    fn stage(self, x: Self::B, even: &mut [i32; 16], odd: &mut [i32; 16]);
    /// A quad in every lane, from its words.
    fn staged(self, even: i32, odd: i32) -> Self::Quad;
    /// 16 channels of four weights, as the file holds them.
    fn weights(self, w: &[i8; 64]) -> Self::W;
    /// acc + Σ (x − [`Simd::OFFSET`])·w over the four products of each lane, exactly, modulo 2³². No x is above
    /// [`Simd::MAX_ACTIVATION`].
    fn dot4(self, acc: Self::I, x: Self::Quad, w: Self::W) -> Self::I;
    /// As [`Simd::dot4`], each lane with activations of its own.
    fn dot4_lanes(self, acc: Self::I, x: Self::B, w: Self::W) -> Self::I;
    /// Makes activations ready for [`Simd::dot4_lanes`], once for all of their products, where only the machine that it runs on
    /// says what they are lessened by.
    #[inline(always)]
    fn lessen(self, _x: &mut [Self::B]) {}
    /// acc + Σ x over the four bytes of each lane.
    #[inline(always)]
    fn sum4_lanes(self, acc: Self::I, x: Self::B) -> Self::I {
        const { assert!(Self::OFFSET == 0, "a dot product with ones is no sum") }
        self.dot4_lanes(acc, x, self.weights(&[1; 64]))
    }

    /// Writes the sums of rows × blocks, the products of all their quads added to what each block's start with.
    #[inline(always)]
    fn sums<const MR: usize, const NB: usize>(
        self,
        start: [Self::I; NB],
        rows: &TileRows<'_, MR>,
        panel: &Panel<'_, NB>,
        to: &mut [[[i32; 16]; NB]; MR],
    ) {
        let mut acc = [start; MR];
        self.products(&mut acc, rows, panel);
        for m in 0..MR {
            for n in 0..NB {
                self.store_i32(acc[m][n], &mut to[m][n]);
            }
        }
    }

    /// Adds to the sums of rows × blocks the products of all their quads: [`Simd::dot4`], over and over.
    #[inline(always)]
    fn products<const MR: usize, const NB: usize>(self, acc: &mut [[Self::I; NB]; MR], rows: &TileRows<'_, MR>, panel: &Panel<'_, NB>) {
        tile::products(self, acc, rows, panel);
    }

    /// Adds to sums, where operands are staged: the products of `N` rows of [`Simd::stage`]'s words, as many as there are weights.
    #[inline(always)]
    fn staged_products<const N: usize>(self, sums: &mut [[[i32; 16]; 1]; N], even: [&[i32]; N], odd: [&[i32]; N], weights: &[Self::W]) {
        staged::products(self, sums, even, odd, weights);
    }

    /// Sixteen quads in that order of [`pairing::ORDERS`].
    #[inline(always)]
    fn stage_order(self, x: Self::B, order: usize, to: &mut [i32; 16]) {
        let mut bytes = [0; 64];
        self.store_b(x, &mut bytes);
        for (to, quad) in to.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *to = i32::from_le_bytes(pairing::ORDERS[order].map(|i| quad[i]));
        }
    }

    /// Weights in the order of the word `at` of activations.
    #[inline(always)]
    fn ordered(self, weights: &[i8; 64], at: u8) -> [i8; 64] {
        let mut to = [0; _];
        for (to, w) in to.as_chunks_mut::<4>().0.iter_mut().zip(weights.as_chunks::<4>().0) {
            *to = pairing::ORDERS[usize::from(at) / pairing::ORDER].map(|i| w[i]);
        }
        to
    }

    /// Weights 0 and 2 of each channel as integers of 16 bits, and 1 and 3.
    #[inline(always)]
    fn widen_weights(self, weights: &[i8; 64], to: &mut [[i8; 64]; 2]) {
        for (i, w) in weights.iter().enumerate() {
            let [low, high] = i16::from(*w).to_le_bytes().map(|byte| byte as i8);
            let at = i / 4 * 4 + i % 4 / 2 * 2;
            (to[i % 2][at], to[i % 2][at + 1]) = (low, high);
        }
    }

    /// Adds to the sums of `N` rows the products of a run's steps with each row's activations. The sum of two neighbouring products
    /// may saturate to 16 bits.
    #[inline(always)]
    fn paired_products<const N: usize>(self, acc: &mut [Self::I; N], x: &[Staged; N], run: &pairing::Run<'_>, weights: &Weights) {
        paired::products(self, acc, x, run, weights);
    }

    /// Replaces each byte q by `table[q]`. The one method that is not inlined.
    fn lookup(self, table: &[u8; 256], bytes: &mut [u8]);
}

/// A kernel body: what [`Simd::vectorize`] runs. `run` is `#[inline(always)]`.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// Runs it.
    fn run<S: Simd>(self, isa: S) -> Self::Output;
}
