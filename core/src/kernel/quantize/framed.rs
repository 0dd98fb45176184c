//! The first two steps of most networks in one pass: a quantization that writes its images into the padded frames of
//! [`crate::kernel::conv`], from which the convolution behind it reads.

use std::ops::Range;

use super::{QuantizeTransposed, Steps, padded};
use crate::backend::Operand;
use crate::kernel::conv::Frame;
use crate::kernel::simd::Simd;
use crate::kernel::split::Split;
use crate::quant::Affine;

/// Floats that are quantized at once.
const BLOCK: usize = 64;

/// f32 images → u8 images in frames of padding. A unit is a line of a frame.
#[derive(Debug, Clone, Copy)]
pub struct QuantizeFramed<'a> {
    x: &'a [f32],
    y: Affine,
    frame: Frame,
    images: usize,
    /// For images of planes: how their pixels are made.
    planes: Option<QuantizeTransposed<'a>>,
}

impl<'a> QuantizeFramed<'a> {
    /// Of the operand of an [`Op::Quantize`](crate::graph::Op::Quantize), which holds planes if the operation puts channels
    /// last. `None` where the frame is of other images, and for pixels too long to be made at once.
    pub fn new(x: &Operand<'a>, y: Affine, channels_last: bool, frame: Frame) -> Option<Self> {
        let &[images, a, b, c] = x.view.shape() else { return None };
        let [_, _, pixel] = frame.extents();
        let extents = if channels_last { [b, c, a] } else { [a, b, c] };
        let planes = channels_last.then(|| QuantizeTransposed::with_pitch(x, y, Some(pixel), frame.pad()));
        let [_, _, channels] = frame.image_extents();
        let applies = extents == frame.image_extents() && (channels_last || channels == pixel || channels <= BLOCK);
        applies.then_some(Self { x: x.view.as_slice()?, y, frame, images, planes: planes.flatten() })
    }
}

impl Split for QuantizeFramed<'_> {
    fn units(&self) -> usize {
        self.images * self.frame.extents()[0]
    }

    fn unit_bytes(&self) -> usize {
        let [_, columns, pixel] = self.frame.extents();
        columns * pixel
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, to: &mut [u8]) {
        let v = Steps::new(s, self.y);
        let [rows, _, pixel] = self.frame.extents();
        let [height, width, _] = self.frame.image_extents();
        for (line, to) in units.zip(to.chunks_exact_mut(self.unit_bytes().max(1))) {
            let (image, row) = (line / rows, line % rows);
            let Some((y, columns, left)) = self.frame.row(row) else {
                to.fill(self.frame.pad());
                continue;
            };
            let to = self.frame.surround(to, left, columns.len());
            match &self.planes {
                Some(planes) => {
                    // The last block overlaps the one before it, so that all are whole.
                    let (first, count) = (y * width + columns.start, columns.len());
                    for at in (0..count).step_by(BLOCK) {
                        let at = at.min(count.saturating_sub(BLOCK));
                        let len = BLOCK.min(count - at);
                        planes.block(s, &v, image, first + at, &mut to[at * pixel..][..len * pixel]);
                    }
                }
                None => self.pixels(s, &v, (image * height + y) * width + columns.start, to),
            }
        }
    }
}

impl QuantizeFramed<'_> {
    /// Pixels in one piece, from pixel `first` of all on.
    #[inline(always)]
    fn pixels<S: Simd>(&self, s: S, v: &Steps<S>, first: usize, to: &mut [u8]) {
        let [_, _, pixel] = self.frame.extents();
        let [_, _, channels] = self.frame.image_extents();
        // Whole pixels, or any bytes where pixels have no padding.
        let (len, room) = if channels == pixel { (1, 1) } else { (channels, pixel) };
        let count = BLOCK / len;
        // What is read behind the last pixel goes into its padding, which holds anything.
        let mut bytes = [self.frame.pad(); BLOCK + 4];
        let mut x = &self.x[first * channels..][..to.len() / room * len];
        for to in to.chunks_mut(count * room) {
            let floats = to.len() / room * len;
            let quantized = match x.first_chunk::<BLOCK>() {
                Some(whole) => v.quantize(s, whole),
                None => v.quantize(s, &padded(s, &x[..floats])),
            };
            if let Some(bytes) = bytes.first_chunk_mut() {
                s.store_b(quantized, bytes);
            }
            x = &x[floats..];
            if len == room {
                to.copy_from_slice(&bytes[..floats]);
            } else if room == 4 {
                let (to, _) = to.as_chunks_mut::<4>();
                for (i, to) in to.iter_mut().enumerate() {
                    if let Some(quad) = bytes[i * len..].first_chunk() {
                        *to = *quad;
                    }
                }
            } else {
                for (from, to) in bytes.chunks_exact(len).zip(to.chunks_exact_mut(room)) {
                    to[..len].copy_from_slice(from);
                    to[len..].fill(self.frame.pad());
                }
            }
        }
    }
}
