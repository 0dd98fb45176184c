//! What asks for the order of numbers: TopK, ArgMax, ArgMin, NonMaxSuppression; and OneHot.

use quaver_core::graph::op::Cut;
use quaver_core::graph::{Dim, Op};
use quaver_core::tensor::DType;

use super::compose::{int, whole};
use super::{Ctx, Importer, NodeError, Outputs, Val, axis, invalid, unsupported};

impl Importer<'_> {
    pub(super) fn top_k(&mut self, ctx: &Ctx<'_>) -> Outputs {
        // Sorted or not, they may come in any order.
        ctx.attrs.ignore("sorted");
        let whole = self.is_whole(self.given(ctx, 0)?);
        let x = self.real(ctx, 0)?;
        let dims = self.dims(x);
        let at = axis(ctx.attrs.int("axis")?.unwrap_or(-1), dims.len())?;
        let largest = ctx.attrs.flag("largest", true)?;
        let k = match ctx.attrs.int("k")? {
            Some(k) => usize::try_from(k).ok().map(Dim::Fixed),
            None => self.syms(ctx, 1)?.and_then(|k| k.first()?.dim()),
        };
        let Some(k) = k.filter(|k| *k != Dim::Fixed(0)) else { return invalid("k is missing or not positive") };
        let op = |k: &Dim| Op::TopK { axis: at, k: k.clone(), largest };
        let mut outputs = Vec::new();
        for (i, dtype) in [(0, DType::F32), (1, DType::I64)] {
            if ctx.out(i).is_empty() {
                outputs.push(Val::Unknown);
                continue;
            }
            let name = if whole && i == 0 { "" } else { ctx.out(i) };
            let mut y = self.net.push_typed(op(&k), &[x], &format!("{}/{i}", ctx.name), name, dtype, None)?;
            if whole && i == 0 {
                y = self.net.push(Op::Cast { to: DType::I64 }, &[y], ctx.name, ctx.out(0))?;
            }
            outputs.push(Val::Tensor(y));
        }
        Ok(outputs)
    }

    pub(super) fn arg_extreme(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let mut x = self.real(ctx, 0)?;
        let dims = self.dims(x);
        let at = axis(ctx.attrs.int("axis")?.unwrap_or(0), dims.len())?;
        let (keep, last) = (ctx.attrs.flag("keepdims", true)?, ctx.attrs.flag("select_last_index", false)?);
        let largest = ctx.node.op_type == "ArgMax";
        if last {
            // The first one from behind.
            let extent = Self::fixed_extent(&dims, at)?;
            x = self.helper(ctx, "reversed", Op::Slice { cuts: vec![Cut::new(at, extent - 1, extent, -1)] }, &[x])?;
        }
        let op = Op::TopK { axis: at, k: Dim::Fixed(1), largest };
        let mut shape = dims.clone();
        shape[at] = Dim::Fixed(1);
        if !keep {
            shape.remove(at);
        }
        let mut y = self.helper(ctx, "first", op, &[x])?;
        if last {
            let end = Val::ints(vec![super::Sym::Num(Self::fixed_extent(&dims, at)? as i64 - 1)]);
            let from = self.call(ctx, "Sub", &[&end, &Val::Tensor(y)], &[])?;
            y = self.as_value(&from)?;
        }
        self.push(ctx, Op::Reshape { shape }, &[y])
    }

    /// Of indices, which may count from the end: a row with the second value where the index says so, else the first.
    pub(super) fn one_hot(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let Some(depth) = self.depth(ctx)? else { return unsupported("its depth is not known at import") };
        let indices = self.given(ctx, 0)?;
        let dims = self.extents(indices);
        let at = axis(ctx.attrs.int("axis")?.unwrap_or(-1), dims.len() + 1)?;
        let real = self.as_floats(ctx, indices)?;
        let zero = super::compose::real(0.0);
        let below = self.call(ctx, "Less", &[&real, &zero], &[])?;
        let more = self.call(ctx, "Mul", &[&below, &super::compose::real(depth as f32)], &[])?;
        let from_start = self.call(ctx, "Add", &[&real, &more], &[])?;
        let mut shape = dims;
        shape.insert(at, Dim::Fixed(1));
        let from_start = self.reshaped(ctx, &from_start, &shape)?;
        let count = Val::floats(vec![depth], (0..depth).map(|i| i as f32).collect());
        let count = self.along(ctx, &count, at, shape.len())?;
        let here = self.call(ctx, "Equal", &[&from_start, &count], &[])?;
        let values = self.given(ctx, 2)?;
        let [off, on] = [0, 1].map(|i| {
            let index = Val::Ints { shape: Vec::new(), data: vec![super::Sym::Num(i)] };
            self.call(ctx, "Gather", &[values, &index], &[int("axis", 0)])
        });
        self.last(ctx, "Where", &[&here, &on?, &off?], &[])
    }

    /// Boxes as one tensor of a size that is known: rows behind the last box are −1, which ONNX doesn't have.
    pub(super) fn suppression(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let mut boxes = self.given(ctx, 0)?.clone();
        let one = |i: usize, default: f32| -> Result<f32, NodeError> {
            let given = if ctx.has(i) { self.floats(ctx, i)?.1.first().copied() } else { None };
            Ok(given.unwrap_or(default))
        };
        let (overlap, score) = (one(3, 0.0)?, one(4, f32::MIN)?);
        if !(overlap.is_finite() && score.is_finite()) {
            return invalid("a threshold is no finite number");
        }
        let most = self.ints(ctx, 2)?.and_then(|n| n.first().copied()).unwrap_or(0);
        let count = self.extents(self.given(ctx, 1)?).get(2).and_then(Dim::fixed).unwrap_or(usize::MAX);
        let Some(most) = usize::try_from(most).ok().map(|n| n.min(count)).filter(|n| (1..1 << 20).contains(n)) else {
            return unsupported("its max_output_boxes_per_class is 0, or above a million");
        };
        if ctx.attrs.int("center_point_box")?.unwrap_or(0) == 1 {
            // (x, y, width, height): (y, x) less and plus half.
            let part = |importer: &mut Self, order: [i64; 2]| importer.call(ctx, "Gather", &[&boxes, &whole(order)], &[int("axis", 2)]);
            let (center, size) = (part(self, [1, 0])?, part(self, [3, 2])?);
            let half = self.call(ctx, "Mul", &[&size, &super::compose::real(0.5)], &[])?;
            let corners = [self.call(ctx, "Sub", &[&center, &half], &[])?, self.call(ctx, "Add", &[&center, &half], &[])?];
            boxes = self.call(ctx, "Concat", &[&corners[0], &corners[1]], &[int("axis", 2)])?;
        }
        let (boxes, scores) = (self.as_value(&boxes)?, self.real(ctx, 1)?);
        self.push(ctx, Op::NonMaxSuppression { most, overlap, score }, &[boxes, scores])
    }

    fn depth(&self, ctx: &Ctx<'_>) -> Result<Option<usize>, NodeError> {
        let depth = match self.given(ctx, 1)? {
            Val::Floats { data, .. } => data.first().map(|&d| d as i64),
            Val::Ints { data, .. } => data.first().and_then(super::Sym::num),
            _ => None,
        };
        Ok(depth.and_then(|d| usize::try_from(d).ok()).filter(|d| (1..1 << 24).contains(d)))
    }
}
