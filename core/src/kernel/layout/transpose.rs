//! Transposition of matrices, one behind the other: what is left of most permutations when dimensions that stay side by side
//! are joined, among them images between planes and pixels.

use std::ops::Range;

use crate::backend::{Operand, OutputMut};
use crate::kernel::edge;
use crate::kernel::simd::Simd;
use crate::kernel::split::Split;
use crate::reference::walk::{Walk, strides};
use crate::tensor::DType;

/// Columns and rows that are worked on at once, so that a line of cache is used up before it leaves.
const TILE: usize = 64;

/// `[…,rows,columns]` → `[…,columns,rows]` of u8 or f32. A unit is a row of the output.
#[derive(Debug, Clone, Copy)]
pub struct Transpose<'a> {
    x: Elements<'a>,
    len: usize,
    rows: usize,
    columns: usize,
}

#[derive(Debug, Clone, Copy)]
enum Elements<'a> {
    U8(&'a [u8]),
    F32(&'a [f32]),
}

impl<'a> Transpose<'a> {
    /// `None` for permutations that are not such a transposition.
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
        let x = match x.dtype() {
            DType::U8 => Elements::U8(x.bytes()),
            DType::F32 => Elements::F32(x.as_slice()?),
            _ => return None,
        };
        Some(Self { x, len: walk.len(), rows, columns })
    }
}

impl Split for Transpose<'_> {
    fn units(&self) -> usize {
        self.len / self.rows
    }

    fn unit_bytes(&self) -> usize {
        match self.x {
            Elements::U8(_) => self.rows,
            Elements::F32(_) => self.rows * 4,
        }
    }

    fn grain(&self) -> usize {
        TILE.min(self.columns)
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, mut to: &mut [u8]) {
        let mut at = units.start;
        while at < units.end {
            let (matrix, column) = (at / self.columns, at % self.columns);
            let count = (units.end - at).min(self.columns - column).min(TILE);
            let (part, rest) = to.split_at_mut(count * self.unit_bytes());
            let start = matrix * self.rows * self.columns + column;
            match self.x {
                Elements::U8(x) => self.bytes(s, &x[start..], count, part),
                Elements::F32(x) => {
                    if let Ok(part) = bytemuck::try_cast_slice_mut(part) {
                        self.words(&x[start..], count, part);
                    }
                }
            }
            (at, to) = (at + count, rest);
        }
    }
}

impl Transpose<'_> {
    /// `count` columns, four rows at a time: their bytes become quads.
    #[inline(always)]
    fn bytes<S: Simd>(&self, s: S, x: &[u8], count: usize, to: &mut [u8]) {
        let mut quads = [[0u8; 4]; 64];
        for row in (0..self.rows).step_by(4) {
            let height = (self.rows - row).min(4);
            let mut rows = [s.splat_b(0); 4];
            for (k, v) in rows.iter_mut().enumerate().take(height) {
                *v = edge::load(s, x, (row + k) * self.columns);
            }
            edge::store_quads(s, s.interleave(rows), &mut quads);
            if height == 4 {
                for (i, quad) in quads[..count].iter().enumerate() {
                    to[i * self.rows + row..][..4].copy_from_slice(quad);
                }
            } else {
                for (i, quad) in quads[..count].iter().enumerate() {
                    edge::copy(&quad[..height], &mut to[i * self.rows + row..][..height]);
                }
            }
        }
    }

    /// `count` columns, in tiles.
    #[inline(always)]
    fn words(&self, x: &[f32], count: usize, to: &mut [f32]) {
        for top in (0..self.rows).step_by(TILE) {
            let height = (self.rows - top).min(TILE);
            for column in 0..count {
                let to = &mut to[column * self.rows + top..][..height];
                let x = &x[top * self.columns + column..];
                for (i, to) in to.iter_mut().enumerate() {
                    *to = x[i * self.columns];
                }
            }
        }
    }
}
