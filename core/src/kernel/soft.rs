//! The vocabulary on plain arrays: what [`Simd`] means, to be run. It needs no instruction set, so that bodies are tested
//! with every tile on any machine, and instruction sets against it. It is not meant to be fast.
//!
//! Where [`Simd`] leaves a choice (what [`Simd::round_below`] makes of NaN), this is one of the answers.

use super::simd::{Kernel, Simd, Tile};

/// The token, of tile `Tile::ALL[TILE]`, with compact kernels or others. It proves nothing, so anyone may make it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Soft<const TILE: usize, const COMPACT: bool = false>;

/// Runs `$body` for each lane or byte `$i` and collects what it gives.
macro_rules! each {
    ($of:expr, $i:ident => $body:expr) => {{
        let mut to = [$of; _];
        for $i in 0..to.len() {
            to[$i] = $body;
        }
        to
    }};
}

/// A zero point and limits.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    zero_point: i32,
    lo: i32,
    hi: i32,
}

impl<const TILE: usize, const COMPACT: bool> Simd for Soft<TILE, COMPACT> {
    type I = [i32; 16];
    type F = [f32; 16];
    type B = [u8; 64];
    type Quad = [u8; 4];
    type W = [i8; 64];
    type Zero = i32;
    type Limits = Limits;

    const TILE: Tile = Tile::ALL[TILE];
    // So that what instruction sets have a form of their own of is itself run somewhere.
    const SLIDES: [bool; 2] = [matches!(Self::TILE, Tile::Rows14Blocks2); 2];
    const SLIDES_TO_TABLES: bool = true;
    const COMPACT: bool = COMPACT;
    const PAIRS: bool = matches!(Self::TILE, Tile::Rows4Blocks1);

    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    fn splat_i32(self, x: i32) -> [i32; 16] {
        [x; 16]
    }

    fn load_i32(self, x: &[i32; 16]) -> [i32; 16] {
        *x
    }

    fn add_i32(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        each!(0, i => a[i].wrapping_add(b[i]))
    }

    fn zero(self, z: u8) -> i32 {
        i32::from(z)
    }

    fn widen_from(self, x: &[u8; 16], z: i32) -> [f32; 16] {
        each!(0.0, i => (i32::from(x[i]) - z) as f32)
    }

    fn widen(self, x: &[u8; 16]) -> [i32; 16] {
        each!(0, i => i32::from(x[i]))
    }

    fn store_i32(self, v: [i32; 16], to: &mut [i32; 16]) {
        *to = v;
    }

    fn splat_f32(self, x: f32) -> [f32; 16] {
        [x; 16]
    }

    fn load_f32(self, x: &[f32; 16]) -> [f32; 16] {
        *x
    }

    fn add(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(0.0, i => a[i] + b[i])
    }

    fn mul(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(0.0, i => a[i] * b[i])
    }

    fn div(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(0.0, i => a[i] / b[i])
    }

    fn lesser(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(0.0, i => if b[i] < a[i] { b[i] } else { a[i] })
    }

    fn greater(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each!(0.0, i => if b[i] > a[i] { b[i] } else { a[i] })
    }

    fn to_f32(self, v: [i32; 16]) -> [f32; 16] {
        each!(0.0, i => v[i] as f32)
    }

    fn store_f32(self, v: [f32; 16], to: &mut [u8; 64]) {
        *to = each!(0, i => v[i / 4].to_le_bytes()[i % 4]);
    }

    fn round_below(self, t: [f32; 16], hi: [f32; 16]) -> [i32; 16] {
        each!(0, i => match if hi[i] < t[i] { hi[i] } else { t[i] } {
            t if t.is_nan() => i32::MIN,
            t => t.round_ties_even() as i32,
        })
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

    fn store_half(self, v: [u8; 64], j: usize, to: &mut [u8; 32]) {
        to.copy_from_slice(&v[32 * j..][..32]);
    }

    fn max_b(self, a: [u8; 64], b: [u8; 64]) -> [u8; 64] {
        each!(0, i => a[i].max(b[i]))
    }

    fn interleave(self, rows: [[u8; 64]; 4]) -> [[u8; 64]; 4] {
        each!([0; 64], v => each!(0, at => {
            let (lane, k) = (at / 4, at % 4);
            rows[k][16 * (lane / 4) + 4 * v + lane % 4]
        }))
    }

    fn interleave_words(self, rows: [[u8; 64]; 4]) -> [[u8; 64]; 4] {
        each!([0; 64], k => each!(0, at => {
            let (l, row, byte) = (at / 16, at % 16 / 4, at % 4);
            rows[row][4 * (4 * l + k) + byte]
        }))
    }

    fn limits(self, zero_point: u8, lo: u8, hi: u8) -> Limits {
        Limits { zero_point: i32::from(zero_point), lo: i32::from(lo), hi: i32::from(hi) }
    }

    fn narrow(self, v: [[i32; 16]; 4], limits: Limits) -> [u8; 64] {
        each!(0, c => narrow(v[c / 16][c % 16], limits))
    }

    fn narrow_interleaved(self, v: [[i32; 16]; 4], limits: Limits) -> [u8; 64] {
        each!(0, c => narrow(v[c % 16 / 4][4 * (c / 16) + c % 4], limits))
    }

    fn quad(self, x: [u8; 4]) -> [u8; 4] {
        x
    }

    fn stage(self, x: [u8; 64], even: &mut [i32; 16], odd: &mut [i32; 16]) {
        for (i, x) in x.as_chunks::<4>().0.iter().enumerate() {
            even[i] = i32::from_le_bytes([x[0], 0, x[2], 0]);
            odd[i] = i32::from_le_bytes([x[1], 0, x[3], 0]);
        }
    }

    fn staged(self, even: i32, odd: i32) -> [u8; 4] {
        let (even, odd) = (even.to_le_bytes(), odd.to_le_bytes());
        [even[0], odd[0], even[2], odd[2]]
    }

    fn weights(self, w: &[i8; 64]) -> [i8; 64] {
        *w
    }

    fn dot4(self, acc: [i32; 16], x: [u8; 4], w: [i8; 64]) -> [i32; 16] {
        self.dot4_lanes(acc, each!(0, i => x[i % 4]), w)
    }

    fn dot4_lanes(self, acc: [i32; 16], x: [u8; 64], w: [i8; 64]) -> [i32; 16] {
        let mut to = acc;
        for i in 0..64 {
            to[i / 4] = to[i / 4].wrapping_add(i32::from(x[i]) * i32::from(w[i]));
        }
        to
    }

    fn lookup(self, table: &[u8; 256], bytes: &mut [u8]) {
        for q in bytes {
            *q = table[usize::from(*q)];
        }
    }
}

fn narrow(v: i32, limits: Limits) -> u8 {
    v.saturating_add(limits.zero_point).clamp(limits.lo, limits.hi) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of their places.
    fn rows() -> [[u8; 64]; 4] {
        each!([0; 64], k => each!(0, c => (64 * k + c) as u8))
    }

    #[test]
    fn interleaving_gathers_the_rows_of_a_channel() {
        let quads = Soft::<0>.interleave(rows());
        // Channel 37 = 16·2 + 4·1 + 1 is in vector 1, lane 4·2 + 1.
        assert_eq!(quads[1][36..40], [37, 64 + 37, 128 + 37, 192 + 37]);
    }

    #[test]
    fn narrowing_undoes_the_interleaved_order() {
        let s = Soft::<0>;
        let quads = s.interleave([rows()[0]; 4]);
        let lanes = each!([0; 16], v => each!(0, lane => i32::from(quads[v][4 * lane])));
        assert_eq!(s.narrow_interleaved(lanes, s.limits(0, 0, 255)), rows()[0]);
    }

    #[test]
    fn limits_hold_after_the_zero_point() {
        let s = Soft::<0>;
        let mut v = [[0; 16]; 4];
        (v[0][0], v[0][1], v[3][15]) = (i32::MIN, 7, 1 << 22);
        let bytes = s.narrow(v, s.limits(5, 3, 200));
        assert_eq!((bytes[0], bytes[1], bytes[2], bytes[63]), (3, 12, 5, 200));
    }

    #[test]
    fn rounding_is_to_even_and_nan_is_low() {
        let mut t = [0.5; 16];
        (t[0], t[1], t[2], t[3], t[4]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.5, -2.5);
        let v = Soft::<0>.round_below(t, [100.0; 16]);
        assert_eq!(v[..6], [i32::MIN, 100, i32::MIN, 2, -2, 0]);
    }
}
