//! An output cut into rectangles, rows × bytes of a row, for the parts of a job to write at once.

use std::marker::PhantomData;
use std::ops::Range;

use quaver_core::kernel::epilogue::Rows;

use super::{Disjoint, Pool, Split};

/// One rectangle of an output.
#[derive(Debug)]
pub struct Rectangle<'a> {
    /// Its first byte.
    start: *mut u8,
    /// Bytes from one row of the output to the next.
    pitch: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    output: PhantomData<&'a mut [u8]>,
}

impl<'a> Rectangle<'a> {
    /// Whole rows of an output, one behind the other, with the numbers that they have there.
    ///
    /// # Panics
    /// If `bytes` aren't as many rows.
    pub fn new(bytes: &'a mut [u8], pitch: usize, rows: Range<usize>) -> Self {
        assert!(rows.len().checked_mul(pitch) == Some(bytes.len()), "rows that aren't there");
        Self { start: bytes.as_mut_ptr(), pitch, rows, columns: 0..pitch, output: PhantomData }
    }
}

impl Rows for Rectangle<'_> {
    #[inline(always)]
    fn at(&mut self, row: usize, from: usize, len: usize) -> &mut [u8] {
        // What lies before the first row or column wraps around to what lies behind the last.
        let (r, c) = (row.wrapping_sub(self.rows.start), from.wrapping_sub(self.columns.start));
        let width = self.columns.len();
        assert!(r < self.rows.len() && c <= width && len <= width - c, "a kernel writes outside of its part");
        // SAFETY: it lies in this rectangle, which lies in the output and overlaps with no other one (`rectangles` made them
        // so), and this borrow of `self` is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(r * self.pitch + c), len) }
    }

    #[inline(always)]
    fn lines<const N: usize>(
        &mut self,
        row: usize,
        count: usize,
        from: usize,
        len: usize,
    ) -> impl Iterator<Item = impl Iterator<Item = &mut [u8]>> {
        let (r, c) = (row.wrapping_sub(self.rows.start), from.wrapping_sub(self.columns.start));
        let (height, width) = (self.rows.len(), self.columns.len());
        let fits = r <= height && count <= (height - r) / N.max(1) && c <= width && len <= width - c;
        assert!(fits, "a kernel writes outside of its part");
        let next = self.start.wrapping_add(r * self.pitch + c);
        Tiles::<N> { next, pitch: self.pitch, len, left: count, rectangle: PhantomData }
    }

    fn piece(&mut self, row: usize, rows: usize, columns: Range<usize>) -> Option<&mut [u8]> {
        let r = row.wrapping_sub(self.rows.start);
        assert!(r <= self.rows.len() && rows <= self.rows.len() - r, "a kernel writes outside of its part");
        // SAFETY: whole rows of the output, all of them this rectangle's, are one piece of it; as in `at`.
        (columns == (0..self.pitch) && self.columns == columns)
            .then(|| unsafe { std::slice::from_raw_parts_mut(self.start.add(r * self.pitch), rows * self.pitch) })
    }
}

/// Lines of a rectangle, `N` of them at a time, all within the rectangle.
struct Tiles<'a, const N: usize> {
    next: *mut u8,
    pitch: usize,
    len: usize,
    left: usize,
    rectangle: PhantomData<&'a mut [u8]>,
}

impl<'a, const N: usize> Iterator for Tiles<'a, N> {
    type Item = Lines<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let next = self.next;
        self.next = next.wrapping_add(N * self.pitch);
        Some(Lines { next, pitch: self.pitch, len: self.len, left: N, rectangle: PhantomData })
    }
}

/// Lines of a rectangle: of so many rows, the first of `len` bytes at `next`, all of them within the rectangle.
struct Lines<'a> {
    next: *mut u8,
    pitch: usize,
    len: usize,
    left: usize,
    rectangle: PhantomData<&'a mut [u8]>,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a mut [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let line = self.next;
        // From pointer to pointer, since a product for each takes more instructions than a kernel has time for.
        self.next = self.next.wrapping_add(self.pitch);
        // SAFETY: it lies in the rectangle, as in `Rectangle::at`, which stays borrowed; lines of different rows don't overlap.
        Some(unsafe { std::slice::from_raw_parts_mut(line, self.len) })
    }
}

/// What a part of a job works with, given the numbers of its row range and column range.
type Job<'a> = dyn Fn(usize, usize, &mut Rectangle<'_>, &mut [u8]) + Sync + 'a;

/// Cuts `bytes`, in rows of `pitch` bytes, along rows and along the bytes of a row, which `columns` counts in units of so many
/// bytes, the last one perhaps incomplete. Calls `job` with the numbers of a row range and a column range, their
/// rectangle, and a piece of `scratch` of its own, as parts of one [`Pool::run`].
///
/// The last row may end with its last column, before its pitch.
///
/// # Panics
/// If there are more rows than `bytes` holds.
pub fn rectangles(
    pool: &Pool,
    bytes: &mut [u8],
    pitch: usize,
    rows: Split,
    (columns, unit): (Split, usize),
    scratch: &mut [u8],
    job: &Job<'_>,
) {
    let parts = rows.len() * columns.len();
    if parts == 0 {
        return;
    }
    let (last_row, last_column) = (rows.get(rows.len() - 1).end - 1, columns.get(columns.len() - 1).end);
    let width = last_column.saturating_mul(unit).min(pitch);
    let inside = last_row.checked_mul(pitch).and_then(|start| start.checked_add(width)).is_some_and(|end| end <= bytes.len());
    assert!(inside, "rows behind the output's end");
    let piece = scratch.len() / parts;
    let (bytes, scratch) = (Disjoint::new(bytes), Disjoint::new(scratch));
    pool.run(parts, &|part| {
        let (r, c) = (part / columns.len(), part % columns.len());
        let (rows, Range { start, end }) = (rows.get(r), columns.get(c));
        // Within the row, so that rectangles of two rows cannot meet.
        let columns = (start * unit).min(pitch)..(end * unit).min(pitch);
        // SAFETY: the row is within the output, or the rectangle is empty.
        let start = unsafe { bytes.as_mut_ptr().add(rows.start * pitch + columns.start) };
        // SAFETY: each part has a piece of its own, and is called once.
        let piece = unsafe { scratch.slice(part * piece..(part + 1) * piece) };
        job(r, c, &mut Rectangle { start, pitch, rows, columns, output: PhantomData }, piece);
    });
}
