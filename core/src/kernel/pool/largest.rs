//! Max pool. For each line of the output, the largest bytes down the rows of the window go to a line on the stack, then the
//! largest along that line to the output: each byte is compared kh + kw times, and where windows are one pixel apart, both
//! steps run over whole lines whatever the number of channels is.

use std::ops::Range;

use super::PoolU8;
use crate::kernel::edge;
use crate::kernel::simd::Simd;
use crate::reference::pool::{Along, inside};

/// Bytes of the line on the stack; longer lines are done in pieces.
const LINE: usize = 16 * 1024;

/// The lines `units` of the output.
#[inline(always)]
pub(super) fn compute<S: Simd>(pool: &PoolU8<'_>, s: S, units: Range<usize>, to: &mut [u8]) {
    let PoolU8 { input: [_, w], output: [_, ow], channels: c, .. } = *pool;
    let (mut here, mut apart);
    let line: &mut [u8] = if const { S::COMPACT } {
        // Of any length, so that there is one way for all.
        apart = vec![0; (w * c).next_multiple_of(64) + 64];
        &mut apart
    } else {
        here = [0; LINE];
        &mut here
    };
    if const { !S::COMPACT } && w * c + 64 > LINE {
        for (i, unit) in units.enumerate() {
            let (image, o) = pool.image(unit);
            let rows = pool.rows(o);
            for column in 0..ow {
                let columns = inside(&pool.pool, 1, column, w);
                window(s, image, w * c, c, [rows, columns], &mut to[(i * ow + column) * c..]);
            }
        }
        return;
    }
    for (unit, to) in units.zip(to.chunks_exact_mut(ow * c)) {
        let (image, o) = pool.image(unit);
        let rows = pool.rows(o);
        if rows.len == 0 {
            to.fill(0);
            continue;
        }
        down(s, image, w * c, rows, line);
        along(pool, s, line, to);
    }
}

/// One window, tap by tap.
#[inline(always)]
fn window<S: Simd>(s: S, image: &[u8], line: usize, channels: usize, [rows, columns]: [Along; 2], to: &mut [u8]) {
    for channel in (0..channels).step_by(64) {
        let first = edge::block(channel, channels);
        let mut largest = s.splat_b(0);
        for i in 0..rows.len {
            let mut at = (rows.first + i * rows.step) * line + columns.first * channels + first;
            for _ in 0..columns.len {
                largest = s.max_b(largest, edge::load(s, image, at));
                at += columns.step * channels;
            }
        }
        edge::store_over(s, largest, channels, &mut to[first..]);
    }
}

/// The largest bytes of the rows, which are `len` long.
#[inline(always)]
fn down<S: Simd>(s: S, image: &[u8], len: usize, rows: Along, to: &mut [u8]) {
    let row = |i: usize| &image[(rows.first + i * rows.step) * len..][..len];
    if const { S::COMPACT } {
        // A row may take part twice.
        let last = rows.len - 1;
        down_rows(s, [row(0), row(1.min(last)), row(2.min(last))], to, false);
        for i in 3..rows.len {
            down_rows(s, [row(i)], to, true);
        }
        return;
    }
    match rows.len {
        1 => down_rows(s, [row(0)], to, false),
        2 => down_rows(s, [row(0), row(1)], to, false),
        _ => down_rows(s, [row(0), row(1), row(2)], to, false),
    }
    for i in 3..rows.len {
        down_rows(s, [row(i)], to, true);
    }
}

/// The largest bytes of `R` rows and, where `more`, of what is there already.
#[inline(always)]
fn down_rows<S: Simd, const R: usize>(s: S, rows: [&[u8]; R], to: &mut [u8], more: bool) {
    let len = rows[0].len();
    let (places, _) = to.as_chunks_mut::<64>();
    let count = len / 64;
    let mut whole: [&[[u8; 64]]; R] = [&[]; R];
    for (whole, row) in whole.iter_mut().zip(rows) {
        *whole = &row.as_chunks::<64>().0[..count];
    }
    for i in 0..count {
        let mut largest = if more { s.load_b(&places[i]) } else { s.splat_b(0) };
        for row in whole {
            largest = s.max_b(largest, s.load_b(&row[i]));
        }
        s.store_b(largest, &mut places[i]);
    }
    if !len.is_multiple_of(64) {
        let mut largest = if more { s.load_b(&places[count]) } else { s.splat_b(0) };
        for row in rows {
            largest = s.max_b(largest, edge::load(s, row, count * 64));
        }
        s.store_b(largest, &mut places[count]);
    }
}

/// The largest bytes of each window of a line.
#[inline(always)]
fn along<S: Simd>(pool: &PoolU8<'_>, s: S, line: &[u8], to: &mut [u8]) {
    let PoolU8 { input: [_, w], output: [_, ow], channels: c, .. } = *pool;
    let shape = pool.pool.window;
    let (pad, stride, reach, step) = (shape.pads_begin[1], shape.strides[1], shape.reach(1), shape.dilations[1] * c);
    // Columns all of whose taps are inside the image, where there is a way for many at once. Compact kernels have none.
    let (mut from, mut until) = (ow, ow);
    if const { !S::COMPACT } && reach <= w && (stride == 1 || matches!(shape.kernel[1], 2 | 3)) {
        (from, until) = (pad.div_ceil(stride).min(ow), ((w + pad - reach) / stride + 1).min(ow));
    }
    let mut column = 0;
    while column < ow {
        if const { !S::COMPACT } && column == from && from < until {
            let (source, to) = (&line[(from * stride - pad) * c..], &mut to[from * c..until * c]);
            match shape.kernel[1] {
                2 if stride > 1 => apart::<S, 2>(s, source, [step, stride * c, c], to),
                3 if stride > 1 => apart::<S, 3>(s, source, [step, stride * c, c], to),
                2 => along_taps::<S, 2>(s, source, step, to),
                3 => along_taps::<S, 3>(s, source, step, to),
                taps => along_any(s, source, step, taps, to),
            }
            column = until;
            continue;
        }
        let columns = inside(&pool.pool, 1, column, w);
        for channel in (0..c).step_by(64) {
            let first = edge::block(channel, c);
            let mut largest = s.splat_b(0);
            let mut at = columns.first * c + first;
            for _ in 0..columns.len {
                largest = s.max_b(largest, edge::load(s, line, at));
                at += step;
            }
            edge::store_over(s, largest, c, &mut to[column * c + first..]);
        }
        column += 1;
    }
}

/// The largest of `T` bytes, `step` apart, of each channel of each window: pixels of `c` channels, from windows that are `pitch`
/// apart.
#[inline(always)]
fn apart<S: Simd, const T: usize>(s: S, from: &[u8], [step, pitch, c]: [usize; 3], to: &mut [u8]) {
    for channel in (0..c).step_by(64) {
        let first = edge::block(channel, c);
        let (mut from, mut to) = (&from[first..], &mut to[first..]);
        loop {
            let window = &from[..step * (T - 1) + 64];
            let mut largest = edge::load(s, window, 0);
            for k in 1..T {
                largest = s.max_b(largest, edge::load(s, window, k * step));
            }
            edge::store_over(s, largest, c, to);
            // The last window has no other behind it.
            let Some(rest) = to.get_mut(c..) else { break };
            if rest.is_empty() {
                break;
            }
            (from, to) = (&from[pitch..], rest);
        }
    }
}

/// The largest of `T` bytes, `step` apart, from each place on.
#[inline(always)]
fn along_taps<S: Simd, const T: usize>(s: S, from: &[u8], step: usize, to: &mut [u8]) {
    let (places, rest) = to.as_chunks_mut::<64>();
    let count = places.len();
    let mut taps: [&[[u8; 64]]; T] = [&[]; T];
    for (k, tap) in taps.iter_mut().enumerate() {
        *tap = &from[k * step..].as_chunks::<64>().0[..count];
    }
    for i in 0..count {
        let mut largest = s.load_b(&taps[0][i]);
        for tap in &taps[1..] {
            largest = s.max_b(largest, s.load_b(&tap[i]));
        }
        s.store_b(largest, &mut places[i]);
    }
    if !rest.is_empty() {
        along_any(s, &from[count * 64..], step, T, rest);
    }
}

/// The same for any number of taps.
#[inline(always)]
fn along_any<S: Simd>(s: S, from: &[u8], step: usize, taps: usize, to: &mut [u8]) {
    for (i, to) in to.chunks_mut(64).enumerate() {
        let mut largest = s.splat_b(0);
        for k in 0..taps {
            largest = s.max_b(largest, edge::load(s, from, i * 64 + k * step));
        }
        edge::store(s, largest, to);
    }
}
