//! Transposed convolution: each output position gathers the inputs whose window covers it.

use super::conv::real;
use super::packed::{Input, Packed};
use crate::backend::{Operand, OutputMut};
use crate::format::weights::PackedShape;
use crate::graph::op::{ConvTranspose, QConvTranspose, Window};

/// The position of x, counted over all images, that reaches output position `row` through a tap; `None` for holes and for
/// what lies outside.
fn position(window: &Window, row: usize, tap: usize, from: [usize; 2], to: [usize; 2]) -> Option<usize> {
    let (image, o) = (row / (to[0] * to[1]), row % (to[0] * to[1]));
    let y = window.input_of(0, o / to[1], tap / window.kernel[1], from[0])?;
    let x = window.input_of(1, o % to[1], tap % window.kernel[1], from[1])?;
    Some((image * from[0] + y) * from[1] + x)
}

/// u8 × i8. Holes and what lies outside read `pad_value`.
pub(super) fn q_conv_transpose(conv: &QConvTranspose, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let [_, h, w, c] = *inputs[0].view.shape() else { return };
    let [n, to_h, to_w, _] = *output.view.shape() else { return };
    let Some(shape) = PackedShape::grouped(conv.window.kernel, c, conv.channels, conv.groups) else { return };
    let packed = Packed::new(shape, conv.epilogue.as_ref(), inputs);
    let input = Input::new(&inputs[0], conv.pad_value);
    packed.run(&input, n * to_h * to_w, output, &|row, tap| position(&conv.window, row, tap, [h, w], [to_h, to_w]));
}

/// f32: products in the order of [`super::conv::conv_f32`], the bias last.
pub(super) fn conv_transpose_f32(conv: &ConvTranspose, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let [_, h, w, _] = *inputs[0].view.shape() else { return };
    let [_, to_h, to_w, _] = *output.view.shape() else { return };
    real(&conv.window, conv.groups, inputs, output, &|row, tap| position(&conv.window, row, tap, [h, w], [to_h, to_w]));
}
