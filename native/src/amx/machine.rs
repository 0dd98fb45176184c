//! What AMX can do, as a trait: tiles of up to 16 rows × 64 bytes, and products of two of them added to a third.
//!
//! [`super::hardware`] does it by instructions, [`super::soft`] by loops that also find misuse; so the driver's blocking and
//! gathering are tested where no AMX exists. What goes in and out is covered by slices, and every implementation checks that they
//! are long enough: no method is `unsafe`.
//!
//! There are two tiles of sums, one of activations and one of weights, and two more for last steps of K that have fewer quads: half
//! of what the processor has, or a little more. It renames tiles, out of few more than it shows, and while a program runs on the
//! other thread of its core, out of half of those: where all eight hold something, each load and each product waits for one before
//! it to end, which takes twice the time. Tiles that were never written take no place.

use std::ops::Range;

/// Tiles of sums.
pub const SUMS: usize = 2;
/// Most rows of a tile.
pub const ROWS: usize = 16;
/// Most bytes of a tile's row.
pub const BYTES: usize = 64;

/// Extents of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub rows: usize,
    /// Of a row.
    pub bytes: usize,
}

impl Shape {
    /// Elements of `size` bytes that a tile spans in memory, where its rows are `pitch` elements apart.
    #[inline(always)]
    pub fn span(self, pitch: usize, size: usize) -> usize {
        (self.rows - 1).saturating_mul(pitch).saturating_add(self.bytes / size)
    }
}

/// Extents of the tiles, which make them fit each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extents {
    rows: u8,
    quads: u8,
    tail: u8,
}

impl Extents {
    /// Rows of activations and of sums; rows of weights, which are the quads of a row of activations; and those of a last step
    /// that has fewer, or 0.
    ///
    /// # Panics
    /// If there are no such tiles.
    pub fn new(rows: usize, quads: usize, tail: usize) -> Self {
        assert!((1..=ROWS).contains(&rows) && (1..=ROWS).contains(&quads), "no tile is {rows} × {quads} quads");
        assert!(tail < quads, "a last step has no more quads than others");
        Self { rows: rows as u8, quads: quads as u8, tail: tail as u8 }
    }

    /// These, with tiles of a last step instead of those of the others, where it has fewer quads.
    #[inline(always)]
    pub fn tail(self) -> Option<Self> {
        (self.tail > 0).then_some(Self { quads: self.tail, ..self })
    }

    /// Rows of activations and of sums.
    #[inline(always)]
    pub fn rows(self) -> usize {
        usize::from(self.rows)
    }

    /// Rows of weights.
    #[inline(always)]
    pub fn quads(self) -> usize {
        usize::from(self.quads)
    }

    /// Quads of a run that is cut into so many steps.
    #[inline(always)]
    pub(super) fn run(self, steps: usize) -> usize {
        match self.tail {
            0 => steps.saturating_mul(self.quads()),
            tail => steps.saturating_sub(1).saturating_mul(self.quads()).saturating_add(usize::from(tail)),
        }
    }

    /// A tile of sums.
    #[inline(always)]
    pub(super) fn sums(self) -> Shape {
        Shape { rows: self.rows(), bytes: BYTES }
    }

    /// A tile of activations.
    #[inline(always)]
    pub(super) fn activations(self) -> Shape {
        Shape { rows: self.rows(), bytes: self.quads() * 4 }
    }

    /// A tile of weights.
    #[inline(always)]
    pub(super) fn weights(self) -> Shape {
        Shape { rows: self.quads(), bytes: BYTES }
    }
}

/// Where the K of a row of activations lies: in runs of quads, all cut into as many steps.
#[derive(Debug, Clone, Copy)]
pub struct Runs<'a> {
    /// Where they begin, from the row's beginning; else each adjoins the one before.
    at: Option<&'a [usize]>,
    /// The largest of these distances.
    furthest: usize,
    count: usize,
    /// Steps of each.
    steps: usize,
}

impl<'a> Runs<'a> {
    /// Runs of so many steps, at these distances from a row's beginning.
    #[inline(always)]
    pub fn at(distances: &'a [usize], steps: usize) -> Self {
        let furthest = distances.iter().copied().max().unwrap_or(0);
        Self { at: Some(distances), furthest, count: distances.len(), steps }
    }

    /// So many runs of so many steps, one behind the other.
    #[inline(always)]
    pub fn adjoining(count: usize, steps: usize) -> Self {
        Self { at: None, furthest: 0, count, steps }
    }
}

/// Rows of activations in memory, checked once for all that tiles load of them.
#[derive(Debug, Clone, Copy)]
pub struct Lines<'a> {
    /// From the first row's first byte on.
    pub(super) bytes: &'a [u8],
    /// From one row to the next.
    pub(super) pitch: usize,
    /// Of the tiles.
    extents: Extents,
    runs: Runs<'a>,
}

impl<'a> Lines<'a> {
    /// Rows that are `pitch` bytes apart, for tiles of these extents.
    ///
    /// # Panics
    /// If the bytes end before the runs of the last row do.
    #[inline(always)]
    pub fn new(bytes: &'a [u8], pitch: usize, extents: Extents, runs: Runs<'a>) -> Self {
        let run = extents.run(runs.steps).saturating_mul(4);
        let last = if runs.at.is_some() { runs.furthest } else { runs.count.saturating_sub(1).saturating_mul(run) };
        let span = (extents.rows() - 1).saturating_mul(pitch).saturating_add(last).saturating_add(run);
        assert!(span <= bytes.len(), "a tile reads behind its rows");
        Self { bytes, pitch, extents, runs }
    }

    /// Where a run begins, from a row's beginning.
    #[inline(always)]
    pub(super) fn distance(&self, run: usize) -> usize {
        match self.runs.at {
            Some(distances) => distances[run],
            None => run * self.extents.run(self.runs.steps) * 4,
        }
    }
}

/// How tiles pass through a part of K.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    /// Steps of a run, and its quads.
    pub steps: usize,
    pub quads: usize,
    /// The run in which the part begins, and the steps of it that come before.
    pub run: usize,
    pub within: usize,
}

impl Course {
    /// Of these rows and weights on tiles of these extents.
    ///
    /// # Panics
    /// If rows or weights end before, or the rows are checked for others.
    #[inline(always)]
    pub fn of<const MT: usize, const NB: usize>(
        extents: Extents,
        a: &[Lines<'_>; MT],
        b: &[&[[i8; BYTES]]; NB],
        part: &Range<usize>,
    ) -> Self {
        const { assert!(MT * NB >= 1 && MT * NB <= SUMS, "there are two tiles of sums") };
        let Runs { count, steps, .. } = a[0].runs;
        assert!(part.start <= part.end && part.end <= count.saturating_mul(steps), "a tile reads behind its rows");
        for a in a {
            assert!(a.extents == extents && a.runs.steps == steps && a.runs.count == count, "rows are checked for other tiles");
        }
        let quads = extents.run(steps);
        for b in b {
            assert!(count.saturating_mul(quads) <= b.len(), "a tile reads behind its weights");
        }
        // Most begin with the first.
        let run = if part.start == 0 { 0 } else { part.start / steps };
        Self { steps, quads, run, within: part.start - run * steps }
    }
}

/// Weights that are asked for before they are needed, in pieces, so many lines a step. Requests that come at once would keep loads
/// waiting: only so many can be on their way.
#[derive(Debug, Default)]
pub struct Ahead<'a> {
    /// What is left; where the first is empty, all are.
    pieces: [&'a [[i8; BYTES]]; 4],
    each: usize,
}

impl<'a> Ahead<'a> {
    /// All of them within so many steps. Pieces behind an empty one are left out.
    #[inline(always)]
    pub fn new(pieces: [&'a [[i8; BYTES]]; 4], steps: usize) -> Self {
        let lines: usize = pieces.iter().map(|piece| piece.len()).sum();
        Self { pieces, each: lines.div_ceil(steps.max(1)) }
    }

    /// Those of the next step.
    #[inline(always)]
    pub(super) fn step(&mut self) -> &'a [[i8; BYTES]] {
        let [piece, then @ ..] = self.pieces;
        let (now, rest) = piece.split_at(self.each.min(piece.len()));
        if !rest.is_empty() {
            self.pieces[0] = rest;
        } else if !now.is_empty() {
            let [second, third, fourth] = then;
            self.pieces = [second, third, fourth, &[]];
        }
        now
    }
}

/// Tiles in a configuration. Dropping it gives them back.
///
/// C += A·B takes A as rows of u8, B as the file has weights: a row of it is four values of K for each of 16 channels.
/// So A's rows have four bytes for each row of B, C has A's rows, and B's row is as long as C's.
pub trait TileMachine: Sized {
    /// What shows that there is such a machine.
    type Proof: Copy;

    /// The tiles of this thread, with these extents.
    fn configure(proof: Self::Proof, extents: Extents) -> Self;

    /// Zeroes the sums.
    fn zero(&mut self);

    /// Adds the products of `MT` tiles of activations by `NB` of weights, which are at most two, over a part of the steps of all
    /// runs: the first tile of sums is the first one's. A step takes as many rows of weights as its tile has, and a quad of each row
    /// of activations for each of them.
    ///
    /// Of two, the side of which there is one is the one that passes by; the other one is needed again soon. Each step asks for
    /// weights `ahead`.
    ///
    /// # Panics
    /// If rows or weights end before, or the rows are checked for other tiles.
    fn multiply<const MT: usize, const NB: usize>(
        &mut self,
        a: &[Lines<'_>; MT],
        b: &[&[[i8; BYTES]]; NB],
        part: Range<usize>,
        ahead: &mut Ahead<'_>,
    );

    /// Tile `T` of sums from rows `pitch` integers apart.
    fn load<const T: u8>(&mut self, from: &[i32], pitch: usize);

    /// Tile `T` of sums to rows `pitch` integers apart.
    fn store<const T: u8>(&mut self, to: &mut [i32], pitch: usize);
}
