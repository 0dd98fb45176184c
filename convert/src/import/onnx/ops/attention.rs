//! Attention and RotaryEmbedding, which opset 23 has as operations of their own, in terms of products, sums and a softmax.

use quaver_core::graph::Dim;

use super::compose::{int, ints, real, whole};
use super::{Ctx, Importer, NodeError, Outputs, Sym, Val, invalid, unsupported};
use crate::import::onnx::proto::tensor_proto::DataType;
use crate::import::onnx::proto::type_proto;

/// What a score becomes that a mask leaves out: softmax makes 0 of it, as of −∞, but no NaN of a row without any other.
const LEFT_OUT: f32 = f32::MIN;

impl Importer<'_> {
    /// softmax(scale·Q·Kᵀ + mask)·V for each head.
    pub(super) fn attention(&mut self, ctx: &Ctx<'_>) -> Outputs {
        ctx.attrs.ignore("softmax_precision");
        ctx.attrs.ignore("qk_matmul_output_mode");
        let a = ctx.attrs;
        if ctx.has(6) || ["left_window_size", "right_window_size"].iter().any(|name| a.int(name).is_ok_and(|n| n.is_some_and(|n| n != -1)))
        {
            return unsupported("numbers of keys for each sample, and windows, are not supported");
        }
        if !ctx.out(3).is_empty() {
            return unsupported("its scores as a result are not supported");
        }
        let flat = self.extents(self.given(ctx, 0)?).len() == 3;
        let heads = [a.int("q_num_heads")?, a.int("kv_num_heads")?];
        let q = self.by_head(ctx, self.given(ctx, 0)?, heads[0])?;
        let mut keys = Vec::with_capacity(2);
        for (i, past) in [(1, 4), (2, 5)] {
            let x = self.by_head(ctx, self.given(ctx, i)?, heads[1])?;
            keys.push(if ctx.has(past) { self.call(ctx, "Concat", &[self.given(ctx, past)?, &x], &[int("axis", 2)])? } else { x });
        }
        let before = if ctx.has(4) { self.extents(self.given(ctx, 4)?).get(2).map_or(Sym::Num(0), Sym::from_dim) } else { Sym::Num(0) };
        let (present, q_dims) = (keys.clone(), self.extents(&q));
        for x in &mut keys {
            *x = self.repeated_heads(ctx, x, &q_dims)?;
        }
        let [_, _, rows, depth] = &q_dims[..] else { return invalid("its operands should have rank 3 or 4") };
        let columns = self.extents(&keys[0]).get(2).cloned().unwrap_or(Dim::Fixed(1));

        let scale = match (a.maybe_float("scale")?, depth.fixed()) {
            (Some(scale), _) => scale,
            (None, Some(depth)) => 1.0 / (depth as f32).sqrt(),
            (None, None) => return unsupported("the width of its heads is open"),
        };
        let transposed = self.call(ctx, "Transpose", &[&keys[0]], &[ints("perm", [0, 1, 3, 2])])?;
        let scores = self.call(ctx, "MatMul", &[&q, &transposed], &[])?;
        let mut scores = self.call(ctx, "Mul", &[&scores, &real(scale)], &[])?;
        let cap = a.float("softcap", 0.0)?;
        if cap > 0.0 {
            let part = self.call(ctx, "Div", &[&scores, &real(cap)], &[])?;
            let part = self.call(ctx, "Tanh", &[&part], &[])?;
            scores = self.call(ctx, "Mul", &[&part, &real(cap)], &[])?;
        }
        if ctx.has(3) {
            let mask = self.given(ctx, 3)?;
            let width = self.extents(mask).last().cloned();
            if width.is_some_and(|width| width != columns && width.fixed().is_some() && columns.fixed().is_some()) {
                return unsupported("a mask of fewer columns than there are keys is not supported");
            }
            scores = match self.is_truth(ctx, 3) {
                true => self.call(ctx, "Where", &[mask, &scores, &real(LEFT_OUT)], &[])?,
                false => self.call(ctx, "Add", &[&scores, mask], &[])?,
            };
        }
        if a.flag("is_causal", false)? {
            let seen = self.triangle(ctx, [rows, &columns], false, &before)?;
            scores = self.call(ctx, "Where", &[&seen, &scores, &real(LEFT_OUT)], &[])?;
        }
        let weights = self.call(ctx, "Softmax", &[&scores], &[int("axis", -1)])?;
        if !flat {
            let y = self.last_of(ctx, "MatMul", &[&weights, &keys[1]], &[])?;
            return Ok([y, present].concat());
        }
        let y = self.call(ctx, "MatMul", &[&weights, &keys[1]], &[])?;
        let y = self.call(ctx, "Transpose", &[&y], &[ints("perm", [0, 2, 1, 3])])?;
        let dims = self.extents(&y);
        let Some(width) = Dim::product(&dims[2..]) else { return invalid("it has too many elements") };
        let to = Self::shape_of(&[dims[0].clone(), dims[1].clone(), width]);
        let y = self.last_of(ctx, "Reshape", &[&y, &to], &[int("allowzero", 1)])?;
        Ok([y, present].concat())
    }

    /// [B,L,H·D] as [B,H,L,D], which an operand of rank 4 is already.
    fn by_head(&mut self, ctx: &Ctx<'_>, x: &Val, heads: Option<i64>) -> Result<Val, NodeError> {
        let dims = self.extents(x);
        let [batch, steps, width] = &dims[..] else { return Ok(x.clone()) };
        let heads = heads.and_then(|n| usize::try_from(n).ok());
        let (Some(heads), Some(width)) = (heads, width.fixed()) else {
            return invalid("its number of heads is missing, or its width open");
        };
        if heads == 0 || width % heads != 0 {
            return invalid(format!("{heads} heads don't fit a width of {width}"));
        }
        let x = self.reshaped(ctx, x, &[batch.clone(), steps.clone(), heads.into(), (width / heads).into()])?;
        self.call(ctx, "Transpose", &[&x], &[ints("perm", [0, 2, 1, 3])])
    }

    /// Each head of keys as often as there are heads that ask it.
    fn repeated_heads(&mut self, ctx: &Ctx<'_>, x: &Val, q: &[Dim]) -> Result<Val, NodeError> {
        let dims = self.extents(x);
        let ([batch, own, steps, depth], Some(wanted)) = (&dims[..], q.get(1).and_then(Dim::fixed)) else {
            return invalid("its operands should have rank 3 or 4, and a number of heads that is known");
        };
        let Some(own) = own.fixed().filter(|&n| n > 0 && wanted % n == 0) else {
            return invalid(format!("{wanted} heads are no multiple of those of its keys"));
        };
        if own == wanted {
            return Ok(x.clone());
        }
        let apart = |times: usize| [batch.clone(), own.into(), times.into(), steps.clone(), depth.clone()];
        let x = self.reshaped(ctx, x, &apart(1))?;
        let x = self.call(ctx, "Expand", &[&x, &Self::shape_of(&apart(wanted / own))], &[])?;
        self.reshaped(ctx, &x, &[batch.clone(), wanted.into(), steps.clone(), depth.clone()])
    }

    /// Whether operand `i` is of truth values, which are real numbers here as all others.
    fn is_truth(&self, ctx: &Ctx<'_>, i: usize) -> bool {
        if matches!(ctx.inputs.get(i), Some(Some(Val::Ints { .. }))) {
            return true;
        }
        let Some(mut name) = ctx.node.input.get(i).map(String::as_str) else { return false };
        loop {
            let said = self
                .graph
                .value_info
                .iter()
                .chain(&self.graph.input)
                .find(|value| value.name == name)
                .and_then(|value| value.r#type.as_ref()?.value.as_ref());
            if let Some(type_proto::Value::TensorType(tensor)) = said {
                return tensor.elem_type == DataType::Bool as i32;
            }
            let Some(node) = self.graph.node.iter().find(|node| node.output.iter().any(|output| output == name)) else { return false };
            match node.op_type.as_str() {
                "And" | "Or" | "Xor" | "Not" | "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" => return true,
                "Cast" => return self.kinds.get(name) == Some(&(DataType::Bool as i32)),
                _ => match node.input.first() {
                    Some(first) => name = first,
                    None => return false,
                },
            }
        }
    }

    /// Pairs of elements turned by angles, whose cosines and sines are given.
    pub(super) fn rotary_embedding(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.given(ctx, 0)?;
        let flat = self.extents(x).len() == 3;
        let x = self.by_head(ctx, x, ctx.attrs.int("num_heads")?)?;
        let dims = self.extents(&x);
        let Some(depth) = dims.get(3).and_then(Dim::fixed) else { return unsupported("the width of its heads is open") };
        let turned = ctx.attrs.int("rotary_embedding_dim")?.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0).unwrap_or(depth);
        if turned % 2 != 0 || turned > depth {
            return invalid(format!("rotary_embedding_dim {turned} doesn't fit heads of {depth}"));
        }
        let interleaved = ctx.attrs.flag("interleaved", false)?;
        let mut angles = Vec::with_capacity(2);
        for i in [1, 2] {
            let cache = self.given(ctx, i)?;
            let picked =
                if ctx.has(3) { self.call(ctx, "Gather", &[cache, self.given(ctx, 3)?], &[int("axis", 0)])? } else { cache.clone() };
            angles.push(self.call(ctx, "Unsqueeze", &[&picked, &whole([1])], &[])?);
        }
        let (n, half) = (turned as i64, turned as i64 / 2);
        let ranges = if interleaved { [(0, n, 2), (1, n, 2)] } else { [(0, half, 1), (half, n, 1)] };
        let mut parts = Vec::with_capacity(2);
        for (start, end, step) in ranges {
            parts.push(self.call(ctx, "Slice", &[&x, &whole([start]), &whole([end]), &whole([3]), &whole([step])], &[])?);
        }
        let mut turn = |cos: usize, sin: usize, function: &str| {
            let a = self.call(ctx, "Mul", &[&angles[0], &parts[cos]], &[])?;
            let b = self.call(ctx, "Mul", &[&angles[1], &parts[sin]], &[])?;
            self.call(ctx, function, &[&a, &b], &[])
        };
        let (mut first, mut second) = (turn(0, 1, "Sub")?, turn(1, 0, "Add")?);
        let y = if interleaved {
            (first, second) =
                (self.call(ctx, "Unsqueeze", &[&first, &whole([4])], &[])?, self.call(ctx, "Unsqueeze", &[&second, &whole([4])], &[])?);
            let pairs = self.call(ctx, "Concat", &[&first, &second], &[int("axis", 4)])?;
            self.reshaped(ctx, &pairs, &[&dims[..3], &[turned.into()]].concat())?
        } else {
            self.call(ctx, "Concat", &[&first, &second], &[int("axis", 3)])?
        };
        let y = if turned < depth {
            let rest = self.call(ctx, "Slice", &[&x, &whole([n]), &whole([depth as i64]), &whole([3]), &whole([1])], &[])?;
            self.call(ctx, "Concat", &[&y, &rest], &[int("axis", 3)])?
        } else {
            y
        };
        if !flat {
            return self.last(ctx, "Identity", &[&y], &[]);
        }
        let y = self.call(ctx, "Transpose", &[&y], &[ints("perm", [0, 2, 1, 3])])?;
        let Some(width) = Dim::product(&[dims[1].clone(), dims[3].clone()]) else { return invalid("it has too many elements") };
        let to = Self::shape_of(&[dims[0].clone(), dims[2].clone(), width]);
        self.last(ctx, "Reshape", &[&y, &to], &[int("allowzero", 1)])
    }
}
