//! What the packed operations share: their constant operands, and the loop over output positions.
//!
//! A convolution of any kind is, for each output position, a sum over taps, and a tap sees one position of the input (or
//! padding). An operation says which; gathering, products and the epilogue are here.

use super::depthwise::depthwise;
use super::f32s_mut;
use crate::arith::requant::{requantize, requantize_swished, scale};
use crate::backend::{Operand, OutputMut};
use crate::format::weights::{K_BLOCK, N_BLOCK, PackedShape};
use crate::graph::op::Epilogue;

/// Output positions that share one widening of a block of weights.
const ROWS: usize = 32;

/// The constant operands of a packed operation, and those of its epilogue.
pub(super) struct Packed<'a> {
    pub(super) shape: PackedShape,
    pub(super) weights: &'a [i8],
    pub(super) bias: &'a [i32],
    multiplier: &'a [f32],
    epilogue: Option<&'a Epilogue>,
    residual: Option<&'a [u8]>,
    swish: Option<[&'a [f32]; 2]>,
    table: Option<&'a [u8]>,
}

impl<'a> Packed<'a> {
    /// From a node's operands: x, weights, bias, multiplier, and what the epilogue names.
    pub(super) fn new(shape: PackedShape, epilogue: Option<&'a Epilogue>, inputs: &[Operand<'a>]) -> Self {
        Self {
            shape,
            weights: inputs[1].view.as_slice().unwrap_or_default(),
            bias: inputs[2].view.as_slice().unwrap_or_default(),
            multiplier: inputs[3].view.as_slice().unwrap_or_default(),
            epilogue,
            residual: epilogue.and_then(|e| e.residual).map(|_| inputs[4].view.bytes()),
            swish: epilogue.filter(|e| e.hard_swish).map(|_| {
                let (slope, shift) = inputs[4].view.as_slice().unwrap_or_default().split_at(shape.padded_channels());
                [slope, shift]
            }),
            table: epilogue.filter(|e| e.table).and_then(|_| inputs.last()).map(|t| t.view.bytes()),
        }
    }

    /// Computes `rows` output positions. Tap t of position r sees `input`'s position `tap(r, t)`, or padding.
    pub(super) fn run(&self, input: &Input<'_>, rows: usize, output: &mut OutputMut<'_>, tap: &dyn Fn(usize, usize) -> Option<usize>) {
        if self.shape.depthwise {
            return depthwise(self, input, rows, output, tap);
        }
        let PackedShape { groups, taps, input_channels, output_channels, .. } = self.shape;
        let (k, quads) = (self.shape.k_blocks(), input_channels.div_ceil(K_BLOCK));
        let mut seen: Vec<&[u8]> = Vec::new();
        let mut gathered = vec![[0i16; K_BLOCK]; ROWS.min(rows) * k];
        let mut weights = vec![[[0i16; N_BLOCK]; K_BLOCK]; k];
        for start in (0..rows).step_by(ROWS) {
            let count = ROWS.min(rows - start);
            seen.clear();
            seen.extend((0..count * taps).map(|i| input.at(tap(start + i / taps, i % taps))));
            for group in 0..groups {
                for (to, channels) in gathered.chunks_exact_mut(quads).zip(&seen) {
                    gather(&channels[group * input_channels..][..input_channels], to);
                }
                for block in 0..self.shape.n_blocks() {
                    let n = block * N_BLOCK;
                    let first = self.shape.channel(group, n);
                    widen(&self.weights[first * k * K_BLOCK..], &mut weights);
                    let used = N_BLOCK.min(output_channels - n);
                    let mut bias = [0; N_BLOCK];
                    bias.copy_from_slice(&self.bias[first..first + N_BLOCK]);
                    for (row, quads) in gathered.chunks_exact(k).take(count).enumerate() {
                        let acc = dot(quads, &weights, &bias);
                        let at = ((start + row) * groups + group) * output_channels + n;
                        self.finish(&acc[..used], first, at, output);
                    }
                }
            }
        }
    }

    /// Writes the output elements from `at` on, given the sums of the padded channels from `channel` on.
    pub(super) fn finish(&self, acc: &[i32], channel: usize, at: usize, output: &mut OutputMut<'_>) {
        let multiplier = &self.multiplier[channel..channel + acc.len()];
        let Some(epilogue) = self.epilogue else {
            let y = &mut f32s_mut(output)[at..at + acc.len()];
            for ((y, &acc), &m) in y.iter_mut().zip(acc).zip(multiplier) {
                *y = scale(acc, m);
            }
            return;
        };
        let y = &mut output.view.bytes_mut()[at..at + acc.len()];
        if let Some(residual) = self.residual {
            for (((y, &acc), &m), &r) in y.iter_mut().zip(acc).zip(multiplier).zip(&residual[at..]) {
                *y = requantize(acc, m, Some(r), epilogue);
            }
        } else if let Some([slope, shift]) = self.swish {
            let parameters = slope[channel..].iter().zip(&shift[channel..]);
            for (((y, &acc), &m), (&a, &b)) in y.iter_mut().zip(acc).zip(multiplier).zip(parameters) {
                *y = requantize_swished(acc, m, [a, b], epilogue);
            }
        } else {
            for ((y, &acc), &m) in y.iter_mut().zip(acc).zip(multiplier) {
                *y = requantize(acc, m, None, epilogue);
            }
        }
        if let Some(table) = self.table {
            y.iter_mut().for_each(|q| *q = table[usize::from(*q)]);
        }
    }
}

/// The input as taps see it: the channels of one position at a time.
pub(super) struct Input<'x> {
    bytes: &'x [u8],
    channels: usize,
    padding: Vec<u8>,
}

impl<'x> Input<'x> {
    /// An operand whose last dimension is the channels; padding holds `pad`.
    pub(super) fn new(x: &Operand<'x>, pad: u8) -> Self {
        let channels = x.view.shape().last().copied().unwrap_or(1);
        Self { bytes: x.view.bytes(), channels, padding: vec![pad; channels] }
    }

    /// The channels of a position, or of padding.
    pub(super) fn at(&self, position: Option<usize>) -> &[u8] {
        position.map_or(&self.padding, |p| &self.bytes[p * self.channels..][..self.channels])
    }
}

/// Copies channels into quads; what fills the last quad meets zero weights.
fn gather(channels: &[u8], quads: &mut [[i16; K_BLOCK]]) {
    let (whole, rest) = channels.as_chunks::<K_BLOCK>();
    for (to, x) in quads.iter_mut().zip(whole) {
        *to = x.map(i16::from);
    }
    if let (Some(last), false) = (quads.last_mut(), rest.is_empty()) {
        *last = std::array::from_fn(|j| rest.get(j).map_or(0, |&x| i16::from(x)));
    }
}

/// Sixteen channels of four values become four values of sixteen channels, as [`dot`] reads them.
fn widen(packed: &[i8], weights: &mut [[[i16; N_BLOCK]; K_BLOCK]]) {
    let (rows, _) = packed.as_chunks::<{ N_BLOCK * K_BLOCK }>();
    for (to, row) in weights.iter_mut().zip(rows) {
        let (channels, _) = row.as_chunks::<K_BLOCK>();
        for (j, to) in to.iter_mut().enumerate() {
            for (to, channel) in to.iter_mut().zip(channels) {
                // Shifts of whole words vectorise where a choice of bytes does not.
                let word = i32::from_le_bytes(channel.map(|w| w as u8));
                *to = ((word << (24 - 8 * j)) >> 24) as i16;
            }
        }
    }
}

/// bias + Σ over K for 16 channels.
///
/// The file's check leaves no sum that could overflow; saying so by a wrapping addition keeps the loop free of branches
/// where overflows are checked.
#[inline]
fn dot(quads: &[[i16; K_BLOCK]], weights: &[[[i16; N_BLOCK]; K_BLOCK]], bias: &[i32; N_BLOCK]) -> [i32; N_BLOCK] {
    let mut acc = *bias;
    for (x, w) in quads.iter().zip(weights) {
        for j in 0..K_BLOCK {
            for n in 0..N_BLOCK {
                acc[n] = acc[n].wrapping_add(i32::from(x[j]) * i32::from(w[j][n]));
            }
        }
    }
    acc
}
