//! Images at other extents: the nearest pixel of any type, and linear interpolation, whose two float steps, rows first, are done for
//! 64 channels of a pixel at once for bytes, and for lines of f32. Positions and weights are [`crate::reference`]'s.

use std::ops::Range;

use super::edge;
use super::simd::Simd;
use super::split::Split;
use crate::backend::{Operand, OutputMut};
use crate::graph::op::{Resize, ResizeMode};
use crate::reference::resize::Axis;
use crate::tensor::DType;

/// Most columns of an output: their positions are on the stack.
const MOST: usize = 1024;

/// What both have in common: `[N,H,W,C]` → `[N,H′,W′,C]`.
#[derive(Debug, Clone, Copy)]
struct Images<'a> {
    x: &'a [u8],
    images: usize,
    /// Rows and columns.
    axes: [Axis; 2],
    input: [usize; 2],
    output: [usize; 2],
    /// Bytes of a pixel.
    pixel: usize,
}

impl<'a> Images<'a> {
    fn new(resize: &Resize, inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let (x, y) = (inputs.first()?.view, output.view.view());
        let (&[images, h, w, c], &[_, oh, ow, _]) = (x.shape(), y.shape()) else { return None };
        let axis = |d: usize| Axis::new(resize, d, x.shape(), y.shape());
        let applies = !axis(0).changes && !axis(3).changes && ow <= MOST && !x.bytes().is_empty() && !y.bytes().is_empty();
        let (axes, pixel) = ([axis(1), axis(2)], c * x.dtype().size());
        applies.then_some(Self { x: x.bytes(), images, axes, input: [h, w], output: [oh, ow], pixel })
    }

    fn units(&self) -> usize {
        self.images * self.output[0]
    }

    fn unit_bytes(&self) -> usize {
        self.output[1] * self.pixel
    }

    /// For each column of the output, the columns before and behind it, and the weight of the latter.
    #[inline(always)]
    fn places(&self) -> [(u32, u32, f32); MOST] {
        let mut places = [(0u32, 0u32, 0.0f32); MOST];
        for (o, place) in places[..self.output[1]].iter_mut().enumerate() {
            let (before, behind, weight) = self.axes[1].neighbours(o);
            *place = (before as u32, behind as u32, weight);
        }
        places
    }

    /// From a row of an image to the end of the image.
    #[inline(always)]
    fn row_on(&self, image: usize, row: usize) -> &'a [u8] {
        let line = self.input[1] * self.pixel;
        &self.x[(image * self.input[0] + row) * line..(image + 1) * self.input[0] * line]
    }
}

/// The nearest pixel. A unit is a line of the output.
#[derive(Debug, Clone, Copy)]
pub struct Nearest<'a> {
    images: Images<'a>,
    mode: ResizeMode,
}

impl<'a> Nearest<'a> {
    /// `None` for linear interpolation, and where more than rows and columns change.
    pub fn new(resize: &Resize, inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let images = Images::new(resize, inputs, output)?;
        (resize.mode != ResizeMode::Linear).then_some(Self { images, mode: resize.mode })
    }
}

impl Split for Nearest<'_> {
    fn units(&self) -> usize {
        self.images.units()
    }

    fn unit_bytes(&self) -> usize {
        self.images.unit_bytes()
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, _: S, units: Range<usize>, to: &mut [u8]) {
        let Images { axes: [rows, columns], output: [oh, ow], pixel, .. } = self.images;
        let line = ow * pixel;
        let mut places = [0; MOST];
        for (o, place) in places[..ow].iter_mut().enumerate() {
            *place = columns.nearest(o, self.mode) * pixel;
        }
        let mut last = None;
        for (i, unit) in units.enumerate() {
            let source = (unit / oh, rows.nearest(unit % oh, self.mode));
            if last == Some(source) {
                to.copy_within((i - 1) * line..i * line, i * line);
                continue;
            }
            last = Some(source);
            let from = self.images.row_on(source.0, source.1);
            for (to, &place) in to[i * line..][..line].chunks_exact_mut(pixel).zip(&places) {
                edge::copy(&from[place..][..pixel], to);
            }
        }
    }
}

/// Linear interpolation of bytes. A unit is a line of the output.
#[derive(Debug, Clone, Copy)]
pub struct LinearU8<'a> {
    images: Images<'a>,
}

impl<'a> LinearU8<'a> {
    /// `None` for other modes and types, and where more than rows and columns change.
    pub fn new(resize: &Resize, inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let images = Images::new(resize, inputs, output)?;
        (resize.mode == ResizeMode::Linear && inputs[0].view.dtype() == DType::U8).then_some(Self { images })
    }
}

impl Split for LinearU8<'_> {
    fn units(&self) -> usize {
        self.images.units()
    }

    fn unit_bytes(&self) -> usize {
        self.images.unit_bytes()
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, to: &mut [u8]) {
        let Images { axes: [rows, _], output: [oh, ow], pixel, .. } = self.images;
        let places = self.images.places();
        let (limits, top) = (s.limits(0, 0, u8::MAX), s.splat_f32(f32::from(u8::MAX)));
        for (unit, to) in units.zip(to.chunks_exact_mut(ow * pixel)) {
            let (image, (before, behind, weight)) = (unit / oh, rows.neighbours(unit % oh));
            let (above, below) = (self.images.row_on(image, before), self.images.row_on(image, behind));
            let down = Weights::new(s, weight);
            for (o, &(before, behind, weight)) in places[..ow].iter().enumerate() {
                let along = Weights::new(s, weight);
                let (left, right) = (before as usize * pixel, behind as usize * pixel);
                for channel in (0..pixel).step_by(64) {
                    let first = edge::block(channel, pixel);
                    let corners = [(above, left), (below, left), (above, right), (below, right)];
                    let mut bytes = [&[0; 64]; 4];
                    let mut ends = [[0; 64]; 4];
                    for ((bytes, end), (row, at)) in bytes.iter_mut().zip(&mut ends).zip(corners) {
                        *bytes = match row[at + first..].first_chunk::<64>() {
                            Some(whole) => whole,
                            None => {
                                *end = edge::padded(s, &row[at + first..]);
                                end
                            }
                        };
                    }
                    let mut y = [s.splat_i32(0); 4];
                    for (j, y) in y.iter_mut().enumerate() {
                        let mut q = [s.splat_f32(0.0); 4];
                        for (q, bytes) in q.iter_mut().zip(bytes) {
                            *q = s.to_f32(s.widen(edge::quarter(bytes, j)));
                        }
                        let (left, right) = (down.mix(s, q[0], q[1]), down.mix(s, q[2], q[3]));
                        *y = s.round_below(along.mix(s, left, right), top);
                    }
                    edge::store_over(s, s.narrow(y, limits), pixel, &mut to[o * pixel + first..]);
                }
            }
        }
    }
}

/// Linear interpolation of f32 along rows and columns. A unit is a line of the output.
#[derive(Debug, Clone, Copy)]
pub struct LinearF32<'a> {
    images: Images<'a>,
    x: &'a [f32],
}

impl<'a> LinearF32<'a> {
    /// Most elements of a line of the input: one is on the stack.
    const LINE: usize = 16 * 1024;

    /// `None` for other modes and types, long lines, and where not just rows and columns change.
    pub fn new(resize: &Resize, inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let images = Images::new(resize, inputs, output)?;
        let x = inputs[0].view.as_slice::<f32>()?;
        // Where nothing changes, infinite numbers would become none by a weight of 0.
        let both = images.axes.iter().all(|axis| axis.changes);
        let applies = resize.mode == ResizeMode::Linear && both && images.input[1] * (images.pixel / 4) <= Self::LINE;
        applies.then_some(Self { images, x })
    }
}

impl Split for LinearF32<'_> {
    fn units(&self) -> usize {
        self.images.units()
    }

    fn unit_bytes(&self) -> usize {
        self.images.unit_bytes()
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, _: S, units: Range<usize>, to: &mut [u8]) {
        let Images { axes: [rows, _], input: [h, w], output: [oh, ow], pixel, .. } = self.images;
        let Ok(to) = bytemuck::try_cast_slice_mut::<u8, f32>(to) else { return };
        let (channels, line) = (pixel / 4, w * (pixel / 4));
        let places = self.images.places();
        let mut mixed = [0.0; Self::LINE];
        let mixed = &mut mixed[..line];
        for (unit, to) in units.zip(to.chunks_exact_mut(ow * channels)) {
            let (image, (before, behind, f)) = (unit / oh, rows.neighbours(unit % oh));
            let row = |y: usize| &self.x[(image * h + y) * line..][..line];
            mix([row(before), row(behind)], f, mixed);
            for (to, &(before, behind, f)) in to.chunks_exact_mut(channels).zip(&places) {
                let (left, right) = (&mixed[before as usize * channels..], &mixed[behind as usize * channels..]);
                mix([&left[..channels], &right[..channels]], f, to);
            }
        }
    }
}

/// a·(1 − f) + b·f, one by one.
#[inline(always)]
fn mix([a, b]: [&[f32]; 2], f: f32, to: &mut [f32]) {
    for ((y, &a), &b) in to.iter_mut().zip(a).zip(b) {
        *y = a * (1.0 - f) + b * f;
    }
}

/// 1 − f and f.
struct Weights<S: Simd>(S::F, S::F);

impl<S: Simd> Weights<S> {
    #[inline(always)]
    fn new(s: S, f: f32) -> Self {
        Self(s.splat_f32(1.0 - f), s.splat_f32(f))
    }

    /// a·(1 − f) + b·f.
    #[inline(always)]
    fn mix(&self, s: S, a: S::F, b: S::F) -> S::F {
        s.add(s.mul(a, self.0), s.mul(b, self.1))
    }
}
