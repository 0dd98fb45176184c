//! 3×3, stride 1 and 2, for instruction sets with 32 registers of 16 lanes: the quads of a window slide over the columns, and
//! sums become bytes, without leaving the registers. The innermost loop is [`Simd::slide`]; this finds its operands.
//!
//! A step of it makes 64 bytes of two lines: a column of 64 channels, or of 32 of four lines, or of 16 of eight. Rows are read
//! where they are, but for a column of padding at each end. Where more than that is outside of the image, they are put together.

use super::finish::Block;
use super::lines::{Lines, Scale, rows};
use super::{Aligned, Depthwise, Method, Strip, bytes_at};
use crate::kernel::epilogue::{Finish, Rows};
use crate::kernel::simd::Simd;

/// Lines that see the same rows, or whose rows are interleaved together.
const PAIR: usize = 2;

/// Columns of a line that are held together.
const STEPS: usize = 28;

/// Vectors of a pair of lines that are held, and one that may be read behind them.
const HELD: usize = PAIR * (STEPS + 1) + 1;

/// Columns of a line whose operands are copied together.
const COPIED: usize = 14;

/// What lines of a block share, at stride `ST`.
pub(super) struct Slide<const ST: usize> {
    /// `[line][column][vector]`.
    weights: Aligned<[[[[i8; 64]; 4]; 3]; PAIR]>,
    /// Of each row of input, the columns, and at stride 2 those between. `P` times as many rows are of pieces as short.
    copied: Aligned<[[[[u8; 64]; COPIED + 2]; 5]; ST]>,
    /// Columns of each line that are yet to be put in their places; more lines are of shorter pieces. What is read of a piece
    /// may end behind the last one.
    held: Aligned<[[u8; 64]; HELD]>,
}

impl<const ST: usize> Slide<ST> {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self {
            weights: Aligned([[[[0; 64]; 4]; 3]; PAIR]),
            copied: Aligned([[[[0; 64]; COPIED + 2]; 5]; ST]),
            held: Aligned([[0; 64]; HELD]),
        }
    }

    /// The weights of each line, `P` times.
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

    /// The order of a strip, where its input is read where it is; it has no place for the output yet. `None` where more than a
    /// column at each end is outside of the image, or it ends before a last vector does.
    #[inline(always)]
    fn order<'b, R, const P: usize>(
        weights: &'b [[[[i8; 64]; 4]; 3]; PAIR],
        of: &Depthwise<'b, R>,
        strip: Strip,
        block: &Block,
        scale: &'b Scale,
    ) -> Option<Lines<'b>> {
        let [height, width, channels] = of.extents;
        let image = of.image(strip.image, block.channel);
        // The first column of input; before the image it wraps around. The last may be the one behind it.
        let x = (strip.column * ST).wrapping_sub(of.window.pads_begin[1]);
        let last = x.wrapping_add((strip.columns + more::<ST>() - 1) * ST);
        let pads = [x == usize::MAX, last == width];
        let (first, last) = (if pads[0] { x.wrapping_add(ST) } else { x }, last - usize::from(pads[1]));
        let len = image.len().saturating_sub(height.saturating_sub(1) * width * channels);
        let inside = first <= last && last < width && (ST == 1 || x.wrapping_add(1) < width);
        let whole = inside && len >= last * channels + 64 / P;
        whole.then(|| Lines {
            input: &image[first * channels..],
            between: if ST == 2 { &image[x.wrapping_add(1) * channels..] } else { &[] },
            row: width * channels,
            height,
            first: (strip.line * ST) as isize - of.window.pads_begin[0] as isize,
            pitch: ST * channels,
            pads,
            padding: of.pad,
            steps: strip.columns,
            lines: strip.lines,
            weights,
            scale,
            to: &mut [],
            to_pitch: [0; 2],
        })
    }

    /// A strip, if its output is written where it is as well; says whether it was.
    #[inline(always)]
    fn at_once<S: Simd, R: Rows, const P: usize>(
        &self,
        s: S,
        of: &mut Depthwise<'_, R>,
        strip: Strip,
        block: &Block,
        scale: &Scale,
    ) -> bool {
        let Finish::U8(how) = of.finish else { return false };
        let (channels, width) = (of.extents[2], of.output[1]);
        if how.table.is_some() || block.channels != 64 / P {
            return false;
        }
        let Some(mut lines) = Self::order::<R, P>(&self.weights.0, of, strip, block, scale) else { return false };
        let row = (strip.image * of.output[0] + strip.line) * width + strip.column;
        let Some(piece) = of.to.piece(row, (strip.lines - 1) * width + strip.columns, 0..channels) else { return false };
        lines.to = &mut piece[block.channel..];
        lines.to_pitch = [channels, width * channels];
        s.slide::<P, ST>(&mut lines);
        true
    }

    /// Up to 2`P` lines, which are held until they are put in their places.
    #[inline(always)]
    fn lines<S: Simd, R: Rows, const P: usize>(&mut self, s: S, of: &mut Depthwise<'_, R>, strip: Strip, block: &Block, scale: &Scale) {
        let Finish::U8(how) = of.finish else { return };
        let (n, [_, from_width, channels], width) = (64 / P, of.extents, of.output[1]);
        let row = (strip.image * of.output[0] + strip.line) * width;
        let (mut column, end) = (strip.column, strip.column + strip.columns);
        while column < end {
            let mut part = Strip { column, columns: (end - column).min(STEPS), ..strip };
            let Self { weights: Aligned(weights), copied: Aligned(copied), held: Aligned(held) } = self;
            let held = held.as_flattened_mut();
            let pitch = (STEPS + 1) * n;
            match Self::order::<R, P>(weights, of, part, block, scale) {
                Some(mut lines) => {
                    lines.to = held;
                    lines.to_pitch = [n, pitch];
                    s.slide::<P, ST>(&mut lines);
                }
                None => {
                    part.columns = part.columns.min(COPIED);
                    let x = (column * ST).wrapping_sub(of.window.pads_begin[1]);
                    let (from_pitch, image) = ((COPIED + 2) * n, [from_width, channels]);
                    for k in 0..rows::<P, ST>() {
                        let row = of.row(strip.image, strip.line * ST + k, block.channel);
                        for (i, copied) in copied.iter_mut().enumerate() {
                            let columns = part.columns + if i == 0 { more::<ST>() } else { 0 };
                            let to = &mut copied.as_flattened_mut().as_flattened_mut()[k * from_pitch..][..columns * n];
                            put::<P, ST>(to, row, x.wrapping_add(i), image, of.pad);
                        }
                    }
                    s.slide::<P, ST>(&mut Lines {
                        input: copied[0].as_flattened().as_flattened(),
                        between: copied[ST - 1].as_flattened().as_flattened(),
                        row: from_pitch,
                        height: rows::<P, ST>(),
                        first: 0,
                        pitch: n,
                        pads: [false; 2],
                        padding: of.pad,
                        steps: part.columns,
                        lines: strip.lines,
                        weights,
                        scale,
                        to: held,
                        to_pitch: [n, pitch],
                    });
                }
            }
            let count = part.columns;
            for line in 0..strip.lines {
                let held = &mut self.held.0.as_flattened_mut()[line * pitch..];
                if let Some(table) = how.table {
                    s.lookup(table, &mut held[..count * n]);
                }
                place::<S, R, P>(s, held, block, [row + line * width + column, count, channels], &mut of.to);
            }
            column += count;
        }
    }
}

/// How many columns of a row there are more than steps, at stride `ST`.
#[inline(always)]
const fn more<const ST: usize>() -> usize {
    if ST == 1 { 2 } else { 1 }
}

impl<S: Simd, const ST: usize> Method<S> for Slide<ST> {
    const SHARES: bool = true;
    /// Long lines pay for what is done for each of them; rows need not all be closest.
    const STRIP: usize = 256 * 1024;
    /// Groups of lines are to be whole.
    const POSITIONS: usize = 16 * 56;

    #[inline(always)]
    fn strip<R: Rows, const V: usize, const P: usize>(&mut self, s: S, of: &mut Depthwise<'_, R>, strip: Strip, block: &Block) {
        // The caller sends only those here that end with bytes.
        let Finish::U8(how) = of.finish else { return };
        self.weigh::<S, P>(s, of.weights, of.extents[2].next_multiple_of(16), block.channel);
        let scale = &block.scale::<S>(&how);
        if self.at_once::<S, R, P>(s, of, strip, block, scale) {
            return;
        }
        let mut done = 0;
        while done < strip.lines {
            let lines = (PAIR * P).min(strip.lines - done);
            self.lines::<S, R, P>(s, of, Strip { line: strip.line + done, lines, ..strip }, block, scale);
            done += lines;
        }
    }
}

/// Puts columns of a row together, which begin with column `x` and are `ST` apart, in an image of so many columns and channels;
/// what is outside of it is padding.
#[inline(always)]
fn put<const P: usize, const ST: usize>(to: &mut [u8], row: Option<&[u8]>, x: usize, image: [usize; 2], pad: u8) {
    match P {
        1 => put_columns::<64, ST>(to, row, x, image, pad),
        2 => put_columns::<32, ST>(to, row, x, image, pad),
        _ => put_columns::<16, ST>(to, row, x, image, pad),
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
fn place<S: Simd, R: Rows, const P: usize>(s: S, mut held: &[u8], block: &Block, [row, count, channels]: [usize; 3], to: &mut R) {
    let n = 64 / P;
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
