//! Convolution of NHWC images, f32 and u8 × i8.

use super::packed::{Input, Packed};
use super::{f32s, f32s_mut};
use crate::backend::{Operand, OutputMut};
use crate::format::weights::PackedShape;
use crate::graph::op::{Conv, QConv, Window};

/// The position of x, counted over all images, that a tap sees from output position `row`; `None` for padding.
fn position(window: &Window, row: usize, tap: usize, from: [usize; 2], to: [usize; 2]) -> Option<usize> {
    let (image, o) = (row / (to[0] * to[1]), row % (to[0] * to[1]));
    let y = window.input_at(0, o / to[1], tap / window.kernel[1], from[0])?;
    let x = window.input_at(1, o % to[1], tap % window.kernel[1], from[1])?;
    Some((image * from[0] + y) * from[1] + x)
}

/// u8 × i8. Padding reads `pad_value`.
pub(super) fn q_conv(conv: &QConv, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let [_, h, w, c] = *inputs[0].view.shape() else { return };
    let [n, to_h, to_w, _] = *output.view.shape() else { return };
    let Some(shape) = PackedShape::conv(conv.window.kernel, c, conv.channels, conv.groups) else { return };
    let packed = Packed::new(shape, conv.epilogue.as_ref(), inputs);
    let input = Input::new(&inputs[0], conv.pad_value);
    packed.run(&input, n * to_h * to_w, output, &|row, tap| position(&conv.window, row, tap, [h, w], [to_h, to_w]));
}

/// f32: sums start at +0 and take their products in the order (kernel row, kernel column, input channel), without the taps
/// outside of the image; the bias comes last.
pub(super) fn conv_f32(conv: &Conv, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let [_, h, w, _] = *inputs[0].view.shape() else { return };
    let [_, to_h, to_w, _] = *output.view.shape() else { return };
    real(&conv.window, conv.groups, inputs, output, &|row, tap| position(&conv.window, row, tap, [h, w], [to_h, to_w]));
}

/// Any f32 convolution: tap t of output position r sees x's position `tap(r, t)`, or is skipped.
pub(super) fn real(
    window: &Window,
    groups: usize,
    inputs: &[Operand<'_>],
    output: &mut OutputMut<'_>,
    tap: &dyn Fn(usize, usize) -> Option<usize>,
) {
    let (x, w, bias) = (f32s(&inputs[0]), f32s(&inputs[1]), inputs.get(2).map(f32s));
    let c = inputs[0].view.shape()[3];
    let channels = output.view.shape()[3];
    let (ic, oc) = (c / groups, channels / groups);
    for (row, y) in f32s_mut(output).chunks_exact_mut(channels).enumerate() {
        y.fill(0.0);
        for t in 0..window.kernel[0] * window.kernel[1] {
            let Some(at) = tap(row, t) else { continue };
            accumulate(&x[at * c..][..c], &w[t * ic * channels..][..ic * channels], y, ic, oc);
        }
        if let Some(bias) = bias {
            y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
    }
}

/// Adds one tap: `y[g·oc + n] += x[g·ic + c] · w[c][g·oc + n]` for every group g.
fn accumulate(x: &[f32], w: &[f32], y: &mut [f32], ic: usize, oc: usize) {
    if ic == 1 && oc == 1 {
        // Depthwise: a loop over channels, not over groups of one.
        return y.iter_mut().zip(x).zip(w).for_each(|((y, x), w)| *y += x * w);
    }
    let channels = y.len();
    for (group, (x, y)) in x.chunks_exact(ic).zip(y.chunks_exact_mut(oc)).enumerate() {
        for (x, w) in x.iter().zip(w.chunks_exact(channels)) {
            y.iter_mut().zip(&w[group * oc..]).for_each(|(y, w)| *y += x * w);
        }
    }
}
