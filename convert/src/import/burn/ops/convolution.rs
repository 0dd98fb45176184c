//! Convolutions and transposed ones, of one to three dimensions.

use burn_ir::{ModuleOperationIr, TensorIr};

use super::super::graph::ints;
use super::{Builder, Done, NOWHERE, apply, int, refuse};

/// What a convolution reads and makes.
struct Tensors<'t> {
    x: &'t TensorIr,
    weight: &'t TensorIr,
    bias: &'t Option<TensorIr>,
    out: &'t TensorIr,
}

/// Where its window is.
struct Places<'t> {
    stride: &'t [usize],
    padding: Vec<(usize, usize)>,
    dilation: &'t [usize],
    groups: usize,
    /// Of a transposed one: added at the ends of the output.
    added: Option<&'t [usize]>,
}

macro_rules! convolve {
    ($b:ident, $r:ident, $padding:expr, $added:expr) => {{
        let options = &$r.options;
        let tensors = Tensors { x: &$r.x, weight: &$r.weight, bias: &$r.bias, out: &$r.out };
        let (stride, dilation) = (&options.stride[..], &options.dilation[..]);
        convolve($b, &tensors, Places { stride, padding: $padding, dilation, groups: options.groups, added: $added })
    }};
}

pub(super) fn operation(b: &mut Builder<'_>, op: &ModuleOperationIr) -> Done {
    use ModuleOperationIr as M;
    match op {
        M::Conv1d(r) => convolve!(b, r, r.options.padding.to_vec(), None),
        M::Conv2d(r) => convolve!(b, r, r.options.padding.to_vec(), None),
        M::Conv3d(r) => convolve!(b, r, even(&r.options.padding), None),
        M::ConvTranspose1d(r) => convolve!(b, r, even(&r.options.padding), Some(&r.options.padding_out)),
        M::ConvTranspose2d(r) => convolve!(b, r, even(&r.options.padding), Some(&r.options.padding_out)),
        M::ConvTranspose3d(r) => convolve!(b, r, even(&r.options.padding), Some(&r.options.padding_out)),
        _ => refuse(NOWHERE),
    }
}

fn even(padding: &[usize]) -> Vec<(usize, usize)> {
    padding.iter().map(|&pad| (pad, pad)).collect()
}

fn convolve(b: &mut Builder<'_>, t: &Tensors<'_>, places: Places<'_>) -> Done {
    let pads = places.padding.iter().map(|pad| pad.0).chain(places.padding.iter().map(|pad| pad.1));
    let mut attributes = vec![
        ints("kernel_shape", t.weight.shape[2..].iter().copied()),
        ints("strides", places.stride.iter().copied()),
        ints("pads", pads),
        ints("dilations", places.dilation.iter().copied()),
        int("group", places.groups),
    ];
    let op = match places.added {
        Some(added) => {
            attributes.push(ints("output_padding", added.iter().copied()));
            "ConvTranspose"
        }
        None => "Conv",
    };
    let inputs: Vec<&TensorIr> = [t.x, t.weight].into_iter().chain(t.bias).collect();
    apply(b, op, &inputs, attributes, t.out)
}
