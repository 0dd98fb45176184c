//! Pools of u8 images, 64 bytes at a time. What a window sees, and how much of it counts, is [`crate::reference`]'s.
//!
//! | module | what it holds |
//! |---|---|
//! | `largest` | max pool: down the rows of a line, then along it |
//! | `average` | average pool: four taps to a dot product with ones |
//!
//! With fewer channels than 64 a vector reaches into the next pixels: what it finds there is computed along and overwritten
//! by the pixel it belongs to, so only the last pixels of a part take care.

use std::ops::Range;

use super::simd::Simd;
use super::split::Split;
use crate::backend::{Operand, OutputMut};
use crate::graph::op::{Pool, PoolFn};
use crate::quant::Affine;
use crate::reference::pool::{Along, inside};
use crate::tensor::DType;

mod average;
mod largest;

/// u8 → u8. A unit is a line of the output.
#[derive(Debug, Clone, Copy)]
pub struct PoolU8<'a> {
    pool: Pool,
    x: &'a [u8],
    quant: [Affine; 2],
    /// Rows and columns of an image.
    input: [usize; 2],
    /// Of its rows, the first one that is there, and how many are.
    there: [usize; 2],
    output: [usize; 2],
    images: usize,
    channels: usize,
}

impl<'a> PoolU8<'a> {
    /// Of [`crate::graph::Op::Pool`]'s operands; `None` for f32.
    pub fn new(pool: &Pool, inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let x = inputs.first()?;
        let (&[images, h, w, channels], &[_, oh, ow, _]) = (x.view.shape(), output.view.view().shape()) else { return None };
        let applies = x.view.dtype() == DType::U8 && channels > 0 && ow > 0;
        let quant = [x.quant?, output.quant?];
        let (x, there) = (x.view.bytes(), [0, h]);
        applies.then_some(Self { pool: *pool, x, quant, input: [h, w], there, output: [oh, ow], images, channels })
    }

    /// The rows of an image of `height` that lines of the output see.
    pub fn sees(pool: &Pool, height: usize, lines: Range<usize>) -> Range<usize> {
        let rows = lines.map(|line| inside(pool, 0, line, height)).filter(|rows| rows.len > 0);
        let ends = rows.map(|rows| (rows.first, rows.first + (rows.len - 1) * rows.step + 1));
        ends.reduce(|(start, end), (from, to)| (start.min(from), end.max(to))).map_or(0..0, |(start, end)| start..end)
    }

    /// Of one image of which these rows are there: all that the lines see that will be computed. Only for a max pool.
    pub fn of_rows(pool: &Pool, x: &'a [u8], rows: Range<usize>, [input, output]: [[usize; 2]; 2], channels: usize) -> Self {
        // Bytes are compared as they are.
        let quant = [Affine { scale: 1.0, zero_point: 0, q_max: u8::MAX }; 2];
        Self { pool: *pool, x, quant, input, there: [rows.start, rows.len()], output, images: 1, channels }
    }

    /// The image of a line of the output, and the line's place in its image.
    #[inline(always)]
    fn image(&self, line: usize) -> (&'a [u8], usize) {
        let bytes = self.there[1] * self.input[1] * self.channels;
        (&self.x[line / self.output[0] * bytes..][..bytes], line % self.output[0])
    }

    /// The rows of [`PoolU8::image`] that a line sees.
    #[inline(always)]
    fn rows(&self, line: usize) -> Along {
        let rows = inside(&self.pool, 0, line, self.input[0]);
        Along { first: rows.first.saturating_sub(self.there[0]), ..rows }
    }
}

impl Split for PoolU8<'_> {
    fn units(&self) -> usize {
        self.images * self.output[0]
    }

    fn unit_bytes(&self) -> usize {
        self.output[1] * self.channels
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, to: &mut [u8]) {
        match self.pool.function {
            PoolFn::Max => largest::compute(self, s, units, to),
            PoolFn::Average => average::compute(self, s, units, to),
        }
    }
}
