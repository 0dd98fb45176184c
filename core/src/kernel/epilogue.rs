//! From exact sums to the bytes of an output: what [`crate::arith::requant`] defines, sixteen channels at a time.
//!
//! A kernel leaves its sums in a buffer of a few lines, and this writes them out, so that one piece of code serves every
//! tile. Limits hold after rounding here and before it in the definition: both are integers, so it is the same.

use super::simd::Simd;

/// What becomes of the sums of a packed operation.
#[derive(Debug, Clone, Copy)]
pub enum Finish<'a> {
    /// Bytes.
    U8(Requantize<'a>),
    /// f32(acc)·m.
    F32,
}

impl Finish<'_> {
    /// Bytes of an output element.
    pub fn size(&self) -> usize {
        match self {
            Finish::U8(_) => 1,
            Finish::F32 => 4,
        }
    }
}

/// An epilogue that ends with bytes.
#[derive(Debug, Clone, Copy)]
pub struct Requantize<'a> {
    /// Zero point of the requantized byte.
    pub zero_point: u8,
    /// Lower clamp.
    pub lo: u8,
    /// Upper clamp.
    pub hi: u8,
    /// What is added before rounding.
    pub residual: Option<Residual<'a>>,
    /// What the byte is looked up in.
    pub table: Option<&'a [u8; 256]>,
}

/// A u8 tensor of the output's shape.
#[derive(Debug, Clone, Copy)]
pub struct Residual<'a> {
    /// Its elements, rows of the output's length.
    pub bytes: &'a [u8],
    /// Its zero point.
    pub zero_point: u8,
    /// Its scale over that of the requantized byte.
    pub multiplier: f32,
}

/// Where rows of an output are. Several threads write to one output, each to its own places.
pub trait Rows {
    /// Bytes `from .. from + len` of row `row`.
    fn at(&mut self, row: usize, from: usize, len: usize) -> &mut [u8];
}

/// An output in one piece.
#[derive(Debug)]
pub struct SliceRows<'a> {
    /// The bytes.
    pub bytes: &'a mut [u8],
    /// Bytes from one row to the next.
    pub pitch: usize,
}

impl Rows for SliceRows<'_> {
    #[inline(always)]
    fn at(&mut self, row: usize, from: usize, len: usize) -> &mut [u8] {
        &mut self.bytes[row * self.pitch + from..][..len]
    }
}

/// Sums of a tile on their way out.
#[derive(Debug, Clone, Copy)]
pub struct Sums<'a, const NB: usize> {
    /// For each row, `NB` blocks of 16 channels.
    pub acc: &'a [[[i32; 16]; NB]],
    /// The output row of the first.
    pub row: usize,
    /// Output channels before the first one.
    pub channel: usize,
    /// Channels that exist, at most 16·NB.
    pub channels: usize,
    /// Multipliers of the channels.
    pub multiplier: [&'a [f32; 16]; NB],
    /// Elements of a row of the output.
    pub width: usize,
}

/// Writes a tile of sums.
#[inline(always)]
pub fn finish<S: Simd, R: Rows, const NB: usize>(s: S, sums: &Sums<'_, NB>, how: &Finish<'_>, to: &mut R) {
    match how {
        Finish::U8(requantize) => to_u8(s, sums, requantize, to),
        Finish::F32 => to_f32(s, sums, to),
    }
}

#[inline(always)]
fn to_f32<S: Simd, R: Rows, const NB: usize>(s: S, sums: &Sums<'_, NB>, to: &mut R) {
    for (i, acc) in sums.acc.iter().enumerate() {
        let row = to.at(sums.row + i, sums.channel * 4, sums.channels * 4);
        for (n, to) in row.chunks_mut(64).enumerate() {
            let y = s.mul(s.to_f32(s.load_i32(&acc[n])), s.load_f32(sums.multiplier[n]));
            match <&mut [u8; 64]>::try_from(&mut *to) {
                Ok(to) => s.store_f32(y, to),
                Err(_) => {
                    let mut whole = [0; 64];
                    s.store_f32(y, &mut whole);
                    to.copy_from_slice(&whole[..to.len()]);
                }
            }
        }
    }
}

#[inline(always)]
fn to_u8<S: Simd, R: Rows, const NB: usize>(s: S, sums: &Sums<'_, NB>, how: &Requantize<'_>, to: &mut R) {
    let multiplier: [S::F; NB] = std::array::from_fn(
        #[inline(always)]
        |n| s.load_f32(sums.multiplier[n]),
    );
    let limits = s.limits(how.zero_point, how.lo, how.hi);
    let top = s.splat_f32(f32::from(how.hi) - f32::from(how.zero_point));
    let whole = sums.channels == NB * 16;
    // Vectors are narrowed by four: two rows of two blocks, or four rows of one.
    let step = 4 / NB;
    let mut row = 0;
    while row < sums.acc.len() {
        let count = step.min(sums.acc.len() - row);
        // Rows that are not there repeat the last one, and are not stored.
        let source: [(usize, usize); 4] = std::array::from_fn(
            #[inline(always)]
            |j| ((row + j / NB).min(row + count - 1), j % NB),
        );
        let mut t: [S::F; 4] = std::array::from_fn(
            #[inline(always)]
            |j| s.mul(s.to_f32(s.load_i32(&sums.acc[source[j].0][source[j].1])), multiplier[j % NB]),
        );
        if let Some(residual) = &how.residual {
            let (zero, m) = (s.splat_i32(-i32::from(residual.zero_point)), s.splat_f32(residual.multiplier));
            t = std::array::from_fn(
                #[inline(always)]
                |j| {
                    let at = (sums.row + source[j].0) * sums.width + sums.channel + source[j].1 * 16;
                    let r = match residual.bytes.get(at..at + 16).and_then(|r| <&[u8; 16]>::try_from(r).ok()) {
                        Some(r) => s.widen(r),
                        None => s.widen(&tail(residual.bytes, at)),
                    };
                    s.add(t[j], s.mul(s.to_f32(s.add_i32(r, zero)), m))
                },
            );
        }
        let bytes = s.narrow(
            t.map(
                #[inline(always)]
                |t| s.round_below(t, top),
            ),
            limits,
        );
        for (j, &(i, n)) in source.iter().enumerate().take(count * NB) {
            let len = sums.channels.saturating_sub(n * 16).min(16);
            let place = to.at(sums.row + i, sums.channel + n * 16, len);
            match <&mut [u8; 16]>::try_from(&mut *place) {
                Ok(place) => s.store_quarter(bytes, j, place),
                Err(_) => {
                    let mut quarter = [0; 16];
                    s.store_quarter(bytes, j, &mut quarter);
                    place.copy_from_slice(&quarter[..place.len()]);
                }
            }
        }
        row += count;
    }
    if let Some(table) = how.table {
        for i in 0..sums.acc.len() {
            s.lookup(table, to.at(sums.row + i, sums.channel, if whole { NB * 16 } else { sums.channels }));
        }
    }
}

/// What there is from `at` on, and zeros.
#[cold]
fn tail(bytes: &[u8], at: usize) -> [u8; 16] {
    std::array::from_fn(|i| bytes.get(at + i).copied().unwrap_or_default())
}
