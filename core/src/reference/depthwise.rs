//! Depthwise convolution, u8 × i8: one filter a channel, weights `[kh·kw][C]`.

use super::packed::{Input, Packed};
use crate::backend::OutputMut;

/// Channels whose sums are kept together.
const CHANNELS: usize = 64;

/// Computes `rows` output positions; `tap` as for [`Packed::run`].
pub(super) fn depthwise(
    packed: &Packed<'_>,
    input: &Input<'_>,
    rows: usize,
    output: &mut OutputMut<'_>,
    tap: &dyn Fn(usize, usize) -> Option<usize>,
) {
    let (channels, padded) = (packed.shape.output_channels, packed.shape.padded_channels());
    let mut seen: Vec<&[u8]> = Vec::new();
    for row in 0..rows {
        seen.clear();
        seen.extend((0..packed.shape.taps).map(|t| input.at(tap(row, t))));
        for first in (0..channels).step_by(CHANNELS) {
            let count = CHANNELS.min(channels - first);
            let mut acc = [0i32; CHANNELS];
            acc[..count].copy_from_slice(&packed.bias[first..first + count]);
            for (t, x) in seen.iter().enumerate() {
                let w = &packed.weights[t * padded + first..][..count];
                for ((acc, &x), &w) in acc.iter_mut().zip(&x[first..first + count]).zip(w) {
                    // A product is in −32640 ..= 32385.
                    *acc = acc.wrapping_add(i32::from(i16::from(x) * i16::from(w)));
                }
            }
            packed.finish(&acc[..count], first, row * channels + first, output);
        }
    }
}
