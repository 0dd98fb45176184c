//! Pad, by numbers and by what the inputs' extents say.

use quaver_core::graph::op::{Cut, PadMode};
use quaver_core::graph::{Dim, Op, ValueId};

use super::compose::{int, number, real};
use super::{Ctx, Importer, Outputs, Sym, Val, axis, invalid, unsupported};
use crate::import::onnx::proto::tensor_proto::DataType;

impl Importer<'_> {
    pub(super) fn pad(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.real(ctx, 0)?;
        let dims = self.dims(x);
        let Some(pads) = self.syms_of(ctx, "pads", 1)? else { return invalid("pads are missing") };
        let axes = match self.ints(ctx, 3)? {
            Some(axes) => axes.iter().map(|&a| axis(a, dims.len())).collect::<Result<Vec<_>, _>>()?,
            None => (0..dims.len()).collect(),
        };
        if pads.len() != 2 * axes.len() {
            return invalid(format!("there are {} pads for {} axes", pads.len(), axes.len()));
        }
        let value = match ctx.attrs.maybe_float("value")? {
            Some(value) => value,
            None if ctx.has(2) => self.floats(ctx, 2)?.1.first().copied().unwrap_or(0.0),
            None => 0.0,
        };
        let mode = match ctx.attrs.string("mode", "constant")?.as_str() {
            "constant" if value.is_finite() => PadMode::Constant(value),
            "constant" => PadMode::Constant(if value > 0.0 { f32::MAX } else { f32::MIN }),
            "reflect" => PadMode::Reflect,
            "edge" => PadMode::Edge,
            "wrap" => PadMode::Wrap,
            other => return invalid(format!("mode '{other}' is unknown")),
        };
        let Some(pads) = pads.iter().map(Sym::num).collect::<Option<Vec<i64>>>() else {
            return self.pad_open(ctx, x, &axes, &pads, mode);
        };
        let (mut before, mut after) = (vec![0; dims.len()], vec![0; dims.len()]);
        let mut cuts = Vec::new();
        for (i, &a) in axes.iter().enumerate() {
            let (b, e) = (pads[i], pads[axes.len() + i]);
            (before[a], after[a]) = (b.max(0) as usize, e.max(0) as usize);
            if b < 0 || e < 0 {
                // A negative pad cuts off.
                let Some(extent) = dims[a].fixed() else {
                    return unsupported("cutting off an open extent by a negative pad is not supported");
                };
                let (start, end) = (b.min(0).unsigned_abs() as usize, e.min(0).unsigned_abs() as usize);
                let Some(len) = extent.checked_sub(start).and_then(|n| n.checked_sub(end)).filter(|&n| n > 0) else {
                    return invalid(format!("pads {pads:?} leave nothing of extent {extent}"));
                };
                cuts.push(Cut::new(a, start, len, 1));
            }
        }
        let x = if cuts.is_empty() { x } else { self.helper(ctx, "cut", Op::Slice { cuts }, &[x])? };
        self.push(ctx, Op::Pad { before, after, mode }, &[x])
    }

    /// By as much as the inputs' extents say, which may be nothing: elements are picked, and those outside become the constant.
    fn pad_open(&mut self, ctx: &Ctx<'_>, x: ValueId, axes: &[usize], pads: &[Sym], mode: PadMode) -> Outputs {
        if !matches!(mode, PadMode::Constant(_) | PadMode::Edge) {
            return unsupported("by what depends on the inputs' extents, only constants and edges can be padded");
        }
        let mut y = Val::Tensor(x);
        for (i, &at) in axes.iter().enumerate() {
            let (before, after) = (&pads[i], &pads[axes.len() + i]);
            if [before, after].iter().all(|pad| pad.num() == Some(0)) {
                continue;
            }
            let dims = self.extents(&y);
            let total = before.extent().plus(&after.extent()).and_then(|more| more.plus(&dims[at].extent()?)).and_then(Dim::of);
            let Some(total) = total else { return unsupported("its extent is no formula") };
            let count = self.count_up(ctx, &total)?;
            let places = self.as_floats(ctx, &count)?;
            let places = self.call(ctx, "Sub", &[&places, &number(before)], &[])?;
            let last = Sym::apply("Sub", &Sym::from_dim(&dims[at]), &Sym::Num(1)).unwrap_or(Sym::Num(0));
            let inside = self.call(ctx, "Max", &[&places, &real(0.0)], &[])?;
            let inside = self.call(ctx, "Min", &[&inside, &number(&last)], &[])?;
            let whole = self.call(ctx, "Cast", &[&inside], &[int("to", DataType::Int64 as i64)])?;
            y = self.call(ctx, "Gather", &[&y, &whole], &[int("axis", at as i64)])?;
            if let PadMode::Constant(value) = mode {
                let own = self.call(ctx, "Equal", &[&places, &inside], &[])?;
                let own = self.along(ctx, &own, at, dims.len())?;
                y = self.call(ctx, "Where", &[&own, &y, &real(value)], &[])?;
            }
        }
        self.last(ctx, "Identity", &[&y], &[])
    }
}
