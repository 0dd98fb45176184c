//! The matrix kernel on tiles: what `quaver_core::kernel::gemm` does by vectors, with the weights as the file holds them.
//!
//! Sixteen consecutive rows of a packed block are one B tile. Two tiles of activations meet two of weights in four tiles of
//! sums, which is all of the eight: each loaded tile is used twice, so that the dot products, and not the loads, take the
//! time. One configuration serves a whole call:
//!
//! * **Rows.** All tiles have one height, at most 16. What doesn't divide evenly, be it all rows or those of each line, is covered
//!   by a last tile that overlaps its predecessor; rows that both have are computed twice and written once.
//! * **K.** It runs on over the segments of a row in one sequence, 16 quads a step. The rows of a tile are loaded from where
//!   they lie, or else gathered, once for all channels: [`Plan`] says when. The last step of a K that 16 doesn't divide ends
//!   with K: of the quads that it shares with its predecessor, gathered activations are zeros, so that B is read in place even
//!   there.
//! * **Channels.** Blocks come in pairs; the file pads them to 16.
//!
//! Sums start with the bias, and leave their tiles for a buffer. The way from there to bytes is one of vectors, which the
//! processor can compute beside the tiles of the next sums if both are in its sight: so a part of the sums before is
//! [`finish`]ed after each step. Nothing here knows an instruction: tiles are those of a [`TileMachine`].

mod outgoing;

use std::ops::Range;
use std::slice::Chunks;

use quaver_core::kernel::epilogue::{Bounds, Rows, look_up};
use quaver_core::kernel::gemm::{Gemm, Source, Weights};
use quaver_core::kernel::simd::{Kernel, Simd};

use outgoing::{Aligned, Buffers, Outgoing, Pending};

use super::machine::{Activations, BYTES, ROWS, TileMachine};
use super::plan::{MAX_TILES, Plan};

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
        let plan = Plan::new(&gemm.source, &gemm.rows, gemm.blocks.len());
        let aligned = scratch.as_ptr().align_offset(BYTES).min(scratch.len());
        let (bounds, all) = (gemm.bounds(), gemm.channels());
        let Gemm { source, weights, finish, rows, blocks, channel, width, to } = gemm;
        let mut driver = Driver {
            machine: M::configure(proof, plan.shapes()),
            source,
            weights,
            row: rows.start,
            plan,
            tiles: [Tile::default(); MAX_TILES],
            end: 0,
            gathered: scratch[aligned..].as_chunks_mut().0,
            starts: Aligned([[0; 16]; 2]),
            out: Outgoing {
                finish,
                multiplier: weights.multiplier,
                channels: weights.channels,
                channel,
                width,
                bounds,
                to,
                buffers: Buffers::new(),
                pending: Pending::default(),
            },
        };
        let tiles = plan.tiles_of_a_block();
        for first in (0..plan.tiles).step_by(tiles) {
            driver.block(s, first, tiles.min(plan.tiles - first), &blocks);
        }
        driver.out.finish(s, usize::MAX);
        look_up(s, &finish, rows, all, &mut driver.out.to);
    }
}

/// Where a tile's rows are.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// From a base on, at a pitch.
    Source { base: usize, pitch: usize },
    /// From this line of what is gathered on.
    Gathered(usize),
}

impl Default for Place {
    fn default() -> Self {
        Self::Gathered(0)
    }
}

/// A tile of rows.
#[derive(Debug, Clone, Copy, Default)]
struct Tile {
    place: Place,
    /// The first row, from the first of the call.
    row: usize,
    /// Rows that the tile before has too.
    before: usize,
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

    /// On by a step, none of which leaves a segment.
    #[inline(always)]
    fn advance(&mut self, quads: usize, source: &Source<'_>) {
        self.offset += quads;
        if self.offset >= source.quads {
            *self = Self { segment: self.segment + 1, offset: 0 };
        }
    }
}

struct Driver<'a, R, M> {
    machine: M,
    source: Source<'a>,
    weights: Weights<'a>,
    /// The first output row of the call.
    row: usize,
    plan: Plan,
    /// The tiles of a block.
    tiles: [Tile; MAX_TILES],
    /// The row behind the last tile that has a place, from the first of the call.
    end: usize,
    /// For each tile of a block its rows, a multiple of the plan's pitch apart.
    gathered: &'a mut [[u8; BYTES]],
    /// What the sums of a pair of blocks start with.
    starts: Aligned<[[i32; 16]; 2]>,
    out: Outgoing<'a, R>,
}

impl<R: Rows, M: TileMachine> Driver<'_, R, M> {
    /// So many tiles of rows from `first` on, by all channels.
    #[inline(always)]
    fn block<S: Simd>(&mut self, s: S, first: usize, tiles: usize, blocks: &Range<usize>) {
        for i in 0..tiles {
            let row = self.plan.start(first + i);
            self.tiles[i] = Tile { place: self.place(row, i), row, before: self.end - row };
            self.end = row + self.plan.height;
        }
        for block in blocks.clone().step_by(2) {
            let lift = if self.out.bounds == Bounds::Lifts { S::LIFT } else { 0 };
            for (start, bias) in self.starts.0.iter_mut().zip(&self.weights.bias[block..blocks.end]) {
                *start = bias.map(|bias| bias.wrapping_add(lift));
            }
            let pair = block + 1 < blocks.end;
            // Weights that stay in L2 still come from farther away for the first rows.
            let next = if self.plan.far || first == 0 { (block + 2).min(blocks.end)..(block + 4).min(blocks.end) } else { 0..0 };
            let next = &self.weights.packed[next.start * self.weights.quads..next.end * self.weights.quads];
            let each = next.len().div_ceil(tiles.div_ceil(2) * self.plan.steps.max(1)).max(1);
            let mut ahead = next.chunks(each);
            for i in (0..tiles).step_by(2) {
                match (self.tiles[i..tiles].first_chunk::<2>(), pair) {
                    (Some(&tiles), true) => self.sums::<S, 2, 2>(s, tiles, block, &mut ahead),
                    (Some(&tiles), false) => self.sums::<S, 2, 1>(s, tiles, block, &mut ahead),
                    (None, true) => self.sums::<S, 1, 2>(s, [self.tiles[i]], block, &mut ahead),
                    (None, false) => self.sums::<S, 1, 1>(s, [self.tiles[i]], block, &mut ahead),
                }
            }
        }
    }

    /// Where the rows of a tile from `row` on are. If need be they are gathered, in place `i`.
    #[inline(always)]
    fn place(&mut self, row: usize, i: usize) -> Place {
        let (plan, bases) = (self.plan, self.source.bases);
        let (row, [_, width], [_, _, pitch]) = (self.row + row, bases.extents, bases.steps);
        if plan.in_place && plan.uniform {
            return Place::Source { base: bases.start + row * pitch, pitch };
        }
        let mut each = [0; ROWS];
        if plan.in_place && row % width + plan.height <= width {
            bases.fill(row, &mut each[..1]);
            return Place::Source { base: each[0], pitch };
        }
        let each = &mut each[..plan.height];
        bases.fill(row, each);
        let line = i * ROWS * plan.pitch;
        let rows = &mut self.gathered[line..][..each.len() * plan.pitch];
        for (row, &base) in rows.chunks_exact_mut(plan.pitch).zip(&*each) {
            gather(&self.source, base, plan.steps, row.as_flattened_mut());
        }
        Place::Gathered(line)
    }

    /// The sums of `MT` tiles of rows by `NB` blocks of channels.
    ///
    /// Tiles 0 and 1 are the first rows' sums, 2 and 3 the second's. What a step needs is loaded during the one before, each
    /// tile as soon as nothing reads it any more. Each step also asks for a part of the weights `ahead`.
    #[inline(always)]
    fn sums<S: Simd, const MT: usize, const NB: usize>(
        &mut self,
        s: S,
        tiles: [Tile; MT],
        block: usize,
        ahead: &mut Chunks<'_, [i8; BYTES]>,
    ) {
        let Weights { packed, quads, .. } = self.weights;
        let (source, plan) = (self.source, self.plan);
        self.machine.fill::<0>(&self.starts.0[0]);
        if NB == 2 {
            self.machine.fill::<1>(&self.starts.0[1]);
        }
        if MT == 2 {
            self.machine.fill::<2>(&self.starts.0[0]);
            if NB == 2 {
                self.machine.fill::<3>(&self.starts.0[1]);
            }
        }
        let shape = plan.shapes()[usize::from(A0)];
        let rows = tiles.map(|tile| match tile.place {
            Place::Source { base, pitch } => Activations::new(&source.bytes[base..], pitch, shape),
            Place::Gathered(line) => {
                let rows = &self.gathered[line..line + plan.height * plan.pitch];
                Activations::new(rows.as_flattened(), plan.pitch * BYTES, shape)
            }
        });
        let in_place = tiles.map(|tile| matches!(tile.place, Place::Source { .. }));
        let panel = |n: usize| &packed[(block + n) * quads..][..quads];
        let panels = [panel(0), panel(NB - 1)];
        // What a step loads, as distances from the rows and in the panels.
        let mut at = Cursor::default();
        let mut along = [0; 2];
        let mut first = 0;
        macro_rules! load_a {
            ($tile:ident, $m:expr) => {
                self.machine.load_a::<$tile>(&rows[$m], along[usize::from(in_place[$m])])
            };
        }
        if plan.steps > 0 {
            along[1] = at.distance(&source);
            self.machine.load_b::<B0>(panels[0], first);
            load_a!(A0, 0);
            if MT == 2 {
                load_a!(A1, MT - 1);
            }
            if NB == 2 {
                self.machine.load_b::<B1>(panels[1], first);
            }
        }
        for next in 1..=plan.steps {
            let more = next < plan.steps;
            if more {
                first = (first + ROWS).min(quads - plan.depth);
                along[0] += BYTES;
                if plan.in_place {
                    at.advance(plan.depth, &source);
                    along[1] = at.distance(&source);
                }
            }
            self.machine.dot::<0, A0, B0>();
            if MT == 2 {
                self.machine.dot::<2, A1, B0>();
            }
            if more {
                self.machine.load_b::<B0>(panels[0], first);
            }
            if NB == 2 {
                self.machine.dot::<1, A0, B1>();
            }
            if more {
                load_a!(A0, 0);
            }
            if MT == 2 {
                if NB == 2 {
                    self.machine.dot::<3, A1, B1>();
                }
                if more {
                    load_a!(A1, MT - 1);
                }
            }
            if NB == 2 && more {
                self.machine.load_b::<B1>(panels[1], first);
            }
            for line in ahead.next().unwrap_or_default() {
                s.prefetch(line);
            }
            if self.out.pending.done < self.out.pending.rows {
                self.out.finish(s, plan.share);
            }
        }
        self.out.finish(s, usize::MAX);
        // The rows of a pair are one range, also where the second tile overlaps the first: such rows' sums are the same.
        let apart = tiles[MT - 1].row - tiles[0].row;
        let sums = self.out.buffers.turn();
        let (pitch, second) = (NB * 16, apart * NB * 16);
        self.machine.store::<0>(sums, pitch);
        if NB == 2 {
            self.machine.store::<1>(&mut sums[16..], pitch);
        }
        if MT == 2 {
            self.machine.store::<2>(&mut sums[second..], pitch);
            if NB == 2 {
                self.machine.store::<3>(&mut sums[second + 16..], pitch);
            }
        }
        self.out.pending = Pending { blocks: NB, block, done: tiles[0].before, rows: apart + plan.height, row: self.row + tiles[0].row };
    }
}

/// Copies a row's segments one behind the other, by whole lines of a cache: up to 63 bytes more than there are. Before what the
/// last step has of its own, it has zeros where its predecessor has values.
#[inline(always)]
fn gather(source: &Source<'_>, base: usize, steps: usize, row: &mut [u8]) {
    let len = source.quads * 4;
    let k = len * source.segments.len();
    let (cut, gap) = if steps > 1 { ((steps - 1) * BYTES, steps * BYTES - k) } else { (k, 0) };
    let mut to = 0;
    for segment in source.segments {
        let from = &source.bytes[base + segment..];
        let head = cut.saturating_sub(to).min(len);
        copy_over(from, head, &mut row[to..]);
        if gap > 0 && to + head == cut && head > 0 {
            row[cut..][..BYTES].fill(0);
        }
        if head < len {
            copy_over(&from[head..], len - head, &mut row[to + head + gap..]);
        }
        to += len;
    }
}

/// Copies by whole lines where there are any.
#[inline(always)]
fn copy_over(from: &[u8], len: usize, to: &mut [u8]) {
    for at in (0..len).step_by(BYTES) {
        match (from[at..].first_chunk::<BYTES>(), to[at..].first_chunk_mut::<BYTES>()) {
            (Some(from), Some(to)) => *to = *from,
            _ => to[at..len].copy_from_slice(&from[at..len]),
        }
    }
}

#[cfg(test)]
mod tests;
