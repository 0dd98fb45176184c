//! Softmax along the last axis, of u8 by the table of integer exponentials and of f32 in the order of sixteen partial sums.
//!
//! The loops are plain ones, compiled for the instruction set that they run on.

use std::ops::Range;

use super::edge;
use super::simd::Simd;
use super::split::Split;
use crate::arith::float::{LANES, LaneSum, exp};
use crate::arith::requant::round_to_u8;
use crate::backend::{Operand, OutputMut};
use crate::quant::Affine;
use crate::tensor::DType;

/// Elements of a row from which on a table of all results is cheaper than the results.
const MANY: usize = 64;

/// Elements of rows that are computed together. A longer row is one by itself, and has a table of all its results.
const BLOCK: usize = 512;

/// Of u8, to u8 or f32. A unit is a row.
#[derive(Debug, Clone, Copy)]
pub struct SoftmaxU8<'a> {
    x: &'a [u8],
    table: &'a [i32; 256],
    /// Affine parameters of a u8 output.
    y: Option<Affine>,
    len: usize,
}

impl<'a> SoftmaxU8<'a> {
    /// `None` for other axes and types.
    pub fn new(axis: usize, inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let [x, table] = inputs else { return None };
        let table = table.view.as_slice::<i32>()?.try_into().ok()?;
        let (&len, y) = (x.view.shape().last()?, output.view.view());
        let applies = x.view.dtype() == DType::U8 && axis + 1 == x.view.shape().len() && len > 0;
        let y = if y.dtype() == DType::U8 { Some(output.quant?) } else { None };
        applies.then_some(Self { x: x.view.bytes(), table, y, len })
    }
}

impl Split for SoftmaxU8<'_> {
    fn units(&self) -> usize {
        self.x.len() / self.len
    }

    fn unit_bytes(&self) -> usize {
        self.len * if self.y.is_some() { 1 } else { 4 }
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, to: &mut [u8]) {
        let x = &self.x[units.start * self.len..units.end * self.len];
        let planes = self.planes();
        if const { !S::COMPACT }
            && let (Some(y), true) = (self.y, self.len <= BLOCK)
        {
            let block = BLOCK / self.len * self.len;
            for (x, to) in x.chunks(block).zip(to.chunks_mut(block)) {
                rows_at_once(s, x, self.len, &planes, y, to);
            }
            return;
        }
        for (row, to) in x.chunks_exact(self.len).zip(to.chunks_exact_mut(self.unit_bytes())) {
            let mut largest = 0;
            for &q in row {
                largest = q.max(largest);
            }
            let sum = if row.len() < MANY { self.sum(row, largest) } else { sum_by_planes(s, row, largest, &planes) };
            if let Some(y) = self.y {
                self.bytes(s, row, largest, sum, y, to);
            } else {
                let sum = sum as f32;
                for (&q, to) in row.iter().zip(to.as_chunks_mut::<4>().0) {
                    *to = (self.table[usize::from(largest - q)] as f32 / sum).to_le_bytes();
                }
            }
        }
    }
}

/// Rows of `len` elements, [`BLOCK`] of them at most: their exponentials byte by byte, which are then put together as vectors.
#[inline(always)]
fn rows_at_once<S: Simd>(s: S, x: &[u8], len: usize, planes: &[[u8; 256]; 3], y: Affine, to: &mut [u8]) {
    // A row's last vector may reach behind all of them.
    let mut bytes = [[0; BLOCK + 64]; 3];
    for (row, to) in x.chunks_exact(len).zip(bytes[0].chunks_exact_mut(len)) {
        let mut largest = 0;
        for &q in row {
            largest = q.max(largest);
        }
        for (to, &q) in to.iter_mut().zip(row) {
            *to = largest - q;
        }
    }
    let [first, others @ ..] = &mut bytes;
    for (plane, to) in planes[1..].iter().zip(others) {
        to[..x.len()].copy_from_slice(&first[..x.len()]);
        s.lookup(plane, &mut to[..x.len()]);
    }
    s.lookup(&planes[0], &mut first[..x.len()]);
    let top = s.splat_f32(f32::from(y.q_max) - f32::from(y.zero_point));
    let limits = s.limits(y.zero_point, 0, y.q_max);
    // Of a row's last vector, what belongs to it.
    let mut last = [0u8; 64];
    last[..len - (len - 1) / 64 * 64].fill(u8::MAX);
    let part = |plane: &[u8; BLOCK + 64], at: usize| edge::bytes_at::<64>(plane, at);
    for start in (0..x.len()).step_by(len) {
        let mut lanes = [[0i32; LANES]; 3];
        for (plane, lanes) in bytes.iter().zip(&mut lanes) {
            let mut sums = s.splat_i32(0);
            for at in (0..len).step_by(64) {
                let mut part = part(plane, start + at);
                if at + 64 > len {
                    for i in 0..64 {
                        part[i] &= last[i];
                    }
                }
                sums = s.sum4_lanes(sums, s.load_b(&part));
            }
            s.store_i32(sums, lanes);
        }
        let plane = |i: usize| u64::from(lanes[i].iter().sum::<i32>() as u32) << (8 * i);
        let inverse = s.splat_f32(1.0 / ((plane(0) + plane(1) + plane(2)) as f32 * y.scale));
        for at in (0..len).step_by(64) {
            let [a, b, c] = [part(&bytes[0], start + at), part(&bytes[1], start + at), part(&bytes[2], start + at)];
            let quads = s.interleave([s.load_b(&a), s.load_b(&b), s.load_b(&c), s.splat_b(0)]);
            let mut q = [s.splat_i32(0); 4];
            for v in 0..4 {
                // A quad's bytes are the number's.
                let mut e = [0i32; LANES];
                s.store_b(quads[v], bytemuck::cast_mut(&mut e));
                q[v] = s.round_below(s.mul(s.to_f32(s.load_i32(&e)), inverse), top);
            }
            edge::store_over(s, s.narrow_interleaved(q, limits), len - at, &mut to[start + at..]);
        }
    }
}

impl SoftmaxU8<'_> {
    /// Bytes 0, 1 and 2 of the table's entries, which are at most 2²³.
    fn planes(&self) -> [[u8; 256]; 3] {
        let mut planes = [[0; 256]; 3];
        for (i, e) in self.table.iter().enumerate() {
            for (plane, byte) in planes.iter_mut().zip(e.to_le_bytes()) {
                plane[i] = byte;
            }
        }
        planes
    }

    /// The sum of a row's exponentials, one by one.
    #[inline(always)]
    fn sum(&self, row: &[u8], largest: u8) -> u64 {
        // The table's entries are not negative.
        row.iter().map(|&q| u64::from(self.table[usize::from(largest - q)] as u32)).sum()
    }

    #[inline(always)]
    fn bytes<S: Simd>(&self, s: S, row: &[u8], largest: u8, sum: u64, y: Affine, to: &mut [u8]) {
        let inverse = 1.0 / (sum as f32 * y.scale);
        if row.len() < MANY {
            for (&q, to) in row.iter().zip(to) {
                *to = round_to_u8(self.table[usize::from(largest - q)] as f32 * inverse, y.zero_point, 0, y.q_max);
            }
            return;
        }
        // Within a row the result depends on the distance only.
        let mut results = [0; 256];
        for (result, &e) in results.iter_mut().zip(self.table) {
            *result = round_to_u8(e as f32 * inverse, y.zero_point, 0, y.q_max);
        }
        for (&q, to) in row.iter().zip(to.iter_mut()) {
            *to = largest - q;
        }
        s.lookup(&results, to);
    }
}

/// The same, each byte of the entries by itself, for which there are tables in registers.
#[inline(always)]
fn sum_by_planes<S: Simd>(s: S, row: &[u8], largest: u8, planes: &[[u8; 256]; 3]) -> u64 {
    const PIECE: usize = 256;
    let mut sum = 0;
    for row in row.chunks(PIECE) {
        let mut distances = [0; PIECE];
        for (to, &q) in distances.iter_mut().zip(row) {
            *to = largest - q;
        }
        for (i, plane) in planes.iter().enumerate() {
            let mut bytes = distances;
            // Behind the row are zeros, which add nothing.
            s.lookup(plane, &mut bytes[..row.len()]);
            let mut sums = s.splat_i32(0);
            for block in bytes.as_chunks().0 {
                sums = s.sum4_lanes(sums, s.load_b(block));
            }
            let mut lanes = [0; LANES];
            s.store_i32(sums, &mut lanes);
            sum += u64::from(lanes.iter().sum::<i32>() as u32) << (8 * i);
        }
    }
    sum
}

/// Of f32. A unit is a row.
#[derive(Debug, Clone, Copy)]
pub struct SoftmaxF32<'a> {
    x: &'a [f32],
    len: usize,
}

impl<'a> SoftmaxF32<'a> {
    /// `None` for other axes and types.
    pub fn new(axis: usize, inputs: &[Operand<'a>], _: &OutputMut<'_>) -> Option<Self> {
        let x = inputs.first()?.view;
        let (&len, rank) = (x.shape().last()?, x.shape().len());
        (axis + 1 == rank && len > 0).then_some(Self { x: x.as_slice()?, len })
    }
}

impl Split for SoftmaxF32<'_> {
    fn units(&self) -> usize {
        self.x.len() / self.len
    }

    fn unit_bytes(&self) -> usize {
        self.len * 4
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, to: &mut [u8]) {
        let Ok(to) = bytemuck::try_cast_slice_mut::<u8, f32>(to) else { return };
        let rows = self.x[units.start * self.len..units.end * self.len].chunks_exact(self.len);
        for (row, to) in rows.zip(to.chunks_exact_mut(self.len)) {
            let max = largest(s, row);
            for (to, &x) in to.iter_mut().zip(row) {
                *to = exp(x - max);
            }
            let sum = sum(to);
            for to in to {
                *to /= sum;
            }
        }
    }
}

/// The largest; NaN is passed over. Of two zeros it is either: their difference to anything has the same exponential.
#[inline(always)]
fn largest<S: Simd>(s: S, x: &[f32]) -> f32 {
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    if const { S::COMPACT } {
        // Vectors would become relaxed maxima, which may return any NaN.
        for x in whole {
            for i in 0..LANES {
                lanes[i] = if x[i] > lanes[i] { x[i] } else { lanes[i] };
            }
        }
    } else {
        let mut most = s.splat_f32(f32::NEG_INFINITY);
        for x in whole {
            most = s.greater(most, s.load_f32(x));
        }
        s.store_f32(most, bytemuck::cast_mut(&mut lanes));
    }
    let mut largest = f32::NEG_INFINITY;
    for &x in lanes.iter().chain(rest) {
        largest = if x > largest { x } else { largest };
    }
    largest
}

/// The sum in the order of `ARITHMETIC.md`.
#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for x in whole {
        for i in 0..LANES {
            lanes[i] += x[i];
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x;
    }
    LaneSum::tree(lanes)
}
