//! Shapes of convolutions and matrix products, float and packed.

use super::{
    Result, Shape, arity, attribute, broadcast, check_window, expect, extent_error, fixed, image, list, mismatch, open, rank,
    transposed_dim, window_dim,
};
use crate::format::weights::PackedShape;
use crate::graph::Dim;
use crate::graph::op::{Conv, ConvTranspose, Epilogue, QConv, QConvTranspose, Window};

fn check_groups(groups: usize, input_channels: usize, output_channels: usize, shape: &[Dim]) -> Result<()> {
    let valid = groups > 0
        && input_channels > 0
        && output_channels > 0
        && input_channels.is_multiple_of(groups)
        && output_channels.is_multiple_of(groups);
    if valid { Ok(()) } else { Err(attribute("groups", &groups, shape)) }
}

fn check_bias(bias: Option<&&[Dim]>, channels: usize) -> Result<()> {
    bias.map_or(Ok(()), |b| expect(b, &[Dim::Fixed(channels)]))
}

fn float_weights(weights: &[Dim]) -> Result<[usize; 4]> {
    if weights.len() != 4 {
        return Err(rank(1, weights, 4));
    }
    let at = |i| fixed(weights, i, "weights");
    Ok([at(0)?, at(1)?, at(2)?, at(3)?])
}

pub(super) fn conv(inputs: &[&[Dim]], conv: &Conv) -> Result<Shape> {
    let (n, extents, channels) = float_window(inputs, "Conv", &conv.window, conv.groups)?;
    let out = |d: usize| window_dim(&conv.window, d, extents[d], false).ok_or_else(|| extent_error(inputs[0]));
    Ok(vec![n.clone(), out(0)?, out(1)?, channels.into()])
}

pub(super) fn conv_transpose(inputs: &[&[Dim]], conv: &ConvTranspose) -> Result<Shape> {
    let (n, extents, channels) = float_window(inputs, "ConvTranspose", &conv.window, conv.groups)?;
    let [h, w] = transposed_extents(&conv.window, extents, conv.output_padding, inputs[0])?;
    Ok(vec![n.clone(), h, w, channels.into()])
}

/// Checks the operands of a convolution of either direction; gives the image's number and extents, and the output channels.
fn float_window<'a>(inputs: &[&'a [Dim]], what: &'static str, window: &Window, groups: usize) -> Result<(&'a Dim, [&'a Dim; 2], usize)> {
    arity(inputs, 2..=3, "2 or 3")?;
    let (n, extents, c) = image(inputs[0], what)?;
    check_window(window, inputs[0])?;
    let [kh, kw, c_group, channels] = float_weights(inputs[1])?;
    check_groups(groups, c, channels, inputs[0])?;
    if [kh, kw] != window.kernel || c_group != c / groups {
        return Err(mismatch(inputs[0], inputs[1]));
    }
    check_bias(inputs.get(2), channels)?;
    Ok((n, extents, channels))
}

fn transposed_extents(window: &Window, extents: [&Dim; 2], output_padding: [usize; 2], shape: &[Dim]) -> Result<[Dim; 2]> {
    if (0..2).any(|d| output_padding[d] >= window.strides[d].max(window.dilations[d])) {
        return Err(attribute("output_padding", &list(&output_padding), shape));
    }
    let out = |d: usize| transposed_dim(window, d, extents[d], output_padding[d]).ok_or_else(|| extent_error(shape));
    Ok([out(0)?, out(1)?])
}

pub(super) fn gemm(inputs: &[&[Dim]]) -> Result<Shape> {
    arity(inputs, 2..=3, "2 or 3")?;
    let (x, w) = (inputs[0], inputs[1]);
    if w.len() != 2 {
        return Err(rank(1, w, 2));
    }
    let (k, n) = (fixed(w, 0, "Gemm")?, fixed(w, 1, "Gemm")?);
    if x.last() != Some(&Dim::Fixed(k)) {
        return Err(mismatch(x, w));
    }
    check_bias(inputs.get(2), n)?;
    let mut shape = x.to_vec();
    shape[x.len() - 1] = n.into();
    Ok(shape)
}

pub(super) fn mat_mul(inputs: &[&[Dim]]) -> Result<Shape> {
    arity(inputs, 2..=2, "2")?;
    let (a, b) = (inputs[0], inputs[1]);
    for (operand, shape) in inputs.iter().enumerate() {
        if shape.len() < 2 {
            return Err(rank(operand, shape, 2));
        }
    }
    let (ra, rb) = (a.len(), b.len());
    let (k, same) = (&a[ra - 1], &b[rb - 2]);
    if k != same && !k.is_open() && !same.is_open() {
        return Err(mismatch(a, b));
    }
    let mut shape = broadcast(&a[..ra - 2], &b[..rb - 2])?;
    shape.extend([a[ra - 2].clone(), b[rb - 1].clone()]);
    Ok(shape)
}

/// The operands behind weights, bias and multiplier: residual or HardSwish's slopes and shifts, table, as the epilogue says.
fn check_epilogue(inputs: &[&[Dim]], epilogue: Option<&Epilogue>, output: &[Dim]) -> Result<()> {
    let residual = epilogue.is_some_and(|e| e.residual.is_some());
    let table = epilogue.is_some_and(|e| e.table);
    let swished = epilogue.is_some_and(|e| e.hard_swish);
    let wanted = 4 + usize::from(residual) + usize::from(swished) + usize::from(table);
    arity(inputs, wanted..=wanted, "x, weights, bias, multiplier, and what its epilogue names")?;
    if residual && !open(inputs[4]) && !open(output) {
        expect(inputs[4], output)?;
    }
    if swished {
        expect(inputs[4 + usize::from(residual)], &[&[Dim::Fixed(2)], inputs[3]].concat())?;
    }
    if table {
        expect(inputs[wanted - 1], &[Dim::Fixed(256)])?;
    }
    Ok(())
}

fn check_packed(inputs: &[&[Dim]], packed: PackedShape) -> Result<()> {
    let fixed: Vec<Dim> = packed.weights().into_iter().map(Dim::Fixed).collect();
    expect(inputs[1], &fixed)?;
    expect(inputs[2], &[Dim::Fixed(packed.padded_channels())])?;
    expect(inputs[3], &[Dim::Fixed(packed.padded_channels())])
}

pub(super) fn q_conv(inputs: &[&[Dim]], conv: &QConv) -> Result<Shape> {
    arity(inputs, 4..=6, "4 to 6")?;
    let (n, extents, c) = image(inputs[0], "QConv")?;
    check_window(&conv.window, inputs[0])?;
    check_groups(conv.groups, c, conv.channels, inputs[0])?;
    let packed = PackedShape::conv(conv.window.kernel, c, conv.channels, conv.groups).ok_or_else(|| extent_error(inputs[0]))?;
    check_packed(inputs, packed)?;
    let out = |d: usize| window_dim(&conv.window, d, extents[d], false).ok_or_else(|| extent_error(inputs[0]));
    let output = vec![n.clone(), out(0)?, out(1)?, conv.channels.into()];
    check_epilogue(inputs, conv.epilogue.as_ref(), &output)?;
    Ok(output)
}

pub(super) fn q_conv_transpose(inputs: &[&[Dim]], conv: &QConvTranspose) -> Result<Shape> {
    arity(inputs, 4..=6, "4 to 6")?;
    let (n, extents, c) = image(inputs[0], "QConvTranspose")?;
    check_window(&conv.window, inputs[0])?;
    check_groups(conv.groups, c, conv.channels, inputs[0])?;
    let packed = PackedShape::grouped(conv.window.kernel, c, conv.channels, conv.groups).ok_or_else(|| extent_error(inputs[0]))?;
    check_packed(inputs, packed)?;
    let [h, w] = transposed_extents(&conv.window, extents, conv.output_padding, inputs[0])?;
    let output = vec![n.clone(), h, w, conv.channels.into()];
    check_epilogue(inputs, conv.epilogue.as_ref(), &output)?;
    Ok(output)
}

pub(super) fn q_gemm(inputs: &[&[Dim]], channels: usize, epilogue: Option<&Epilogue>) -> Result<Shape> {
    arity(inputs, 4..=6, "4 to 6")?;
    let output = packed_rows(inputs, channels)?.1;
    check_epilogue(inputs, epilogue, &output)?;
    Ok(output)
}

/// The layout of the weights, and the shape of the result.
fn packed_rows(inputs: &[&[Dim]], channels: usize) -> Result<(PackedShape, Shape)> {
    let x = inputs[0];
    if x.is_empty() {
        return Err(rank(0, x, 2));
    }
    let k = fixed(x, x.len() - 1, "Gemm")?;
    check_groups(1, k, channels, x)?;
    let packed = PackedShape::grouped([1, 1], k, channels, 1).ok_or_else(|| extent_error(x))?;
    check_packed(inputs, packed)?;
    let mut output = x.to_vec();
    output[x.len() - 1] = channels.into();
    Ok((packed, output))
}

pub(super) fn dynamic_gemm(inputs: &[&[Dim]], channels: usize) -> Result<Shape> {
    arity(inputs, 7..=7, "7")?;
    let (packed, output) = packed_rows(inputs, channels)?;
    check_qparams(inputs[4], &output[..output.len() - 1])?;
    for operand in &inputs[5..] {
        expect(operand, &[Dim::Fixed(packed.padded_channels())])?;
    }
    Ok(output)
}

pub(super) fn choose_qparams(x: &[Dim], kept: usize) -> Result<Shape> {
    let Some(leading) = x.get(..kept) else { return Err(attribute("kept", &kept, x)) };
    Ok([leading, &[Dim::Fixed(2)]].concat())
}

/// Pairs, as many as the first dimensions of `x` name.
pub(super) fn check_qparams(qparams: &[Dim], x: &[Dim]) -> Result<()> {
    match qparams.split_last() {
        Some((last, leading)) if *last == Dim::Fixed(2) && x.starts_with(leading) => Ok(()),
        _ => Err(mismatch(qparams, x)),
    }
}

pub(super) fn weight_only_gemm(inputs: &[&[Dim]]) -> Result<Shape> {
    arity(inputs, 3..=4, "3 or 4")?;
    let operands = [&inputs[..2], &inputs[3..]].concat();
    let output = gemm(&operands)?;
    expect(inputs[2], &output[output.len() - 1..])?;
    Ok(output)
}

pub(super) fn embedding(inputs: &[&[Dim]]) -> Result<Shape> {
    arity(inputs, 3..=3, "3")?;
    let [rows, width] = inputs[0] else { return Err(rank(0, inputs[0], 2)) };
    expect(inputs[1], std::slice::from_ref(rows))?;
    Ok([inputs[2], std::slice::from_ref(width)].concat())
}
