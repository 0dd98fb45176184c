//! How a matrix product is cut for tiles and caches, how much scratch that takes, and whether tiles pay at all: functions of
//! the shape alone.

use std::ops::Range;
use std::time::Duration;

use quaver_core::kernel::gemm::{Bases, Source};

use super::machine::{self, BYTES, ROWS};
use super::staging;

/// Quads of K in a tile.
const QUADS: usize = BYTES / 4;
/// Weights that stay in a core's 2 MiB of L2 beside the activations and outputs that pass through it.
const WEIGHTS_AT_HAND: usize = 1 << 20;
/// Activations that stay there while weights pass through.
const ROWS_AT_HAND: usize = 1 << 20;
/// Most tiles of rows that meet a pair of blocks in turn. By then, reading the weights from memory costs little beside the
/// products, and places of more tiles would only take room.
pub(super) const MAX_TILES: usize = 32;

/// Rows of a pair of tiles.
pub(super) const ROWS_OF_A_PAIR: usize = 2 * ROWS;

/// Most steps in which a pair of tiles stays in L1, of 48 KiB, beside sums and what passes by.
const STEPS_AT_HAND: usize = 18;

/// Lines that a share has at least, where shares are whole lines.
const LINES_OF_A_SHARE: usize = 6;

/// Steps of a short K: what comes before and after the products takes longer than they do.
const FEW_STEPS: usize = 4;

/// How a call is cut.
///
/// Per step, a pair of tiles meets a pair of blocks in four products. The side that stays for the inner loop comes from L1, and is
/// loaded twice; the other side streams through from L2. So the loop runs over *blocks* of rows, in each over pairs of weight
/// blocks, in each over pairs of tiles:
///
/// * Weights that fit into L2 stay there. Then a block is one pair of tiles: its activations are read once, and kept in L1
///   while all weights pass by.
/// * More weights pass through L2 once for each block. Then a block has as many rows as fit beside them, so that each
///   weight that comes from L3 or memory meets many rows; in the inner loop it is the pair of weight blocks that L1 keeps.
///
/// A pair takes 2 KiB of L1 a step, so a long K is cut into parts, each of which the inner loop runs over by itself; sums
/// are put aside in between.
///
/// A tile's rows are loaded from where they lie if they are equidistant; so in a convolution tiles end where lines do, if lines are
/// long enough that few rows of a tile stay empty. Else, and where that is less work for many channels, the rows are gathered
/// first, once for all channels: in place no step leaves a segment, so there are more of them, and loads may cross cache lines. Or
/// else all that the rows share is copied before, see [`staging`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Rows that no tile leaves: those of a line, or all.
    line: usize,
    /// Tiles of them.
    of_a_line: usize,
    /// Rows of a tile.
    pub height: usize,
    /// Tiles that cover all rows.
    pub tiles: usize,
    /// Most tiles of a block; even.
    pub block: usize,
    /// How quads are cut whose activations lie side by side, a *run*: those of a segment, or all, where they are gathered.
    pub cut: Cut,
    /// Steps of K.
    pub steps: usize,
    /// Steps after which sums are put aside, so that what the inner loop keeps comes from L1; all, or parts about as long.
    pub part: usize,
    /// Whether equidistant rows are loaded from where they lie.
    pub in_place: bool,
    /// Whether all rows are equidistant.
    pub uniform: bool,
    /// Whether weights come from farther away than L2.
    pub far: bool,
    /// From one gathered row to the next, in lines of a cache. It is odd, so that the rows of a tile lie in different sets, and
    /// leaves room for what a copy by whole lines writes too much.
    pub pitch: usize,
}

impl Plan {
    /// For at least one row, one block and one quad.
    #[inline]
    pub fn new(source: &Source<'_>, rows: &Range<usize>, blocks: usize) -> Self {
        let quads = source.quads * source.segments.len();
        let (in_place, _) = Runs::of(source).in_place(blocks);
        let cut = Cut::of(if in_place { source.quads } else { quads });
        let steps = if in_place { cut.steps * source.segments.len() } else { cut.steps };
        let width = source.bases.extents[1];
        let whole_lines = rows.start.is_multiple_of(width) && rows.len().is_multiple_of(width);
        let uniform = equidistant(&source.bases, rows.end);
        let by_lines = whole_lines && cut_by_lines(in_place, uniform, width);
        let line = if by_lines { width } else { rows.len() };
        let of_a_line = line.div_ceil(ROWS);
        let tiles = rows.len() / line * of_a_line;
        Self {
            line,
            of_a_line,
            height: line.div_ceil(of_a_line),
            tiles,
            block: most_tiles(quads, blocks).min(tiles.next_multiple_of(2)),
            cut,
            steps,
            part: steps.div_ceil(steps.div_ceil(STEPS_AT_HAND).max(1)),
            in_place,
            uniform,
            far: blocks * quads * BYTES > WEIGHTS_AT_HAND,
            pitch: pitch(quads),
        }
    }

    /// The row, from the first of the call, at which a tile starts. Only the last of a line may overlap the one before.
    #[inline(always)]
    pub fn start(&self, tile: usize) -> usize {
        tile / self.of_a_line * self.line + (tile % self.of_a_line * self.height).min(self.line - self.height)
    }

    /// Extents of the tiles.
    pub fn extents(&self) -> machine::Extents {
        machine::Extents::new(self.height, self.cut.depth, self.cut.tail)
    }

    /// Whether four blocks of channels make a unit, where there are so many: then they share what comes before and after the products.
    /// Of weights that come from farther away, no more are kept than have to be.
    #[inline(always)]
    pub fn wide(&self) -> bool {
        !self.far || self.steps <= FEW_STEPS
    }

    /// Rows of sums to put aside, for so many blocks of channels.
    pub fn aside(&self, blocks: usize) -> usize {
        aside(self.steps, self.block, blocks)
    }

    /// Tiles of rows that each block should have, so that all have about as many.
    #[inline]
    pub fn tiles_of_a_block(&self) -> usize {
        self.tiles.div_ceil(self.tiles.div_ceil(self.block)).next_multiple_of(2)
    }
}

/// How a run of quads is cut into steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// All of them.
    pub steps: usize,
    /// Quads of a step.
    pub depth: usize,
    /// Quads of the last one, where it has fewer; or else 0.
    pub tail: usize,
}

impl Cut {
    /// Into as few steps as there can be, of one depth if possible.
    fn of(quads: usize) -> Self {
        let steps = quads.div_ceil(QUADS);
        if steps == 0 || quads.is_multiple_of(steps) {
            return Self { steps, depth: (quads / steps.max(1)).max(1), tail: 0 };
        }
        Self { steps, depth: QUADS, tail: quads % QUADS }
    }
}

/// Runs of quads, one for each segment of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runs {
    segments: usize,
    quads: usize,
    /// Whether rows are whole lines of a cache apart.
    aligned: bool,
}

impl Runs {
    pub fn of(source: &Source<'_>) -> Self {
        // Where the first row begins doesn't count: groups of a convolution begin elsewhere, and are cut alike.
        Self { segments: source.segments.len(), quads: source.quads, aligned: source.bases.steps[2].is_multiple_of(BYTES) }
    }

    /// The same, where rows are whole lines of a cache apart.
    pub fn aligned(self) -> Self {
        Self { aligned: true, ..self }
    }

    /// Steps in place.
    fn steps(self) -> usize {
        Cut::of(self.quads).steps * self.segments
    }

    /// Whether equidistant rows are better loaded from where they lie than gathered, and how many picoseconds a pair of tiles takes
    /// longer, for whichever it is, than whole steps of aligned loads do.
    pub fn in_place(self, blocks: usize) -> (bool, u64) {
        let quads = self.quads * self.segments;
        let steps = self.steps();
        // The less of a line a load takes, the fewer of its rows cross one.
        let crossing = if self.aligned { 0 } else { quads as u64 * CROSSING / QUADS as u64 };
        let more = (steps - quads.div_ceil(QUADS)) as u64 * TILES_STEP / 2 + (self.segments as u64).saturating_sub(1) * RUN;
        let there = more.saturating_add(crossing).saturating_mul(blocks as u64);
        let gathered = ROWS_OF_A_PAIR as u64 * (GATHERED_ROW + GATHERED_LINE * lines(quads) as u64);
        (there <= gathered, there.min(gathered))
    }
}

/// Vectors of weights for which L2 has room beside so many that stay there.
pub(super) fn room_beside(vectors: usize) -> usize {
    (WEIGHTS_AT_HAND / BYTES).saturating_sub(vectors)
}

/// Whether tiles of whole lines end where these do.
fn cut_by_lines(in_place: bool, uniform: bool, width: usize) -> bool {
    in_place && !uniform && fills_tiles(width)
}

/// Rows that a thread's share of so many rows of an image had better be a multiple of: those of a line, where lines are tiles of their
/// own and the share that is the largest then is not much larger.
pub fn unit(source: &Source<'_>, rows: usize, blocks: usize, threads: usize) -> usize {
    let width = source.bases.extents[1];
    let by_lines = cut_by_lines(Runs::of(source).in_place(blocks).0, equidistant(&source.bases, rows), width);
    let enough = rows.checked_div(width).is_some_and(|lines| lines >= LINES_OF_A_SHARE * threads);
    if by_lines && enough { width } else { 1 }
}

/// Lines of a cache that so many quads fill.
fn lines(quads: usize) -> usize {
    (quads * 4).div_ceil(BYTES)
}

/// Whether tiles of a line this long have few empty rows.
pub(super) fn fills_tiles(width: usize) -> bool {
    4 * width >= 3 * width.next_multiple_of(ROWS)
}

/// Lines of a cache from one gathered row of so many quads to the next.
fn pitch(quads: usize) -> usize {
    (lines(quads) + 1) | 1
}

/// Tiles that meet a pair of blocks in turn, beside the weights of so many quads and blocks.
fn most_tiles(quads: usize, blocks: usize) -> usize {
    if blocks * quads * BYTES <= WEIGHTS_AT_HAND { 2 } else { (ROWS_AT_HAND / (pitch(quads) * ROWS * BYTES)).clamp(2, MAX_TILES) & !1 }
}

/// Bytes of scratch that a product needs, where its output has these rows and as many blocks of 16 channels. They are enough
/// for any part of the product too.
pub fn scratch(source: &Source<'_>, rows: &Range<usize>, blocks: usize) -> usize {
    let quads = source.quads * source.segments.len();
    if rows.is_empty() || blocks == 0 || quads == 0 {
        return 0;
    }
    let width = source.bases.extents[1];
    // A part with fewer blocks may be loaded in place, in more steps, where the whole is not.
    let runs = Runs::of(source);
    // A part may end within a line where the whole does not.
    let by_lines = if fills_tiles(width) { rows.len().div_ceil(width) * width.div_ceil(ROWS) } else { 0 };
    let tiles = rows.len().div_ceil(ROWS).max(by_lines).next_multiple_of(2);
    let tiles = tiles.min(most_tiles(quads, blocks));
    let in_place = runs.in_place(blocks).0 && equidistant(&source.bases, rows.end);
    let gathered = if in_place { 0 } else { tiles * ROWS * pitch(quads) * BYTES };
    match aside(runs.steps(), tiles, blocks) * BYTES + gathered + staging::scratch(source, rows) {
        0 => 0,
        // The driver begins at a multiple of a row's length.
        some => some + BYTES - 1,
    }
}

/// Rows of sums to put aside, of 16 channels: for each block of channels and a pair of tiles, or for each tile of a block and a
/// pair of blocks of channels.
fn aside(steps: usize, tiles: usize, blocks: usize) -> usize {
    if steps <= STEPS_AT_HAND { 0 } else { 2 * ROWS * tiles.max(blocks) }
}

/// Whether any two neighbouring rows below `end` have one distance.
fn equidistant(bases: &Bases, end: usize) -> bool {
    let ([height, width], [image, line, column]) = (bases.extents, bases.steps);
    let lines = height == 1 || line == width * column;
    lines && (end <= height * width || image == height * width * column)
}

/// A matrix product, as far as it decides between tiles and vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extents {
    /// Rows.
    pub m: usize,
    /// Channels.
    pub n: usize,
    /// Bytes of K.
    pub k: usize,
    /// Bytes of K that lie side by side.
    pub run: usize,
    /// Bytes from one row to the next.
    pub pitch: usize,
    /// Whether the result is read at once, from where it is near, so that writing it waits for nothing.
    pub near: bool,
}

/// Whether tiles are likely to beat vectors at a product, by a tenth at least where their result goes to memory: that and a program
/// on the other thread of a core slow tiles down more than vectors.
pub fn pays(extents: Extents) -> bool {
    let Extents { m, n, k, near, .. } = extents;
    let vectors = (m as u64).saturating_mul(n as u64).saturating_mul(VECTORS_ENDS + VECTORS_STEP * k as u64 / BYTES as u64) / (32 * 32);
    picoseconds(extents) < vectors.saturating_add(VECTORS_CALL) / 10 * if near { 10 } else { 9 }
}

/// How long tiles take for a product.
///
/// The times are fits to a sweep over shapes on a Xeon of the Emerald Rapids generation (`benches/record`): a step of two tiles
/// by two blocks takes less than a third of what vectors take for it, but the way through memory three times as long as that
/// from register to register, and rows that must be gathered come on top.
pub fn takes(extents: Extents) -> Duration {
    Duration::from_nanos(picoseconds(extents) / 1000)
}

fn picoseconds(extents: Extents) -> u64 {
    let Extents { m, n, k, run, pitch, near } = extents;
    let quads = run.max(1).div_ceil(4);
    let runs = Runs { segments: k.div_ceil(4).div_ceil(quads), quads, aligned: pitch.is_multiple_of(BYTES) };
    let (tiles, blocks) = ((m as u64).div_ceil(ROWS as u64), n.div_ceil(16));
    let ends = if near { TILES_NEAR_ENDS } else { TILES_ENDS };
    // Tiles by blocks, of which a single one takes as long as two.
    tiles
        .saturating_mul((blocks as u64).max(2))
        .saturating_mul((ends + TILES_STEP * k.div_ceil(BYTES) as u64) / 4)
        .saturating_add((tiles / 2).max(1).saturating_mul(runs.in_place(blocks).1))
        .saturating_add(TILES_CALL)
}

/// Picoseconds of 32 rows by 32 channels: from the bias to the output, and for 64 bytes of K.
const TILES_ENDS: u64 = 130_000;
/// The same where the output is near.
const TILES_NEAR_ENDS: u64 = 95_000;
const TILES_STEP: u64 = 42_000;
const VECTORS_ENDS: u64 = 50_000;
const VECTORS_STEP: u64 = 190_000;
/// Picoseconds that a step of two tiles by a block takes longer where loads of activations cross lines of a cache.
const CROSSING: u64 = 20_000;
/// Picoseconds of a run of quads behind the first.
const RUN: u64 = 5_000;
/// Picoseconds of a row that is gathered, beside those of each of its lines.
const GATHERED_ROW: u64 = 15_000;
pub(super) const GATHERED_LINE: u64 = 4_000;
/// Picoseconds of a call.
const TILES_CALL: u64 = 400_000;
const VECTORS_CALL: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// A product of so many rows, blocks and quads, whose rows need not be gathered.
    fn product(rows: usize, blocks: usize, quads: usize) -> Plan {
        let source = Source { bytes: &[], segments: &[0], quads, bases: Bases::matrix(rows, quads * 4) };
        Plan::new(&source, &(0..rows), blocks)
    }

    #[test]
    fn tiles_cover_the_rows_and_only_the_last_overlaps() {
        for rows in 1..600 {
            let plan = product(rows, 3, 32);
            assert!((1..=ROWS).contains(&plan.height), "{rows}");
            covers(&plan, rows);
            for tile in 0..plan.tiles {
                assert!(plan.start(tile) == tile * plan.height || tile + 1 == plan.tiles, "{rows}: {tile}");
            }
            let block = plan.tiles_of_a_block();
            assert!(block.is_multiple_of(2) && block <= plan.block && plan.block <= MAX_TILES);
        }
    }

    #[test]
    fn tiles_end_with_long_lines() {
        for width in 1..70 {
            let bases = Bases { start: 0, extents: [9, width], steps: [0, 2 * width * 64, 64] };
            let source = Source { bytes: &[], segments: &[0], quads: 16, bases };
            let plan = Plan::new(&source, &(2 * width..7 * width), 3);
            covers(&plan, 5 * width);
            let crossing = (0..plan.tiles).any(|tile| plan.start(tile) / width != (plan.start(tile) + plan.height - 1) / width);
            assert_eq!(crossing, ![12, 13, 14, 15, 16].contains(&width) && width < 24 || (33..36).contains(&width), "{width}");
            // What is no whole number of lines is cut as if there were none.
            covers(&Plan::new(&source, &(1..7 * width), 3), 7 * width - 1);
        }
    }

    fn covers(plan: &Plan, rows: usize) {
        let mut end = 0;
        for tile in 0..plan.tiles {
            assert!(plan.start(tile) <= end && plan.start(tile) + plan.height > end, "{tile} leaves a gap, or adds no row");
            end = plan.start(tile) + plan.height;
        }
        assert_eq!(end, rows);
    }

    #[test]
    fn shares_are_whole_lines_where_tiles_are_cut_by_them() {
        let of = |width: usize, line: usize, threads: usize| {
            let bases = Bases { start: 0, extents: [27, width], steps: [0, line * 64, 64] };
            unit(&Source { bytes: &[], segments: &[0], quads: 16, bases }, 27 * width, 3, threads)
        };
        assert_eq!(of(27, 29, 2), 27);
        assert_eq!(of(27, 29, 5), 1, "few lines for each thread");
        assert_eq!(of(27, 27, 2), 1, "lines that are one");
        assert_eq!(of(17, 19, 2), 1, "lines that leave tiles empty");
    }

    #[test]
    fn many_weights_meet_many_rows() {
        assert_eq!(product(3136, 4, 144).block, 2, "weights that stay in L2");
        let plan = product(3136, 64, 1152);
        assert_eq!(plan.block, 14);
        assert!(plan.block * plan.pitch * ROWS * BYTES <= ROWS_AT_HAND);
        assert_eq!(product(49, 64, 1152).block, 4, "no more than there are");
        assert_eq!(product(3136, 4096, 16).block, MAX_TILES);
        assert_eq!(product(3136, 64, 16384).block, 2, "a pair at least");
    }

    #[test]
    fn runs_are_cut_into_steps_of_one_depth_where_that_takes_no_more_of_them() {
        let cut = |quads| {
            let Cut { steps, depth, tail } = Cut::of(quads);
            assert_eq!(depth * (steps - usize::from(tail > 0)) + tail, quads);
            (steps, depth, tail)
        };
        assert_eq!([1, 16, 20, 32, 36].map(cut), [(1, 1, 0), (1, 16, 0), (2, 10, 0), (2, 16, 0), (3, 12, 0)]);
        assert_eq!([17, 40].map(cut), [(2, 16, 1), (3, 16, 8)]);
    }

    #[test]
    fn scratch_is_enough_for_every_part() {
        for width in [7, 14] {
            let bases = Bases { start: 0, extents: [7, width], steps: [9 * 16 * 64, 16 * 64, 64] };
            // Of a K in one part, and in several.
            for quads in [48, 240] {
                let source = Source { bytes: &[], segments: &[0, 16 * 64, 32 * 64], quads, bases };
                let whole = scratch(&source, &(0..490), 80);
                for from in (0..490).step_by(61) {
                    for to in (from + 1..490).step_by(17) {
                        for blocks in [1, 2, 3, 60, 80] {
                            let plan = Plan::new(&source, &(from..to), blocks);
                            let rows = plan.tiles_of_a_block() * ROWS * plan.pitch + plan.aside(blocks);
                            assert!(rows * BYTES + BYTES - 1 <= whole, "{from}..{to}, {blocks}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_loaded_in_place_takes_no_scratch() {
        let source = |segments: &'static [usize], quads, bases| Source { bytes: &[], segments, quads, bases };
        let matrix = Bases::matrix(100, 256);
        assert_eq!(scratch(&source(&[0], 64, matrix), &(0..100), 4), 0);
        assert_eq!(scratch(&source(&[0], 9, Bases::matrix(100, 36)), &(0..100), 2), 0);
        assert_eq!(scratch(&source(&[0], 65, matrix), &(0..100), 4), 0, "K ends within a step");
        assert_eq!(scratch(&source(&[0, 64], 8, matrix), &(0..100), 4), 0, "segments end within a step");
        assert_ne!(scratch(&source(&[0, 64], 8, matrix), &(0..100), 64), 0, "twice the steps for many channels");
        assert_ne!(scratch(&source(&[0], 9, Bases::matrix(100, 36)), &(0..100), 64), 0, "loads that cross lines of a cache");
        let images = |image| Bases { start: 0, extents: [7, 7], steps: [image, 7 * 64, 64] };
        assert_eq!(scratch(&source(&[0], 16, images(49 * 64)), &(0..98), 4), 0);
        assert_ne!(scratch(&source(&[0], 16, images(50 * 64)), &(0..98), 4), 0);
        assert_eq!(scratch(&source(&[0], 16, images(50 * 64)), &(0..49), 4), 0);
    }

    #[test]
    fn what_measured_better_is_chosen() {
        let matrix = |m, n, k| pays(Extents { m, n, k, run: k, pitch: k, near: false });
        let windows = |m, n, channels: usize| pays(Extents { m, n, k: 9 * channels, run: 3 * channels, pitch: channels, near: false });
        assert!(!matrix(1, 1000, 2048) && !matrix(4, 1000, 2048) && !matrix(8, 64, 576), "rows that aren't there");
        assert!(matrix(49, 2048, 512) && matrix(196, 256, 1024) && matrix(3136, 64, 256) && matrix(784, 512, 128));
        assert!(windows(3136, 64, 64) && windows(49, 512, 512));
        assert!(!matrix(12544, 96, 16) && !matrix(3136, 24, 144) && !matrix(196, 192, 32), "short sums");
        assert!(matrix(784, 32, 144) && windows(784, 128, 32), "rows that cross lines of a cache");
        let first = |near| pays(Extents { m: 12544, n: 64, k: 196, run: 28, pitch: 3, near });
        assert!(!first(false) && first(true), "a first layer, which pays where a pool is computed along");
        assert!(pays(Extents { m: 3025, n: 64, k: 396, run: 36, pitch: 3, near: false }), "one with larger windows");
        assert!(!pays(Extents { m: 12544, n: 64, k: 36, run: 12, pitch: 3, near: true }), "one with small ones");
        assert!(!pays(Extents { m: usize::MAX, n: 1, k: 1, run: 1, pitch: 1, near: false }));
    }
}
