//! Pools.

use quaver_core::graph::Op;
use quaver_core::graph::op::{Pool, PoolFn, ReduceFn};

use super::{Ctx, Importer, Outputs, invalid, positive, unsupported};

impl Importer<'_> {
    pub(super) fn pool(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let function = if ctx.node.op_type == "MaxPool" { PoolFn::Max } else { PoolFn::Average };
        if ctx.node.output.get(1).is_some_and(|o| !o.is_empty()) {
            return unsupported("its indices output is not supported");
        }
        ctx.attrs.ignore("storage_order");
        let x = self.real(ctx, 0)?;
        let rank = self.dims(x).len();
        if !(3..=5).contains(&rank) {
            return unsupported(format!("its input has rank {rank}; 3 (1-D) to 5 (3-D) are supported"));
        }
        if ctx.attrs.ints("kernel_shape")?.is_none() {
            return invalid("kernel_shape is missing");
        }
        let kernel = positive(ctx, "kernel_shape", rank - 2, 1)?;
        let ceil_mode = ctx.attrs.flag("ceil_mode", false)?;
        let count_include_pad = function == PoolFn::Average && ctx.attrs.flag("count_include_pad", false)?;
        if rank == 5 {
            return self.pool_volume(ctx, x, function, ceil_mode, count_include_pad);
        }
        let image = self.nhwc(ctx, x)?;
        let window = self.window(ctx, &kernel, &self.dims(image))?;
        let y = self.net.push(Op::Pool(Pool { function, window, ceil_mode, count_include_pad }), &[image], ctx.name, "")?;
        self.nchw_output(ctx, y, rank)
    }

    pub(super) fn global_pool(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.real(ctx, 0)?;
        let rank = self.dims(x).len();
        if rank < 3 {
            return invalid(format!("its input has rank {rank}, but an image has at least 3"));
        }
        let function = if ctx.node.op_type == "GlobalMaxPool" { ReduceFn::Max } else { ReduceFn::Mean };
        self.push(ctx, Op::Reduce { function, axes: (2..rank).collect(), keep_dims: true }, &[x])
    }
}
