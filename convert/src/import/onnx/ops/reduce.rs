//! Reductions and softmax.

use quaver_core::graph::op::ReduceFn;
use quaver_core::graph::{Dim, Op};

use super::{Ctx, Importer, Outputs, Val, axis, unsupported};

impl Importer<'_> {
    pub(super) fn reduce(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let function = match ctx.node.op_type.as_str() {
            "ReduceMean" => ReduceFn::Mean,
            "ReduceSum" => ReduceFn::Sum,
            "ReduceMax" => ReduceFn::Max,
            "ReduceMin" => ReduceFn::Min,
            "ReduceProd" => ReduceFn::Prod,
            "ReduceL1" => ReduceFn::L1,
            "ReduceL2" => ReduceFn::L2,
            _ => ReduceFn::SumSquare,
        };
        let x = self.real(ctx, 0)?;
        let rank = self.dims(x).len();
        let keep_dims = ctx.attrs.flag("keepdims", true)?;
        let no_op = ctx.attrs.flag("noop_with_empty_axes", false)?;
        let axes = self.ints_of(ctx, "axes", 1)?.unwrap_or_default();
        if axes.is_empty() && no_op {
            return Ok(vec![Val::Tensor(x)]);
        }
        let mut axes =
            if axes.is_empty() { (0..rank).collect() } else { axes.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()? };
        axes.sort_unstable();
        axes.dedup();
        self.push(ctx, Op::Reduce { function, axes, keep_dims }, &[x])
    }

    pub(super) fn softmax(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.real(ctx, 0)?;
        let dims = self.dims(x);
        let make = |axis| if ctx.node.op_type == "Softmax" { Op::Softmax { axis } } else { Op::LogSoftmax { axis } };
        if self.opset >= 13 {
            let at = axis(ctx.attrs.int("axis")?.unwrap_or(-1), dims.len())?;
            return self.push(ctx, make(at), &[x]);
        }
        // Before opset 13 everything from the axis on was one dimension.
        let at = axis(ctx.attrs.int("axis")?.unwrap_or(1), dims.len())?;
        if dims[at + 1..].iter().all(|d| d.fixed() == Some(1)) {
            return self.push(ctx, make(at), &[x]);
        }
        let (Some(outer), Some(inner)) = (Dim::product(&dims[..at]), Dim::product(&dims[at..])) else {
            return unsupported("its input's extents overflow");
        };
        let flat = self.helper(ctx, "flat", Op::Reshape { shape: vec![outer, inner] }, &[x])?;
        let y = self.helper(ctx, "softmax", make(1), &[flat])?;
        self.push(ctx, Op::Reshape { shape: dims }, &[y])
    }
}
