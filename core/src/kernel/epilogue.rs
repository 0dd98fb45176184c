//! From exact sums to the bytes of an output: what [`crate::arith::requant`] defines, sixteen channels at a time.
//!
//! A kernel leaves its sums in a buffer of a few lines, and this writes them out, so that one piece of code serves every
//! tile. Limits hold after rounding here and before it in the definition: both are integers, so it is the same.

use std::ops::Range;

use super::addend::Addend;
pub use super::bounds::Bounds;
use super::edge;
use super::groups::{Groups, store_row};
pub use super::hard_swish::{HardSwish, hard_swish};
use super::real::{Dynamic, to_f32};
use super::simd::Simd;
pub use super::sums::Sums;

/// What becomes of the sums of a packed operation.
#[derive(Debug, Clone, Copy)]
pub enum Finish<'a> {
    /// Bytes.
    U8(Requantize<'a>),
    /// f32(acc)·m.
    F32,
    /// That, and what the activations' parameters, which the run chose, make of it.
    Dynamic(Dynamic<'a>),
}

impl Finish<'_> {
    /// Bytes of an output element.
    pub fn size(&self) -> usize {
        match self {
            Finish::U8(_) => 1,
            Finish::F32 | Finish::Dynamic(_) => 4,
        }
    }
}

impl Finish<'_> {
    /// The epilogue of a part of the output, whose bytes these are.
    pub fn part(mut self, bytes: Range<usize>) -> Self {
        if let Finish::U8(Requantize { residual: Some(residual), .. }) = &mut self {
            residual.bytes = &residual.bytes[bytes];
        }
        self
    }

    /// The epilogue of a group, whose blocks of 16 channels these are.
    pub fn of_blocks(mut self, blocks: Range<usize>) -> Self {
        if let Finish::U8(Requantize { hard_swish: Some(swish), .. }) = &mut self {
            swish.slope = &swish.slope[blocks.clone()];
            swish.shift = &swish.shift[blocks];
        }
        self
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
    /// What is applied before rounding; then there is no residual and no table.
    pub hard_swish: Option<HardSwish<'a>>,
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

    /// Bytes `from .. from + len` of each row from `row` on: `count` times `N` rows.
    fn lines<const N: usize>(
        &mut self,
        row: usize,
        count: usize,
        from: usize,
        len: usize,
    ) -> impl Iterator<Item = impl Iterator<Item = &mut [u8]>>;

    /// Bytes `columns` of `rows` rows from `row` on, if they are in one piece.
    fn piece(&mut self, row: usize, rows: usize, columns: Range<usize>) -> Option<&mut [u8]>;
}

impl<R: Rows> Rows for &mut R {
    #[inline(always)]
    fn at(&mut self, row: usize, from: usize, len: usize) -> &mut [u8] {
        R::at(self, row, from, len)
    }

    #[inline(always)]
    fn lines<const N: usize>(
        &mut self,
        row: usize,
        count: usize,
        from: usize,
        len: usize,
    ) -> impl Iterator<Item = impl Iterator<Item = &mut [u8]>> {
        R::lines::<N>(self, row, count, from, len)
    }

    fn piece(&mut self, row: usize, rows: usize, columns: Range<usize>) -> Option<&mut [u8]> {
        R::piece(self, row, rows, columns)
    }
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

    #[inline(always)]
    fn lines<const N: usize>(
        &mut self,
        row: usize,
        count: usize,
        from: usize,
        len: usize,
    ) -> impl Iterator<Item = impl Iterator<Item = &mut [u8]>> {
        let pitch = self.pitch;
        let tiles = self.bytes[row * pitch..].chunks_mut(pitch * N).take(count);
        tiles.map(move |tile| tile.chunks_mut(pitch).map(move |row| &mut row[from..from + len]))
    }

    fn piece(&mut self, row: usize, rows: usize, columns: Range<usize>) -> Option<&mut [u8]> {
        (columns == (0..self.pitch)).then(|| &mut self.bytes[row * self.pitch..][..rows * self.pitch])
    }
}

/// Replaces the bytes of rows of the output by what the table holds for them, where there is one: the last step of an epilogue,
/// for as many channels at once as there are.
#[inline(always)]
pub fn look_up<S: Simd, R: Rows>(s: S, how: &Finish<'_>, rows: Range<usize>, channels: Range<usize>, to: &mut R) {
    let Finish::U8(Requantize { table: Some(table), .. }) = how else { return };
    if let Some(piece) = to.piece(rows.start, rows.len(), channels.clone()) {
        return s.lookup(table, piece);
    }
    for row in rows {
        s.lookup(table, to.at(row, channels.start, channels.len()));
    }
}

/// Writes a tile of sums, but for the table.
#[inline(always)]
pub fn finish<S: Simd, R: Rows, const NB: usize>(s: S, sums: &Sums<'_, NB>, how: &Finish<'_>, to: &mut R) {
    if const { S::COMPACT } { finish_apart(s, sums, how, to) } else { finish_here(s, sums, how, to) }
}

/// For all heights of a tile.
#[inline(never)]
fn finish_apart<S: Simd, R: Rows, const NB: usize>(s: S, sums: &Sums<'_, NB>, how: &Finish<'_>, to: &mut R) {
    finish_here(s, sums, how, to);
}

#[inline(always)]
fn finish_here<S: Simd, R: Rows, const NB: usize>(s: S, sums: &Sums<'_, NB>, how: &Finish<'_>, to: &mut R) {
    match how {
        Finish::U8(requantize) => to_u8(s, sums, requantize, to),
        Finish::F32 => to_f32(s, sums, None, to),
        Finish::Dynamic(dynamic) => to_f32(s, sums, Some(dynamic), to),
    }
}

#[inline(always)]
fn to_u8<S: Simd, R: Rows, const NB: usize>(s: S, sums: &Sums<'_, NB>, how: &Requantize<'_>, to: &mut R) {
    let none = Residual { bytes: &[], zero_point: 0, multiplier: 0.0 };
    if how.hard_swish.is_some() && const { !by_rows::<S, NB>() } {
        if const { !S::COMPACT } && sums.bounds == Bounds::Rounds {
            return to_bytes::<S, R, NB, ROUNDS, SWISHED>(s, sums, how, &none, to);
        }
        return to_bytes::<S, R, NB, NONE, SWISHED>(s, sums, how, &none, to);
    }
    match (how.residual, sums.bounds.of_use::<S>()) {
        (None, Bounds::Lifts) if const { !S::COMPACT } => to_bytes::<S, R, NB, LIFTS, ALONE>(s, sums, how, &none, to),
        (None, Bounds::Rounds) => to_bytes::<S, R, NB, ROUNDS, ALONE>(s, sums, how, &none, to),
        (None, _) => to_bytes::<S, R, NB, NONE, ALONE>(s, sums, how, &none, to),
        (Some(residual), Bounds::Rounds | Bounds::Lifts) if const { !S::COMPACT } && residual.zero_point == 0 => {
            to_bytes::<S, R, NB, ROUNDS, ADDED_FROM_0>(s, sums, how, &residual, to);
        }
        (Some(residual), Bounds::Rounds | Bounds::Lifts) => to_bytes::<S, R, NB, ROUNDS, ADDED>(s, sums, how, &residual, to),
        (Some(residual), _) => to_bytes::<S, R, NB, NONE, ADDED>(s, sums, how, &residual, to),
    }
}

/// [`Bounds`] as constants.
const NONE: u8 = 0;
pub(super) const ROUNDS: u8 = 1;
pub(super) const LIFTS: u8 = 2;

/// 2²³, of which products with a number are exact.
const LIFT: f32 = 8_388_608.0;

/// What is the same for all rows of a tile.
pub(super) struct Fixed<S: Simd, const NB: usize> {
    multiplier: [S::F; NB],
    /// 2²³·`multiplier`.
    lifted: [S::F; NB],
    top: S::F,
    limits: S::Limits,
    residual_zero: S::Zero,
    residual_multiplier: S::F,
    /// 2²³·`residual_multiplier`.
    residual_lifted: S::F,
    /// Of HardSwish.
    swish: [[S::F; 2]; NB],
}

/// What a saturating conversion to a byte leaves to do: nothing, without zero point and limits; to add the zero point before
/// it; all.
pub(super) const UNLIMITED: u8 = 0;
pub(super) const SHIFTED: u8 = 1;
pub(super) const LIMITED: u8 = 2;

/// Which of them an epilogue needs.
#[inline(always)]
pub(super) fn limited(how: &Requantize<'_>) -> u8 {
    match (how.zero_point, how.lo, how.hi) {
        (0, 0, 255) => UNLIMITED,
        (_, 0, 255) => SHIFTED,
        _ => LIMITED,
    }
}

/// Whether bytes are added to sums, of any zero point or of 0: less work; or else HardSwish is applied to them.
pub(super) const ALONE: u8 = 0;
pub(super) const ADDED: u8 = 1;
pub(super) const ADDED_FROM_0: u8 = 2;
pub(super) const SWISHED: u8 = 3;

/// What is added to four vectors of sums.
pub(super) trait Added<S: Simd> {
    /// To vector `j`: f32(x − z).
    fn get(&self, s: S, j: usize, z: S::Zero) -> S::F;

    /// To vector `j`: f32(x)·f, `f_lifted` being 2²³·f.
    fn scaled(&self, s: S, j: usize, f: S::F, f_lifted: S::F) -> S::F;
}

/// For each vector, its bytes, where fewer than sixteen are left.
impl<S: Simd> Added<S> for [&[u8]; 4] {
    #[inline(always)]
    fn get(&self, s: S, j: usize, z: S::Zero) -> S::F {
        match self[j].first_chunk() {
            Some(bytes) => s.widen_from(bytes, z),
            None => s.widen_some_from(self[j], z),
        }
    }

    #[inline(always)]
    fn scaled(&self, s: S, j: usize, f: S::F, _f_lifted: S::F) -> S::F {
        s.mul(self.get(s, j, s.zero(0)), f)
    }
}

/// `NB` vectors of each row from row `.1` on.
impl<S: Simd, const L: usize, const MR: usize, const NB: usize> Added<S> for (&Addend<'_, L, MR>, usize, [(); NB]) {
    #[inline(always)]
    fn get(&self, s: S, j: usize, z: S::Zero) -> S::F {
        s.widen_row(self.0, (self.1 + j / NB) % MR, j % NB, z)
    }

    #[inline(always)]
    fn scaled(&self, s: S, j: usize, f: S::F, f_lifted: S::F) -> S::F {
        s.scale_row(self.0, [(self.1 + j / NB) % MR, j % NB], f, f_lifted)
    }
}

impl<S: Simd, const NB: usize> Fixed<S, NB> {
    #[inline(always)]
    pub(super) fn new(s: S, multipliers: &[[f32; 16]], block: usize, how: &Requantize<'_>, residual: &Residual<'_>) -> Self {
        let mut multiplier = [s.splat_f32(0.0); NB];
        let mut lifted = multiplier;
        let mut swish = [[s.splat_f32(0.0); 2]; NB];
        let lift = s.splat_f32(LIFT);
        for n in 0..NB {
            multiplier[n] = s.load_f32(&multipliers[n]);
            lifted[n] = s.mul(multiplier[n], lift);
            if let Some(function) = &how.hard_swish {
                swish[n] = function.of(s, block + n);
            }
        }
        Self {
            multiplier,
            lifted,
            top: s.splat_f32(f32::from(how.hi) - f32::from(how.zero_point)),
            limits: s.limits(how.zero_point, how.lo, how.hi),
            residual_zero: s.zero(residual.zero_point),
            residual_multiplier: s.splat_f32(residual.multiplier),
            residual_lifted: s.splat_f32(residual.multiplier * LIFT),
            swish,
        }
    }

    /// Scales four vectors of sums, the blocks of one row after the other, adds the residual where there is one, rounds. Of the
    /// residual, for each vector, this is the rest of its row.
    #[inline(always)]
    pub(super) fn bytes<const BOUNDS: u8, const LIMITS: u8, const RESIDUAL: u8>(
        &self,
        s: S,
        acc: [S::I; 4],
        residual: impl Added<S>,
    ) -> S::B {
        let mut v = acc;
        for j in 0..4 {
            let n = j % NB;
            let mut t = if BOUNDS == LIFTS {
                s.scale_lifted(acc[j], self.multiplier[n], self.lifted[n])
            } else {
                s.mul(s.to_f32(acc[j]), self.multiplier[n])
            };
            if RESIDUAL == ADDED {
                t = s.add(t, s.mul(residual.get(s, j, self.residual_zero), self.residual_multiplier));
            } else if RESIDUAL == ADDED_FROM_0 {
                t = s.add(t, residual.scaled(s, j, self.residual_multiplier, self.residual_lifted));
            } else if RESIDUAL == SWISHED {
                t = hard_swish(s, t, self.swish[n]);
            }
            v[j] = if BOUNDS == NONE { s.round_below(t, self.top) } else { s.round(t) };
        }
        match LIMITS {
            // What is rounded is bounded above by then, else a saturating conversion could wrap.
            UNLIMITED if BOUNDS != NONE => s.saturate(v),
            SHIFTED if BOUNDS != NONE => s.narrow_unlimited(v, self.limits),
            _ => s.narrow(v, self.limits),
        }
    }
}

/// Whether rows are narrowed one by one as well as by four, without those in vain: where registers hold only parts of a vector.
const fn by_rows<S: Simd, const NB: usize>() -> bool {
    S::COMPACT && NB == 1
}

/// All rows, from memory.
#[inline(always)]
fn to_bytes<S: Simd, R: Rows, const NB: usize, const BOUNDS: u8, const RESIDUAL: u8>(
    s: S,
    sums: &Sums<'_, NB>,
    how: &Requantize<'_>,
    residual: &Residual<'_>,
    to: &mut R,
) {
    if const { by_rows::<S, NB>() } {
        return one_by_one::<S, R, NB, BOUNDS, RESIDUAL>(s, sums, how, residual, to);
    }
    let fixed = Fixed::<S, NB>::new(s, sums.multiplier, sums.block, how, residual);
    let lacking = sums.lacking(s, BOUNDS == LIFTS);
    let limits = limited(how);
    // Vectors are narrowed by four: two rows of two blocks, or four rows of one.
    let step = 4 / NB;
    let mut written = 0;
    if const { !S::COMPACT } && sums.channels == NB * 16 && BOUNDS != NONE {
        let groups = Groups { sums, fixed: &fixed, lacking: &lacking, residual };
        written = match limits {
            UNLIMITED => groups.write::<R, BOUNDS, UNLIMITED, RESIDUAL>(s, to),
            SHIFTED => groups.write::<R, BOUNDS, SHIFTED, RESIDUAL>(s, to),
            _ => groups.write::<R, BOUNDS, LIMITED, RESIDUAL>(s, to),
        };
    }
    for first in (written..sums.rows).step_by(step) {
        let mut v = [s.splat_i32(0); 4];
        let mut added: [&[u8]; 4] = [&[]; 4];
        for j in 0..4 {
            let (i, n) = (first + j / NB, j % NB);
            v[j] = sums.load(s, [i, n], &lacking);
            if RESIDUAL == ADDED || RESIDUAL == ADDED_FROM_0 {
                let at = (sums.row + i) * sums.width + sums.channel + n * 16;
                added[j] = residual.bytes.get(at..).unwrap_or_default();
            }
        }
        let bytes = match limits {
            UNLIMITED if const { !S::COMPACT } => fixed.bytes::<BOUNDS, UNLIMITED, RESIDUAL>(s, v, added),
            SHIFTED if const { !S::COMPACT } => fixed.bytes::<BOUNDS, SHIFTED, RESIDUAL>(s, v, added),
            _ => fixed.bytes::<BOUNDS, LIMITED, RESIDUAL>(s, v, added),
        };
        if sums.channels == NB * 16 && first + step <= sums.rows {
            store::<S, R, NB>(s, bytes, first..first + step, sums, to);
            continue;
        }
        for i in first..sums.rows.min(first + step) {
            let part = NB * (i - first);
            s.store_some(bytes, part, to.at(sums.row + i, sums.channel, sums.channels));
        }
    }
}

/// Rows of one block, each by itself.
#[inline(always)]
fn one_by_one<S: Simd, R: Rows, const NB: usize, const BOUNDS: u8, const RESIDUAL: u8>(
    s: S,
    sums: &Sums<'_, NB>,
    how: &Requantize<'_>,
    residual: &Residual<'_>,
    to: &mut R,
) {
    let (m, limits) = (s.load_f32(&sums.multiplier[0]), s.limits(how.zero_point, how.lo, how.hi));
    let top = s.splat_f32(f32::from(how.hi) - f32::from(how.zero_point));
    let added = (RESIDUAL != ALONE).then(|| (s.zero(residual.zero_point), s.splat_f32(residual.multiplier)));
    let swish = how.hard_swish.filter(|_| RESIDUAL == ALONE).map(|swish| swish.of(s, sums.block));
    for i in 0..sums.rows {
        let mut t = s.mul(s.to_f32(s.load_i32(&sums.acc[i][0])), m);
        if let Some((zero, by)) = added {
            let at = (sums.row + i) * sums.width + sums.channel;
            let bytes = match residual.bytes[at..].first_chunk() {
                Some(bytes) => s.widen_from(bytes, zero),
                None => s.widen_some_from(&residual.bytes[at..], zero),
            };
            t = s.add(t, s.mul(bytes, by));
        }
        if let Some(swish) = swish {
            t = hard_swish(s, t, swish);
        }
        // Four times the same, of which one is stored.
        let bytes = if BOUNDS == NONE { s.narrow([s.round_below(t, top); 4], limits) } else { s.round_narrow([t; 4], limits) };
        let place = to.at(sums.row + i, sums.channel, sums.channels);
        match place.as_mut_array::<16>() {
            Some(place) => s.store_quarter(bytes, 0, place),
            None => {
                let mut row = [0; 16];
                s.store_quarter(bytes, 0, &mut row);
                edge::copy(&row[..place.len().min(16)], place);
            }
        }
    }
}

/// Stores the bytes of whole rows.
#[inline(always)]
fn store<S: Simd, R: Rows, const NB: usize>(s: S, bytes: S::B, rows: Range<usize>, sums: &Sums<'_, NB>, to: &mut R) {
    for (j, row) in rows.enumerate() {
        store_row::<S, NB>(s, bytes, j, to.at(sums.row + row, sums.channel, NB * 16));
    }
}
