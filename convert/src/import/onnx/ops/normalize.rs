//! LayerNormalization, RMSNormalization, InstanceNormalization and GroupNormalization.

use quaver_core::graph::op::{BinaryFn, ReduceFn, UnaryFn};
use quaver_core::graph::{Dim, Op, ValueId};

use super::{Ctx, Importer, NodeError, Outputs, Val, axis, invalid, unsupported};

impl Importer<'_> {
    pub(super) fn layer_norm(&mut self, ctx: &Ctx<'_>) -> Outputs {
        ctx.attrs.ignore("stash_type");
        let x = self.real(ctx, 0)?;
        let dims = self.dims(x);
        let at = axis(ctx.attrs.int("axis")?.unwrap_or(-1), dims.len())?;
        let epsilon = ctx.attrs.float("epsilon", 1e-5)?;
        let Some(len) = Dim::product(&dims[at..]).and_then(|n| n.fixed()) else {
            return unsupported("it normalizes over extents that are open");
        };
        let scale = self.row(ctx, 1, len)?;
        let rms = ctx.node.op_type == "RMSNormalization";
        let bias = if ctx.has(2) && !rms { self.row(ctx, 2, len)? } else { self.net.constant("", &[len], &vec![0.0f32; len]) };
        let mut more = Vec::new();
        if ctx.node.output.iter().skip(1).any(|name| !name.is_empty()) {
            let (mean, deviation) = self.moments(ctx, x, (at..dims.len()).collect())?;
            let one = self.number(1.0);
            let inverse = self.helper(ctx, "inverse", Op::Binary { function: BinaryFn::Div }, &[one, deviation])?;
            more = vec![Val::Tensor(mean), Val::Tensor(inverse)];
        }
        let op = Op::LayerNorm { epsilon, rms };
        if at + 1 == dims.len() {
            let y = self.push(ctx, op, &[x, scale, bias])?;
            return Ok([y, more].concat());
        }
        let flat = [&dims[..at], &[Dim::Fixed(len)]].concat();
        let flat_x = self.helper(ctx, "flat", Op::Reshape { shape: flat }, &[x])?;
        let y = self.helper(ctx, "rows", op, &[flat_x, scale, bias])?;
        let y = self.push(ctx, Op::Reshape { shape: dims }, &[y])?;
        Ok([y, more].concat())
    }

    /// Constant operand `i` as a row of `len` numbers, repeated where it has fewer dimensions than are normalized.
    fn row(&mut self, ctx: &Ctx<'_>, i: usize, len: usize) -> Result<ValueId, NodeError> {
        let (shape, data) = self.floats(ctx, i)?;
        if data.is_empty() || !len.is_multiple_of(data.len()) {
            return invalid(format!("operand {i} of shape {shape:?} doesn't fit rows of {len}"));
        }
        let data: Vec<f32> = data.iter().copied().cycle().take(len).collect();
        Ok(self.net.constant("", &[len], &data))
    }

    pub(super) fn instance_norm(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.real(ctx, 0)?;
        let dims = self.dims(x);
        if dims.len() < 3 {
            return unsupported(format!("its input has rank {}, but pixels are needed", dims.len()));
        }
        let normal = self.normal(ctx, x, (2..dims.len()).collect())?;
        self.by_channel(ctx, normal, dims.len())
    }

    pub(super) fn group_norm(&mut self, ctx: &Ctx<'_>) -> Outputs {
        ctx.attrs.ignore("stash_type");
        let x = self.real(ctx, 0)?;
        let dims = self.dims(x);
        let channels = dims.get(1).and_then(Dim::fixed);
        let groups = ctx.attrs.int("num_groups")?.and_then(|g| usize::try_from(g).ok()).filter(|&g| g > 0);
        let (Some(channels), Some(groups)) = (channels, groups.filter(|&g| channels.is_some_and(|c| c % g == 0))) else {
            return invalid("num_groups is missing, or doesn't divide the channels");
        };
        let grouped = [&dims[..1], &[Dim::Fixed(groups), Dim::Fixed(channels / groups)], &dims[2..]].concat();
        let axes = (2..grouped.len()).collect();
        let grouped = self.helper(ctx, "groups", Op::Reshape { shape: grouped }, &[x])?;
        let normal = self.normal(ctx, grouped, axes)?;
        let normal = self.helper(ctx, "channels", Op::Reshape { shape: dims.clone() }, &[normal])?;
        let given = [1, 2].map(|i| self.floats(ctx, i).map(|(_, data)| data.to_vec()));
        let [scale, bias] = given;
        // Of groups up to opset 20, of channels from 21 on.
        let spread = |given: Vec<f32>| match given.len() {
            n if n == groups && n != channels => given.iter().flat_map(|&x| std::iter::repeat_n(x, channels / groups)).collect(),
            _ => given,
        };
        self.moved_by(ctx, normal, dims.len(), [spread(scale?), spread(bias?)])
    }

    /// x less its mean, over the root of its variance.
    pub(super) fn normal(&mut self, ctx: &Ctx<'_>, x: ValueId, axes: Vec<usize>) -> Result<ValueId, NodeError> {
        let binary = |function| Op::Binary { function };
        let (center, deviation) = self.moments(ctx, x, axes)?;
        let from_center = self.helper(ctx, "from_center", binary(BinaryFn::Sub), &[x, center])?;
        self.helper(ctx, "normal", binary(BinaryFn::Div), &[from_center, deviation])
    }

    /// The mean, and the root of the variance plus ε.
    fn moments(&mut self, ctx: &Ctx<'_>, x: ValueId, axes: Vec<usize>) -> Result<(ValueId, ValueId), NodeError> {
        let mean = || Op::Reduce { function: ReduceFn::Mean, axes: axes.clone(), keep_dims: true };
        let binary = |function| Op::Binary { function };
        let epsilon = self.number(ctx.attrs.float("epsilon", 1e-5)?);
        let center = self.helper(ctx, "mean", mean(), &[x])?;
        let from_center = self.helper(ctx, "centered", binary(BinaryFn::Sub), &[x, center])?;
        let square = self.helper(ctx, "square", binary(BinaryFn::Mul), &[from_center, from_center])?;
        let variance = self.helper(ctx, "variance", mean(), &[square])?;
        let variance = self.helper(ctx, "epsilon", binary(BinaryFn::Add), &[variance, epsilon])?;
        let deviation = self.helper(ctx, "deviation", Op::Unary { function: UnaryFn::Sqrt }, &[variance])?;
        Ok((center, deviation))
    }

    /// The node's output: scaled and moved by operands 1 and 2, numbers of channels, which are the second dimension.
    pub(super) fn by_channel(&mut self, ctx: &Ctx<'_>, x: ValueId, rank: usize) -> Outputs {
        let given = [self.floats(ctx, 1)?.1.to_vec(), self.floats(ctx, 2)?.1.to_vec()];
        self.moved_by(ctx, x, rank, given)
    }

    /// The node's output: scaled and moved by a number for each channel, the second dimension.
    fn moved_by(&mut self, ctx: &Ctx<'_>, x: ValueId, rank: usize, by: [Vec<f32>; 2]) -> Outputs {
        let [scale, bias] = by.map(|data| {
            let shape: Vec<usize> = std::iter::once(data.len()).chain(std::iter::repeat_n(1, rank - 2)).collect();
            self.net.constant("", &shape, &data)
        });
        let scaled = self.helper(ctx, "scaled", Op::Binary { function: BinaryFn::Mul }, &[x, scale])?;
        Ok(vec![Val::Tensor(self.net.push(Op::Binary { function: BinaryFn::Add }, &[scaled, bias], ctx.name, ctx.out(0))?)])
    }
}
