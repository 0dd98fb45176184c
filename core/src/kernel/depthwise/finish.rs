//! The constants of a block, and its way from sums to the output: what [`crate::arith::requant`] defines.
//!
//! What the constants bound decides how much of the work is needed; all ways give the same bytes.

use super::lines::{Scale, Way};
use super::{Aligned, Depthwise, bytes_at};
use crate::kernel::epilogue::{Bounds, Finish, Requantize, Residual, Rows};
use crate::kernel::hard_swish::hard_swish;
use crate::kernel::simd::Simd;

/// Vectors of sums that are kept before they are written.
pub(super) const SUMS: usize = 28;

/// The sign of an f32.
const SIGN: u32 = 1 << 31;

/// The constants of up to 64 channels, in the order of the lanes.
pub(super) struct Block {
    /// The first channel.
    pub(super) channel: usize,
    /// Channels that exist.
    pub(super) channels: usize,
    bias: [[i32; 16]; 4],
    multiplier: [[f32; 16]; 4],
    /// Slopes and shifts of HardSwish.
    swish: [[[f32; 16]; 4]; 2],
    bounds: Bounds,
}

/// Ways from sums to bytes, as numbers that a body can be compiled for: what [`Bounds`] allows, and what limits and zero point
/// need.
pub(super) mod way {
    /// Sums are lifted, limits and zero point those of a byte.
    pub(in super::super) const LIFTED_BYTE: u8 = 0;
    /// Sums are lifted.
    pub(in super::super) const LIFTED: u8 = 1;
    /// Rounding needs no limit.
    pub(in super::super) const BOUNDED: u8 = 2;
    /// Any sums, and a residual or HardSwish.
    pub(in super::super) const ANY: u8 = 3;
}

impl Block {
    /// All that sums need to become bytes, if something is known of them.
    #[inline(always)]
    pub(super) fn scale<S: Simd>(&self, how: &Requantize<'_>) -> Scale {
        let limits = [how.zero_point, how.lo, how.hi];
        let way = match self.bounds {
            Bounds::Lifts if limits == [0, 0, 255] => Way::LiftedByte,
            Bounds::Lifts => Way::Lifted,
            _ if how.hard_swish.is_some() => Way::Swished,
            _ => Way::Bounded,
        };
        Scale { start: self.start::<S>().0, multiplier: self.multiplier, limits, swish: self.swish, way }
    }

    /// What sums start with.
    #[inline(always)]
    pub(super) fn start<S: Simd>(&self) -> Aligned<[[i32; 16]; 4]> {
        let lift = if self.bounds == Bounds::Lifts { S::LIFT } else { 0 };
        let mut bias = self.bias;
        for bias in bias.as_flattened_mut() {
            *bias = bias.wrapping_add(lift);
        }
        Aligned(bias)
    }
}

impl<R: Rows> Depthwise<'_, R> {
    /// The constants of up to `V` / `P` blocks of 16 channels, `P` times; those of channels that are not to be computed are 0.
    #[inline(never)]
    pub(super) fn block<const V: usize, const P: usize>(&self, first: usize, bounds: Bounds) -> Block {
        let channel = first * 16;
        let blocks = (V / P).min(self.blocks.end - first);
        let channels = (self.extents[2] - channel).min(blocks * 16);
        let none = [[0.0; 16]; 4];
        let mut block = Block { channel, channels, bias: [[0; 16]; 4], multiplier: none, swish: [none; 2], bounds };
        let bias = &self.bias[channel..][..blocks * 16];
        let multiplier = &self.multiplier[channel..][..blocks * 16];
        let swish = match self.finish {
            Finish::U8(how) => how.hard_swish,
            Finish::F32 | Finish::Dynamic(_) => None,
        };
        let swish = swish.map(|swish| [swish.slope, swish.shift].map(|of| &of.as_flattened()[channel..][..blocks * 16]));
        for l in 0..V {
            let from = 16 * (l % (V / P));
            if from < bias.len() {
                for v in 0..4 {
                    let (vector, lane) = if V == 4 { (v, 4 * l) } else { (0, 4 * v) };
                    block.bias[vector][lane..lane + 4].copy_from_slice(&bias[from + 4 * v..][..4]);
                    block.multiplier[vector][lane..lane + 4].copy_from_slice(&multiplier[from + 4 * v..][..4]);
                    for (to, of) in block.swish.iter_mut().zip(swish.iter().flatten()) {
                        to[vector][lane..lane + 4].copy_from_slice(&of[from + 4 * v..][..4]);
                    }
                }
            }
        }
        block
    }

    /// What constants say of all sums: [`Bounds::of`]. A residual takes the way that needs no bounds.
    #[inline(always)]
    pub(super) fn bounds(&self) -> Bounds {
        let Finish::U8(how) = &self.finish else { return Bounds::None };
        let channels = self.blocks.start * 16..self.blocks.end * 16;
        let (bias, multiplier) = (&self.bias[channels.clone()], &self.multiplier[channels]);
        // So far from 2²² that what the comparison's own steps round does not matter.
        const LARGE: f32 = 4e6;
        let reach = self.window.kernel[0] * self.window.kernel[1] * 255 * 128;
        let (mut most, mut bits, mut signs) = (0, 0, 0);
        for (&bias, &m) in bias.iter().zip(multiplier) {
            most = bias.unsigned_abs().max(most);
            // Without their signs, floats are in the order of their bits, NaN last.
            bits = (m.to_bits() & !SIGN).max(bits);
            signs |= m.to_bits();
        }
        let added = how.hard_swish.map_or(0.0, |swish| swish.reach());
        if how.residual.is_some() || (most as f32 + reach as f32) * f32::from_bits(bits) + added >= LARGE || f32::from_bits(bits).is_nan() {
            Bounds::None
        } else if how.hard_swish.is_none() && how.lo >= how.zero_point && signs & SIGN == 0 && most < 1 << 22 && reach < 1 << 22 {
            Bounds::Lifts
        } else {
            Bounds::Rounds
        }
    }
}

/// The constants of a block and its epilogue in vectors.
pub(super) struct Ready<S: Simd> {
    m: [S::F; 4],
    /// 2²³·`m`.
    lifted: [S::F; 4],
    swish: [[S::F; 2]; 4],
    top: S::F,
    limits: S::Limits,
    /// The best of [`way`].
    pub(super) way: u8,
}

impl<S: Simd> Ready<S> {
    /// For blocks of `V` vectors.
    #[inline(always)]
    pub(super) fn new<const V: usize>(s: S, block: &Block, how: &Finish<'_>) -> Self {
        let (z, lo, hi, swished) = match how {
            Finish::U8(how) => (how.zero_point, how.lo, how.hi, how.hard_swish.is_some()),
            Finish::F32 | Finish::Dynamic(_) => (0, 0, 255, false),
        };
        let mut m = [s.load_f32(&block.multiplier[0]); 4];
        let [slope, shift] = &block.swish;
        let mut swish = [[s.load_f32(&slope[0]), s.load_f32(&shift[0])]; 4];
        for v in 1..V {
            m[v] = s.load_f32(&block.multiplier[v]);
            swish[v] = [s.load_f32(&slope[v]), s.load_f32(&shift[v])];
        }
        let two_to_23 = s.splat_f32(8_388_608.0);
        let mut lifted = m;
        for v in 0..4 {
            lifted[v] = s.mul(m[v], two_to_23);
        }
        let top = s.splat_f32(f32::from(hi) - f32::from(z));
        let way = match block.bounds {
            Bounds::Lifts if (z, lo, hi) == (0, 0, 255) => way::LIFTED_BYTE,
            Bounds::Lifts => way::LIFTED,
            Bounds::Rounds if !swished => way::BOUNDED,
            _ => way::ANY,
        };
        Self { m, lifted, swish, top, limits: s.limits(z, lo, hi), way }
    }
}

/// Writes the sums, `[column][vector]`, of columns from output row `row` on.
#[inline(always)]
pub(super) fn write<S: Simd, R: Rows, const V: usize>(
    s: S,
    constants: (&Block, &Ready<S>),
    sums: &[S::I],
    row: usize,
    held: &mut Held,
    of: &mut Depthwise<'_, R>,
) {
    let (block, ready) = constants;
    let how = match of.finish {
        Finish::U8(how) => how,
        Finish::F32 | Finish::Dynamic(_) => return write_f32(s, block, ready, sums, row, &mut of.to),
    };
    match ready.way {
        way::LIFTED_BYTE => write_u8::<S, R, V, { way::LIFTED_BYTE }>(s, constants, sums, row, &how, held, of),
        way::LIFTED => write_u8::<S, R, V, { way::LIFTED }>(s, constants, sums, row, &how, held, of),
        way::BOUNDED => write_u8::<S, R, V, { way::BOUNDED }>(s, constants, sums, row, &how, held, of),
        _ => write_u8::<S, R, V, { way::ANY }>(s, constants, sums, row, &how, held, of),
    }
    held.release::<S, R, V>(s, block, row, sums.len() / V, of);
}

/// [`write`], where the output is bytes, up to what is held for a table.
#[inline(always)]
fn write_u8<S: Simd, R: Rows, const V: usize, const WAY: u8>(
    s: S,
    constants: (&Block, &Ready<S>),
    sums: &[S::I],
    row: usize,
    how: &Requantize<'_>,
    held: &mut Held,
    of: &mut Depthwise<'_, R>,
) {
    let columns = sums.len() / V;
    let mut column = 0;
    while column < columns {
        let count = (4 / V).min(columns - column);
        let sums = &sums[column * V..];
        // Columns that are not there repeat the last one, and are not stored.
        let last = count * V - 1;
        let acc = [sums[0], sums[1.min(last)], sums[2.min(last)], sums[3.min(last)]];
        let bytes = requantize::<S, R, V, WAY>(s, constants, acc, row + column, count, how, of);
        if how.table.is_some() {
            held.hold(s, column / (4 / V), bytes);
        } else {
            place::<S, R, V>(s, constants.0, bytes, row + column, count, &mut of.to);
        }
        column += count;
    }
}

/// The bytes of four vectors of sums, before a table: of a column of a wide block, or of `count` columns of a narrow one.
#[inline(always)]
pub(super) fn requantize<S: Simd, R: Rows, const V: usize, const WAY: u8>(
    s: S,
    (block, ready): (&Block, &Ready<S>),
    acc: [S::I; 4],
    row: usize,
    count: usize,
    how: &Requantize<'_>,
    of: &Depthwise<'_, R>,
) -> S::B {
    let mut q = [acc[0]; 4];
    if WAY == way::ANY {
        let mut t = [ready.top; 4];
        for j in 0..4 {
            t[j] = s.mul(s.to_f32(acc[j]), ready.m[j]);
        }
        if let Some(residual) = &how.residual {
            add::<S, V>(s, residual, row * of.extents[2] + block.channel, of.extents[2], count, &mut t);
        } else if how.hard_swish.is_some() {
            for j in 0..4 {
                t[j] = hard_swish(s, t[j], ready.swish[j]);
            }
        }
        for j in 0..4 {
            q[j] = s.round_below(t[j], ready.top);
        }
    } else if WAY == way::BOUNDED {
        let mut t = [ready.top; 4];
        for j in 0..4 {
            t[j] = s.mul(s.to_f32(acc[j]), ready.m[j]);
        }
        return if V == 4 { s.round_narrow_interleaved(t, ready.limits) } else { s.round_narrow(t, ready.limits) };
    } else {
        for j in 0..4 {
            q[j] = s.round(s.scale_lifted(acc[j], ready.m[j], ready.lifted[j]));
        }
    }
    match (V == 4, WAY == way::LIFTED_BYTE) {
        (true, true) => s.saturate_interleaved(q),
        (true, false) => s.narrow_interleaved(q, ready.limits),
        (false, true) => s.saturate(q),
        (false, false) => s.narrow(q, ready.limits),
    }
}

/// Bytes of a column of a wide block, or of `count` columns of a narrow one, to where they belong.
#[inline(always)]
pub(super) fn place<S: Simd, R: Rows, const V: usize>(s: S, block: &Block, bytes: S::B, row: usize, count: usize, to: &mut R) {
    if V == 4 {
        let place = to.at(row, block.channel, block.channels);
        match <&mut [u8; 64]>::try_from(&mut *place) {
            Ok(place) => s.store_b(bytes, place),
            Err(_) => {
                let mut whole = [0; 64];
                s.store_b(bytes, &mut whole);
                copy(&whole, place);
            }
        }
        return;
    }
    for j in 0..4 {
        if j < count {
            let place = to.at(row + j, block.channel, block.channels);
            match <&mut [u8; 16]>::try_from(&mut *place) {
                Ok(place) => s.store_quarter(bytes, j, place),
                Err(_) => {
                    let mut quarter = [0; 16];
                    s.store_quarter(bytes, j, &mut quarter);
                    copy(&quarter, place);
                }
            }
        }
    }
}

/// Bytes of some columns of a line that a table is yet to replace, so that one call does for all of them.
#[repr(align(64))]
pub(super) struct Held([[u8; 64]; SUMS]);

impl Held {
    #[inline(always)]
    pub(super) const fn new() -> Self {
        Self([[0; 64]; SUMS])
    }

    /// Holds the bytes of a step, `slot` steps after the first.
    #[inline(always)]
    pub(super) fn hold<S: Simd>(&mut self, s: S, slot: usize, bytes: S::B) {
        s.store_b(bytes, &mut self.0[slot]);
    }

    /// Looks up what is held, and writes it to `columns` columns from output row `row` on.
    #[inline(always)]
    pub(super) fn release<S: Simd, R: Rows, const V: usize>(
        &mut self,
        s: S,
        block: &Block,
        row: usize,
        columns: usize,
        of: &mut Depthwise<'_, R>,
    ) {
        let Finish::U8(Requantize { table: Some(table), .. }) = of.finish else { return };
        let held = &mut self.0[..columns.div_ceil(4 / V)];
        s.lookup(table, held.as_flattened_mut());
        for (slot, bytes) in held.iter().enumerate() {
            let column = slot * (4 / V);
            place::<S, R, V>(s, block, s.load_b(bytes), row + column, (4 / V).min(columns - column), &mut of.to);
        }
    }
}

/// f32(acc)·m, from blocks of one vector.
#[inline(always)]
fn write_f32<S: Simd, R: Rows>(s: S, block: &Block, ready: &Ready<S>, sums: &[S::I], row: usize, to: &mut R) {
    for (i, &acc) in sums.iter().enumerate() {
        let mut bytes = [0; 64];
        s.store_f32(s.mul(s.to_f32(acc), ready.m[0]), &mut bytes);
        copy(&bytes, to.at(row + i, block.channel * 4, block.channels * 4));
    }
}

/// The first bytes of `from`, in pieces that need no call: the last piece overlaps the one before it.
#[inline(always)]
fn copy(from: &[u8], to: &mut [u8]) {
    #[inline(always)]
    fn piece<const N: usize>(from: &[u8], to: &mut [u8]) {
        let last = to.len() - N;
        for at in (0..last).step_by(N).chain([last]) {
            to[at..at + N].copy_from_slice(&from[at..at + N]);
        }
    }
    match to.len() {
        16.. => piece::<16>(from, to),
        8.. => piece::<8>(from, to),
        4.. => piece::<4>(from, to),
        1.. => piece::<1>(from, to),
        0 => {}
    }
}

/// Adds f32(r − z_r)·m_r, r being the residual's bytes from `at` on, and for a narrow block at each column's distance.
#[inline(always)]
fn add<S: Simd, const V: usize>(s: S, residual: &Residual<'_>, at: usize, width: usize, count: usize, t: &mut [S::F; 4]) {
    let (zero, m) = (s.splat_i32(-i32::from(residual.zero_point)), s.splat_f32(residual.multiplier));
    let mut r = [zero; 4];
    if V == 4 {
        // Quads of the residual and zeros are the residual in interleaved order.
        let none = s.splat_b(0);
        let quads = s.interleave([s.load_b(&bytes_at(residual.bytes, at)), none, none, none]);
        for j in 0..4 {
            r[j] = s.sum4_lanes(zero, quads[j]);
        }
    } else {
        for j in 0..4 {
            let at = at + j.min(count - 1) * width;
            r[j] = s.add_i32(zero, s.widen(&bytes_at(residual.bytes, at)));
        }
    }
    for j in 0..4 {
        t[j] = s.add(t[j], s.mul(s.to_f32(r[j]), m));
    }
}
