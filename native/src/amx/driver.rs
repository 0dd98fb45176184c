//! The matrix kernel on tiles: what `quaver_core::kernel::gemm` does by vectors, with the weights as the file holds them.
//!
//! Sixteen consecutive rows of a packed block are one B tile. Two tiles of activations meet two of weights that pass through L2, or
//! four that stay there: a *unit*, whose sums leave together. It is computed in turns of two tiles of sums: two of activations by
//! one of weights, or, where it is the activations that pass by, one by two. That loads three tiles for two products, which keep
//! pace with them, and leaves half of the processor's tiles to rename. One configuration serves a whole call:
//!
//! * **Rows.** All tiles have one height, at most 16. What doesn't divide evenly, be it all rows or those of each line, is covered
//!   by a last tile that overlaps its predecessor; rows that both have are computed twice and written once.
//! * **K.** It runs on over the segments of a row in one sequence, up to 16 quads a step, if it is long by parts. The rows of a tile
//!   are loaded from where they lie, segment by segment, or else gathered, once for all channels: [`Plan`] says when. A last step
//!   that has fewer quads than others has tiles of its own.
//! * **Channels.** Blocks come in pairs; the file pads them to 16.
//!
//! Sums start with zero, and leave their tiles for a buffer, from which vectors make bytes; that way begins with the bias. It is
//! gone at once, while the sums are in L1: taking it by parts, between the products of the next unit, costs more than what the
//! processor then computes side by side saves. Nothing here knows an instruction: tiles are those of a [`TileMachine`].

pub(super) mod gather;
mod outgoing;

use std::ops::Range;

use quaver_core::kernel::epilogue::{Rows, look_up};
use quaver_core::kernel::gemm::{Gemm, Source, Weights};
use quaver_core::kernel::simd::{Kernel, Simd};

use gather::gather;
use outgoing::{Outgoing, Ready};

use super::machine::{Ahead, BYTES, Lines, ROWS, Runs, TileMachine};
use super::plan::{MAX_TILES, Plan, room_beside};
use super::staging::{MOST_PLACES, Staging};

/// A part of a matrix product, with what it needs to run on tiles.
#[derive(Debug)]
pub struct Product<'a, R, P> {
    /// The product.
    pub gemm: Gemm<'a, R>,
    /// Weights that are needed after it, in the next product.
    pub after: &'a [[i8; BYTES]],
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
        let Product { gemm, after, proof, scratch } = self.0;
        if gemm.rows.is_empty() || gemm.blocks.is_empty() {
            return;
        }
        let Source { segments, quads, .. } = gemm.source;
        assert_eq!(segments.len() * quads, gemm.weights.quads, "the segments of a row are not its K");
        let aligned = scratch.as_ptr().align_offset(BYTES).min(scratch.len());
        let (bounds, all) = (gemm.bounds(), gemm.channels());
        let Gemm { mut source, weights, finish, rows, blocks, channel, width, to } = gemm;
        let staging = Staging::of(&source, &rows, blocks.len());
        let (staged, aligned) = scratch[aligned..].split_at_mut(staging.map_or(0, |staging| staging.bytes()));
        let (mut segments, mut first) = ([0; MOST_PLACES], rows.start);
        if let Some(staging) = staging {
            first = staging.row(rows.start, &source.bases);
            source = staging.stage(&source, staged, &mut segments);
        }
        let plan = Plan::new(&source, &(first..first + rows.len()), blocks.len());
        let mut driver = Driver {
            machine: M::configure(proof, plan.extents()),
            source,
            weights,
            after,
            row: rows.start,
            first,
            plan,
            in_place: Runs::at(source.segments, plan.cut.steps),
            gathered: Runs::adjoining(if plan.in_place { source.segments.len() } else { 1 }, plan.cut.steps),
            tiles: [Tile::default(); MAX_TILES],
            end: 0,
            out: Outgoing::new(finish, weights, channel, width, bounds, to),
        };
        let (aside, room) = aligned.split_at_mut(plan.aside(blocks.len()) * BYTES);
        let (_, aside, _) = bytemuck::pod_align_to_mut(aside);
        let mut room = Room { aside, rows: room.as_chunks_mut().0 };
        let tiles = plan.tiles_of_a_block();
        for first in (0..plan.tiles).step_by(tiles) {
            driver.block(s, first, tiles.min(plan.tiles - first), &blocks, &mut room);
        }
        look_up(s, &finish, rows, all, &mut driver.out.to);
    }
}

/// A tile of rows.
#[derive(Debug, Clone, Copy, Default)]
struct Tile {
    /// From where its rows are loaded in place, where they are.
    base: Option<usize>,
    /// The first row, from the first of the call.
    row: usize,
    /// Rows that the tile before has too.
    before: usize,
}

/// Where a block's rows are gathered, for each tile a multiple of the plan's pitch apart, and where sums are put aside.
struct Room<'a> {
    aside: &'a mut [i32],
    rows: &'a mut [[u8; BYTES]],
}

/// A unit's place: its first block of channels, and the part of K, by steps. What is gathered begins with its rows, and what is
/// put aside with its sums.
struct Place<'a> {
    block: usize,
    part: Range<usize>,
    gathered: &'a [[u8; BYTES]],
    aside: &'a mut [i32],
}

/// Integers of a tile of sums.
const TILE: usize = ROWS * BYTES / 4;

struct Driver<'a, R, M> {
    machine: M,
    source: Source<'a>,
    weights: Weights<'a>,
    after: &'a [[i8; BYTES]],
    /// The first output row of the call, and which row of the source that is.
    row: usize,
    first: usize,
    plan: Plan,
    /// K of rows that are loaded from where they lie, and of gathered ones.
    in_place: Runs<'a>,
    gathered: Runs<'a>,
    /// The tiles of a block.
    tiles: [Tile; MAX_TILES],
    /// The row behind the last tile that has a place, from the first of the call.
    end: usize,
    out: Outgoing<'a, R>,
}

impl<'a, R: Rows, M: TileMachine> Driver<'a, R, M> {
    /// So many tiles of rows from `first` on, by all channels.
    #[inline(always)]
    fn block<S: Simd>(&mut self, s: S, first: usize, tiles: usize, blocks: &Range<usize>, room: &mut Room<'_>) {
        let plan = self.plan;
        let gathered = ROWS * plan.pitch;
        for i in 0..tiles {
            let row = plan.start(first + i);
            let base = self.place(row);
            if base.is_none() {
                self.gather(row, &mut room.rows[i * gathered..]);
            }
            self.tiles[i] = Tile { base, row, before: self.end - row };
            self.end = row + plan.height;
        }
        // The side that is kept stays for a part of K, while all of the other passes by.
        let parts = plan.steps.div_ceil(plan.part.max(1)).max(1);
        let (outer, inner) = if plan.far { (1, parts) } else { (parts, 1) };
        let steps = |part: usize| (part * plan.part).min(plan.steps);
        let mut ahead = Ahead::default();
        if !plan.far && first > 0 {
            // Those that are needed after all, in equal parts for all rows but the first.
            let after = &self.after[..self.after.len().min(room_beside(blocks.len() * self.weights.quads))];
            let share = |tile: usize| after.len() * (tile - 2) / (plan.tiles - 2);
            let share = share(first)..share((first + 2).min(plan.tiles));
            ahead = Ahead::new([&after[share], &[], &[], &[]], blocks.len() * plan.steps);
        }
        for outer in 0..outer {
            let all = steps(outer * inner)..steps((outer + 1) * inner);
            let mut block = blocks.start;
            while block < blocks.end {
                let wide = plan.wide() && block + 4 <= blocks.end && (block + 4) * 16 <= self.weights.channels;
                let width = if wide { 4 } else { 2.min(blocks.end - block) };
                // Weights that stay in L2 still come from farther away for the first rows.
                if plan.far || first == 0 {
                    // Of each block of the next unit the part that is next.
                    let quads = self.weights.quads;
                    let of_all = |steps: usize| quads * steps / plan.steps.max(1);
                    let part = of_all(all.start)..of_all(all.end);
                    let mut pieces = [&[][..]; 4];
                    for (piece, block) in pieces.iter_mut().zip((block + width..blocks.end).take(width)) {
                        *piece = &self.weights.packed[block * quads..][part.clone()];
                    }
                    ahead = Ahead::new(pieces, tiles.div_ceil(2) * width * all.len());
                }
                for part in outer * inner..(outer + 1) * inner {
                    let part = steps(part)..steps(part + 1);
                    for i in (0..tiles).step_by(2) {
                        let aside = if plan.far { i } else { block - blocks.start } * 2 * TILE;
                        let place = Place {
                            block,
                            part: part.clone(),
                            gathered: room.rows.get(i * gathered..).unwrap_or_default(),
                            aside: room.aside.get_mut(aside..).unwrap_or_default(),
                        };
                        match (self.tiles[i..tiles].first_chunk::<2>(), width) {
                            (Some(&tiles), 4) => self.unit::<S, 2, 4>(s, tiles, place, &mut ahead),
                            (Some(&tiles), 2) => self.unit::<S, 2, 2>(s, tiles, place, &mut ahead),
                            (Some(&tiles), _) => self.unit::<S, 2, 1>(s, tiles, place, &mut ahead),
                            (None, 4) => self.unit::<S, 1, 4>(s, [self.tiles[i]], place, &mut ahead),
                            (None, 2) => self.unit::<S, 1, 2>(s, [self.tiles[i]], place, &mut ahead),
                            (None, _) => self.unit::<S, 1, 1>(s, [self.tiles[i]], place, &mut ahead),
                        }
                    }
                }
                block += width;
            }
        }
    }

    /// From where the rows of a tile from `row` on are loaded in place, if they can be.
    #[inline(always)]
    fn place(&self, row: usize) -> Option<usize> {
        let (plan, bases) = (self.plan, self.source.bases);
        let (row, [_, width], [_, _, pitch]) = (self.first + row, bases.extents, bases.steps);
        if !plan.in_place {
            return None;
        }
        if plan.uniform {
            return Some(bases.start + row * pitch);
        }
        let mut base = [0];
        bases.fill(row, &mut base);
        (row % width + plan.height <= width).then_some(base[0])
    }

    /// Gathers the rows of a tile from `row` on.
    #[inline(always)]
    fn gather(&self, row: usize, to: &mut [[u8; BYTES]]) {
        let plan = self.plan;
        let mut each = [0; ROWS];
        let each = &mut each[..plan.height];
        self.source.bases.fill(self.first + row, each);
        for (row, &base) in to[..each.len() * plan.pitch].chunks_exact_mut(plan.pitch).zip(&*each) {
            gather(&self.source, base, row.as_flattened_mut());
        }
    }

    /// A tile's rows, where they lie or where they are gathered.
    #[inline(always)]
    fn lines<'b>(&self, tile: Tile, gathered: &'b [[u8; BYTES]]) -> Lines<'b>
    where
        'a: 'b,
    {
        let plan = self.plan;
        let (bytes, pitch, runs) = match tile.base {
            Some(base) => (&self.source.bytes[base..], self.source.bases.steps[2], self.in_place),
            None => (gathered[..plan.height * plan.pitch].as_flattened(), plan.pitch * BYTES, self.gathered),
        };
        Lines::new(bytes, pitch, plan.extents(), runs)
    }

    /// `MT` tiles of rows by `NB` blocks of channels.
    #[inline(always)]
    fn unit<S: Simd, const MT: usize, const NB: usize>(&mut self, s: S, tiles: [Tile; MT], place: Place<'_>, ahead: &mut Ahead<'_>) {
        let plan = self.plan;
        let Place { block, part, gathered, aside } = place;
        // A loop instead of `array::map`, whose closures are not reliably inlined.
        let mut rows = [self.lines(tiles[0], gathered); MT];
        for (m, rows) in rows.iter_mut().enumerate().skip(1) {
            *rows = self.lines(tiles[m], gathered.get(m * ROWS * plan.pitch..).unwrap_or_default());
        }
        // The rows of a pair are one range, also where the second tile overlaps the first: such rows' sums are the same.
        let apart = tiles[MT - 1].row - tiles[0].row;
        let (quads, pitch) = (self.weights.quads, NB * 16);
        let panel = |n: usize| &self.weights.packed[(block + n) * quads..][..quads];
        let (begins, ends) = (part.start == 0, part.end == plan.steps);
        let ready = Ready { block, done: tiles[0].before, rows: apart + plan.height, row: self.row + tiles[0].row };
        if ends {
            self.out.ask(s, ready);
        }
        if plan.far && NB == 2 {
            let panels = [panel(0), panel(1)];
            for m in 0..MT {
                self.start::<2>(begins, aside, m);
                self.machine.multiply(&[rows[m]], &panels, part.clone(), ahead);
                let (to, pitch, second) = match ends {
                    true => (&mut self.out.sums()[m * apart * pitch..], pitch, 16),
                    false => (&mut aside[m * 2 * TILE..], 16, TILE),
                };
                self.machine.store::<0>(to, pitch);
                self.machine.store::<1>(&mut to[second..], pitch);
            }
        } else {
            for n in 0..NB {
                self.start::<MT>(begins, aside, n);
                self.machine.multiply(&rows, &[panel(n)], part.clone(), ahead);
                let (to, pitch, second) = match ends {
                    true => (&mut self.out.sums()[n * 16..], pitch, apart * pitch),
                    false => (&mut aside[n * 2 * TILE..], 16, TILE),
                };
                self.machine.store::<0>(to, pitch);
                if MT == 2 {
                    self.machine.store::<1>(&mut to[second..], pitch);
                }
            }
        }
        if ends {
            self.out.write::<S, NB>(s, ready);
        }
    }

    /// Starts `COUNT` tiles of sums: with zero, or with what was put aside for a turn of a unit.
    #[inline(always)]
    fn start<const COUNT: usize>(&mut self, begins: bool, aside: &[i32], turn: usize) {
        if begins {
            return self.machine.zero();
        }
        let sums = &aside[turn * 2 * TILE..];
        self.machine.load::<0>(sums, 16);
        if COUNT == 2 {
            self.machine.load::<1>(&sums[TILE..], 16);
        }
    }
}

#[cfg(test)]
mod tests;
