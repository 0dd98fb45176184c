//! The processor's tiles, by `asm!`: neither the intrinsics nor the target features of AMX are stable in Rust, the
//! instructions' names in assembly are.
//!
//! Tiles keep their contents from one `asm!` to the next. The compiler allocates nothing to tile registers, because no
//! function enables AMX for it; it keeps the order of these blocks; and between configuration and release the driver calls
//! nothing but safe Rust of this workspace, so that no other AMX code runs in the thread.

use core::arch::asm;
use std::cell::Cell;
use std::marker::PhantomData;

use super::Amx;
use super::machine::{Activations, BYTES, Shape, TILES, TileMachine};

thread_local! {
    /// Whether a [`Hardware`] of this thread exists.
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// This thread's tiles. They stay in the thread that configured them, and there is one of it a thread: the shapes that
/// bound each access are those that the processor has.
#[derive(Debug)]
pub struct Hardware {
    shapes: [Shape; TILES],
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
fn configuration(shapes: &[Shape; TILES]) -> [u8; 64] {
    /// The one way of dividing the registers that is defined: eight tiles of 1 KiB.
    const PALETTE: u8 = 1;
    /// Where the 16-bit lengths of rows begin, then the 8-bit numbers of rows.
    const ROW_BYTES: usize = 16;
    const ROWS: usize = 48;
    let mut memory = [0; 64];
    memory[0] = PALETTE;
    for (i, shape) in shapes.iter().enumerate() {
        // A row has at most 64 bytes, so that the upper byte of its length stays zero.
        memory[ROW_BYTES + 2 * i] = shape.bytes() as u8;
        memory[ROWS + i] = shape.rows() as u8;
    }
    memory
}

impl TileMachine for Hardware {
    type Proof = Amx;

    #[inline]
    fn configure(_: Amx, shapes: [Shape; TILES]) -> Self {
        assert!(!TAKEN.replace(true), "the tiles of a thread are configured twice");
        let memory = configuration(&shapes);
        // SAFETY: the token proves that the process may use tiles; the configuration is 64 bytes of a form that the
        // processor takes, as `Shape` admits no other.
        unsafe { tile_asm!("ldtilecfg [{memory}]", [readonly], memory = in(reg) memory.as_ptr(),) };
        Self { shapes, thread: PhantomData }
    }

    #[inline(always)]
    fn load_a<const T: u8>(&mut self, rows: &Activations<'_>, distance: usize) {
        let (rows, pitch) = rows.at(distance, self.shapes[usize::from(T)]);
        // SAFETY: the tiles are configured, and all rows of one of this shape lie in the slice.
        unsafe {
            tile_asm!(
                "tileloadd tmm{tile}, [{rows} + {pitch} * 1]", [readonly],
                tile = const T, rows = in(reg) rows.as_ptr(), pitch = in(reg) pitch,
            );
        }
    }

    #[inline(always)]
    fn load_b<const T: u8>(&mut self, rows: &[[i8; BYTES]], first: usize) {
        let end = first.saturating_add(self.shapes[usize::from(T)].rows());
        assert!(end <= rows.len(), "a tile reads behind its weights");
        let rows = &rows[first..];
        // SAFETY: the tiles are configured, and all rows of this one, of at most 64 bytes, lie in the slice.
        unsafe {
            tile_asm!(
                "tileloadd tmm{tile}, [{rows} + {pitch} * 1]", [readonly],
                tile = const T, rows = in(reg) rows.as_ptr(), pitch = in(reg) BYTES,
            );
        }
    }

    #[inline(always)]
    fn fill<const T: u8>(&mut self, row: &[i32; BYTES / 4]) {
        // SAFETY: the tiles are configured; rows at distance zero are one row of at most 64 bytes, which the reference covers.
        unsafe {
            tile_asm!(
                "tileloadd tmm{tile}, [{row} + {pitch} * 1]", [readonly],
                tile = const T, row = in(reg) row.as_ptr(), pitch = in(reg) 0usize,
            );
        }
    }

    #[inline(always)]
    fn dot<const C: u8, const A: u8, const B: u8>(&mut self) {
        // SAFETY: the tiles are configured, and no memory is involved.
        unsafe { tile_asm!("tdpbusd tmm{c}, tmm{a}, tmm{b}", [nomem], c = const C, a = const A, b = const B,) };
    }

    #[inline(always)]
    fn store<const T: u8>(&mut self, to: &mut [i32], pitch: usize) {
        assert!(to.len() >= self.shapes[usize::from(T)].span(pitch, 4), "a tile writes behind its rows");
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
        let mut shapes = [Shape::new(16, 64); TILES];
        shapes[7] = Shape::new(3, 12);
        let memory = configuration(&shapes);
        assert_eq!(memory[..2], [1, 0], "palette and first row");
        assert_eq!(memory[2..16], [0; 14]);
        assert_eq!(memory[16..32], [64, 0, 64, 0, 64, 0, 64, 0, 64, 0, 64, 0, 64, 0, 12, 0]);
        assert_eq!(memory[32..48], [0; 16], "tiles that don't exist");
        assert_eq!(memory[48..56], [16, 16, 16, 16, 16, 16, 16, 3]);
        assert_eq!(memory[56..], [0; 8]);
    }
}
