//! The matrix kernel where registers hold a tile of 14 rows × 32 channels: the walk over tiles, and the tiles of full height,
//! whose sums never leave the registers on their way from the bias to bytes.
//!
//! Each way from sums to bytes is a function compiled by itself: in a larger one, the compiler does not keep all of a tile's
//! registers.

use super::epilogue::{Bounds, Finish, Fixed, LIFTS, ROUNDS, Requantize, Residual, Rows, look_up};
use super::gemm::{Acc, Ahead, Gemm, Lines, MOST_ROWS, Tiled, starts};
use super::simd::{Kernel, Simd};
use super::tile::{Panel, TileRows, Walk};

/// Tiles that are computed before what is left over beside them, while the output is at hand.
const BAND: usize = 4;

/// Lines of weights that are asked for before the first tile, at most: about as many as a core waits for at once.
const FIRST_LINES: usize = 48;

impl<'a, R: Rows> Gemm<'a, R> {
    /// All tiles, by `MR` rows and two blocks: over rows first where the weights stay in cache, else over channels first.
    #[inline(always)]
    pub(super) fn walk_whole<S: Simd, const MR: usize>(&mut self, s: S) {
        let bounds = self.bounds();
        let (first, blocks) = (self.rows.start, self.blocks.clone());
        let start = |tile: usize| first + starts(self.rows.len(), MR, tile);
        let tiles = self.rows.len().div_ceil(MR);
        // The last two share what is left, of which one may still be whole.
        let whole = match self.rows.len() % MR {
            0 => tiles,
            _ if tiles == 1 => 0,
            rest => tiles - 2 + usize::from(rest == MR - 1),
        };
        let rows = start(0)..start(whole);
        let low = [start(whole)..start((whole + 1).min(tiles)), start((whole + 1).min(tiles))..start(tiles)];
        let (pairs, odd) = (blocks.len() / 2, blocks.len() % 2 == 1);
        let last = blocks.start + 2 * pairs;
        // The first panel's weights come from far away: all at once, rather than one step's after the other's.
        let first_panel = &self.weights.packed[blocks.start * self.weights.quads..];
        for line in &first_panel[..first_panel.len().min(2 * self.weights.quads).min(FIRST_LINES)] {
            s.prefetch(line);
        }
        let table = matches!(self.finish, Finish::U8(Requantize { table: Some(_), .. }));
        if self.rows_first() {
            let strip = Strip { rows: 0..0, block: 0, panels: 0, bounds, ahead: Ahead::default() };
            let band = if table || (odd && pairs > 0) { BAND * MR } else { rows.len().max(1) };
            for from in rows.clone().step_by(band) {
                let rows = from..rows.end.min(from + band);
                self.strip::<S, MR, 2>(s, Strip { rows: rows.clone(), block: blocks.start, panels: pairs, ..strip });
                if odd {
                    self.strip::<S, MR, 1>(s, Strip { rows: rows.clone(), block: last, panels: 1, ..strip });
                }
                look_up(s, &self.finish, rows, self.channels(), &mut self.to);
            }
            for rows in low {
                s.vectorize(Low::<R, MR, 2> {
                    gemm: self,
                    strip: Strip { rows: rows.clone(), block: blocks.start, panels: pairs, ..strip },
                });
                if odd {
                    s.vectorize(Low::<R, MR, 1> { gemm: self, strip: Strip { rows: rows.clone(), block: last, panels: 1, ..strip } });
                }
                look_up(s, &self.finish, rows, self.channels(), &mut self.to);
            }
            return;
        }
        for block in blocks.clone().step_by(2) {
            let ahead = self.ahead(block, 2, tiles);
            for (rows, tile) in [(rows.clone(), 0), (low[0].clone(), whole), (low[1].clone(), whole + 1)] {
                let strip = Strip { rows, block, panels: 1, bounds, ahead: ahead.behind(tile) };
                match (block == last, tile < whole) {
                    (true, true) => self.strip::<S, MR, 1>(s, strip),
                    (false, true) => self.strip::<S, MR, 2>(s, strip),
                    (true, false) => s.vectorize(Low::<R, MR, 1> { gemm: self, strip }),
                    (false, false) => s.vectorize(Low::<R, MR, 2> { gemm: self, strip }),
                }
            }
        }
        look_up(s, &self.finish, self.rows.clone(), self.channels(), &mut self.to);
    }

    /// Tiles of full height, but for the table.
    #[inline(always)]
    fn strip<S: Simd, const MR: usize, const NB: usize>(&mut self, s: S, strip: Strip<'a>) {
        let none = Residual { bytes: &[], zero_point: 0, multiplier: 0.0 };
        match (self.finish, strip.bounds) {
            (Finish::F32, _) | (_, Bounds::None) => s.vectorize(Low::<R, MR, NB> { gemm: self, strip }),
            (Finish::U8(how @ Requantize { residual: None, .. }), Bounds::Lifts) => {
                s.vectorize(Way::<R, MR, NB, LIFTS, false> { gemm: self, strip, how, residual: none });
            }
            (Finish::U8(how @ Requantize { residual: None, .. }), Bounds::Rounds) => {
                s.vectorize(Way::<R, MR, NB, ROUNDS, false> { gemm: self, strip, how, residual: none });
            }
            (Finish::U8(how @ Requantize { residual: Some(residual), .. }), _) => {
                s.vectorize(Way::<R, MR, NB, ROUNDS, true> { gemm: self, strip, how, residual });
            }
        }
    }
}

/// A rectangle of tiles of full height.
#[derive(Clone)]
struct Strip<'a> {
    rows: std::ops::Range<usize>,
    /// The first block of channels.
    block: usize,
    panels: usize,
    bounds: Bounds,
    ahead: Ahead<'a>,
}

impl<'a> Strip<'a> {
    /// What the tile in row `i` of tiles asks for: where several panels follow, the first row for each the next panel's weights.
    #[inline(always)]
    fn ahead_of<R: Rows>(&self, gemm: &Gemm<'a, R>, i: usize, block: usize, width: usize) -> &'a [[i8; 64]] {
        if i == 0 && self.panels > 1 && self.rows.start == gemm.rows.start {
            return gemm.ahead(block, width, 1).of(0);
        }
        self.ahead.of(i)
    }
}

/// Tiles whose sums go through memory: those of fewer rows, or with an epilogue that is rare.
struct Low<'a, 'g, R, const MR: usize, const NB: usize> {
    gemm: &'a mut Gemm<'g, R>,
    strip: Strip<'g>,
}

impl<R: Rows, const MR: usize, const NB: usize> Kernel for Low<'_, '_, R, MR, NB> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { gemm, strip } = self;
        let mut base = [0; MR];
        let mut acc: Acc<NB> = Lines([[[0; 16]; NB]; MOST_ROWS]);
        for (i, row) in strip.rows.clone().step_by(MR).enumerate() {
            let base = &mut base[..MR.min(strip.rows.end - row)];
            gemm.source.bases.fill(row, base);
            for panel in 0..strip.panels {
                let block = strip.block + panel * NB;
                let ahead = strip.ahead_of(gemm, i, block, NB);
                gemm.tile::<S, MR, NB>(s, &Tiled { base, row, block, bounds: strip.bounds, ahead }, &mut acc);
            }
        }
    }
}

/// Tiles and their way to bytes.
struct Way<'a, 'g, R, const MR: usize, const NB: usize, const BOUNDS: u8, const RESIDUAL: bool> {
    gemm: &'a mut Gemm<'g, R>,
    strip: Strip<'g>,
    how: Requantize<'g>,
    residual: Residual<'g>,
}

impl<R: Rows, const MR: usize, const NB: usize, const BOUNDS: u8, const RESIDUAL: bool> Kernel
    for Way<'_, '_, R, MR, NB, BOUNDS, RESIDUAL>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let strip = self.strip.clone();
        let mut walk = Walk::new(&self.gemm.source, strip.rows.start);
        for (i, row) in strip.rows.clone().step_by(MR).enumerate() {
            let rows = walk.rows();
            for panel in 0..strip.panels {
                let block = strip.block + panel * NB;
                let ahead = strip.ahead_of(self.gemm, i, block, NB);
                self.tile(s, &rows, Panel::new(&self.gemm.weights, block, rows.quads(), ahead), row, block);
            }
        }
    }
}

impl<'g, R: Rows, const MR: usize, const NB: usize, const BOUNDS: u8, const RESIDUAL: bool> Way<'_, 'g, R, MR, NB, BOUNDS, RESIDUAL> {
    #[inline(always)]
    fn tile<S: Simd>(&mut self, s: S, rows: &TileRows<'g, MR>, panel: Panel<'g, NB>, row: usize, block: usize) {
        let Self { gemm, how, residual, .. } = self;
        let mut acc = gemm.biases::<S, MR, NB>(s, block, if BOUNDS == LIFTS { Bounds::Lifts } else { Bounds::Rounds });
        s.products(&mut acc, rows, &panel);
        let channels = (gemm.weights.channels - block * 16).min(NB * 16);
        let channel = gemm.channel + block * 16;
        let fixed = Fixed::<S, NB>::new(s, &gemm.weights.multiplier[block..block + NB], how, residual);
        // Of each row, what is added: with its length, as constant as that is.
        let mut added: [&[u8]; MR] = [&[]; MR];
        macro_rules! added {
            ($len:expr) => {
                if RESIDUAL {
                    for m in 0..MR {
                        added[m] = &residual.bytes[(row + m) * gemm.width + channel..][..$len];
                    }
                }
            };
        }
        macro_rules! groups {
            ($to:ident, $($group:literal)*) => {
                // Written out, since sums stay in registers only where every index is a constant.
                $(if const { $group * (4 / NB) < MR } {
                    let first = $group * (4 / NB);
                    let mut v = [acc[0][0]; 4];
                    let mut r: [&[u8]; 4] = [&[]; 4];
                    for j in 0..4 {
                        let (m, n) = ((first + j / NB) % MR, j % NB);
                        v[j] = acc[m][n];
                        if RESIDUAL {
                            r[j] = &added[m][added[m].len().min(n * 16)..added[m].len().min(n * 16 + 16)];
                        }
                    }
                    let bytes = fixed.bytes::<BOUNDS, RESIDUAL>(s, v, r);
                    for j in 0..(4 / NB).min(MR - first) {
                        $to!(bytes, j * NB, first + j);
                    }
                })*
            };
        }
        if channels < NB * 16 {
            macro_rules! some {
                ($bytes:ident, $quarter:expr, $m:expr) => {
                    s.store_some($bytes, $quarter, gemm.to.at(row + $m, channel, channels))
                };
            }
            added!(channels);
            groups!(some, 0 1 2 3 4 5 6);
        } else if NB == 2 {
            let places = gemm.to.lines::<32, MR>(row, channel);
            macro_rules! half {
                ($bytes:ident, $quarter:expr, $m:expr) => {
                    s.store_half($bytes, $quarter / 2, places[$m])
                };
            }
            added!(32);
            groups!(half, 0 1 2 3 4 5 6);
        } else {
            let places = gemm.to.lines::<16, MR>(row, channel);
            macro_rules! quarter {
                ($bytes:ident, $quarter:expr, $m:expr) => {
                    s.store_quarter($bytes, $quarter, places[$m])
                };
            }
            added!(16);
            groups!(quarter, 0 1 2 3 4 5 6);
        }
    }
}
