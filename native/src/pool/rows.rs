//! An output cut into rectangles, rows × bytes of a row, for the parts of a job to write at once.

use std::ops::Range;

use quaver_core::kernel::epilogue::Rows;

use super::{Disjoint, Pool, Split};

/// One rectangle of an output.
#[derive(Debug)]
pub struct Rectangle<'a> {
    bytes: &'a Disjoint<'a, u8>,
    pitch: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Rows for Rectangle<'_> {
    #[inline(always)]
    fn at(&mut self, row: usize, from: usize, len: usize) -> &mut [u8] {
        let inside = self.rows.start <= row && row < self.rows.end && self.columns.start <= from && from + len <= self.columns.end;
        assert!(inside, "a kernel writes outside of its part");
        let start = row * self.pitch + from;
        // SAFETY: it lies in this rectangle, which overlaps with no other one (`rectangles` made them all), and this borrow
        // of `self` is the only one.
        unsafe { self.bytes.slice(start..start + len) }
    }
}

/// What a part of a job works with, given the numbers of its row range and column range.
type Job<'a> = dyn Fn(usize, usize, Rectangle<'_>, &mut [u8]) + Sync + 'a;

/// Cuts `bytes`, in rows of `pitch` bytes, along rows and along the bytes of a row, which `columns` counts in units of so many
/// bytes, the last one perhaps incomplete. Calls `job` with the numbers of a row range and a column range, their
/// rectangle, and a piece of `scratch` of its own, as parts of one [`Pool::run`].
pub fn rectangles(
    pool: &Pool,
    bytes: &mut [u8],
    pitch: usize,
    rows: Split,
    (columns, unit): (Split, usize),
    scratch: &mut [u8],
    job: &Job<'_>,
) {
    let (bytes, parts) = (Disjoint::new(bytes), rows.len() * columns.len());
    let piece = scratch.len() / parts.max(1);
    let scratch = Disjoint::new(scratch);
    pool.run(parts, &|part| {
        let (r, c) = (part / columns.len(), part % columns.len());
        let Range { start, end } = columns.get(c);
        // Within the row, so that rectangles of two rows cannot meet.
        let columns = (start * unit).min(pitch)..(end * unit).min(pitch);
        // SAFETY: each part has a piece of its own, and is called once.
        let piece = unsafe { scratch.slice(part * piece..(part + 1) * piece) };
        job(r, c, Rectangle { bytes: &bytes, pitch, rows: rows.get(r), columns }, piece);
    });
}
