//! The matrix kernel on tiles: what `quaver_core::kernel::gemm` does by vectors, with the weights as the file holds them.
//!
//! Sixteen consecutive rows of a packed block are one B tile. Two tiles of activations meet two of weights in four tiles of
//! sums, which is all of the eight: each loaded tile is used twice, so that the dot products, and not the loads, take the
//! time. One configuration serves a whole call:
//!
//! * **Rows.** All tiles have one height, at most 16. What doesn't divide evenly is covered by a last tile that overlaps its
//!   predecessor; rows that both have are computed twice and written once.
//! * **K.** It runs on over the segments of a row in one sequence, 16 quads a step. Where a step lies within a segment and the
//!   rows of a tile are equidistant (products, 1×1 convolutions, a line of any convolution), activations are loaded from
//!   where they lie. All else is gathered into rows of 64 bytes, once for all channels. The last step of a K that 16 doesn't
//!   divide ends with K: of the quads that it shares with its predecessor, the activations are gathered as zeros, so that
//!   B is read in place even there.
//! * **Channels.** Blocks come in pairs; the file pads them to 16.
//!
//! Sums start with the bias, and leave their tiles for a small buffer and then [`finish`]. Nothing here knows an instruction:
//! tiles are those of a [`TileMachine`].

use quaver_core::kernel::epilogue::{Bounds, Rows, Sums, finish, look_up};
use quaver_core::kernel::gemm::{Gemm, Source, Weights};
use quaver_core::kernel::simd::{Kernel, Simd};

use super::machine::{BYTES, ROWS, TileMachine};
use super::plan::{MAX_TILES, Plan};

/// Blocks of sums: of two tiles by two blocks, and of three rows behind them, as the epilogue takes rows by four.
const SUMS: usize = 4 * ROWS + 6;

/// Tiles of activations.
const A0: u8 = 4;
const A1: u8 = 5;
/// Tiles of weights.
const B0: u8 = 6;
const B1: u8 = 7;

/// A part of a matrix product, with what it needs to run on tiles.
#[derive(Debug)]
pub struct Product<'a, R, P> {
    /// The product.
    pub gemm: Gemm<'a, R>,
    /// What shows that there are tiles.
    pub proof: P,
    /// At least [`super::scratch`] bytes, of any contents.
    pub scratch: &'a mut [u8],
}

/// A [`Product`] to run on the tiles of `M`.
#[derive(Debug)]
pub struct OnTiles<'a, R, M: TileMachine>(pub Product<'a, R, M::Proof>);

impl<R: Rows, M: TileMachine> Kernel for OnTiles<'_, R, M> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Product { gemm, proof, scratch } = self.0;
        if gemm.rows.is_empty() || gemm.blocks.is_empty() {
            return;
        }
        let Source { segments, quads, .. } = gemm.source;
        assert_eq!(segments.len() * quads, gemm.weights.quads, "the segments of a row are not its K");
        let plan = Plan::new(gemm.rows.len(), gemm.blocks.len(), gemm.weights.quads);
        let aligned = scratch.as_ptr().align_offset(BYTES).min(scratch.len());
        let mut driver = Driver {
            machine: M::configure(proof, plan.shapes()),
            bounds: gemm.bounds().without_lift(),
            gemm,
            plan,
            first: 0,
            gathered: scratch[aligned..].as_chunks_mut().0,
            sums: [[0; 16]; SUMS],
        };
        let tiles = plan.tiles_of_a_block();
        for first in (0..plan.tiles).step_by(tiles) {
            driver.first = first;
            driver.block(s, tiles.min(plan.tiles - first));
        }
        let Gemm { finish, rows, .. } = &driver.gemm;
        let (finish, rows, channels) = (*finish, rows.clone(), driver.gemm.channels());
        look_up(s, &finish, rows, channels, &mut driver.gemm.to);
    }
}

/// Where a tile's rows are.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The base of the first.
    base: usize,
    /// Bytes between bases; `None` where they are not equidistant.
    pitch: Option<usize>,
}

impl Place {
    #[inline(always)]
    fn new(bases: &[usize]) -> Self {
        let step = |pair: &[usize]| pair[1].checked_sub(pair[0]);
        let first = bases.windows(2).next().map_or(Some(0), step);
        Self { base: bases[0], pitch: first.filter(|_| bases.windows(2).all(|pair| step(pair) == first)) }
    }
}

/// A place in the sequence of K: the quad `offset` of a segment.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    segment: usize,
    offset: usize,
}

impl Cursor {
    /// Its distance from a row's base.
    #[inline(always)]
    fn distance(self, source: &Source<'_>) -> usize {
        source.segments[self.segment] + self.offset * 4
    }

    /// Whether as many quads follow in the segment.
    #[inline(always)]
    fn has(self, quads: usize, source: &Source<'_>) -> bool {
        self.offset + quads <= source.quads
    }

    #[inline(always)]
    fn advance(&mut self, quads: usize, source: &Source<'_>) {
        self.offset += quads;
        while self.offset >= source.quads {
            self.offset -= source.quads;
            self.segment += 1;
        }
    }
}

/// The rows of a tile, and their pitch: in place where a step's quads are at one `distance` from equidistant bases, else
/// gathered from row `from` on.
#[inline(always)]
fn rows<'a>(
    place: &Place,
    distance: Option<usize>,
    bytes: &'a [u8],
    gathered: &'a [[u8; BYTES]],
    from: usize,
    height: usize,
) -> (&'a [u8], usize) {
    match (place.pitch, distance) {
        (Some(pitch), Some(distance)) => (&bytes[place.base + distance..], pitch),
        _ => (gathered[from..][..height].as_flattened(), BYTES),
    }
}

struct Driver<'a, R, M> {
    machine: M,
    gemm: Gemm<'a, R>,
    bounds: Bounds,
    plan: Plan,
    /// The first tile of rows of the block at hand.
    first: usize,
    /// For each tile of a block and each step, rows of a tile; used only where something had to be gathered.
    gathered: &'a mut [[u8; BYTES]],
    /// The sums of up to two tiles by two blocks.
    sums: [[i32; 16]; SUMS],
}

impl<R: Rows, M: TileMachine> Driver<'_, R, M> {
    /// As many tiles of rows from `first` on, by all channels.
    #[inline(always)]
    fn block<S: Simd>(&mut self, s: S, tiles: usize) {
        let mut places = [Place::default(); MAX_TILES];
        for (i, place) in places.iter_mut().enumerate().take(tiles) {
            let mut bases = [0; ROWS];
            let bases = &mut bases[..self.plan.height];
            self.gemm.source.bases.fill(self.gemm.rows.start + self.plan.start(self.first + i), bases);
            *place = Place::new(bases);
            self.gather(i, bases, place.pitch.is_some());
        }
        let end = self.gemm.blocks.end;
        for block in self.gemm.blocks.clone().step_by(2) {
            for i in (0..tiles).step_by(2) {
                match (places[i..tiles].first_chunk::<2>(), block + 1 < end) {
                    (Some(pair), true) => {
                        self.sums::<2, 2>(pair, i, block);
                        self.finish::<S, 2>(s, i, 2, block);
                    }
                    (Some(pair), false) => {
                        self.sums::<2, 1>(pair, i, block);
                        self.finish::<S, 1>(s, i, 2, block);
                    }
                    (None, true) => {
                        self.sums::<1, 2>(&[places[i]], i, block);
                        self.finish::<S, 2>(s, i, 1, block);
                    }
                    (None, false) => {
                        self.sums::<1, 1>(&[places[i]], i, block);
                        self.finish::<S, 1>(s, i, 1, block);
                    }
                }
            }
        }
    }

    /// Gathers what tile `tile` of the block cannot load in place.
    #[inline(always)]
    fn gather(&mut self, tile: usize, bases: &[usize], equidistant: bool) {
        let Plan { depth, steps, .. } = self.plan;
        let source = &self.gemm.source;
        let mut at = Cursor::default();
        let mut left = self.gemm.weights.quads;
        for step in 0..steps {
            let quads = left.min(depth);
            left -= quads;
            if equidistant && at.has(depth, source) {
                at.advance(quads, source);
                continue;
            }
            let rows = &mut self.gathered[(tile * steps + step) * ROWS..][..bases.len()];
            let mut to = (depth - quads) * 4;
            for row in &mut *rows {
                row[..to].fill(0);
            }
            let mut rest = quads;
            while rest > 0 {
                let piece = rest.min(source.quads - at.offset);
                let (distance, len) = (at.distance(source), piece * 4);
                for (row, base) in rows.iter_mut().zip(bases) {
                    let from = &source.bytes[base + distance..];
                    // A copy of known length is a load and a store.
                    match from.first_chunk::<BYTES>() {
                        Some(whole) if len == BYTES => *row = *whole,
                        _ => row[to..to + len].copy_from_slice(&from[..len]),
                    }
                }
                to += len;
                rest -= piece;
                at.advance(piece, source);
            }
        }
    }

    /// The sums of `MT` tiles of rows, of which the first is tile `tile` of the block, by `NB` blocks of channels.
    ///
    /// Tiles 0 and 1 are the first rows' sums, 2 and 3 the second's.
    #[inline(always)]
    fn sums<const MT: usize, const NB: usize>(&mut self, places: &[Place; MT], tile: usize, block: usize) {
        let Weights { packed, bias, quads, .. } = self.gemm.weights;
        let Plan { height, depth, steps, .. } = self.plan;
        let source = &self.gemm.source;
        let machine = &mut self.machine;
        machine.fill::<0>(&bias[block]);
        if NB == 2 {
            machine.fill::<1>(&bias[block + 1]);
        }
        if MT == 2 {
            machine.fill::<2>(&bias[block]);
            if NB == 2 {
                machine.fill::<3>(&bias[block + 1]);
            }
        }
        let mut at = Cursor::default();
        for step in 0..steps {
            let whole = at.has(depth, source);
            let first = (step * ROWS).min(quads - depth);
            let weights = &packed[block * quads + first..];
            // Where the rows of this step and tile are; those of the second tile are behind the first's.
            let gathered = (tile * steps + step) * ROWS;
            let distance = if whole { Some(at.distance(source)) } else { None };
            let (bytes, pitch) = rows(&places[0], distance, source.bytes, self.gathered, gathered, height);
            machine.load_b::<B0>(&weights[..depth]);
            machine.load_a::<A0>(bytes, pitch);
            machine.dot::<0, A0, B0>();
            if NB == 2 {
                machine.load_b::<B1>(&weights[quads..][..depth]);
                machine.dot::<1, A0, B1>();
            }
            if MT == 2 {
                let gathered = gathered + steps * ROWS;
                let (bytes, pitch) = rows(&places[MT - 1], distance, source.bytes, self.gathered, gathered, height);
                machine.load_a::<A1>(bytes, pitch);
                machine.dot::<2, A1, B0>();
                if NB == 2 {
                    machine.dot::<3, A1, B1>();
                }
            }
            at.advance(depth, source);
        }
        // The rows of a pair are one range, also where the second tile overlaps the first: such rows' sums are the same.
        let start = |m: usize| self.plan.start(self.first + tile + m);
        let second = start(MT - 1) - start(0);
        let sums = self.sums.as_flattened_mut();
        let (pitch, second) = (NB * 16, second * NB * 16);
        machine.store::<0>(sums, pitch);
        if NB == 2 {
            machine.store::<1>(&mut sums[16..], pitch);
        }
        if MT == 2 {
            machine.store::<2>(&mut sums[second..], pitch);
            if NB == 2 {
                machine.store::<3>(&mut sums[second + 16..], pitch);
            }
        }
    }

    /// Writes out the sums of some tiles of rows, of which the first is tile `tile` of the block.
    #[inline(always)]
    fn finish<S: Simd, const NB: usize>(&mut self, s: S, tile: usize, tiles: usize, block: usize) {
        let (plan, tile) = (self.plan, self.first + tile);
        let start = plan.start(tile);
        let end = plan.start(tile + tiles - 1) + plan.height;
        // Rows that are written already: the predecessor's, where this tile is the one that overlaps it.
        let written = tile * plan.height - start;
        let channel = block * 16;
        let Weights { multiplier, channels, .. } = self.gemm.weights;
        let sums = Sums {
            acc: &self.sums.as_chunks::<NB>().0[written..],
            rows: end - start - written,
            row: self.gemm.rows.start + start + written,
            channel: self.gemm.channel + channel,
            channels: (channels - channel).min(NB * 16),
            multiplier: &multiplier[block..block + NB],
            width: self.gemm.width,
            bounds: self.bounds,
        };
        finish(s, &sums, &self.gemm.finish, &mut self.gemm.to);
    }
}

#[cfg(test)]
mod tests;
