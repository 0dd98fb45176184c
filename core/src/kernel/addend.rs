//! What an epilogue adds to a tile: rows of a residual, checked once for all rows of the tile.

use super::epilogue::Residual;
use super::simd::Simd;

/// The bytes that a tile's rows are added to: `L` of each of `MR` rows, row m's from m·`pitch` on, all within `bytes`.
#[derive(Debug, Clone, Copy)]
pub struct Addend<'a, const L: usize, const MR: usize> {
    bytes: &'a [u8],
    pitch: usize,
}

impl<'a, const L: usize, const MR: usize> Addend<'a, L, MR> {
    /// Those from byte `at` of the residual on, in rows of `pitch` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline(always)]
    pub fn new(residual: &Residual<'a>, at: usize, pitch: usize) -> Self {
        let bytes = &residual.bytes[at..];
        let end = pitch.saturating_mul(MR - 1).saturating_add(L);
        assert!(end <= bytes.len(), "a residual of {} bytes ends before {end}", bytes.len());
        Self { bytes, pitch }
    }

    /// The bytes from the first row on.
    #[inline(always)]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes from one row to the next.
    #[inline(always)]
    pub fn pitch(&self) -> usize {
        self.pitch
    }
}

/// [`Simd::widen_row`], where an instruction set has no better way.
#[inline(always)]
pub fn widen_row<S: Simd, const L: usize, const MR: usize>(s: S, rows: &Addend<'_, L, MR>, m: usize, n: usize, z: S::Zero) -> S::F {
    match rows.bytes[m * rows.pitch + 16 * n..].first_chunk() {
        Some(bytes) => s.widen_from(bytes, z),
        None => unreachable!("a column behind a row's end"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_lie_within_the_residual() {
        let residual = Residual { bytes: &[0; 100], zero_point: 0, multiplier: 1.0 };
        assert_eq!(Addend::<32, 3>::new(&residual, 8, 30).bytes().len(), 92);
        assert!(std::panic::catch_unwind(|| Addend::<32, 3>::new(&residual, 9, 30)).is_err());
        assert!(std::panic::catch_unwind(|| Addend::<32, 3>::new(&residual, 101, 0)).is_err());
        assert!(std::panic::catch_unwind(|| Addend::<32, 3>::new(&residual, 0, usize::MAX)).is_err());
    }
}
