//! The innermost loop of the matrix kernel.

use core::arch::x86_64::*;

use quaver_core::kernel::simd::Simd;
use quaver_core::kernel::tile::{Panel, TileRows};

use super::Avx512Vnni;

/// [`Simd::products`].
#[inline(always)]
pub(super) fn products<const MR: usize, const NB: usize>(
    isa: Avx512Vnni,
    acc: &mut [[__m512i; NB]; MR],
    rows: &TileRows<'_, MR>,
    panel: &Panel<'_, NB>,
) {
    // A loop for each: what is not asked for is not looked at either, as the front end has few cycles to spare.
    if panel.ahead().is_empty() {
        steps::<MR, NB, false>(isa, acc, rows, panel);
    } else {
        steps::<MR, NB, true>(isa, acc, rows, panel);
    }
}

/// Each step is one address that goes up by four, to which rows add their bases: so a new segment costs one addition, and
/// nothing is checked on the way.
#[inline(always)]
fn steps<const MR: usize, const NB: usize, const AHEAD: bool>(
    isa: Avx512Vnni,
    acc: &mut [[__m512i; NB]; MR],
    rows: &TileRows<'_, MR>,
    panel: &Panel<'_, NB>,
) {
    let base = *rows.base();
    let mut w = panel.weights().as_ptr();
    let mut ahead = panel.ahead().iter();
    // As few at a time as will do: more than come from afar meanwhile hold up what is needed now.
    let dense = panel.ahead().len() > panel.quads();
    // SAFETY: `TileRows` has a segment, and a quad in each. Were there a way around these loops, the compiler would set up all
    // sums once more for each of them.
    unsafe { core::hint::assert_unchecked(!rows.segments().is_empty() && rows.run() > 0) };
    for segment in rows.segments() {
        let mut at = rows.bytes().as_ptr().wrapping_add(*segment);
        let end = at.wrapping_add(4 * rows.run());
        loop {
            let mut weights = [isa.splat_i32(0); NB];
            for (n, weights) in weights.iter_mut().enumerate() {
                if AHEAD
                    && (n == 0 || dense)
                    && let Some(line) = ahead.next()
                {
                    isa.prefetch(line);
                }
                // SAFETY: `isa` proves the feature; `Panel` has a vector of weights for each quad of each segment in each block.
                *weights = unsafe { _mm512_loadu_si512(w.wrapping_add(n * panel.quads()).cast()) };
            }
            w = w.wrapping_add(1);
            for m in 0..MR {
                // SAFETY: `isa` proves the features; `TileRows` has made sure that each row's quad lies within its bytes.
                unsafe { step(&mut acc[m], at, base[m], &weights) };
            }
            at = at.wrapping_add(4);
            if at == end {
                break;
            }
        }
    }
}

/// Adds the products of the quad at `at` + `base`.
///
/// Written out, since a tile takes 31 of the 32 registers: left to the compiler, quads of two rows are alive at once, and a
/// sum goes through memory in every step.
///
/// # Safety
/// There is a quad.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn step<const NB: usize>(acc: &mut [__m512i; NB], at: *const u8, base: usize, weights: &[__m512i; NB]) {
    if NB == 2 {
        let _quad: __m512i;
        // SAFETY: the caller promises that the quad can be read.
        unsafe {
            core::arch::asm!(
                "vpbroadcastd {quad}, dword ptr [{at} + {base}]",
                "vpdpbusd {acc0}, {quad}, {w0}",
                "vpdpbusd {acc1}, {quad}, {w1}",
                quad = out(zmm_reg) _quad,
                at = in(reg) at,
                base = in(reg) base,
                acc0 = inout(zmm_reg) acc[0],
                acc1 = inout(zmm_reg) acc[NB - 1],
                w0 = in(zmm_reg) weights[0],
                w1 = in(zmm_reg) weights[NB - 1],
                options(readonly, nostack, preserves_flags),
            );
        }
        return;
    }
    if NB == 4 {
        let _quad: __m512i;
        // SAFETY: the caller promises that the quad can be read.
        unsafe {
            core::arch::asm!(
                "vpbroadcastd {quad}, dword ptr [{at} + {base}]",
                "vpdpbusd {acc0}, {quad}, {w0}",
                "vpdpbusd {acc1}, {quad}, {w1}",
                "vpdpbusd {acc2}, {quad}, {w2}",
                "vpdpbusd {acc3}, {quad}, {w3}",
                quad = out(zmm_reg) _quad,
                at = in(reg) at,
                base = in(reg) base,
                acc0 = inout(zmm_reg) acc[0],
                acc1 = inout(zmm_reg) acc[1 % NB],
                acc2 = inout(zmm_reg) acc[2 % NB],
                acc3 = inout(zmm_reg) acc[3 % NB],
                w0 = in(zmm_reg) weights[0],
                w1 = in(zmm_reg) weights[1 % NB],
                w2 = in(zmm_reg) weights[2 % NB],
                w3 = in(zmm_reg) weights[3 % NB],
                options(readonly, nostack, preserves_flags),
            );
        }
        return;
    }
    // SAFETY: the caller promises that the quad can be read.
    let quad = unsafe { _mm512_set1_epi32(at.wrapping_add(base).cast::<i32>().read_unaligned()) };
    for n in 0..NB {
        acc[n] = _mm512_dpbusd_epi32(acc[n], quad, weights[n]);
    }
}
