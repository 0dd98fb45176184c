//! Transposition of matrices, one behind the other: what is left of most permutations when dimensions that stay side by side
//! are joined, among them images between planes and pixels.

use std::ops::Range;

use crate::backend::{Operand, OutputMut};
use crate::kernel::edge;
use crate::kernel::simd::Simd;
use crate::kernel::split::Split;
use crate::reference::walk::{Walk, strides};
use crate::tensor::DType;

/// Fewest columns.
const NARROWEST: usize = 8;

/// `[…,rows,columns]` → `[…,columns,rows]` of u8 or f32. A unit is a row of the output.
#[derive(Debug, Clone, Copy)]
pub struct Transpose<'a> {
    x: &'a [u8],
    /// Bytes of an element: 1 or 4.
    size: usize,
    len: usize,
    rows: usize,
    columns: usize,
}

impl<'a> Transpose<'a> {
    /// `None` for permutations that are not such a transposition, and where vectors would be mostly empty.
    pub fn new(perm: &[usize], inputs: &[Operand<'a>], _: &OutputMut<'_>) -> Option<Self> {
        let x = inputs.first()?.view;
        let shape = x.shape();
        let strides = strides(shape);
        let mut walk = Walk::<1>::new();
        if shape.contains(&0) {
            return None;
        }
        perm.iter().for_each(|&p| walk.push(shape[p], [strides[p]]));
        let ((rows, [row_step]), (columns, [column_step]), (_, [outer])) = (walk.dim(0), walk.dim(1), walk.dim(2));
        let matrices = match walk.rank() {
            2 => true,
            3 => outer == (rows * columns) as isize,
            _ => false,
        };
        if !(matrices && row_step == columns as isize && column_step == 1) {
            return None;
        }
        let applies = x.dtype() == DType::U8 || x.dtype() == DType::F32 && rows >= 4;
        (applies && columns >= NARROWEST).then_some(Self { x: x.bytes(), size: x.dtype().size(), len: walk.len(), rows, columns })
    }

    /// Columns of a tile: one vector.
    #[inline(always)]
    fn tile(&self) -> usize {
        64 / self.size
    }
}

impl Split for Transpose<'_> {
    fn units(&self) -> usize {
        self.len / self.rows
    }

    fn unit_bytes(&self) -> usize {
        self.rows * self.size
    }

    fn grain(&self) -> usize {
        self.tile().min(self.columns)
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, mut to: &mut [u8]) {
        let mut at = units.start;
        while at < units.end {
            let (matrix, column) = (at / self.columns, at % self.columns);
            let count = (units.end - at).min(self.columns - column).min(self.tile());
            let (part, rest) = to.split_at_mut(count * self.unit_bytes());
            let x = &self.x[(matrix * self.rows * self.columns + column) * self.size..];
            match self.size {
                1 => self.bytes(s, x, count, part),
                _ => self.words(s, x, count, part),
            }
            (at, to) = (at + count, rest);
        }
    }
}

impl Transpose<'_> {
    /// `count` columns of bytes, sixteen rows at a time: quads of four rows, then words of four quads.
    #[inline(always)]
    fn bytes<S: Simd>(&self, s: S, x: &[u8], count: usize, to: &mut [u8]) {
        let height = self.rows.min(16);
        for row in (0..self.rows).step_by(16) {
            // The last rows overlap those before them.
            let row = row.min(self.rows - height);
            let mut quads = [[s.splat_b(0); 4]; 4];
            for (g, quads) in quads.iter_mut().enumerate() {
                *quads = self.quads(s, x, row + 4 * g, height.saturating_sub(4 * g));
            }
            let mut columns = [[s.splat_b(0); 4]; 4];
            for (v, columns) in columns.iter_mut().enumerate() {
                *columns = interleave_words(s, [quads[0][v], quads[1][v], quads[2][v], quads[3][v]]);
            }
            let mut tile = [[0; 16]; 64];
            for (v, columns) in columns.iter().enumerate() {
                for (w, &columns) in columns.iter().enumerate() {
                    let first = 4 * v + w;
                    s.store_quarter(columns, 0, &mut tile[first]);
                    s.store_quarter(columns, 1, &mut tile[16 + first]);
                    s.store_quarter(columns, 2, &mut tile[32 + first]);
                    s.store_quarter(columns, 3, &mut tile[48 + first]);
                }
            }
            put(&tile[..count], &mut to[row..], self.rows, height);
        }
    }

    /// The quads of up to four rows, `height` of which there are.
    #[inline(always)]
    fn quads<S: Simd>(&self, s: S, x: &[u8], row: usize, height: usize) -> [S::B; 4] {
        if const { S::COMPACT } { self.quads_apart(s, x, row, height) } else { self.quads_here(s, x, row, height) }
    }

    /// For all fours of a tile.
    #[inline(never)]
    fn quads_apart<S: Simd>(&self, s: S, x: &[u8], row: usize, height: usize) -> [S::B; 4] {
        self.quads_here(s, x, row, height)
    }

    #[inline(always)]
    fn quads_here<S: Simd>(&self, s: S, x: &[u8], row: usize, height: usize) -> [S::B; 4] {
        let mut rows = [s.splat_b(0); 4];
        for (k, to) in rows.iter_mut().enumerate().take(height) {
            *to = edge::load(s, x, (row + k) * self.columns);
        }
        s.interleave(rows)
    }

    /// `count` columns of words, four rows at a time.
    #[inline(always)]
    fn words<S: Simd>(&self, s: S, x: &[u8], count: usize, to: &mut [u8]) {
        let height = self.rows.min(4);
        for row in (0..self.rows).step_by(4) {
            let row = row.min(self.rows - height);
            let mut rows = [s.splat_b(0); 4];
            for (k, rows) in rows.iter_mut().enumerate().take(height) {
                *rows = edge::load(s, x, (row + k) * self.columns * 4);
            }
            let columns = interleave_words(s, rows);
            let (to, pitch) = (&mut to[row * 4..], self.rows * 4);
            if const { !S::COMPACT } && count == 16 {
                for (w, &columns) in columns.iter().enumerate() {
                    // One after the other, so that the quarter is a constant.
                    store_column(s, columns, 0, to, w * pitch);
                    store_column(s, columns, 1, to, (4 + w) * pitch);
                    store_column(s, columns, 2, to, (8 + w) * pitch);
                    store_column(s, columns, 3, to, (12 + w) * pitch);
                }
                continue;
            }
            let mut tile = [[0; 16]; 16];
            for (w, &columns) in columns.iter().enumerate() {
                s.store_quarter(columns, 0, &mut tile[w]);
                s.store_quarter(columns, 1, &mut tile[4 + w]);
                s.store_quarter(columns, 2, &mut tile[8 + w]);
                s.store_quarter(columns, 3, &mut tile[12 + w]);
            }
            put(&tile[..count], to, pitch, height * 4);
        }
    }
}

/// [`Simd::interleave_words`], for all fours of a tile.
#[inline(always)]
fn interleave_words<S: Simd>(s: S, rows: [S::B; 4]) -> [S::B; 4] {
    if const { S::COMPACT } { words_apart(s, rows) } else { s.interleave_words(rows) }
}

#[inline(never)]
fn words_apart<S: Simd>(s: S, rows: [S::B; 4]) -> [S::B; 4] {
    s.interleave_words(rows)
}

/// Stores quarter `l`.
#[inline(always)]
fn store_column<S: Simd>(s: S, v: S::B, l: usize, to: &mut [u8], at: usize) {
    if let Some(to) = to[at..].first_chunk_mut::<16>() {
        s.store_quarter(v, l, to);
    }
}

/// Stores `len` bytes of each column, `pitch` apart. Where they are fewer than 16 they are whole columns, so what is stored
/// behind them is overwritten by the next one.
#[inline(always)]
fn put(columns: &[[u8; 16]], to: &mut [u8], pitch: usize, len: usize) {
    for (i, column) in columns.iter().enumerate() {
        let to = &mut to[i * pitch..];
        match to.first_chunk_mut::<16>() {
            Some(to) => *to = *column,
            None => to[..len].copy_from_slice(&column[..len]),
        }
    }
}
