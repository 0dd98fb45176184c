//! Matrix products of f32: of two activations, and those that the quantizer left real.
//!
//! Each sum takes its products in the order of K, rounding both, as the definition does; so only rows and columns are worked on
//! at once. Sixteen columns are a vector; the last ones may be computed twice.

#![allow(clippy::needless_range_loop, reason = "arrays stay in registers only if indexed by constants")]

use std::ops::Range;

use super::simd::{Simd, Tile};
use super::split::Split;
use crate::backend::{Operand, OutputMut};
use crate::graph::Op;
use crate::reference::gemm::matrix;
use crate::tensor::MAX_RANK;

/// Columns of a vector.
const LANES: usize = 16;

/// `a[…,M,K] · b[…,K,N] (+ bias[N])`. A unit is a row.
#[derive(Debug, Clone, Copy)]
pub struct ProductF32<'a> {
    a: &'a [f32],
    b: &'a [f32],
    bias: Option<&'a [f32]>,
    /// Rows of a matrix, K, columns.
    m: usize,
    k: usize,
    n: usize,
    /// Leading dimensions of the output and the operands, and how many of them there are.
    batch: [[usize; MAX_RANK]; 3],
    ranks: [usize; 3],
    rows: usize,
}

impl<'a> ProductF32<'a> {
    /// `None` for narrow results, and for other types.
    pub fn new(op: &Op, inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let [a, b, bias @ ..] = inputs else { return None };
        let &n = output.view.shape().last()?;
        let (&k, &m) = (a.view.shape().last()?, a.view.shape().iter().rev().nth(1)?);
        let elements = output.view.shape().iter().product::<usize>();
        let mut new = Self {
            a: a.view.as_slice()?,
            b: b.view.as_slice()?,
            bias: bias.first().and_then(|bias| bias.view.as_slice()),
            m,
            k,
            n,
            batch: [[1; MAX_RANK]; 3],
            ranks: [0; 3],
            rows: elements.checked_div(n)?,
        };
        if matches!(op, Op::Gemm) {
            new.m = new.rows;
        } else {
            for (i, shape) in [output.view.shape(), a.view.shape(), b.view.shape()].into_iter().enumerate() {
                new.ranks[i] = shape.len().checked_sub(2)?;
                new.batch[i][..new.ranks[i]].copy_from_slice(&shape[..new.ranks[i]]);
            }
        }
        (n >= LANES && k > 0 && new.rows > 0).then_some(new)
    }

    /// Where the operands of the matrix `index` of the output begin.
    fn starts(&self, index: usize) -> [usize; 2] {
        let [batch, a, b] = [0, 1, 2].map(|i| &self.batch[i][..self.ranks[i]]);
        [matrix(index, batch, a) * self.m * self.k, matrix(index, batch, b) * self.k * self.n]
    }

    /// `R` rows from `a` on, of one matrix, into `to`.
    #[inline(always)]
    fn block<S: Simd, const R: usize>(&self, s: S, a: &[f32], b: &[f32], to: &mut [f32]) {
        let (k, n) = (self.k, self.n);
        let mut rows = [&a[..k]; R];
        for r in 0..R {
            rows[r] = &a[r * k..][..k];
        }
        let mut column = 0;
        while column < n {
            // The last vector ends with the row.
            let at = column.min(n - LANES);
            let mut sums = [s.splat_f32(0.0); R];
            for (i, b) in b.chunks_exact(n).enumerate() {
                let Some(b) = b[at..].first_chunk() else { break };
                let b = s.load_f32(b);
                for r in 0..R {
                    sums[r] = s.add(sums[r], s.mul(s.splat_f32(rows[r][i]), b));
                }
            }
            for r in 0..R {
                let mut sum = sums[r];
                if let Some(bias) = self.bias.and_then(|bias| bias[at..].first_chunk()) {
                    sum = s.add(sum, s.load_f32(bias));
                }
                if let Some(to) = to[r * n + at..].first_chunk_mut::<LANES>() {
                    s.store_f32(sum, bytemuck::cast_mut(to));
                }
            }
            column += LANES;
        }
    }
}

impl Split for ProductF32<'_> {
    fn units(&self) -> usize {
        self.rows
    }

    fn unit_bytes(&self) -> usize {
        self.n * 4
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, to: &mut [u8]) {
        let Ok(mut to) = bytemuck::try_cast_slice_mut::<u8, f32>(to) else { return };
        let mut row = units.start;
        while row < units.end {
            let (index, within) = (row / self.m, row % self.m);
            let mut rows = (self.m - within).min(units.end - row);
            let [a, b] = self.starts(index);
            let (mut a, b) = (&self.a[a + within * self.k..], &self.b[b..][..self.k * self.n]);
            row += rows;
            while rows > 0 {
                let done = match const { S::TILE } {
                    Tile::Rows14Blocks2 if rows >= 8 => {
                        self.block::<S, 8>(s, a, b, to);
                        8
                    }
                    _ if const { !S::COMPACT } && rows >= 4 => {
                        self.block::<S, 4>(s, a, b, to);
                        4
                    }
                    _ if rows >= 2 => {
                        self.block::<S, 2>(s, a, b, to);
                        2
                    }
                    _ => {
                        self.block::<S, 1>(s, a, b, to);
                        1
                    }
                };
                (a, rows) = (&a[done * self.k..], rows - done);
                to = &mut to[done * self.n..];
            }
        }
    }
}
