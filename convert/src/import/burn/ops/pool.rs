//! Pools; adaptive ones as ordinary ones, or as products with matrices of means.

use burn_ir::{ModuleOperationIr, TensorIr};

use super::super::graph::ints;
use super::{Builder, Done, NOWHERE, apply, int, refuse};
use crate::import::onnx::proto::AttributeProto;

macro_rules! pool {
    ($b:ident, $op:expr, $r:ident, $list:path, $more:expr) => {{
        let mut attributes = window($list(&$r.kernel_size), $list(&$r.stride), $list(&$r.padding), $r.ceil_mode);
        attributes.push($more);
        apply($b, $op, &[&$r.x], attributes, &$r.out)
    }};
}

pub(super) fn operation(b: &mut Builder<'_>, op: &ModuleOperationIr) -> Done {
    use ModuleOperationIr as M;
    match op {
        M::AvgPool1d(r) => pool!(b, "AveragePool", r, one, counted(r.count_include_pad)),
        M::AvgPool2d(r) => pool!(b, "AveragePool", r, several, counted(r.count_include_pad)),
        M::MaxPool1d(r) => pool!(b, "MaxPool", r, one, ints("dilations", [r.dilation])),
        M::MaxPool1dWithIndices(r) => pool!(b, "MaxPool", r, one, ints("dilations", [r.dilation])),
        M::MaxPool2d(r) => pool!(b, "MaxPool", r, several, ints("dilations", r.dilation)),
        M::MaxPool2dWithIndices(r) => pool!(b, "MaxPool", r, several, ints("dilations", r.dilation)),
        M::AdaptiveAvgPool1d(r) => adaptive(b, &r.x, &[r.output_size], &r.out),
        M::AdaptiveAvgPool2d(r) => adaptive(b, &r.x, &r.output_size, &r.out),
        M::AdaptiveAvgPool3d(r) => adaptive(b, &r.x, &r.output_size, &r.out),
        _ => refuse(NOWHERE),
    }
}

fn one(extent: &usize) -> &[usize] {
    std::slice::from_ref(extent)
}

fn several(extents: &[usize; 2]) -> &[usize] {
    extents
}

fn window(kernel: &[usize], stride: &[usize], padding: &[usize], ceil_mode: bool) -> Vec<AttributeProto> {
    vec![
        ints("kernel_shape", kernel.iter().copied()),
        ints("strides", stride.iter().copied()),
        ints("pads", padding.iter().chain(padding).copied()),
        int("ceil_mode", i64::from(ceil_mode)),
    ]
}

fn counted(include: bool) -> AttributeProto {
    int("count_include_pad", i64::from(include))
}

/// Output i along an axis is the mean of the inputs ⌊i·from/to⌋ to ⌈(i + 1)·from/to⌉.
fn adaptive(b: &mut Builder<'_>, x: &TensorIr, to: &[usize], out: &TensorIr) -> Done {
    let from = &x.shape[2..];
    if to.iter().all(|&to| to == 1) {
        return apply(b, "GlobalAveragePool", &[x], Vec::new(), out);
    }
    let even = from.iter().zip(to).all(|(from, to)| from % to == 0);
    if even && from.len() < 3 {
        let kernel: Vec<usize> = from.iter().zip(to).map(|(from, to)| from / to).collect();
        let attributes = window(&kernel, &kernel, &vec![0; kernel.len()], false);
        return apply(b, "AveragePool", &[x], attributes, out);
    }
    let rank = x.shape.len();
    let mut value = b.input(x)?;
    // The mean of a box is the mean of means along its edges.
    for (axis, (&from, &to)) in (2..rank).zip(from.iter().zip(to)) {
        let mut means = vec![0f32; from * to];
        for i in 0..to {
            let (start, end) = (i * from / to, ((i + 1) * from).div_ceil(to));
            (start..end).for_each(|k| means[k * to + i] = 1.0 / (end - start) as f32);
        }
        let means = b.real("means", &[from, to], &means);
        let mut swap: Vec<usize> = (0..rank).collect();
        swap.swap(axis, rank - 1);
        let last = b.helper("Transpose", &[value], vec![ints("perm", swap.iter().copied())]);
        let product = b.helper("MatMul", &[last, means], Vec::new());
        value = b.helper("Transpose", &[product], vec![ints("perm", swap)]);
    }
    b.same(value, out);
    Ok(())
}
