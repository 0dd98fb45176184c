//! Between f32 and u8: the steps of [`Affine::quantize`] and [`Affine::dequantize`], sixteen at a time, and the first step
//! of most networks in one pass: f32 `[N,C,H,W]` to u8 `[N,H,W,C]`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`dynamic`] | parameters that each run chooses, and quantization by them |
//! | [`framed`] | f32 images to u8 images in the frames that a convolution reads |

pub mod dynamic;
pub mod framed;

use std::ops::Range;

use super::edge;
use super::simd::Simd;
use super::split::Split;
use crate::backend::{Operand, OutputMut};
use crate::quant::Affine;

/// Numbers ahead of those that are quantized that are asked for: inputs come from far away, by pages of 4 KiB, at whose ends what a
/// processor asks for by itself stops.
const AHEAD: usize = 1024;

/// f32 → u8. A unit is an element.
#[derive(Debug, Clone, Copy)]
pub struct Quantize<'a> {
    x: &'a [f32],
    y: Affine,
}

impl<'a> Quantize<'a> {
    /// Of the operands of [`Op::Quantize`](crate::graph::Op::Quantize).
    pub fn new(inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let x = inputs.first()?.view.as_slice()?;
        Some(Self { x, y: output.quant? })
    }
}

impl Split for Quantize<'_> {
    fn units(&self) -> usize {
        self.x.len()
    }

    fn unit_bytes(&self) -> usize {
        1
    }

    fn grain(&self) -> usize {
        64
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, to: &mut [u8]) {
        let v = Steps::new(s, self.y);
        let ((x, x_rest), (to, to_rest)) = (self.x[units].as_chunks::<64>(), to.as_chunks_mut::<64>());
        let count = to.len();
        let x = &x[..count];
        for i in 0..count {
            s.store_b(v.quantize(s, &x[i]), &mut to[i]);
        }
        if !to_rest.is_empty() {
            edge::store(s, v.quantize(s, &padded(s, x_rest)), to_rest);
        }
    }
}

/// u8 → f32. A unit is an element.
#[derive(Debug, Clone, Copy)]
pub struct Dequantize<'a> {
    x: &'a [u8],
    from: Affine,
}

impl<'a> Dequantize<'a> {
    /// Of the operands of [`Op::Dequantize`](crate::graph::Op::Dequantize).
    pub fn new(inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let x = inputs.first()?;
        output.view.view().as_slice::<f32>()?;
        Some(Self { x: x.view.bytes(), from: x.quant? })
    }
}

impl Split for Dequantize<'_> {
    fn units(&self) -> usize {
        self.x.len()
    }

    fn unit_bytes(&self) -> usize {
        4
    }

    fn grain(&self) -> usize {
        16
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, to: &mut [u8]) {
        let (zero, scale) = (s.splat_i32(-i32::from(self.from.zero_point)), s.splat_f32(self.from.scale));
        let ((x, x_rest), (to, to_rest)) = (self.x[units].as_chunks::<16>(), to.as_chunks_mut::<64>());
        let count = to.len();
        let x = &x[..count];
        for i in 0..count {
            s.store_f32(s.mul(s.to_f32(s.add_i32(s.widen(&x[i]), zero)), scale), &mut to[i]);
        }
        if !to_rest.is_empty() {
            let mut rest = [0; 16];
            rest[..x_rest.len()].copy_from_slice(x_rest);
            let mut whole = [0; 64];
            s.store_f32(s.mul(s.to_f32(s.add_i32(s.widen(&rest), zero)), scale), &mut whole);
            to_rest.copy_from_slice(&whole[..to_rest.len()]);
        }
    }
}

/// f32 `[N,C,H,W]` → u8 `[N,H,W,pitch]`: a transposition, then a quantization. A unit is a pixel.
#[derive(Debug, Clone, Copy)]
pub struct QuantizeTransposed<'a> {
    x: &'a [f32],
    y: Affine,
    images: usize,
    channels: usize,
    /// Pixels of an image.
    area: usize,
    /// Bytes of a pixel of the output.
    pitch: usize,
    /// What those behind the last channel hold.
    pad: u8,
}

impl<'a> QuantizeTransposed<'a> {
    /// Of the operands of a [`Op::Quantize`](crate::graph::Op::Quantize) that puts channels last.
    pub fn new(inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        Self::with_pitch(inputs.first()?, output.quant?, None, 0)
    }

    /// The same with pixels of `pitch` bytes, of which those without a channel hold `pad`; without `pitch`, there are none.
    pub fn with_pitch(x: &Operand<'a>, y: Affine, pitch: Option<usize>, pad: u8) -> Option<Self> {
        let &[images, channels, h, w] = x.view.shape() else { return None };
        let pitch = pitch.unwrap_or(channels);
        (pitch >= channels && channels > 0).then_some(Self { x: x.view.as_slice()?, y, images, channels, area: h * w, pitch, pad })
    }
}

impl Split for QuantizeTransposed<'_> {
    fn units(&self) -> usize {
        self.images * self.area
    }

    fn unit_bytes(&self) -> usize {
        self.pitch
    }

    fn grain(&self) -> usize {
        64
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, mut to: &mut [u8]) {
        let v = Steps::new(s, self.y);
        let mut at = units.start;
        while at < units.end {
            let (image, pixel) = (at / self.area, at % self.area);
            let count = (units.end - at).min(self.area - pixel).min(64);
            let (block, rest) = to.split_at_mut(count * self.pitch);
            self.block(s, &v, image, pixel, block);
            (at, to) = (at + count, rest);
        }
    }
}

impl QuantizeTransposed<'_> {
    /// Up to 64 pixels of an image.
    #[inline(always)]
    fn block<S: Simd>(&self, s: S, v: &Steps<S>, image: usize, pixel: usize, to: &mut [u8]) {
        let count = to.len() / self.pitch;
        let plane = |channel: usize| (image * self.channels + channel) * self.area + pixel;
        if self.pitch == 1 {
            return edge::store(s, v.plane(s, &self.x[plane(0)..][..count]), to);
        }
        for first in (0..self.pitch).step_by(4) {
            let mut rows = [s.splat_b(self.pad); 4];
            for (row, channel) in rows.iter_mut().zip(first..self.channels) {
                *row = v.plane_shuffled(s, &self.x[plane(channel)..][..count]);
                ask_for(s, self.x, plane(channel) + AHEAD);
            }
            let quads = s.interleave(rows);
            if self.pitch == 3 {
                return triples(s, quads, to);
            }
            let mut pixels = [[0u8; 64]; 4];
            for (pixels, quads) in pixels.iter_mut().zip(quads) {
                s.store_b(quads, pixels);
            }
            let (pixels, _) = pixels.as_flattened().as_chunks::<4>();
            scatter(&pixels[..count], (self.pitch - first).min(4), &mut to[first..], self.pitch);
        }
    }
}

/// Asks for the 64 numbers at `at`, where they are.
#[inline(always)]
fn ask_for<S: Simd>(s: S, x: &[f32], at: usize) {
    if let Some(block) = x.get(at..).and_then(|x| x.first_chunk::<64>()) {
        for line in bytemuck::cast_ref::<[f32; 64], [[i8; 64]; 4]>(block) {
            s.prefetch(line);
        }
    }
}

/// Writes the first `width` bytes of each quad, `pitch` bytes apart.
#[inline(always)]
fn scatter(quads: &[[u8; 4]], width: usize, to: &mut [u8], pitch: usize) {
    if pitch == 4 && width == 4 {
        return to[..quads.len() * 4].copy_from_slice(quads.as_flattened());
    }
    // A whole quad is one store, and its last bytes are overwritten by the next pixel's, unless they are another quad's.
    let spill = if width == pitch || width == 4 { quads.len().saturating_sub(1) } else { 0 };
    for (i, quad) in quads[..spill].iter().enumerate() {
        if let Some(to) = to[i * pitch..].first_chunk_mut::<4>() {
            *to = *quad;
        }
    }
    for (i, quad) in quads.iter().enumerate().skip(spill) {
        to[i * pitch..][..width].copy_from_slice(&quad[..width]);
    }
}

/// Writes the first three bytes of as many quads as there is room for, without a gap.
#[inline(always)]
fn triples<S: Simd>(s: S, quads: [S::B; 4], to: &mut [u8]) {
    const WIDTH: usize = 3 * 16;
    for (i, quads) in quads.into_iter().enumerate() {
        let Some(to) = to.get_mut(WIDTH * i..) else { return };
        let bytes = s.triples(quads);
        // What is stored behind them is overwritten by those that follow, unless there are none.
        match to.first_chunk_mut::<64>() {
            Some(to) => s.store_b(bytes, to),
            None => {
                let len = to.len().min(WIDTH);
                s.store_first(bytes, &mut to[..len]);
            }
        }
    }
}

/// The constants of a quantization.
struct Steps<S: Simd> {
    scale: S::F,
    top: S::F,
    limits: S::Limits,
}

impl<S: Simd> Steps<S> {
    #[inline(always)]
    fn new(s: S, y: Affine) -> Self {
        Self {
            scale: s.splat_f32(y.scale),
            top: s.splat_f32(f32::from(y.q_max) - f32::from(y.zero_point)),
            limits: s.limits(y.zero_point, 0, y.q_max),
        }
    }

    #[inline(always)]
    fn quantize(&self, s: S, x: &[f32; 64]) -> S::B {
        if const { S::COMPACT } { self.quantize_apart(s, x) } else { self.quantize_here(s, x) }
    }

    /// Divisions take so long that a call is nothing beside them.
    #[inline(never)]
    fn quantize_apart(&self, s: S, x: &[f32; 64]) -> S::B {
        self.quantize_here(s, x)
    }

    #[inline(always)]
    fn quantize_here(&self, s: S, x: &[f32; 64]) -> S::B {
        s.narrow(self.round(s, x), self.limits)
    }

    #[inline(always)]
    fn round(&self, s: S, x: &[f32; 64]) -> [S::I; 4] {
        let mut y = [s.splat_i32(0); 4];
        for (y, x) in y.iter_mut().zip(x.as_chunks::<16>().0) {
            *y = s.round_below(s.div(s.load_f32(x), self.scale), self.top);
        }
        y
    }

    /// Of up to 64.
    #[inline(always)]
    fn plane(&self, s: S, x: &[f32]) -> S::B {
        let rest;
        let x = match x.first_chunk::<64>() {
            Some(whole) => whole,
            None => {
                rest = padded(s, x);
                &rest
            }
        };
        self.quantize(s, x)
    }

    /// Of up to 64, those that [`Simd::interleave`] puts into their order: byte 16l + 4v + i is of x[16v + 4l + i].
    #[inline(always)]
    fn plane_shuffled(&self, s: S, x: &[f32]) -> S::B {
        if const { S::COMPACT } { self.shuffled_apart(s, x) } else { self.shuffled_here(s, x) }
    }

    /// As [`Steps::quantize_apart`].
    #[inline(never)]
    fn shuffled_apart(&self, s: S, x: &[f32]) -> S::B {
        self.shuffled_here(s, x)
    }

    #[inline(always)]
    fn shuffled_here(&self, s: S, x: &[f32]) -> S::B {
        let rounded = match x.first_chunk::<64>() {
            Some(whole) => self.round(s, whole),
            None => self.round(s, &padded(s, x)),
        };
        s.narrow_interleaved(rounded, self.limits)
    }
}

/// Fewer than 64, and zeros.
#[inline(always)]
fn padded<S: Simd>(_s: S, x: &[f32]) -> [f32; 64] {
    // As in `edge::padded`.
    if const { S::COMPACT } { padded_apart(x) } else { padded_here(x) }
}

#[inline(never)]
fn padded_apart(x: &[f32]) -> [f32; 64] {
    padded_here(x)
}

#[inline(always)]
fn padded_here(x: &[f32]) -> [f32; 64] {
    let mut whole = [0.0; 64];
    whole[..x.len()].copy_from_slice(x);
    whole
}
