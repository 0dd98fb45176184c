//! The constants of a block, and its way from sums to the output: what [`crate::arith::requant`] defines.
//!
//! What the constants bound decides how much of the work is needed; all ways give the same bytes.

use std::ops::Range;

use super::{Depthwise, bytes_at};
use crate::kernel::epilogue::{Finish, Requantize, Residual, Rows};
use crate::kernel::simd::Simd;

/// Vectors of sums that are kept before they are written.
pub(super) const SUMS: usize = 28;

/// The constants of up to 64 channels, in the order of the lanes.
pub(super) struct Block {
    /// The first channel.
    pub(super) channel: usize,
    /// Channels that exist.
    channels: usize,
    bias: [[i32; 16]; 4],
    multiplier: [[f32; 16]; 4],
    /// 2²³·`multiplier`.
    lifted: [[f32; 16]; 4],
    bounds: Bounds,
}

/// What is known of a block's sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bounds {
    /// Nothing.
    None,
    /// |t| < 2³¹.
    Rounds,
    /// That; and |acc| < 2²³, and a negative one becomes the lower limit.
    Lifts,
}

impl Block {
    /// What sums start with.
    #[inline(always)]
    pub(super) fn start<S: Simd>(&self) -> [[i32; 16]; 4] {
        let mut bias = self.bias;
        if self.bounds == Bounds::Lifts {
            for bias in bias.as_flattened_mut() {
                *bias = bias.wrapping_add(S::LIFT);
            }
        }
        bias
    }
}

impl<R: Rows> Depthwise<'_, R> {
    /// The constants of `V` blocks of 16 channels.
    #[inline(always)]
    pub(super) fn block<const V: usize>(&self, first: usize) -> Block {
        let channel = first * 16;
        let channels = (self.extents[2] - channel).min(V * 16);
        let mut block =
            Block { channel, channels, bias: [[0; 16]; 4], multiplier: [[0.0; 16]; 4], lifted: [[0.0; 16]; 4], bounds: Bounds::None };
        let bias = &self.bias[channel..][..V * 16];
        let multiplier = &self.multiplier[channel..][..V * 16];
        for l in 0..V {
            for i in 0..16 {
                let (vector, lane) = if V == 4 { (i / 4, 4 * l + i % 4) } else { (0, i) };
                block.bias[vector][lane] = bias[16 * l + i];
                block.multiplier[vector][lane] = multiplier[16 * l + i];
                block.lifted[vector][lane] = multiplier[16 * l + i] * 8_388_608.0;
            }
        }
        if let Finish::U8(how) = &self.finish {
            block.bounds = self.bounds(bias, multiplier, how);
        }
        block
    }

    /// What constants say of their sums.
    #[inline(always)]
    fn bounds(&self, bias: &[i32], multiplier: &[f32], how: &Requantize<'_>) -> Bounds {
        // Far from 2³¹, so that what the comparison's own steps round does not matter.
        const LARGE: f32 = 2e9;
        let reach = self.window.kernel[0] * self.window.kernel[1] * 255 * 128;
        let added = how.residual.map_or(0.0, |r| 255.0 * r.multiplier.abs());
        let mut rounds = true;
        let mut lifts = how.residual.is_none() && how.lo >= how.zero_point && reach < 1 << 22;
        for (&bias, &m) in bias.iter().zip(multiplier) {
            // NaN is not below anything.
            rounds &= (bias.unsigned_abs() as f32 + reach as f32) * m.abs() + added < LARGE;
            lifts &= bias.unsigned_abs() < 1 << 22 && m >= 0.0;
        }
        match (rounds, lifts) {
            (true, true) => Bounds::Lifts,
            (true, false) => Bounds::Rounds,
            (false, _) => Bounds::None,
        }
    }

    /// Replaces the bytes of output rows by what the table holds for them, where there is one.
    #[inline(always)]
    pub(super) fn look_up<S: Simd>(&mut self, s: S, rows: Range<usize>) {
        let Finish::U8(Requantize { table: Some(table), .. }) = self.finish else { return };
        if self.blocks.is_empty() {
            return;
        }
        let from = self.blocks.start * 16;
        let len = (self.blocks.end * 16).min(self.extents[2]) - from;
        for row in rows {
            s.lookup(table, self.to.at(row, from, len));
        }
    }
}

/// Writes the sums, `[column][vector]`, of columns from output row `row` on.
#[inline(always)]
pub(super) fn write<S: Simd, R: Rows, const V: usize>(s: S, block: &Block, sums: &[S::I], row: usize, of: &mut Depthwise<'_, R>) {
    let how = match of.finish {
        Finish::U8(how) => how,
        Finish::F32 => return write_f32(s, block, sums, row, &mut of.to),
    };
    let exact = how.zero_point == 0 && how.lo == 0 && how.hi == 255;
    let width = of.extents[2];
    match block.bounds {
        Bounds::Lifts if exact => write_u8::<S, R, V, true, true, true>(s, block, sums, row, width, &how, &mut of.to),
        Bounds::Lifts => write_u8::<S, R, V, true, true, false>(s, block, sums, row, width, &how, &mut of.to),
        Bounds::Rounds => write_u8::<S, R, V, false, true, false>(s, block, sums, row, width, &how, &mut of.to),
        Bounds::None => write_u8::<S, R, V, false, false, false>(s, block, sums, row, width, &how, &mut of.to),
    }
}

/// f32(acc)·m, from blocks of one vector.
#[inline(always)]
fn write_f32<S: Simd, R: Rows>(s: S, block: &Block, sums: &[S::I], row: usize, to: &mut R) {
    let m = s.load_f32(&block.multiplier[0]);
    for (i, &acc) in sums.iter().enumerate() {
        let mut bytes = [0; 64];
        s.store_f32(s.mul(s.to_f32(acc), m), &mut bytes);
        to.at(row + i, block.channel * 4, block.channels * 4).copy_from_slice(&bytes[..block.channels * 4]);
    }
}

/// Bytes, where `LIFTS` and `ROUNDS` say what the block's bounds allow, and `EXACT` that limits are those of a byte.
#[inline(always)]
fn write_u8<S: Simd, R: Rows, const V: usize, const LIFTS: bool, const ROUNDS: bool, const EXACT: bool>(
    s: S,
    block: &Block,
    sums: &[S::I],
    row: usize,
    width: usize,
    how: &Requantize<'_>,
    to: &mut R,
) {
    let mut m = [s.splat_f32(0.0); V];
    let mut lifted = m;
    for v in 0..V {
        m[v] = s.load_f32(&block.multiplier[v]);
        lifted[v] = s.load_f32(&block.lifted[v]);
    }
    let limits = s.limits(how.zero_point, how.lo, how.hi);
    let top = s.splat_f32(f32::from(how.hi) - f32::from(how.zero_point));
    // Four vectors are narrowed together: a column of a wide block, or four of a narrow one.
    let columns = sums.len() / V;
    let mut column = 0;
    while column < columns {
        let count = (4 / V).min(columns - column);
        let mut t = [s.splat_f32(0.0); 4];
        for j in 0..4 {
            // Columns that are not there repeat the last one, and are not stored.
            let acc = sums[if V == 4 { column * V + j } else { column + j.min(count - 1) }];
            t[j] = if LIFTS { s.scale_lifted(acc, m[j % V], lifted[j % V]) } else { s.mul(s.to_f32(acc), m[j % V]) };
        }
        if let (false, Some(residual)) = (LIFTS, &how.residual) {
            add::<S, V>(s, residual, (row + column) * width + block.channel, width, count, &mut t);
        }
        let mut q = [s.splat_i32(0); 4];
        for j in 0..4 {
            q[j] = if ROUNDS { s.round(t[j]) } else { s.round_below(t[j], top) };
        }
        let bytes = match (V == 4, EXACT) {
            (true, true) => s.saturate_interleaved(q),
            (true, false) => s.narrow_interleaved(q, limits),
            (false, true) => s.saturate(q),
            (false, false) => s.narrow(q, limits),
        };
        if V == 4 {
            let place = to.at(row + column, block.channel, block.channels);
            match <&mut [u8; 64]>::try_from(&mut *place) {
                Ok(place) => s.store_b(bytes, place),
                Err(_) => {
                    let mut whole = [0; 64];
                    s.store_b(bytes, &mut whole);
                    place.copy_from_slice(&whole[..place.len()]);
                }
            }
        } else {
            for j in 0..4 {
                if j < count {
                    let place = to.at(row + column + j, block.channel, block.channels);
                    match <&mut [u8; 16]>::try_from(&mut *place) {
                        Ok(place) => s.store_quarter(bytes, j, place),
                        Err(_) => {
                            let mut quarter = [0; 16];
                            s.store_quarter(bytes, j, &mut quarter);
                            place.copy_from_slice(&quarter[..place.len()]);
                        }
                    }
                }
            }
        }
        column += count;
    }
}

/// Adds f32(r − z_r)·m_r, r being the residual's bytes from `at` on, and for a narrow block at each column's distance.
#[inline(always)]
fn add<S: Simd, const V: usize>(s: S, residual: &Residual<'_>, at: usize, width: usize, count: usize, t: &mut [S::F; 4]) {
    let (zero, m) = (s.splat_i32(-i32::from(residual.zero_point)), s.splat_f32(residual.multiplier));
    let mut r = [zero; 4];
    if V == 4 {
        // Quads of the residual and anything, weighed 1 and 0, are the residual in interleaved order.
        let mut one = [0; 64];
        for lane in 0..16 {
            one[4 * lane] = 1;
        }
        let mut spare = [0; 64];
        let quads = s.interleave([s.load_b(bytes_at(residual.bytes, at, &mut spare)); 4]);
        for j in 0..4 {
            r[j] = s.dot4_lanes(zero, quads[j], s.weights(&one));
        }
    } else {
        for j in 0..4 {
            let mut spare = [0; 16];
            let at = at + j.min(count - 1) * width;
            r[j] = s.add_i32(zero, s.widen(bytes_at(residual.bytes, at, &mut spare)));
        }
    }
    for j in 0..4 {
        t[j] = s.add(t[j], s.mul(s.to_f32(r[j]), m));
    }
}
