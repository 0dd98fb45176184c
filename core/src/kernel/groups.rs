//! The way from sums in memory to bytes where nothing is left over: groups of rows of whole blocks, whose places in the output
//! and in a residual are checked once a group.

use super::addend::Addend;
use super::epilogue::{ADDED, ADDED_FROM_0, Fixed, Residual, Rows, Sums};
use super::simd::Simd;

/// Rows whose blocks are whole, in groups of as many as are narrowed at once.
pub(super) struct Groups<'a, S: Simd, const NB: usize> {
    /// The sums.
    pub sums: &'a Sums<'a, NB>,
    /// What is the same for all.
    pub fixed: &'a Fixed<S, NB>,
    /// What the sums lack.
    pub lacking: &'a [S::I; NB],
    /// What is added, where something is.
    pub residual: &'a Residual<'a>,
}

impl<S: Simd, const NB: usize> Groups<'_, S, NB> {
    /// Writes rows, and returns how many.
    #[inline(always)]
    pub(super) fn write<R: Rows, const BOUNDS: u8, const LIMITS: u8, const RESIDUAL: u8>(&self, s: S, to: &mut R) -> usize {
        if const { NB == 4 } {
            self.groups::<R, 1, 64, BOUNDS, LIMITS, RESIDUAL>(s, to)
        } else if const { NB == 2 } {
            self.groups::<R, 2, 32, BOUNDS, LIMITS, RESIDUAL>(s, to)
        } else {
            self.groups::<R, 4, 16, BOUNDS, LIMITS, RESIDUAL>(s, to)
        }
    }

    /// By groups of `N` rows of `L` channels.
    #[inline(always)]
    fn groups<R: Rows, const N: usize, const L: usize, const BOUNDS: u8, const LIMITS: u8, const RESIDUAL: u8>(
        &self,
        s: S,
        to: &mut R,
    ) -> usize {
        let Self { sums, fixed, lacking, residual } = *self;
        let groups = &sums.acc[..sums.rows].as_chunks::<N>().0;
        let lines = to.lines::<N>(sums.row, groups.len(), sums.channel, L);
        let mut at = sums.row * sums.width + sums.channel;
        for (acc, places) in groups.iter().zip(lines) {
            let mut v = [s.splat_i32(0); 4];
            for j in 0..4 {
                v[j] = s.add_i32(s.load_i32(&acc[j / NB][j % NB]), lacking[j % NB]);
            }
            let bytes = if RESIDUAL == ADDED || RESIDUAL == ADDED_FROM_0 {
                fixed.bytes::<BOUNDS, LIMITS, RESIDUAL>(s, v, (&Addend::<L, N>::new(residual, at, sums.width), 0, [(); NB]))
            } else {
                fixed.bytes::<BOUNDS, LIMITS, RESIDUAL>(s, v, [&[][..]; 4])
            };
            at += N * sums.width;
            for (j, place) in places.enumerate() {
                store_row::<S, NB>(s, bytes, j, place);
            }
        }
        groups.len() * N
    }
}

/// Stores the bytes of row `j` of a group, which are all there.
#[inline(always)]
pub(super) fn store_row<S: Simd, const NB: usize>(s: S, bytes: S::B, j: usize, place: &mut [u8]) {
    if NB == 4 {
        if let Some(place) = place.as_mut_array::<64>() {
            s.store_b(bytes, place);
        }
    } else if NB == 2 {
        if let Some(place) = place.as_mut_array::<32>() {
            s.store_half(bytes, j, place);
        }
    } else if let Some(place) = place.as_mut_array::<16>() {
        s.store_quarter(bytes, j, place);
    }
}
