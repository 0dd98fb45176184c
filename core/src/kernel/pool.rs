//! Pools of u8 images, 64 channels at a time. What a window sees, and how much of it counts, is [`crate::reference`]'s.
//!
//! With fewer channels than 64 a vector reaches into the next pixels: what it finds there is computed along and overwritten
//! by the pixel it belongs to, so only the last pixels of a part take care.

use std::ops::Range;

use super::edge;
use super::simd::Simd;
use super::split::Split;
use crate::arith::requant::Mean;
use crate::backend::{Operand, OutputMut};
use crate::graph::op::{Pool, PoolFn};
use crate::quant::Affine;
use crate::reference::pool::{Along, inside};
use crate::tensor::DType;

/// u8 → u8. A unit is a line of the output.
#[derive(Debug, Clone, Copy)]
pub struct PoolU8<'a> {
    pool: Pool,
    x: &'a [u8],
    quant: [Affine; 2],
    /// Rows and columns of an image.
    input: [usize; 2],
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
        applies.then_some(Self { pool: *pool, x: x.view.bytes(), quant, input: [h, w], output: [oh, ow], images, channels })
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
            PoolFn::Max => self.each(units, to, &Largest(s)),
            PoolFn::Average => self.each(units, to, &Averages::new(s, self.quant)),
        }
    }
}

impl PoolU8<'_> {
    #[inline(always)]
    fn each(&self, units: Range<usize>, to: &mut [u8], window: &impl Window) {
        let Self { input: [h, w], output: [oh, ow], channels: c, .. } = *self;
        // Whole pixels at a time where they are wide, else vectors that overlap their neighbours.
        let step = 64.min(c);
        for (i, line) in units.enumerate() {
            let image = &self.x[line / oh * h * w * c..][..h * w * c];
            let rows = inside(&self.pool, 0, line % oh, h);
            for column in 0..ow {
                let columns = inside(&self.pool, 1, column, w);
                let view = View { image, width: w, pixel: c, rows, columns };
                let at = (i * ow + column) * c;
                let mut channel = 0;
                while channel < c {
                    // The last block of a wide pixel overlaps the one before it.
                    let first = channel.min(c.saturating_sub(64));
                    window.compute(&view, first, step, &mut to[at + first..]);
                    channel += 64;
                }
            }
        }
    }
}

/// What a window sees of an image.
struct View<'a> {
    image: &'a [u8],
    width: usize,
    /// Bytes of a pixel.
    pixel: usize,
    rows: Along,
    columns: Along,
}

impl View<'_> {
    /// Where the tap in row `i` and column `j` of those inside the image is.
    #[inline(always)]
    fn tap(&self, i: usize, j: usize) -> usize {
        let (row, column) = (self.rows.first + i * self.rows.step, self.columns.first + j * self.columns.step);
        (row * self.width + column) * self.pixel
    }

    /// What an average divides by.
    #[inline(always)]
    fn count(&self) -> usize {
        (self.rows.counted * self.columns.counted).max(1)
    }
}

/// What is computed over a window.
trait Window {
    /// Of the channels from `first` on into the start of `to`. At least `step` of them exist; it may write 64.
    fn compute(&self, view: &View<'_>, first: usize, step: usize, to: &mut [u8]);
}

/// The largest byte.
struct Largest<S>(S);

impl<S: Simd> Window for Largest<S> {
    #[inline(always)]
    fn compute(&self, view: &View<'_>, first: usize, step: usize, to: &mut [u8]) {
        let s = self.0;
        let mut largest = s.splat_b(0);
        for i in 0..view.rows.len {
            let mut at = view.tap(i, 0) + first;
            for _ in 0..view.columns.len {
                largest = s.max_b(largest, edge::load(s, view.image, at));
                at += view.columns.step * view.pixel;
            }
        }
        store(s, largest, step, to);
    }
}

/// The mean.
struct Averages<S: Simd> {
    s: S,
    quant: [Affine; 2],
    top: S::F,
    limits: S::Limits,
}

impl<S: Simd> Averages<S> {
    #[inline(always)]
    fn new(s: S, quant: [Affine; 2]) -> Self {
        let [_, y] = quant;
        let top = s.splat_f32(f32::from(y.q_max) - f32::from(y.zero_point));
        Self { s, quant, top, limits: s.limits(y.zero_point, 0, y.q_max) }
    }
}

impl<S: Simd> Window for Averages<S> {
    #[inline(always)]
    fn compute(&self, view: &View<'_>, first: usize, step: usize, to: &mut [u8]) {
        let s = self.s;
        let [x, y] = self.quant;
        let ones = s.weights(&[1; 64]);
        let taps = view.rows.len * view.columns.len;
        let mut acc = [s.splat_i32(-(taps as i32) * i32::from(x.zero_point)); 4];
        let zeros = s.splat_b(0);
        let (mut row, mut column) = (0, 0);
        for group in (0..taps).step_by(4) {
            let mut quad = [zeros; 4];
            for tap in quad.iter_mut().take(taps - group) {
                *tap = edge::load(s, view.image, view.tap(row, column) + first);
                column += 1;
                if column == view.columns.len {
                    (row, column) = (row + 1, 0);
                }
            }
            for (acc, quads) in acc.iter_mut().zip(s.interleave(quad)) {
                *acc = s.dot4_lanes(*acc, quads, ones);
            }
        }
        let multiplier = s.splat_f32(Mean::new(x, y, view.count()).multiplier());
        for acc in &mut acc {
            *acc = s.round_below(s.mul(s.to_f32(*acc), multiplier), self.top);
        }
        store(s, s.narrow_interleaved(acc, self.limits), step, to);
    }
}

/// All 64 bytes where there is room, else the `step` that count.
#[inline(always)]
fn store<S: Simd>(s: S, v: S::B, step: usize, to: &mut [u8]) {
    match to.first_chunk_mut::<64>() {
        Some(whole) => s.store_b(v, whole),
        None => edge::store(s, v, &mut to[..step]),
    }
}
