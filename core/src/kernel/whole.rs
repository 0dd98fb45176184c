//! The matrix kernel where registers hold a tile of 14 rows × 32 channels, or 6 × 64, or, where they are half as long, 6 × 16: the walk
//! over tiles, and the tiles of full height, whose sums never leave the registers on their way from the bias to bytes.
//!
//! Each way from sums to bytes is a function compiled by itself: in a larger one, the compiler does not keep all of a tile's
//! registers.

use super::addend::Addend;
use super::epilogue::{
    ADDED, ADDED_FROM_0, ALONE, Bounds, Finish, Fixed, LIFTS, LIMITED, ROUNDS, Requantize, Residual, Rows, SHIFTED, SWISHED, UNLIMITED,
    limited, look_up,
};
use super::gemm::{Acc, Ahead, Gemm, Lines, MOST_ROWS, Source, Tiled, starts};
use super::simd::{Kernel, Simd};
use super::tile::{Panel, Place, Walk};

/// Rows of whole tiles of either height.
const BAND: usize = 84;

/// Bytes of output that are computed before what is left over beside them.
const OUTPUT_AT_HAND: usize = 32 * 1024;

/// Rows of a tile of four blocks, and quads up to which there are such tiles: their weights stay in the nearest cache.
const WIDE_ROWS: usize = 6;
const MOST_WIDE: usize = 72;

/// Bytes of activations that stay at hand while panels go by.
const AT_HAND: usize = 16 * 1024;

/// Tiles of a band, at least: what they share is made ready for each panel anew, and weights come from far away for the first.
const LEAST_TILES: usize = 4;

/// Lines of weights that are asked for before the first tile, at most: about as many as a core waits for at once.
const FIRST_LINES: usize = 48;

impl<'a, R: Rows> Gemm<'a, R> {
    /// All tiles, by `MR` rows and `NB` blocks, one or two: over rows first where the weights stay in cache, else over channels first.
    #[inline(always)]
    pub(super) fn walk_whole<S: Simd, const MR: usize, const NB: usize>(&mut self, s: S) {
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
        let (panels, odd) = (blocks.len() / NB, blocks.len() % NB == 1);
        let last = blocks.start + NB * panels;
        // The first panel's weights come from far away: all at once, rather than one step's after the other's.
        let first_panel = &self.weights.packed[blocks.start * self.weights.quads..];
        for line in &first_panel[..first_panel.len().min(NB * self.weights.quads).min(FIRST_LINES)] {
            s.prefetch(line);
        }
        let table = matches!(self.finish, Finish::U8(Requantize { table: Some(_), .. }));
        if self.rows_first() {
            let strip = Strip { rows: 0..0, block: 0, panels: 0, bounds, ahead: Ahead::default() };
            let whole_blocks = blocks.end.min(self.weights.channels / 16).saturating_sub(blocks.start);
            let wide = if const { NB == 2 } && self.takes_wide(bounds) { whole_blocks / 4 } else { 0 };
            // What is left over beside the widest panels is computed while the output is at hand.
            let beside = table || (odd && panels > 0) || (wide > 0 && blocks.len() > 4 * wide);
            let band = if beside { (OUTPUT_AT_HAND / (16 * blocks.len().max(1) * BAND)).max(1) * BAND } else { rows.len().max(1) };
            for from in rows.clone().step_by(band) {
                let rows = from..rows.end.min(from + band);
                let split = from + if wide > 0 { rows.len() / BAND * BAND } else { 0 };
                for (rows, wide) in [(from..split, wide), (split..rows.end, 0)] {
                    let strip = |block: usize, panels: usize| Strip { rows: rows.clone(), block, panels, ..strip };
                    if const { NB == 2 } && wide > 0 {
                        self.wide::<S, WIDE_ROWS>(s, strip(blocks.start, wide));
                    }
                    if panels > 2 * wide {
                        self.strip::<S, MR, NB>(s, strip(blocks.start + 4 * wide, panels - 2 * wide));
                    }
                    if odd {
                        self.strip::<S, MR, 1>(s, strip(last, 1));
                    }
                }
                look_up(s, &self.finish, rows, self.channels(), &mut self.to);
            }
            for rows in low {
                s.vectorize(Low::<R, MR, NB> { gemm: self, strip: Strip { rows: rows.clone(), block: blocks.start, panels, ..strip } });
                if odd {
                    s.vectorize(Low::<R, MR, 1> { gemm: self, strip: Strip { rows: rows.clone(), block: last, panels: 1, ..strip } });
                }
                look_up(s, &self.finish, rows, self.channels(), &mut self.to);
            }
            return;
        }
        for block in blocks.clone().step_by(NB) {
            let ahead = self.ahead(block, NB, tiles);
            for (rows, tile) in [(rows.clone(), 0), (low[0].clone(), whole), (low[1].clone(), whole + 1)] {
                let strip = Strip { rows, block, panels: 1, bounds, ahead: ahead.behind(tile) };
                match (block == last, tile < whole) {
                    (true, true) => self.strip::<S, MR, 1>(s, strip),
                    (false, true) => self.strip::<S, MR, NB>(s, strip),
                    (true, false) => s.vectorize(Low::<R, MR, 1> { gemm: self, strip }),
                    (false, false) => s.vectorize(Low::<R, MR, NB> { gemm: self, strip }),
                }
            }
        }
        look_up(s, &self.finish, self.rows.clone(), self.channels(), &mut self.to);
    }

    /// Whether tiles of fewer rows and four blocks are better: they take fewer instructions for each product and each byte, but
    /// read weights more often, and with a residual leave an epilogue no registers.
    #[inline(always)]
    fn takes_wide(&self, bounds: Bounds) -> bool {
        let few = self.weights.quads <= MOST_WIDE && bounds != Bounds::None;
        few && matches!(self.finish, Finish::U8(Requantize { residual: None, .. }))
    }

    /// Tiles of four blocks and so many rows, for [`Gemm::takes_wide`]; but for the table.
    #[inline(always)]
    fn wide<S: Simd, const MR: usize>(&mut self, s: S, strip: Strip<'a>) {
        match (self.finish, strip.bounds) {
            (Finish::U8(how @ Requantize { hard_swish: Some(_), .. }), _) => self.way::<S, MR, 4, ROUNDS, SWISHED>(s, strip, how),
            (Finish::U8(how), Bounds::Lifts) => self.way::<S, MR, 4, LIFTS, ALONE>(s, strip, how),
            (Finish::U8(how), _) => self.way::<S, MR, 4, ROUNDS, ALONE>(s, strip, how),
            _ => {}
        }
    }

    /// Tiles of full height, but for the table.
    #[inline(always)]
    fn strip<S: Simd, const MR: usize, const NB: usize>(&mut self, s: S, strip: Strip<'a>) {
        match (self.finish, strip.bounds) {
            (Finish::F32 | Finish::Dynamic(_), _) | (_, Bounds::None) => s.vectorize(Low::<R, MR, NB> { gemm: self, strip }),
            (Finish::U8(how @ Requantize { hard_swish: Some(_), .. }), _) => self.way::<S, MR, NB, ROUNDS, SWISHED>(s, strip, how),
            (Finish::U8(how @ Requantize { residual: None, .. }), Bounds::Lifts) => self.way::<S, MR, NB, LIFTS, ALONE>(s, strip, how),
            (Finish::U8(how @ Requantize { residual: None, .. }), Bounds::Rounds) => self.way::<S, MR, NB, ROUNDS, ALONE>(s, strip, how),
            (Finish::U8(how @ Requantize { residual: Some(Residual { zero_point: 0, .. }), .. }), _) => {
                self.way::<S, MR, NB, ROUNDS, ADDED_FROM_0>(s, strip, how);
            }
            (Finish::U8(how @ Requantize { residual: Some(_), .. }), _) => self.way::<S, MR, NB, ROUNDS, ADDED>(s, strip, how),
        }
    }

    /// The same, by what limits need.
    #[inline(always)]
    fn way<S: Simd, const MR: usize, const NB: usize, const BOUNDS: u8, const RESIDUAL: u8>(
        &mut self,
        s: S,
        strip: Strip<'a>,
        how: Requantize<'a>,
    ) {
        match limited(&how) {
            UNLIMITED => s.vectorize(Way::<R, MR, NB, BOUNDS, UNLIMITED, RESIDUAL> { gemm: self, strip, how }),
            SHIFTED => s.vectorize(Way::<R, MR, NB, BOUNDS, SHIFTED, RESIDUAL> { gemm: self, strip, how }),
            _ => s.vectorize(Way::<R, MR, NB, BOUNDS, LIMITED, RESIDUAL> { gemm: self, strip, how }),
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
struct Way<'a, 'g, R, const MR: usize, const NB: usize, const BOUNDS: u8, const LIMITS: u8, const RESIDUAL: u8> {
    gemm: &'a mut Gemm<'g, R>,
    strip: Strip<'g>,
    how: Requantize<'g>,
}

impl<R: Rows, const MR: usize, const NB: usize, const BOUNDS: u8, const LIMITS: u8, const RESIDUAL: u8> Kernel
    for Way<'_, '_, R, MR, NB, BOUNDS, LIMITS, RESIDUAL>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let strip = self.strip.clone();
        let walk = Walk::new(&self.gemm.source);
        let mut place = walk.place(strip.rows.start);
        let tiles = strip.rows.len() / MR;
        // As many as stay at hand while panels go by; windows overlap.
        let Source { segments, quads, bases, .. } = self.gemm.source;
        let run = 4 * quads;
        let tile = segments.len() * (MR * run.min(bases.steps[2]) + run);
        let band = if strip.panels == 1 { tiles } else { (AT_HAND / tile.max(1)).max(LEAST_TILES) };
        let mut done = 0;
        while done < tiles {
            let band = Band { first: done, count: band.min(tiles - done) };
            let start = place;
            for panel in 0..strip.panels {
                place = start;
                self.panel(s, &walk, &mut place, strip.block + panel * NB, &band);
            }
            done += band.count;
        }
    }
}

/// Rows of tiles that go by for each panel.
struct Band {
    /// The first, of those of the strip.
    first: usize,
    count: usize,
}

impl<'g, R: Rows, const MR: usize, const NB: usize, const BOUNDS: u8, const LIMITS: u8, const RESIDUAL: u8>
    Way<'_, 'g, R, MR, NB, BOUNDS, LIMITS, RESIDUAL>
{
    /// The tiles of a panel: all that they have in common is at hand before the first.
    #[inline(always)]
    fn panel<S: Simd>(&mut self, s: S, walk: &Walk<'_>, place: &mut Place, block: usize, band: &Band) {
        let Self { gemm, strip, how } = self;
        let panel = Panel::<NB>::new(&gemm.weights, block, gemm.source.quads * gemm.source.segments.len(), &[]);
        let start = gemm.starts::<S, NB>(s, block, if BOUNDS == LIFTS { Bounds::Lifts } else { Bounds::Rounds });
        let channels = (gemm.weights.channels - block * 16).min(NB * 16);
        let channel = gemm.channel + block * 16;
        let residual = how.residual.unwrap_or(Residual { bytes: &[], zero_point: 0, multiplier: 0.0 });
        let fixed = Fixed::<S, NB>::new(s, &gemm.weights.multiplier[block..block + NB], block, how, &residual);
        let first_row = strip.rows.start + band.first * MR;
        // Where several panels follow, the first band asks for all of the next panel's weights.
        let all_next = strip.panels > 1 && band.first == 0 && strip.rows.start == gemm.rows.start;
        let mut ahead = if all_next { gemm.ahead(block, NB, band.count) } else { strip.ahead.behind(band.first) };
        let tile = if block == strip.block && gemm.source.adjoins_afar() { MR * 4 * gemm.source.quads } else { 0 };
        macro_rules! groups {
            ($acc:ident, $added:ident, $to:ident) => {
                // Written out, since sums stay in registers only where every index is a constant.
                groups!($acc, $added, $to, 0 1 2 3 4 5 6)
            };
            ($acc:ident, $added:ident, $to:ident, $($group:literal)*) => {
                $(if const { $group * (4 / NB) < MR } {
                    let first = $group * (4 / NB);
                    let mut v = [$acc[0][0]; 4];
                    for j in 0..4 {
                        v[j] = $acc[(first + j / NB) % MR][j % NB];
                    }
                    let bytes = $added!(v, first);
                    for j in 0..(4 / NB).min(MR - first) {
                        $to!(bytes, j * NB, first + j);
                    }
                })*
            };
        }
        // All channels of the panel exist.
        macro_rules! whole {
            ($len:literal, |$vector:ident, $quarter:ident, $place:ident| $store:expr) => {
                let mut at = first_row * gemm.width + channel;
                let mut lines = gemm.to.lines::<MR>(first_row, band.count, channel, $len);
                runs!(rows, {
                    let Some(mut places) = lines.next() else { return };
                    let mut acc = [start; MR];
                    let weights = ahead.next();
                    let ahead = if weights.is_empty() { rows.behind(tile) } else { weights };
                    s.products(&mut acc, &rows, &panel.asking_for(ahead));
                    let addend = if RESIDUAL == ADDED || RESIDUAL == ADDED_FROM_0 {
                        Some(Addend::<$len, MR>::new(&residual, at, gemm.width))
                    } else {
                        None
                    };
                    at += MR * gemm.width;
                    macro_rules! added {
                        ($v:ident, $first:expr) => {
                            match &addend {
                                Some(addend) => fixed.bytes::<BOUNDS, LIMITS, RESIDUAL>(s, $v, (addend, $first, [(); NB])),
                                None => fixed.bytes::<BOUNDS, LIMITS, RESIDUAL>(s, $v, [&[][..]; 4]),
                            }
                        };
                    }
                    macro_rules! place {
                        ($bytes:ident, $j:expr, $m:expr) => {
                            if let Some($place) = places.next().and_then(|place| place.as_mut_array::<$len>()) {
                                let ($vector, $quarter): (_, usize) = ($bytes, $j);
                                $store;
                            }
                        };
                    }
                    groups!(acc, added, place);
                });
            };
        }
        macro_rules! runs {
            ($rows:ident, $tile:block) => {
                let mut left = band.count;
                while left > 0 {
                    let run = walk.run::<MR>(place, left);
                    left -= run.tiles();
                    for $rows in run $tile
                }
            };
        }
        if channels == NB * 16 {
            if const { NB == 4 } {
                whole!(64, |bytes, _quarter, place| s.store_b(bytes, place));
            } else if const { NB == 2 } {
                whole!(32, |bytes, quarter, place| s.store_half(bytes, quarter / 2, place));
            } else {
                whole!(16, |bytes, quarter, place| s.store_quarter(bytes, quarter, place));
            }
            return;
        }
        if const { NB == 4 } {
            unreachable!("tiles of four blocks are of whole ones");
        }
        let mut row = first_row;
        let mut lines = gemm.to.lines::<MR>(first_row, band.count, channel, channels);
        runs!(rows, {
            let Some(mut places) = lines.next() else { return };
            let mut acc = [start; MR];
            s.products(&mut acc, &rows, &panel.asking_for(ahead.next()));
            macro_rules! added {
                ($v:ident, $first:expr) => {{
                    let mut r: [&[u8]; 4] = [&[]; 4];
                    if RESIDUAL == ADDED || RESIDUAL == ADDED_FROM_0 {
                        for j in 0..4 {
                            let (m, n) = (($first + j / NB) % MR, j % NB);
                            let line = &residual.bytes[(row + m) * gemm.width + channel..][..channels];
                            r[j] = &line[channels.min(n * 16)..channels.min(n * 16 + 16)];
                        }
                    }
                    fixed.bytes::<BOUNDS, LIMITS, RESIDUAL>(s, $v, r)
                }};
            }
            macro_rules! place {
                ($bytes:ident, $quarter:expr, $m:expr) => {
                    if let Some(place) = places.next() {
                        s.store_some($bytes, $quarter, place);
                    }
                };
            }
            groups!(acc, added, place);
            row += MR;
        });
    }
}
