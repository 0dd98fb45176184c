//! The mean over the pixels of a u8 image: global average pooling. 64 channels at a time, four pixels to a dot product with
//! ones, so the sum is exact as it must be; other axes and other functions are the reference's.

use std::ops::Range;

use super::edge;
use super::simd::Simd;
use super::split::Split;
use crate::arith::requant::Mean;
use crate::backend::{Operand, OutputMut};
use crate::graph::op::ReduceFn;
use crate::quant::Affine;
use crate::tensor::DType;

/// `[…,H,W,C]` → `[…,C]`, or with the reduced extents kept as 1; u8 or f32. A unit is an element.
#[derive(Debug, Clone, Copy)]
pub struct MeanOfPixels<'a> {
    x: &'a [u8],
    zero_point: u8,
    /// Of the sum.
    multiplier: f32,
    /// Affine parameters of a u8 output.
    y: Option<Affine>,
    channels: usize,
    /// Pixels of an image.
    area: usize,
}

impl<'a> MeanOfPixels<'a> {
    /// `None` unless the reduced axes lie side by side, in front of one that stays and is the last.
    pub fn new(function: ReduceFn, axes: &[usize], inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let x = inputs.first()?;
        let (shape, from) = (x.view.shape(), x.quant?);
        let (&first, &last) = (axes.first()?, axes.last()?);
        let adjacent = axes.iter().enumerate().all(|(i, &axis)| axis == first + i);
        let u8s = x.view.dtype() == DType::U8 && function == ReduceFn::Mean;
        if !(u8s && adjacent && last + 2 == shape.len()) {
            return None;
        }
        let (area, channels) = (shape[first..=last].iter().product(), shape[last + 1]);
        let multiplier = match output.quant {
            Some(y) => Mean::new(from, y, area).multiplier(),
            None => Mean::real(from, area),
        };
        let applies = area > 0 && channels > 0;
        applies.then_some(Self { x: x.view.bytes(), zero_point: from.zero_point, multiplier, y: output.quant, channels, area })
    }
}

impl Split for MeanOfPixels<'_> {
    fn units(&self) -> usize {
        self.x.len() / self.area
    }

    fn unit_bytes(&self) -> usize {
        if self.y.is_some() { 1 } else { 4 }
    }

    fn grain(&self) -> usize {
        64
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, mut to: &mut [u8]) {
        let size = self.unit_bytes();
        let multiplier = s.splat_f32(self.multiplier);
        let y = self.y.unwrap_or(Affine { scale: 1.0, zero_point: 0, q_max: 255 });
        let top = s.splat_f32(f32::from(y.q_max) - f32::from(y.zero_point));
        let limits = s.limits(y.zero_point, 0, y.q_max);
        let mut at = units.start;
        while at < units.end {
            let (image, channel) = (at / self.channels, at % self.channels);
            let count = (units.end - at).min(self.channels - channel).min(64);
            let sums = self.sums(s, image * self.area * self.channels + channel);
            let mut t = [multiplier; 4];
            for (t, sum) in t.iter_mut().zip(sums) {
                *t = s.mul(s.to_f32(sum), multiplier);
            }
            let (block, rest) = to.split_at_mut(count * size);
            if self.y.is_some() {
                let mut rounded = sums;
                for (rounded, t) in rounded.iter_mut().zip(t) {
                    *rounded = s.round_below(t, top);
                }
                edge::store(s, s.narrow_interleaved(rounded, limits), block);
            } else {
                let mut whole = [0; 256];
                for (v, &t) in t.iter().enumerate() {
                    let mut vector = [0; 64];
                    s.store_f32(t, &mut vector);
                    for l in 0..4 {
                        whole[64 * l + 16 * v..][..16].copy_from_slice(&vector[16 * l..][..16]);
                    }
                }
                block.copy_from_slice(&whole[..block.len()]);
            }
            (at, to) = (at + count, rest);
        }
    }
}

impl MeanOfPixels<'_> {
    /// Σ(q − z) of the 64 bytes from `at` on over all pixels, in interleaved order. What lies behind the channels is summed
    /// too, and of no use.
    #[inline(always)]
    fn sums<S: Simd>(&self, s: S, at: usize) -> [S::I; 4] {
        // At most 2²³ pixels are reduced, so neither this nor a sum overflows.
        let mut acc = [s.splat_i32(-(self.area as i32) * i32::from(self.zero_point)); 4];
        let pixels = &self.x[at..];
        let mut rest = self.area;
        let mut i = 0;
        while rest > 0 {
            let mut rows = [s.splat_b(0); 4];
            let near = i + 3 * self.channels;
            if const { !S::COMPACT } && rest >= 4 && near + 64 <= pixels.len() {
                for (k, row) in rows.iter_mut().enumerate() {
                    *row = edge::load(s, pixels, i + k * self.channels);
                }
            } else {
                for (k, row) in rows.iter_mut().enumerate().take(rest) {
                    *row = edge::load(s, pixels, i + k * self.channels);
                }
            }
            for (acc, quads) in acc.iter_mut().zip(s.interleave(rows)) {
                *acc = s.sum4_lanes(*acc, quads);
            }
            i += 4 * self.channels;
            rest = rest.saturating_sub(4);
        }
        acc
    }
}
