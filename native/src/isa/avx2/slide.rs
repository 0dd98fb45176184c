//! The innermost loop of 3×3 depthwise convolutions of stride 1: eight channels of two lines a step.
//!
//! Two lines see four rows. Of each column they are widened once, in pairs: rows 0 and 2 are two integers of 16 bits in a lane, and
//! so are rows 1 and 3. A window's pairs stay in registers while it slides. What is read and written is checked before.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators are not reliably inlined, and arrays stay in registers only if indexed by constants"
)]

use core::arch::x86_64::*;

use quaver_core::kernel::depthwise::lines::{Lines, Way};
use quaver_core::kernel::epilogue::hard_swish;
use quaver_core::kernel::simd::{Kernel, Simd};

use super::{Avx2, Pairs};
use crate::isa::ymm::{Dot, Limits};

/// Channels of a step.
const CHANNELS: usize = 8;

/// Rows that two lines see.
const ROWS: usize = 4;

/// Carries out `lines`.
#[inline(always)]
pub(super) fn run<const P: usize>(isa: Avx2, lines: &mut Lines<'_>) {
    if lines.steps == 0 || lines.lines == 0 {
        return;
    }
    assert!(lines.is_covered::<P, 1>(), "rows or lines are too short");
    let units = 64 / P / CHANNELS;
    match lines.scale.way {
        Way::LiftedByte => isa.vectorize(Slide::<{ Way::LiftedByte as u8 }> { isa, lines, units }),
        Way::Lifted => isa.vectorize(Slide::<{ Way::Lifted as u8 }> { isa, lines, units }),
        Way::Bounded => isa.vectorize(Slide::<{ Way::Bounded as u8 }> { isa, lines, units }),
        Way::Swished => isa.vectorize(Slide::<{ Way::Swished as u8 }> { isa, lines, units }),
    }
}

/// Lines of which all is there: of so many times eight channels, finished in a [`Way`].
struct Slide<'a, 'b, const WAY: u8> {
    isa: Avx2,
    lines: &'a mut Lines<'b>,
    units: usize,
}

impl<const WAY: u8> Kernel for Slide<'_, '_, WAY> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { isa, lines: order, units: count } = self;
        let mut units = [Unit::new(isa, order, 0); 64 / CHANNELS];
        for (i, unit) in units.iter_mut().enumerate().take(count).skip(1) {
            *unit = Unit::new(isa, order, i);
        }
        let padding = [order.padding; 64];
        let to = order.to.as_mut_ptr();
        for line in (0..order.lines).step_by(2) {
            let mut pair = Pair::<WAY, false> {
                order,
                from: [padding.as_ptr(); ROWS],
                by: [0; ROWS],
                to: to.wrapping_add(line * order.to_pitch[1]),
                both: line + 1 < order.lines,
            };
            let mut inside = true;
            for k in 0..ROWS {
                let Some(y) = order.row_at::<1>(line, k) else {
                    inside = false;
                    continue;
                };
                pair.from[k] = order.input.as_ptr().wrapping_add(y * order.row);
                pair.by[k] = order.pitch;
            }
            for (i, unit) in units.iter().enumerate().take(count) {
                if inside {
                    pair.run(isa, unit, i * CHANNELS);
                } else {
                    let Pair { order, from, by, to, both } = pair;
                    Pair::<WAY, true> { order, from, by, to, both }.run(isa, unit, i * CHANNELS);
                }
            }
        }
    }
}

/// The constants of eight channels, in their order.
#[derive(Clone, Copy)]
struct Unit {
    /// `[line][column]`.
    weights: [[Pairs; 3]; 2],
    start: __m256i,
    multiplier: __m256,
    swish: [__m256; 2],
}

impl Unit {
    /// Those of channels 8`i` on.
    #[inline(always)]
    fn new(isa: Avx2, order: &Lines<'_>, i: usize) -> Self {
        let mut weights = [[isa.0.weights(isa.splat_i32(0)[0]); 3]; 2];
        for line in 0..2 {
            for column in 0..3 {
                weights[line][column] = isa.0.weights(lanes(isa, bytemuck::cast_ref(&order.weights[line][column]), i));
            }
        }
        let scale = order.scale;
        Self {
            weights,
            start: lanes(isa, bytemuck::cast_ref(&scale.start), i),
            multiplier: floats(isa, &scale.multiplier, i),
            swish: [floats(isa, &scale.swish[0], i), floats(isa, &scale.swish[1], i)],
        }
    }

    /// The sums of both lines for a window.
    #[inline(always)]
    fn sums(&self, isa: Avx2, window: [Pairs; 3]) -> [__m256i; 2] {
        let mut sums = [self.start; 2];
        for line in 0..2 {
            for i in 0..3 {
                sums[line] = isa.0.dot4(sums[line], window[i], self.weights[line][i]);
            }
        }
        sums
    }
}

/// Eight numbers of channels 8`i` on, in their order.
#[inline(always)]
fn floats(isa: Avx2, of: &[[f32; 16]; 4], i: usize) -> __m256 {
    // SAFETY: `isa` proves the feature.
    unsafe { _mm256_castsi256_ps(lanes(isa, bytemuck::cast_ref(of), i)) }
}

/// Eight lanes of channels 8`i` on, in their order: in interleaved order two vectors have four of them each.
#[inline(always)]
fn lanes(_isa: Avx2, of: &[[[u8; 16]; 4]; 4], i: usize) -> __m256i {
    let (vector, quarter) = (2 * (i % 2), i / 2);
    // SAFETY: the token proves the feature; the references cover 16 bytes.
    unsafe { _mm256_loadu2_m128i(of[vector + 1][quarter].as_ptr().cast(), of[vector][quarter].as_ptr().cast()) }
}

/// Two lines, of which the second may not be there. Rows are all inside of the image, or at its `EDGE`.
#[derive(Clone, Copy)]
struct Pair<'a, 'b, const WAY: u8, const EDGE: bool> {
    order: &'a Lines<'b>,
    /// Where rows are, and their distance of columns, or 0 for 64 bytes of padding.
    from: [*const u8; ROWS],
    by: [usize; ROWS],
    to: *mut u8,
    both: bool,
}

impl<const WAY: u8, const EDGE: bool> Pair<'_, '_, WAY, EDGE> {
    /// Computes eight channels from `channel` on. [`run`] has made sure that all is there.
    #[inline(always)]
    fn run(self, isa: Avx2, unit: &Unit, channel: usize) {
        let Self { order, from, by, to, both } = self;
        let &Lines { pitch, pads, steps, to_pitch: [to_pitch, line_pitch], .. } = order;
        let [zero_point, lo, hi] = order.scale.limits;
        let limits = isa.limits(zero_point, lo, hi);
        let padding = [order.padding; 64];
        // SAFETY: eight bytes can be read.
        let padding = unsafe { column(isa, [padding.as_ptr(); ROWS]) };
        macro_rules! column {
            ($at:expr) => {{
                let mut rows = from;
                for k in 0..ROWS {
                    rows[k] = from[k].wrapping_add($at * if EDGE { by[k] } else { pitch } + channel);
                }
                // SAFETY: each row holds this column, or is of padding.
                unsafe { column(isa, rows) }
            }};
        }
        let before = usize::from(pads[0]);
        let at_end = if pads[1] { steps - 1 } else { steps };
        let mut kept = [if pads[0] { padding } else { column!(0) }, column!(1 - before)];
        for step in 0..steps {
            let new = if step == at_end { padding } else { column!(step + 2 - before) };
            let bytes = finish::<WAY>(isa, unit.sums(isa, [kept[0], kept[1], new]), unit, &limits);
            kept = [kept[1], new];
            let to = to.wrapping_add(step * to_pitch + channel);
            // SAFETY: there are `steps` places in each line that there is, and this is one.
            unsafe {
                _mm_storel_epi64(to.cast(), bytes);
                if both {
                    _mm_storel_epi64(to.wrapping_add(line_pitch).cast(), _mm_unpackhi_epi64(bytes, bytes));
                }
            }
        }
    }
}

/// A column of eight channels from its rows.
///
/// # Safety
/// Eight bytes can be read of each.
#[inline(always)]
unsafe fn column(_isa: Avx2, [a, b, c, d]: [*const u8; ROWS]) -> Pairs {
    // SAFETY: the token proves the feature; by this function's own condition.
    unsafe {
        let (ac_low, ac_high) = (_mm_loadl_epi64(a.cast()), _mm_loadl_epi64(c.cast()));
        let (bd_low, bd_high) = (_mm_loadl_epi64(b.cast()), _mm_loadl_epi64(d.cast()));
        Pairs {
            even: _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(ac_low, ac_high)),
            odd: _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(bd_low, bd_high)),
        }
    }
}

/// The bytes of both lines' sums, one behind the other.
#[inline(always)]
fn finish<const WAY: u8>(isa: Avx2, sums: [__m256i; 2], unit: &Unit, limits: &Limits) -> __m128i {
    let mut t = isa.mul(isa.to_f32(sums), [unit.multiplier; 2]);
    if WAY == Way::Swished as u8 {
        t = hard_swish(isa, t, [[unit.swish[0]; 2], [unit.swish[1]; 2]]);
    }
    let [first, second] = isa.round(t);
    // SAFETY: the token proves the feature.
    unsafe {
        // Four channels of each line, and then the other four.
        let mut words = _mm256_packs_epi32(first, second);
        if WAY != Way::LiftedByte as u8 {
            words = _mm256_adds_epi16(words, limits.zero_point);
        }
        let mut bytes = _mm256_packus_epi16(words, words);
        if WAY != Way::LiftedByte as u8 {
            bytes = _mm256_min_epu8(_mm256_max_epu8(bytes, limits.lo), limits.hi);
        }
        _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes))
    }
}
