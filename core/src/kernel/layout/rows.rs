//! Joining and cutting along one axis: runs of bytes that are copied from rows of one length to rows of another.

use std::ops::Range;

use crate::backend::{Operand, OutputMut};
use crate::graph::op::Cut;
use crate::kernel::edge;
use crate::kernel::simd::Simd;
use crate::kernel::split::Split;

/// Tensors of any type one behind the other along an axis. A unit is a row: what there is for one index of the dimensions
/// outside of the axis.
#[derive(Debug, Clone, Copy)]
pub struct Concat<'a> {
    inputs: &'a [Operand<'a>],
    axis: usize,
    rows: usize,
    /// Bytes of a row of the output.
    row: usize,
}

impl<'a> Concat<'a> {
    /// Of [`crate::graph::Op::Concat`]'s operands; those that are in place already are left alone.
    pub fn new(axis: usize, inputs: &'a [Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let view = output.view.view();
        let row = row_bytes(view.shape(), axis, view.dtype().size());
        let rows = view.bytes().len().checked_div(row)?;
        Some(Self { inputs, axis, rows, row })
    }
}

impl Split for Concat<'_> {
    fn units(&self) -> usize {
        self.rows
    }

    fn unit_bytes(&self) -> usize {
        self.row
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, _: S, units: Range<usize>, to: &mut [u8]) {
        let mut start = 0;
        for input in self.inputs {
            if let Some(columns) = input.in_place {
                start += columns * input.view.dtype().size();
                continue;
            }
            let len = row_bytes(input.view.shape(), self.axis, input.view.dtype().size());
            let from = &input.view.bytes()[units.start * len..units.end * len];
            copy_rows(from, len, &mut to[start..], self.row, len, units.len());
            start += len;
        }
    }
}

/// A cut of a tensor of any type along one axis. A unit is a row: what there is for one index of the dimensions outside of the axis.
#[derive(Debug, Clone, Copy)]
pub struct Slice<'a> {
    /// From the first element that is taken on.
    x: &'a [u8],
    rows: usize,
    /// Bytes of a row of the input and of the output.
    pitch: usize,
    row: usize,
    /// Bytes of what lies side by side in both: all of a row, or one index of the axis, where some are left out.
    run: usize,
    /// Bytes from one of them to the next in the input.
    step: usize,
}

impl<'a> Slice<'a> {
    /// `None` unless exactly one axis is cut, forwards.
    pub fn new(cuts: &[Cut], inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let (x, view) = (inputs.first()?.view, output.view.view());
        let whole = |cut: &&Cut| cut.step == 1 && cut.range()[1] == x.shape()[cut.axis];
        let mut cuts = cuts.iter().filter(|cut| !whole(cut));
        let (Some(cut), None) = (cuts.next(), cuts.next()) else { return None };
        let size = x.dtype().size();
        let (pitch, row) = (row_bytes(x.shape(), cut.axis, size), row_bytes(view.shape(), cut.axis, size));
        let rows = view.bytes().len().checked_div(row)?;
        let inner = row_bytes(x.shape(), cut.axis + 1, size);
        let step = usize::try_from(cut.step).ok()?;
        let (run, step) = if step == 1 { (row, row) } else { (inner, step.saturating_mul(inner)) };
        Some(Self { x: &x.bytes()[cut.range()[0] * inner..], rows, pitch, row, run, step })
    }
}

impl Split for Slice<'_> {
    fn units(&self) -> usize {
        self.rows
    }

    fn unit_bytes(&self) -> usize {
        self.row
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, _: S, units: Range<usize>, to: &mut [u8]) {
        if self.run == self.row {
            return copy_rows(&self.x[units.start * self.pitch..], self.pitch, to, self.row, self.row, units.len());
        }
        for (row, to) in units.zip(to.chunks_exact_mut(self.row)) {
            copy_rows(&self.x[row * self.pitch..], self.step, to, self.run, self.run, self.row / self.run);
        }
    }
}

/// Bytes of the dimensions from `axis` on.
#[inline(always)]
fn row_bytes(shape: &[usize], axis: usize, size: usize) -> usize {
    let mut bytes = size;
    for &extent in &shape[axis..] {
        bytes *= extent;
    }
    bytes
}

/// Copies `len` bytes of each row, `from_pitch` apart, to rows `to_pitch` apart.
#[inline(always)]
fn copy_rows(from: &[u8], from_pitch: usize, to: &mut [u8], to_pitch: usize, len: usize, rows: usize) {
    if len == from_pitch && len == to_pitch {
        return to[..rows * len].copy_from_slice(&from[..rows * len]);
    }
    for i in 0..rows {
        edge::copy(&from[i * from_pitch..][..len], &mut to[i * to_pitch..][..len]);
    }
}
