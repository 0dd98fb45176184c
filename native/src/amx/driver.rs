//! The matrix kernel on tiles: what `quaver_core::kernel::gemm` does by vectors, with the weights as the file holds them.
//!
//! Sixteen consecutive rows of a packed block are one B tile. Two tiles of activations meet two of weights: a *unit*, whose sums
//! leave together. It is computed by halves, of two tiles of sums each: two of activations by one of weights, or, where it is the
//! activations that pass by, one by two. That loads three tiles for two products, which they keep pace with, and leaves half of
//! the processor's tiles free for it to rename. One configuration serves a whole call:
//!
//! * **Rows.** All tiles have one height, at most 16. What doesn't divide evenly, be it all rows or those of each line, is covered
//!   by a last tile that overlaps its predecessor; rows that both have are computed twice and written once.
//! * **K.** It runs on over the segments of a row in one sequence, 16 quads a step. The rows of a tile are loaded from where
//!   they lie, or else gathered, once for all channels: [`Plan`] says when. The last step of a K that 16 doesn't divide ends
//!   with K: of the quads that it shares with its predecessor, gathered activations are zeros, so that B is read in place even
//!   there.
//! * **Channels.** Blocks come in pairs; the file pads them to 16.
//!
//! Sums start with zero, and leave their tiles for a buffer. The way from there to bytes, which begins with the bias, is one of
//! vectors, which the processor can compute beside the tiles of the next sums if both are in its sight: so a part of the sums
//! before is [`finish`](Outgoing::finish)ed after each step. Nothing here knows an instruction: tiles are those of a
//! [`TileMachine`].

mod outgoing;

use std::ops::Range;

use quaver_core::kernel::epilogue::{Rows, look_up};
use quaver_core::kernel::gemm::{Gemm, Source, Weights};
use quaver_core::kernel::simd::{Kernel, Simd};

use outgoing::{Buffers, Outgoing, Pending};

use super::machine::{BYTES, Lines, ROWS, TileMachine};
use super::plan::{MAX_TILES, Plan};

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
            machine: M::configure(proof, plan.extents()),
            source,
            weights,
            row: rows.start,
            plan,
            tiles: [Tile::default(); MAX_TILES],
            end: 0,
            gathered: scratch[aligned..].as_chunks_mut().0,
            out: Outgoing {
                finish,
                weights,
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

/// Weights that are asked for before they are needed, so many lines a step.
struct Ahead<'a> {
    lines: &'a [[i8; BYTES]],
    each: usize,
}

impl Ahead<'_> {
    /// Those of so many steps.
    #[inline(always)]
    fn ask<S: Simd>(&mut self, s: S, steps: usize) {
        let (now, rest) = self.lines.split_at((self.each * steps).min(self.lines.len()));
        for line in now {
            s.prefetch(line);
        }
        self.lines = rest;
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
            let pair = block + 1 < blocks.end;
            // Weights that stay in L2 still come from farther away for the first rows.
            let next = if self.plan.far || first == 0 { (block + 2).min(blocks.end)..(block + 4).min(blocks.end) } else { 0..0 };
            let next = &self.weights.packed[next.start * self.weights.quads..next.end * self.weights.quads];
            let each = next.len().div_ceil(tiles.div_ceil(2) * 2 * self.plan.steps.max(1)).max(1);
            let mut ahead = Ahead { lines: next, each };
            for i in (0..tiles).step_by(2) {
                match (self.tiles[i..tiles].first_chunk::<2>(), pair) {
                    (Some(&tiles), true) => self.unit::<S, 2, 2>(s, tiles, block, &mut ahead),
                    (Some(&tiles), false) => self.unit::<S, 2, 1>(s, tiles, block, &mut ahead),
                    (None, true) => self.unit::<S, 1, 2>(s, [self.tiles[i]], block, &mut ahead),
                    (None, false) => self.unit::<S, 1, 1>(s, [self.tiles[i]], block, &mut ahead),
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

    /// `MT` tiles of rows by `NB` blocks of channels.
    #[inline(always)]
    fn unit<S: Simd, const MT: usize, const NB: usize>(
        &mut self,
        s: S,
        tiles: [Tile; MT],
        block: usize,
        ahead: &mut Ahead<'_>,
    ) {
        // The rows of a pair are one range, also where the second tile overlaps the first: such rows' sums are the same.
        let apart = tiles[MT - 1].row - tiles[0].row;
        let pitch = NB * 16;
        if self.plan.far && NB == 2 {
            for (m, tile) in tiles.iter().enumerate() {
                self.sums::<S, 1, 2>(s, [*tile], block, ahead);
                let to = &mut self.out.buffers.next()[m * apart * pitch..];
                self.machine.store::<0>(to, pitch);
                self.machine.store::<1>(&mut to[16..], pitch);
            }
        } else {
            for n in 0..NB {
                self.sums::<S, MT, 1>(s, tiles, block + n, ahead);
                let to = &mut self.out.buffers.next()[n * 16..];
                self.machine.store::<0>(to, pitch);
                if MT == 2 {
                    self.machine.store::<1>(&mut to[apart * pitch..], pitch);
                }
            }
        }
        self.out.finish(s, usize::MAX);
        self.out.buffers.turn();
        self.out.pending = Pending { blocks: NB, block, done: tiles[0].before, rows: apart + self.plan.height, row: self.row + tiles[0].row };
    }

    /// The sums of two tiles of rows by one block of channels, of one by two, or of one by one.
    ///
    /// Each step asks for a part of the weights `ahead`, and finishes a part of the sums before.
    #[inline(always)]
    fn sums<S: Simd, const MT: usize, const NB: usize>(
        &mut self,
        s: S,
        tiles: [Tile; MT],
        block: usize,
        ahead: &mut Ahead<'_>,
    ) {
        let Weights { packed, quads, .. } = self.weights;
        let (source, plan) = (self.source, self.plan);
        let rows = tiles.map(|tile| match tile.place {
            Place::Source { base, pitch } => Lines { bytes: &source.bytes[base..], pitch },
            Place::Gathered(line) => {
                Lines { bytes: self.gathered[line..line + plan.height * plan.pitch].as_flattened(), pitch: plan.pitch * BYTES }
            }
        });
        let in_place = tiles.map(|tile| matches!(tile.place, Place::Source { .. }));
        let panels: [_; NB] = std::array::from_fn(|n| &packed[(block + n) * quads..][..quads]);
        // Where the last step's weights begin.
        let last = quads.saturating_sub(plan.depth);
        self.machine.zero();
        let mut step = 0;
        while step < plan.steps {
            // What is in one piece, as far as nothing else is to be done meanwhile.
            let (segment, within) = (step / plan.run, step % plan.run);
            let mut steps = plan.run - within;
            let busy = self.out.pending.done < self.out.pending.rows;
            if busy || !ahead.lines.is_empty() {
                steps = steps.min(if busy { 1 } else { 4 });
            }
            let first = step * ROWS;
            if first + (steps - 1) * ROWS > last && steps > 1 {
                steps -= 1;
            }
            let mut along = rows;
            for m in 0..MT {
                // Those in place go on with the segment.
                let distance = if in_place[m] { source.segments[segment] + within * BYTES } else { step * BYTES };
                along[m].bytes = &along[m].bytes[distance..];
            }
            let panels = panels.map(|panel| &panel[first.min(last)..]);
            self.machine.multiply::<MT, NB>(along, panels, steps);
            ahead.ask(s, steps);
            if busy {
                self.out.finish(s, plan.share);
            }
            step += steps;
        }
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
