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

/// A right operand, real or bytes around 128, which are scaled once they are summed.
pub trait Right: Copy + Send + Sync {
    /// Sixteen numbers from an index on.
    fn load<S: Simd>(&self, s: S, at: usize) -> Option<S::F>;

    /// What becomes of the sums of the sixteen columns from `column` on.
    fn scale<S: Simd>(&self, s: S, sums: S::F, column: usize) -> S::F;
}

impl Right for &[f32] {
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, at: usize) -> Option<S::F> {
        self.get(at..).and_then(|b| b.first_chunk()).map(|b| s.load_f32(b))
    }

    #[inline(always)]
    fn scale<S: Simd>(&self, _: S, sums: S::F, _: usize) -> S::F {
        sums
    }
}

/// Weights that are real where they are multiplied.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<'a> {
    bytes: &'a [u8],
    scale: &'a [f32],
}

impl Right for Bytes<'_> {
    #[inline(always)]
    fn load<S: Simd>(&self, s: S, at: usize) -> Option<S::F> {
        self.bytes.get(at..).and_then(|b| b.first_chunk()).map(|b| s.widen_from(b, s.zero(128)))
    }

    #[inline(always)]
    fn scale<S: Simd>(&self, s: S, sums: S::F, column: usize) -> S::F {
        self.scale[column..].first_chunk().map_or(sums, |scale| s.mul(sums, s.load_f32(scale)))
    }
}

/// `a[…,M,K] · b[…,K,N] (+ bias[N])`. A unit is a row.
#[derive(Debug, Clone, Copy)]
pub struct ProductF32<'a, B> {
    a: &'a [f32],
    b: B,
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

impl<'a> ProductF32<'a, &'a [f32]> {
    /// `None` for narrow results, and for other types.
    pub fn new(op: &Op, inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let [a, b, bias @ ..] = inputs else { return None };
        Self::of(matches!(op, Op::Gemm), [a, b], b.view.as_slice()?, bias.first(), output)
    }
}

impl<'a> ProductF32<'a, Bytes<'a>> {
    /// Of an [`Op::WeightOnlyGemm`]; `None` for narrow results.
    pub fn weight_only(inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let [a, b, scale, bias @ ..] = inputs else { return None };
        let bytes = Bytes { bytes: b.view.bytes(), scale: scale.view.as_slice()? };
        Self::of(true, [a, b], bytes, bias.first(), output)
    }
}

impl<'a, B: Right> ProductF32<'a, B> {
    fn of(flat: bool, [a, b]: [&Operand<'a>; 2], right: B, bias: Option<&Operand<'a>>, output: &OutputMut<'_>) -> Option<Self> {
        let &n = output.view.shape().last()?;
        let (&k, &m) = (a.view.shape().last()?, a.view.shape().iter().rev().nth(1)?);
        let elements = output.view.shape().iter().product::<usize>();
        let mut new = Self {
            a: a.view.as_slice()?,
            b: right,
            bias: bias.and_then(|bias| bias.view.as_slice()),
            m,
            k,
            n,
            batch: [[1; MAX_RANK]; 3],
            ranks: [0; 3],
            rows: elements.checked_div(n)?,
        };
        if flat {
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
    fn block<S: Simd, const R: usize>(&self, s: S, a: &[f32], start: usize, to: &mut [f32]) {
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
            for i in 0..k {
                let Some(b) = self.b.load(s, start + i * n + at) else { break };
                for r in 0..R {
                    sums[r] = s.add(sums[r], s.mul(s.splat_f32(rows[r][i]), b));
                }
            }
            for r in 0..R {
                let mut sum = self.b.scale(s, sums[r], at);
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

impl<B: Right> Split for ProductF32<'_, B> {
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
            let mut a = &self.a[a + within * self.k..];
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
