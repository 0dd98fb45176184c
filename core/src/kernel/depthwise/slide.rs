//! 3×3, stride 1 and 2, for instruction sets with 32 registers of 16 lanes: the quads of a window slide over the columns, and
//! sums become bytes, without leaving the registers. The innermost loop is [`Simd::slide`]; this finds its operands.
//!
//! A step of it makes 64 bytes of two lines: a column of 64 channels, two columns of 32, or four of 16. Rows are read where
//! they are, but for a column of padding at each end, or where vectors are more columns, the vectors at the ends, which are put
//! together. Where more than those are outside of the image, all are put together.

use super::finish::Block;
use super::lines::{Lines, Scale};
use super::{Aligned, Depthwise, Method, Strip, bytes_at};
use crate::kernel::epilogue::{Finish, Rows};
use crate::kernel::simd::Simd;

/// Lines that are computed together.
const LINES: usize = 2;

/// Steps of a line that are held together.
const STEPS: usize = 28;

/// Steps of a line whose operands are copied together.
const COPIED: usize = 14;

/// What lines of a block share, at stride `ST`.
pub(super) struct Slide<const ST: usize> {
    /// `[line][column][vector]`.
    weights: Aligned<[[[[i8; 64]; 4]; 3]; LINES]>,
    /// Of each row of input, the columns, and at stride 2 those between.
    copied: Aligned<[[[[u8; 64]; COPIED + 2]; 5]; ST]>,
    /// The first vector of each row, the last, and the last of columns between.
    ends: Aligned<[[[u8; 64]; 5]; 3]>,
    /// Steps of each line that are yet to be put in their places.
    held: Aligned<[[[u8; 64]; STEPS + 1]; LINES]>,
}

impl<const ST: usize> Slide<ST> {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self {
            weights: Aligned([[[[0; 64]; 4]; 3]; LINES]),
            copied: Aligned([[[[0; 64]; COPIED + 2]; 5]; ST]),
            ends: Aligned([[[0; 64]; 5]; 3]),
            held: Aligned([[[0; 64]; STEPS + 1]; LINES]),
        }
    }

    /// The weights of each line, those of a column for each of `P`.
    #[inline(always)]
    fn weigh<S: Simd, const P: usize>(&mut self, s: S, weights: &[i8], pitch: usize, channel: usize) {
        let (none, n) = (s.splat_b(0), 64 / P);
        for x in 0..3 {
            let mut taps = [none; 3];
            for y in 0..3 {
                let row: &[u8] = bytemuck::cast_slice(&weights[(y * 3 + x) * pitch..][..pitch]);
                let mut bytes = bytes_at::<64>(row, channel);
                for p in 1..P {
                    bytes.copy_within(..n, p * n);
                }
                taps[y] = s.load_b(&bytes);
            }
            let [a, b, c] = taps;
            let first = s.interleave([a, b, c, none]);
            // At stride 1 both lines see the same quads, at stride 2 each its own.
            let second = if ST == 1 { s.interleave([none, a, b, c]) } else { first };
            for v in 0..4 {
                s.store_b(first[v], bytemuck::cast_mut(&mut self.weights.0[0][x][v]));
                s.store_b(second[v], bytemuck::cast_mut(&mut self.weights.0[1][x][v]));
            }
        }
    }

    /// All lines of a strip in one order, where 64 channels are read and written where they are; says whether they were.
    #[inline(always)]
    fn at_once<S: Simd, R: Rows>(&self, s: S, of: &mut Depthwise<'_, R>, strip: Strip, block: &Block, scale: &Scale) -> bool {
        let Finish::U8(how) = of.finish else { return false };
        let ([height, from_width, channels], width) = (of.extents, of.output[1]);
        if how.table.is_some() || block.channels != 64 {
            return false;
        }
        let image = of.image(strip.image, block.channel);
        let x = (strip.column * ST).wrapping_sub(of.window.pads_begin[1]);
        let last = x.wrapping_add((strip.columns + more::<1, ST>() - 1) * ST);
        let pads = [x == usize::MAX, last == from_width];
        let len = image.len().saturating_sub((height - 1) * from_width * channels);
        if !is_in_place::<1, ST>([x, last], pads, len, [from_width, channels]) {
            return false;
        }
        let row = (strip.image * of.output[0] + strip.line) * width + strip.column;
        let Some(piece) = of.to.piece(row, (strip.lines - 1) * width + strip.columns, 0..channels) else { return false };
        let first = x.wrapping_add(if pads[0] { ST } else { 0 });
        s.slide::<1, ST>(&mut Lines {
            input: image.get(first * channels..).unwrap_or_default(),
            between: image.get(x.wrapping_add(1).wrapping_mul(channels)..).unwrap_or_default(),
            row: from_width * channels,
            height,
            first: (strip.line * ST) as isize - of.window.pads_begin[0] as isize,
            pitch: [ST * channels, ST * channels],
            pads,
            padding: of.pad,
            ends: &self.ends.0,
            steps: strip.columns,
            lines: strip.lines,
            weights: &self.weights.0,
            scale,
            to: &mut piece[block.channel..],
            to_pitch: [channels, channels, width * channels],
        });
        true
    }

    /// One or two lines.
    #[inline(always)]
    fn lines<S: Simd, R: Rows, const P: usize>(&mut self, s: S, of: &mut Depthwise<'_, R>, strip: Strip, block: &Block, scale: &Scale) {
        let Finish::U8(how) = of.finish else { return };
        let (n, [height, from_width, channels], width) = (64 / P, of.extents, of.output[1]);
        let mut rows: [Option<&[u8]>; 5] = [None; 5];
        // What the shortest row has.
        let mut len = usize::MAX;
        for k in 0..3 + ST {
            rows[k] = of.row(strip.image, strip.line * ST + k, block.channel);
            len = len.min(rows[k].map_or(len, <[u8]>::len));
        }
        let row = (strip.image * of.output[0] + strip.line) * width;
        let (from, image) = (of.image(strip.image, block.channel), [from_width, channels]);
        let more = more::<P, ST>();
        let (mut column, end) = (strip.column, strip.column + strip.columns);
        while column < end {
            // The first column of input; before the image it wraps around.
            let x = (column * ST).wrapping_sub(of.window.pads_begin[1]);
            let mut count = end - column;
            let last = x.wrapping_add((count.div_ceil(P) + more - 1) * P * ST);
            let mut pads = [P == 1 && x == usize::MAX, P == 1 && last == from_width];
            let in_place = is_in_place::<P, ST>([x, last], pads, len, image);
            // Where a line of the output is in one piece, it needs not be held.
            let mut piece = None;
            if in_place && how.table.is_none() && block.channels == n && count.is_multiple_of(P) {
                piece = of.to.piece(row + column, (strip.lines - 1) * width + count, 0..channels);
            }
            if piece.is_none() {
                count = count.min(P * if in_place { STEPS } else { COPIED });
            }
            let steps = count.div_ceil(P);
            let Self { ends: Aligned(ends), copied: Aligned(copied), .. } = self;
            // What is in the rows.
            let first = x.wrapping_add(if P > 1 || pads[0] && in_place { P * ST } else { 0 });
            pads = [pads[0] && in_place, pads[1] && in_place && column + count == end];
            for k in 0..3 + ST {
                if P > 1 {
                    put::<P, ST>(&mut ends[0][k..k + 1], rows[k], x, image, of.pad);
                    put::<P, ST>(&mut ends[1][k..k + 1], rows[k], x.wrapping_add((steps + more - 1) * P * ST), image, of.pad);
                    put::<P, ST>(&mut ends[2][k..k + 1], rows[k], x.wrapping_add((steps - 1) * P * ST + 1), image, of.pad);
                }
                if !in_place {
                    let (vectors, between) = if P == 1 { (steps + more, steps) } else { (steps + more - 2, steps - 1) };
                    put::<P, ST>(&mut copied[0][k][..vectors], rows[k], first, image, of.pad);
                    if ST == 2 {
                        put::<P, ST>(&mut copied[1][k][..between], rows[k], x.wrapping_add(1), image, of.pad);
                    }
                }
            }
            // Filled in where it is: what is moved would have to be read before it is written whole.
            let mut lines = Lines {
                input: copied[0].as_flattened().as_flattened(),
                between: copied[ST - 1].as_flattened().as_flattened(),
                row: (COPIED + 2) * 64,
                height: 3 + ST,
                first: 0,
                pitch: [n, 64],
                pads,
                padding: of.pad,
                ends,
                steps,
                lines: strip.lines,
                weights: &self.weights.0,
                scale,
                to: &mut [],
                to_pitch: [n, 64, (STEPS + 1) * 64],
            };
            if in_place {
                lines.input = from.get(first * channels..).unwrap_or_default();
                lines.between = from.get(x.wrapping_add(1).wrapping_mul(channels)..).unwrap_or_default();
                (lines.row, lines.height) = (from_width * channels, height);
                lines.first = (strip.line * ST) as isize - of.window.pads_begin[0] as isize;
                lines.pitch = [ST * channels, P * ST * channels];
            }
            if let Some(piece) = piece {
                lines.to = &mut piece[block.channel..];
                lines.to_pitch = [channels, P * channels, width * channels];
                s.slide::<P, ST>(&mut lines);
            } else {
                lines.to = self.held.0.as_flattened_mut().as_flattened_mut();
                s.slide::<P, ST>(&mut lines);
                for line in 0..strip.lines {
                    let held = &mut self.held.0[line];
                    if let Some(table) = how.table {
                        s.lookup(table, held[..steps].as_flattened_mut());
                    }
                    place::<S, R, P>(s, held, block, [row + line * width + column, count, channels], &mut of.to);
                }
            }
            column += count;
        }
    }
}

/// How many vectors of a row there are more than steps.
#[inline(always)]
const fn more<const P: usize, const ST: usize>() -> usize {
    if P == 1 && ST == 1 { 2 } else { 1 }
}

impl<S: Simd, const ST: usize> Method<S> for Slide<ST> {
    const SHARES: bool = true;
    /// Long lines pay for what is done for each of them; rows need not all be closest.
    const STRIP: usize = 128 * 1024;

    #[inline(always)]
    fn strip<R: Rows, const V: usize, const P: usize>(&mut self, s: S, of: &mut Depthwise<'_, R>, strip: Strip, block: &Block) {
        // The caller sends only those here that end with bytes.
        let Finish::U8(how) = of.finish else { return };
        self.weigh::<S, P>(s, of.weights, of.extents[2].next_multiple_of(16), block.channel);
        let scale = &block.scale::<S>(&how);
        if P == 1 && self.at_once(s, of, strip, block, scale) {
            return;
        }
        let mut done = 0;
        while done < strip.lines {
            let lines = LINES.min(strip.lines - done);
            self.lines::<S, R, P>(s, of, Strip { line: strip.line + done, lines, ..strip }, block, scale);
            done += lines;
        }
    }
}

/// Whether what rows of at least `len` bytes have to hold is in an image of so many columns and channels: vectors from column
/// `first` to `last`, but for those that are padding, or where vectors are more than a column, those two.
#[inline(always)]
fn is_in_place<const P: usize, const ST: usize>(
    [first, last]: [usize; 2],
    pads: [bool; 2],
    len: usize,
    [width, channels]: [usize; 2],
) -> bool {
    let first_held = if P > 1 || pads[0] { first.wrapping_add(P * ST) } else { first };
    // The last column held, which at stride 2 may be one between.
    let last_held = if P > 1 || pads[1] { last.wrapping_sub(1) } else { last };
    let inside = first_held <= last_held && last_held < width;
    // The last column may not have 64 channels any more.
    inside && (ST == 1 || first.wrapping_add(1) < width) && len >= last_held * channels + 64 / P
}

/// Puts vectors of a row together that begin with column `x`, their columns `ST` apart, in an image of so many columns and
/// channels; what is outside of it is padding.
#[inline(always)]
fn put<const P: usize, const ST: usize>(to: &mut [[u8; 64]], row: Option<&[u8]>, x: usize, image: [usize; 2], pad: u8) {
    match P {
        1 => put_columns::<64, ST>(to.as_flattened_mut(), row, x, image, pad),
        2 => put_columns::<32, ST>(to.as_flattened_mut(), row, x, image, pad),
        _ => put_columns::<16, ST>(to.as_flattened_mut(), row, x, image, pad),
    }
}

/// [`put`] by columns of `N` channels.
#[inline(always)]
fn put_columns<const N: usize, const ST: usize>(to: &mut [u8], row: Option<&[u8]>, mut x: usize, [width, channels]: [usize; 2], pad: u8) {
    for to in to.as_chunks_mut::<N>().0 {
        *to = match row {
            Some(row) if x < width => bytes_at(row, x * channels),
            _ => [pad; N],
        };
        x = x.wrapping_add(ST);
    }
}

/// The bytes of `count` columns from output row `row` on to where they belong, in an output of so many channels.
#[inline(always)]
fn place<S: Simd, R: Rows, const P: usize>(
    s: S,
    held: &[[u8; 64]; STEPS + 1],
    block: &Block,
    [row, count, channels]: [usize; 3],
    to: &mut R,
) {
    let (n, mut held) = (64 / P, held.as_flattened());
    if let Some(mut piece) = to.piece(row, count, 0..channels) {
        while let (Some(place), Some(from)) = (piece.get_mut(block.channel..block.channel + block.channels), held.first_chunk()) {
            s.store_first(s.load_b(from), place);
            held = &held[n..];
            piece = piece.get_mut(channels..).unwrap_or_default();
        }
        return;
    }
    for i in 0..count {
        if let Some(from) = held.first_chunk() {
            s.store_first(s.load_b(from), to.at(row + i, block.channel, block.channels));
        }
        held = &held[n..];
    }
}
