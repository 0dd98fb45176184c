//! The innermost loops of the matrix kernel: two registers of a block at a time, which with their sums of several rows are as many
//! as there are.

#![allow(clippy::needless_range_loop, reason = "loops over constants keep arrays of vectors in registers")]

use core::arch::wasm32::*;

use quaver_core::kernel::tile::{Panel, TileRows};

use super::v128::{Dot, V128};

/// Quads between two changes of addresses.
const STEP: usize = 4;

impl<D: Dot> V128<D> {
    /// Adds the products of registers `v` and `v` + 1 of block `n`.
    #[inline(always)]
    pub(super) fn half<const MR: usize, const NB: usize>(
        self,
        sums: &mut [[v128; 2]; MR],
        rows: &TileRows<'_, MR>,
        panel: &Panel<'_, NB>,
        [n, v]: [usize; 2],
    ) {
        let run = rows.run();
        let bytes = rows.bytes().as_ptr();
        let mut w = panel.weights()[n * panel.quads()..][..panel.quads()].as_ptr().cast::<v128>().wrapping_add(v);
        for &segment in rows.segments() {
            let mut x = [bytes; MR];
            for m in 0..MR {
                x[m] = bytes.wrapping_add(rows.base()[m] + segment);
            }
            for _ in 0..run / STEP {
                // SAFETY: `rows` names only quads that exist, `panel` as many weights as those are; this takes `STEP` of what
                // is left of the segment's `run` quads.
                unsafe { self.steps::<MR, STEP>(sums, &mut x, &mut w) }
            }
            for _ in 0..run % STEP {
                // SAFETY: likewise, for the rest.
                unsafe { self.steps::<MR, 1>(sums, &mut x, &mut w) }
            }
        }
    }

    /// The products of staged quads, as many as there are weights.
    #[inline(always)]
    pub(super) fn staged_halves<const N: usize>(
        self,
        acc: &mut [[v128; 4]; N],
        even: [&[i32]; N],
        odd: [&[i32]; N],
        weights: &[[D::W; 4]],
    ) {
        let run = weights.len();
        let (mut starts, mut w) = ([[std::ptr::null(); 2]; N], weights.as_ptr().cast::<D::W>());
        for m in 0..N {
            starts[m] = [even[m][..run].as_ptr(), odd[m][..run].as_ptr()];
        }
        for v in [0, 2] {
            let mut sums = [[i32x4_splat(0); 2]; N];
            for m in 0..N {
                sums[m] = [acc[m][v], acc[m][v + 1]];
            }
            let mut x = starts;
            for _ in 0..run {
                // SAFETY: slices of `run` elements each, of which this steps over one; of four weights it takes two.
                unsafe { self.staged_step(&mut sums, &mut x, w) }
                // SAFETY: four weights a step, of which there are `run`.
                w = unsafe { w.add(4) };
            }
            // SAFETY: back to the start, and two further.
            w = unsafe { w.sub(4 * run).add(2) };
            for m in 0..N {
                [acc[m][v], acc[m][v + 1]] = sums[m];
            }
        }
    }

    /// Adds the products of `K` quads with two registers of weights, and steps over them.
    ///
    /// # Safety
    /// So many quads can be read at each of `x`, and as many times 64 bytes of weights at `w`, but for what their block has
    /// before it.
    #[inline(always)]
    unsafe fn steps<const MR: usize, const K: usize>(self, sums: &mut [[v128; 2]; MR], x: &mut [*const u8; MR], w: &mut *const v128) {
        for k in 0..K {
            // SAFETY: by this function's own condition, as all below.
            let [w0, w1] = unsafe { [v128_load(w.add(4 * k)), v128_load(w.add(4 * k + 1))] };
            let (w0, w1) = (self.0.weights(w0), self.0.weights(w1));
            for m in 0..MR {
                // SAFETY: see above.
                let quad = self.0.activations(unsafe { v128_load32_splat(x[m].add(4 * k).cast()) });
                sums[m][0] = self.0.dot4(sums[m][0], quad, w0);
                sums[m][1] = self.0.dot4(sums[m][1], quad, w1);
            }
        }
        for x in x.iter_mut() {
            // SAFETY: see above.
            *x = unsafe { x.add(4 * K) };
        }
        // Behind the last weights this may point further than a block reaches.
        *w = w.wrapping_add(4 * K);
    }

    /// Adds the products of a staged quad with two registers of weights, and steps over it.
    ///
    /// # Safety
    /// A word can be read at each of `x`, and two weights at `w`.
    #[inline(always)]
    unsafe fn staged_step<const N: usize>(self, sums: &mut [[v128; 2]; N], x: &mut [[*const i32; 2]; N], w: *const D::W) {
        // SAFETY: by this function's own condition, as all below.
        let [w0, w1] = unsafe { [*w, *w.add(1)] };
        for m in 0..N {
            // SAFETY: see above.
            let [even, odd] = unsafe { [v128_load32_splat(x[m][0].cast()), v128_load32_splat(x[m][1].cast())] };
            let quad = self.0.staged(even, odd);
            sums[m][0] = self.0.dot4(sums[m][0], quad, w0);
            sums[m][1] = self.0.dot4(sums[m][1], quad, w1);
            // SAFETY: see above.
            x[m] = unsafe { [x[m][0].add(1), x[m][1].add(1)] };
        }
    }
}
