//! Scaled dot-product attention, spelled out as exporters do.

use burn_ir::AttentionOpIr;

use super::super::graph::ints;
use super::{Builder, Done, finite, int};

/// softmax(q·kᵀ·scale, capped, masked, plus bias)·v.
pub(super) fn attention(b: &mut Builder<'_>, r: &AttentionOpIr) -> Done {
    let [query, key, value] = [b.input(&r.query)?, b.input(&r.key)?, b.input(&r.value)?];
    let rank = r.query.shape.len();
    let (rows, columns) = (r.query.shape[rank - 2], r.key.shape[rank - 2]);
    let scale = r.options.scale.map_or_else(|| 1.0 / (r.query.shape[rank - 1] as f64).sqrt(), |scale| scale.elem::<f64>());
    let perm = (0..rank - 2).chain([rank - 1, rank - 2]);
    let key = b.helper("Transpose", &[key], vec![ints("perm", perm)]);
    let product = b.helper("MatMul", &[query, key], Vec::new());
    let scale = b.real("scale", &[], &[finite(scale)]);
    let mut scores = b.helper("Mul", &[product, scale], Vec::new());
    if let Some(cap) = r.options.softcap {
        let cap = b.real("softcap", &[], &[finite(cap.elem::<f64>())]);
        let small = b.helper("Div", &[scores, cap.clone()], Vec::new());
        let bent = b.helper("Tanh", &[small], Vec::new());
        scores = b.helper("Mul", &[bent, cap], Vec::new());
    }
    if let Some(mask) = &r.mask {
        let mask = b.input(mask)?;
        let never = b.real("never", &[], &[f32::MIN]);
        scores = b.helper("Where", &[mask, never, scores], Vec::new());
    }
    if r.options.is_causal {
        // The last row sees everything.
        let hidden = |i: usize| i % columns + rows > i / columns + columns;
        let future: Vec<f32> = (0..rows * columns).map(|i| f32::from(u8::from(hidden(i)))).collect();
        let future = b.real("future", &[rows, columns], &future);
        let never = b.real("never", &[], &[f32::MIN]);
        scores = b.helper("Where", &[future, never, scores], Vec::new());
    }
    if let Some(bias) = &r.attn_bias {
        let bias = b.input(bias)?;
        scores = b.helper("Add", &[scores, bias], Vec::new());
    }
    let shares = b.helper("Softmax", &[scores], vec![int("axis", -1)]);
    b.result("MatMul", &[shares, value], Vec::new(), &r.out);
    Ok(())
}
