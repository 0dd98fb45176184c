//! The processor's tiles, by `asm!`: neither the intrinsics nor the target features of AMX are stable in Rust, the
//! instructions' names in assembly are.
//!
//! Tiles keep their contents from one `asm!` to the next. The compiler allocates nothing to tile registers, because no
//! function enables AMX for it; it keeps the order of these blocks; and between configuration and release the driver calls
//! nothing but safe Rust of this workspace, so that no other AMX code runs in the thread.

use core::arch::asm;
use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use super::Amx;
use super::machine::{Ahead, BYTES, Course, Extents, Lines, SUMS, TileMachine};

thread_local! {
    /// Whether a [`Hardware`] of this thread exists.
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// Where activations are loaded to, and weights behind them; before them are sums.
const A: u8 = SUMS as u8;
/// The same for last steps that have fewer quads.
const TAIL: u8 = A + 2;

/// This thread's tiles. They stay in the thread that configured them, and there is one of it a thread: the extents that
/// bound each access are those that the processor has.
#[derive(Debug)]
pub struct Hardware {
    extents: Extents,
    /// Not `Send`.
    thread: PhantomData<*mut ()>,
}

/// An `asm!` that may write any tile. It leaves stack and flags alone.
macro_rules! tile_asm {
    ($text:literal, [$($option:ident),*], $($operand:tt)*) => {
        asm!(
            $text,
            $($operand)*
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options($($option,)* nostack, preserves_flags)
        )
    };
}

/// The 64 bytes that `ldtilecfg` reads.
fn configuration(extents: Extents) -> [u8; 64] {
    /// The one way of dividing the registers that is defined: eight tiles of 1 KiB.
    const PALETTE: u8 = 1;
    /// Where the 16-bit lengths of rows begin, then the 8-bit numbers of rows.
    const ROW_BYTES: usize = 16;
    const TILE_ROWS: usize = 48;
    let mut memory = [0; 64];
    memory[0] = PALETTE;
    let tiles = |extents: Extents| [extents.activations(), extents.weights()];
    let tail = extents.tail().map(tiles);
    for (i, shape) in [extents.sums(); SUMS].into_iter().chain(tiles(extents)).chain(tail.into_iter().flatten()).enumerate() {
        // A row has at most 64 bytes, so that the upper byte of its length stays zero.
        memory[ROW_BYTES + 2 * i] = shape.bytes as u8;
        memory[TILE_ROWS + i] = shape.rows as u8;
    }
    memory
}

impl TileMachine for Hardware {
    type Proof = Amx;

    #[inline]
    fn configure(_: Amx, extents: Extents) -> Self {
        assert!(!TAKEN.replace(true), "the tiles of a thread are configured twice");
        let memory = configuration(extents);
        // SAFETY: the token proves that the process may use tiles; the configuration is 64 bytes of a form that the
        // processor takes, as `Extents` admits no others.
        unsafe { tile_asm!("ldtilecfg [{memory}]", [readonly], memory = in(reg) memory.as_ptr(),) };
        Self { extents, thread: PhantomData }
    }

    #[inline(always)]
    fn zero(&mut self) {
        const { assert!(SUMS == 2, "two are zeroed") }
        // SAFETY: the tiles are configured, and no memory is involved.
        unsafe { tile_asm!("tilezero tmm0\ntilezero tmm1", [nomem],) };
    }

    #[inline(always)]
    fn multiply<const MT: usize, const NB: usize>(
        &mut self,
        a: &[Lines<'_>; MT],
        b: &[&[[i8; BYTES]]; NB],
        part: Range<usize>,
        ahead: &mut Ahead<'_>,
    ) {
        let Course { steps, quads, mut run, mut within } = Course::of(self.extents, a, b, &part);
        let (depth, tail) = (self.extents.quads(), self.extents.tail().map_or(0, Extents::quads));
        let whole = steps.saturating_sub(usize::from(tail > 0));
        let mut w = [std::ptr::null::<[i8; BYTES]>(); NB];
        for n in 0..NB {
            w[n] = b[n].as_ptr().wrapping_add(run * quads + within * depth);
        }
        let mut left = part.len();
        while left > 0 {
            let mut at = At { x: [std::ptr::null(); MT], pitches: [0; MT], w };
            for (m, a) in a.iter().enumerate() {
                at.x[m] = a.bytes.as_ptr().wrapping_add(a.distance(run) + within * depth * 4);
                at.pitches[m] = a.pitch;
            }
            let count = left.min(steps - within);
            for _ in 0..count.min(whole - within) {
                ask(ahead);
                // SAFETY: the tiles are configured. `Lines` are checked for all of their runs, and `Course::of` has checked that
                // there are weights for these: the part is one of them, and no step leaves its run.
                unsafe { at.step::<A>() }
                at.pass(depth);
            }
            if tail > 0 && within + count == steps {
                ask(ahead);
                // SAFETY: as above; what is left of the run is a tail.
                unsafe { at.step::<TAIL>() }
                at.pass(tail);
            }
            w = at.w;
            left -= count;
            (run, within) = (run + 1, 0);
        }
    }

    #[inline(always)]
    fn load<const T: u8>(&mut self, from: &[i32], pitch: usize) {
        const { assert!((T as usize) < SUMS, "other tiles have other extents") };
        assert!(from.len() >= self.extents.sums().span(pitch, 4), "a tile reads behind its sums");
        // SAFETY: the tiles are configured, and all rows of this one lie in the slice; as in `store`.
        unsafe { load::<T, false>(from.as_ptr().cast(), pitch.wrapping_mul(4)) }
    }

    #[inline(always)]
    fn store<const T: u8>(&mut self, to: &mut [i32], pitch: usize) {
        const { assert!((T as usize) < SUMS, "other tiles have other extents") };
        assert!(to.len() >= self.extents.sums().span(pitch, 4), "a tile writes behind its rows");
        // SAFETY: the tiles are configured, and all rows of this one lie in the slice, which is ours alone. The pitch in bytes
        // doesn't overflow: more than one row lies in the slice only if the pitch does.
        unsafe {
            tile_asm!(
                "tilestored [{to} + {pitch} * 1], tmm{tile}", [],
                tile = const T, to = in(reg) to.as_mut_ptr(), pitch = in(reg) pitch.wrapping_mul(4),
            );
        }
    }
}

/// Loads tile `T` from rows `pitch` bytes apart; rows that pass by are not kept in L1 at the cost of what is.
///
/// # Safety
/// The tiles are configured, and all rows of this one can be read.
#[inline(always)]
unsafe fn load<const T: u8, const PASSING: bool>(rows: *const u8, pitch: usize) {
    // SAFETY: the caller's.
    unsafe {
        if PASSING {
            tile_asm!("tileloaddt1 tmm{tile}, [{rows} + {pitch} * 1]", [readonly], tile = const T, rows = in(reg) rows, pitch = in(reg) pitch,);
        } else {
            tile_asm!("tileloadd tmm{tile}, [{rows} + {pitch} * 1]", [readonly], tile = const T, rows = in(reg) rows, pitch = in(reg) pitch,);
        }
    }
}

/// Loads the tile behind `T` with packed weights.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
unsafe fn weights<const T: u8, const PASSING: bool>(rows: *const [i8; BYTES]) {
    // SAFETY: the caller's.
    unsafe {
        match T {
            A => load::<{ A + 1 }, PASSING>(rows.cast(), BYTES),
            _ => load::<{ TAIL + 1 }, PASSING>(rows.cast(), BYTES),
        }
    }
}

/// Adds the product of tile `T` by the one behind it to tile `C` of sums.
///
/// # Safety
/// The tiles are configured.
#[inline(always)]
unsafe fn dot<const C: u8, const T: u8>() {
    // SAFETY: the caller's; no memory is involved.
    unsafe {
        match T {
            A => tile_asm!("tdpbusd tmm{c}, tmm{a}, tmm{b}", [nomem], c = const C, a = const A, b = const A + 1,),
            _ => tile_asm!("tdpbusd tmm{c}, tmm{a}, tmm{b}", [nomem], c = const C, a = const TAIL, b = const TAIL + 1,),
        }
    }
}

/// Asks for the weights of a step.
#[inline(always)]
fn ask(ahead: &mut Ahead<'_>) {
    for line in ahead.step() {
        // SAFETY: a hint, for an address that the reference covers.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) }
    }
}

/// Where a step's tiles lie.
struct At<const MT: usize, const NB: usize> {
    x: [*const u8; MT],
    pitches: [usize; MT],
    w: [*const [i8; BYTES]; NB],
}

impl<const MT: usize, const NB: usize> At<MT, NB> {
    /// Adds the products of these tiles, of activations in tile `T` by weights in the one behind it.
    ///
    /// # Safety
    /// The tiles are configured, and all rows of these can be read.
    #[inline(always)]
    unsafe fn step<const T: u8>(&self) {
        // SAFETY: the caller's.
        unsafe {
            if NB == 2 {
                load::<T, true>(self.x[0], self.pitches[0]);
                weights::<T, false>(self.w[0]);
                dot::<0, T>();
                weights::<T, false>(self.w[1]);
                dot::<1, T>();
            } else {
                weights::<T, true>(self.w[0]);
                load::<T, false>(self.x[0], self.pitches[0]);
                dot::<0, T>();
                if MT == 2 {
                    load::<T, false>(self.x[1], self.pitches[1]);
                    dot::<1, T>();
                }
            }
        }
    }

    /// Goes on to what lies behind so many quads.
    #[inline(always)]
    fn pass(&mut self, quads: usize) {
        for x in &mut self.x {
            *x = x.wrapping_add(quads * 4);
        }
        for w in &mut self.w {
            *w = w.wrapping_add(quads);
        }
    }
}

impl Hardware {
    /// Multiplies tiles as they are, at least so many products of two numbers, and returns how many those were.
    pub(super) fn peak(&mut self, products: u64) -> u64 {
        let (rows, quads) = (self.extents.rows(), self.extents.quads());
        let round = (SUMS * rows * quads * BYTES) as u64;
        let rounds = products.div_ceil(round).max(1);
        for _ in 0..rounds {
            // SAFETY: the tiles are configured.
            unsafe {
                dot::<0, A>();
                dot::<1, A>();
            }
        }
        rounds * round
    }
}

impl Drop for Hardware {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `self` shows that there are tiles, and nothing in them is used after it. Released tiles need not be saved
        // when threads are switched.
        unsafe { tile_asm!("tilerelease", [nomem],) };
        TAKEN.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_laid_out_as_the_manual_says() {
        let memory = configuration(Extents::new(13, 3, 2));
        assert_eq!(memory[..2], [1, 0], "palette and first row");
        assert_eq!(memory[2..16], [0; 14]);
        assert_eq!(memory[16..28], [64, 0, 64, 0, 12, 0, 64, 0, 8, 0, 64, 0]);
        assert_eq!(memory[28..48], [0; 20], "tiles that are not used, or don't exist");
        assert_eq!(memory[48..54], [13, 13, 13, 3, 13, 2]);
        assert_eq!(memory[54..], [0; 10]);
        assert_eq!(configuration(Extents::new(13, 3, 0))[52..], [0; 12]);
    }
}
