//! Average pool: taps in groups of four, whose bytes become quads for dot products with ones.

use std::ops::Range;

use super::PoolU8;
use crate::arith::requant::Mean;
use crate::kernel::edge;
use crate::kernel::simd::Simd;
use crate::reference::pool::{Along, inside};

/// Most taps of a window whose places are computed once.
const MOST: usize = 64;

/// The lines `units` of the output.
#[inline(always)]
pub(super) fn compute<S: Simd>(pool: &PoolU8<'_>, s: S, units: Range<usize>, to: &mut [u8]) {
    let PoolU8 { input: [_, w], output: [_, ow], channels: c, quant: [x, y], .. } = *pool;
    let [kh, kw] = pool.pool.window.kernel;
    let top = s.splat_f32(f32::from(y.q_max) - f32::from(y.zero_point));
    let limits = s.limits(y.zero_point, 0, y.q_max);
    let mut places = [0; MOST];
    let mut known = (0, 0);
    let (mut count, mut multiplier) = (0, s.splat_f32(0.0));
    for (i, line) in units.enumerate() {
        let (image, o) = pool.image(line);
        let rows = pool.rows(o);
        for column in 0..ow {
            let columns = inside(&pool.pool, 1, column, w);
            let view = View { image, line: w * c, pixel: c, rows, columns };
            let taps = rows.len * columns.len;
            if const { !S::COMPACT } && known != (rows.len, columns.len) && kh * kw <= MOST {
                known = (rows.len, columns.len);
                view.places(&mut places);
            }
            let counted = (rows.counted * columns.counted).max(1);
            if counted != count {
                count = counted;
                multiplier = s.splat_f32(Mean::new(x, y, count).multiplier());
            }
            let start = s.splat_i32(-(taps as i32) * i32::from(x.zero_point));
            let at = (i * ow + column) * c;
            for channel in (0..c).step_by(64) {
                let first = edge::block(channel, c);
                let mut acc = match places.get(..taps) {
                    Some(places) if const { !S::COMPACT } && kh * kw <= MOST => view.sum_at(s, start, first, places),
                    _ => view.sum(s, start, first),
                };
                for acc in &mut acc {
                    *acc = s.round_below(s.mul(s.to_f32(*acc), multiplier), top);
                }
                edge::store_over(s, s.narrow_interleaved(acc, limits), c, &mut to[at + first..]);
            }
        }
    }
}

/// What a window sees of an image.
struct View<'a> {
    image: &'a [u8],
    /// Bytes of a line of the image, and of a pixel.
    line: usize,
    pixel: usize,
    rows: Along,
    columns: Along,
}

impl View<'_> {
    /// Where the tap in row `i` and column `j` of those inside the image is.
    #[inline(always)]
    fn tap(&self, i: usize, j: usize) -> usize {
        (self.rows.first + i * self.rows.step) * self.line + (self.columns.first + j * self.columns.step) * self.pixel
    }

    /// The distance of each tap from the first.
    #[inline(always)]
    fn places(&self, to: &mut [usize; MOST]) {
        let mut i = 0;
        for row in 0..self.rows.len {
            for column in 0..self.columns.len {
                to[i] = row * self.rows.step * self.line + column * self.columns.step * self.pixel;
                i += 1;
            }
        }
    }

    /// The sum of 64 channels from `first` on and of `start`, in interleaved order; the taps' distances are known.
    #[inline(always)]
    fn sum_at<S: Simd>(&self, s: S, start: S::I, first: usize, places: &[usize]) -> [S::I; 4] {
        let mut acc = [start; 4];
        let Some(&last) = places.last() else { return acc };
        let base = self.tap(0, 0) + first;
        if base + last + 64 > self.image.len() {
            return self.sum(s, start, first);
        }
        let (fours, rest) = places.as_chunks::<4>();
        for places in fours {
            let mut quad = [s.splat_b(0); 4];
            for (tap, place) in quad.iter_mut().zip(places) {
                *tap = edge::load(s, self.image, base + place);
            }
            acc = add_quads(s, acc, quad);
        }
        if !rest.is_empty() {
            let mut quad = [s.splat_b(0); 4];
            for (tap, place) in quad.iter_mut().zip(rest) {
                *tap = edge::load(s, self.image, base + place);
            }
            acc = add_quads(s, acc, quad);
        }
        acc
    }

    /// The same for any number of taps, and at the end of an image.
    #[inline(always)]
    fn sum<S: Simd>(&self, s: S, start: S::I, first: usize) -> [S::I; 4] {
        let mut acc = [start; 4];
        for row in 0..self.rows.len {
            for group in (0..self.columns.len).step_by(4) {
                let mut quad = [s.splat_b(0); 4];
                for (j, tap) in quad.iter_mut().enumerate().take(self.columns.len - group) {
                    *tap = edge::load(s, self.image, self.tap(row, group + j) + first);
                }
                acc = add_quads(s, acc, quad);
            }
        }
        acc
    }
}

#[inline(always)]
fn add_quads<S: Simd>(s: S, mut acc: [S::I; 4], taps: [S::B; 4]) -> [S::I; 4] {
    for (acc, quads) in acc.iter_mut().zip(s.interleave(taps)) {
        *acc = s.sum4_lanes(*acc, quads);
    }
    acc
}
