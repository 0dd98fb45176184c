//! Convolutions, transposed ones and pools over volumes, [N,C,D,H,W], as operations on images, so that they are quantized and run like
//! those.
//!
//! The taps along the depth become channels: slices of the volume, shifted by one tap each, are joined along the channels, and the
//! slices of all samples are the images of one convolution whose kernel has the taps' weights one after the other. So a sum of
//! kd·kh·kw·C products stays one sum of integers. A window of one row and one column, which networks of video have behind one of one
//! slice, needs none of that: slices are the rows of an image, and their pixels its columns. A pool goes over rows and columns, then over
//! the depth.

use quaver_core::graph::op::{Conv, ConvTranspose, Cut, PadMode, Pool, PoolFn, Window};
use quaver_core::graph::{Dim, Op, ValueId};

use super::conv::Weights;
use super::{Ctx, Importer, NodeError, Outputs, Val, invalid, positive, unsupported};

/// The window along depth, rows and columns.
struct Axes {
    kernel: [usize; 3],
    strides: [usize; 3],
    dilations: [usize; 3],
    begin: [usize; 3],
    end: [usize; 3],
}

impl Axes {
    /// The window over rows and columns.
    fn image(&self) -> Window {
        let two = |v: [usize; 3]| [v[1], v[2]];
        Window {
            kernel: two(self.kernel),
            strides: two(self.strides),
            dilations: two(self.dilations),
            pads_begin: two(self.begin),
            pads_end: two(self.end),
        }
    }

    /// The window along the depth, over an image whose rows are the slices.
    fn depth(&self) -> Window {
        let one = |v: [usize; 3], other| [v[0], other];
        Window {
            kernel: one(self.kernel, 1),
            strides: one(self.strides, 1),
            dilations: one(self.dilations, 1),
            pads_begin: one(self.begin, 0),
            pads_end: one(self.end, 0),
        }
    }

    /// Whether each pixel is seen by itself.
    fn is_along_the_depth(&self) -> bool {
        (1..3).all(|d| self.kernel[d] == 1 && self.strides[d] == 1 && self.begin[d] + self.end[d] == 0)
    }

    fn reach(&self, d: usize) -> usize {
        (self.kernel[d] - 1) * self.dilations[d] + 1
    }
}

/// Sums of weights and taps have to be of numbers that can be added.
const MOST: usize = 1 << 20;

impl Importer<'_> {
    fn axes(&self, ctx: &Ctx<'_>, kernel: &[usize], extents: &[Dim]) -> Result<Axes, NodeError> {
        let three = |v: Vec<usize>| [v[0], v[1], v[2]];
        let (strides, dilations) = (three(positive(ctx, "strides", 3, 1)?), three(positive(ctx, "dilations", 3, 1)?));
        let mut axes = Axes { kernel: three(kernel.to_vec()), strides, dilations, begin: [0; 3], end: [0; 3] };
        if (0..3).any(|d| axes.kernel[d].checked_mul(dilations[d]).is_none_or(|n| n > MOST)) {
            return invalid("kernel times dilation is too large");
        }
        match ctx.attrs.string("auto_pad", "NOTSET")?.as_str() {
            "VALID" => ctx.attrs.ignore("pads"),
            mode @ ("SAME_UPPER" | "SAME_LOWER") => {
                ctx.attrs.ignore("pads");
                for (d, stride) in strides.into_iter().enumerate() {
                    let extent = Self::fixed_extent(extents, d)?;
                    let total = (extent.div_ceil(stride).saturating_sub(1) * stride + axes.reach(d)).saturating_sub(extent);
                    axes.begin[d] = if mode == "SAME_UPPER" { total / 2 } else { total - total / 2 };
                    axes.end[d] = total - axes.begin[d];
                }
            }
            "NOTSET" | "" => {
                let pads = ctx.attrs.ints("pads")?.unwrap_or_else(|| vec![0; 6]);
                let pads: Option<Vec<usize>> = pads.iter().map(|&p| usize::try_from(p).ok().filter(|&p| p < MOST)).collect();
                let Some([a, b, c, d, e, f]) = pads.and_then(|p| <[usize; 6]>::try_from(p).ok()) else {
                    return unsupported("pads of a volume should be 6 numbers that are not negative");
                };
                (axes.begin, axes.end) = ([a, b, c], [d, e, f]);
            }
            other => return invalid(format!("auto_pad '{other}' is unknown")),
        }
        Ok(axes)
    }

    /// Channels last, and extents as they are then.
    fn channels_last(&mut self, ctx: &Ctx<'_>, x: ValueId) -> Result<(ValueId, Vec<Dim>), NodeError> {
        let x = self.helper(ctx, "ndhwc", Op::Transpose { perm: vec![0, 2, 3, 4, 1] }, &[x])?;
        Ok((x, self.dims(x)))
    }

    /// Slices of volumes as images.
    fn slices(&mut self, ctx: &Ctx<'_>, x: ValueId) -> Result<ValueId, NodeError> {
        let dims = self.dims(x);
        let Some(images) = dims[0].times(&dims[1]) else { return invalid("its extents overflow") };
        let shape = [&[images], &dims[2..]].concat();
        self.helper(ctx, "slices", Op::Reshape { shape }, &[x])
    }

    /// Images, of `depth` slices each a sample, as the node's output, channels second.
    fn volume_output(&mut self, ctx: &Ctx<'_>, y: ValueId, samples: &Dim, depth: usize) -> Outputs {
        let dims = self.dims(y);
        self.volumes(ctx, y, [&[samples.clone(), Dim::Fixed(depth)], &dims[1..]].concat())
    }

    /// A value that is volumes of that shape, channels last, as the node's output.
    fn volumes(&mut self, ctx: &Ctx<'_>, y: ValueId, shape: Vec<Dim>) -> Outputs {
        let y = self.helper(ctx, "volumes", Op::Reshape { shape }, &[y])?;
        let back = Op::Transpose { perm: vec![0, 4, 1, 2, 3] };
        Ok(vec![Val::Tensor(self.net.push(back, &[y], &format!("{}/ncdhw", ctx.name), ctx.out(0))?)])
    }

    /// Of each start, `len` slices by `step`, joined along the channels such that a group's are side by side; as images.
    fn taps(
        &mut self,
        ctx: &Ctx<'_>,
        x: ValueId,
        starts: impl Iterator<Item = usize>,
        [len, step]: [usize; 2],
        groups: usize,
    ) -> Result<ValueId, NodeError> {
        let mut parts = Vec::new();
        for start in starts {
            parts.push(self.helper(ctx, "tap", Op::Slice { cuts: vec![Cut::new(1, start, len, step as isize)] }, &[x])?);
        }
        let count = parts.len();
        let joined = if count == 1 { parts[0] } else { self.helper(ctx, "taps", Op::Concat { axis: 4 }, &parts)? };
        let images = self.slices(ctx, joined)?;
        if groups == 1 || count == 1 {
            return Ok(images);
        }
        // [taps, groups, channels] → [groups, taps, channels]
        let dims = self.dims(images);
        let channels = Self::fixed_extent(&dims, 3)?;
        let own = channels / count / groups;
        let split = [&dims[..3], &[count.into(), groups.into(), own.into()]].concat();
        let split = self.helper(ctx, "grouped", Op::Reshape { shape: split }, &[images])?;
        let split = self.helper(ctx, "by_group", Op::Transpose { perm: vec![0, 1, 2, 4, 3, 5] }, &[split])?;
        self.helper(ctx, "joined", Op::Reshape { shape: dims }, &[split])
    }

    /// Zeros before and behind the slices.
    fn deeper(&mut self, ctx: &Ctx<'_>, x: ValueId, begin: usize, end: usize) -> Result<ValueId, NodeError> {
        if begin + end == 0 {
            return Ok(x);
        }
        let pad = |n| vec![0, n, 0, 0, 0];
        let op = Op::Pad { before: pad(begin), after: pad(end), mode: PadMode::Constant(0.0) };
        self.helper(ctx, "deeper", op, &[x])
    }

    pub(super) fn conv_volume(&mut self, ctx: &Ctx<'_>, x: ValueId, w: &Weights<'_>) -> Outputs {
        let (x, dims) = self.channels_last(ctx, x)?;
        let axes = self.axes(ctx, &w.kernel, &dims[1..4])?;
        if axes.is_along_the_depth() {
            return self.conv_depth(ctx, x, w, &axes);
        }
        let depth = Self::fixed_extent(&dims, 1)?;
        let Some(room) = (depth + axes.begin[0] + axes.end[0]).checked_sub(axes.reach(0)) else {
            return invalid("its kernel is deeper than its padded input");
        };
        let to = room / axes.strides[0] + 1;
        let x = self.deeper(ctx, x, axes.begin[0], axes.end[0])?;
        // A slice may not end behind what is there.
        let starts = (0..axes.kernel[0]).map(|t| t * axes.dilations[0]);
        let image = self.taps(ctx, x, starts, [to, axes.strides[0]], w.groups)?;
        // [O, I, kd, kh, kw] → [kh, kw, kd·I, O]
        let [o, i, kd, kh, kw] = [0, 1, 2, 3, 4].map(|d| w.shape[d]);
        let mut hwio = vec![0f32; w.data.len()];
        for (at, &v) in w.data.iter().enumerate() {
            let (tap, t, ci, co) = (at % (kh * kw), at / (kh * kw) % kd, at / (kh * kw * kd) % i, at / (kh * kw * kd * i));
            hwio[((tap * kd + t) * i + ci) * o + co] = v;
        }
        let weights = self.net.constant(ctx.node.input[1].clone(), &[kh, kw, kd * i, o], &hwio);
        let mut inputs = vec![image, weights];
        inputs.extend(self.bias(ctx)?);
        let y = self.net.push(Op::Conv(Conv { window: axes.image(), groups: w.groups }), &inputs, ctx.name, "")?;
        self.volume_output(ctx, y, &dims[0], to)
    }

    /// A convolution along the depth alone, of volumes whose channels are last.
    fn conv_depth(&mut self, ctx: &Ctx<'_>, x: ValueId, w: &Weights<'_>, axes: &Axes) -> Outputs {
        let dims = self.dims(x);
        let Some(pixels) = dims[2].times(&dims[3]) else { return invalid("its extents overflow") };
        let shape = vec![dims[0].clone(), dims[1].clone(), pixels, dims[4].clone()];
        let rows = self.helper(ctx, "rows", Op::Reshape { shape }, &[x])?;
        // [O, I, kd, 1, 1] → [kd, 1, I, O]
        let [o, i, kd] = [0, 1, 2].map(|d| w.shape[d]);
        let mut hwio = vec![0f32; w.data.len()];
        for (at, &v) in w.data.iter().enumerate() {
            let (t, ci, co) = (at % kd, at / kd % i, at / (kd * i));
            hwio[(t * i + ci) * o + co] = v;
        }
        let weights = self.net.constant(ctx.node.input[1].clone(), &[kd, 1, i, o], &hwio);
        let mut inputs = vec![rows, weights];
        inputs.extend(self.bias(ctx)?);
        let y = self.net.push(Op::Conv(Conv { window: axes.depth(), groups: w.groups }), &inputs, ctx.name, "")?;
        let [samples, depth, _, channels] = &self.dims(y)[..] else { return invalid("its result is no image") };
        let shape = vec![samples.clone(), depth.clone(), dims[2].clone(), dims[3].clone(), channels.clone()];
        self.volumes(ctx, y, shape)
    }

    pub(super) fn conv_transpose_volume(&mut self, ctx: &Ctx<'_>, x: ValueId, w: &Weights<'_>) -> Outputs {
        let (x, dims) = self.channels_last(ctx, x)?;
        if !matches!(ctx.attrs.string("auto_pad", "NOTSET")?.as_str(), "NOTSET" | "VALID" | "") || ctx.attrs.ints("output_shape")?.is_some()
        {
            return unsupported("of a volume, auto_pad SAME and output_shape are not supported; say pads");
        }
        let axes = self.axes(ctx, &w.kernel, &dims[1..4])?;
        let more = match ctx.attrs.ints("output_padding")? {
            Some(p) => match p.iter().map(|&p| usize::try_from(p).ok().filter(|&p| p < MOST)).collect::<Option<Vec<_>>>() {
                Some(p) if p.len() == 3 => [p[0], p[1], p[2]],
                _ => return invalid("output_padding should be 3 numbers that are not negative"),
            },
            None => [0; 3],
        };
        let (depth, stride, spread) = (Self::fixed_extent(&dims, 1)?, axes.strides[0], axes.reach(0) - 1);
        let full = (depth - 1) * stride + spread + 1 + more[0];
        let Some(to) = full.checked_sub(axes.begin[0] + axes.end[0]).filter(|&n| n > 0) else {
            return invalid("its pads leave nothing of the depth");
        };
        let mut x = x;
        if stride > 1 {
            // Slices of zeros between those of the input.
            let shape = [&dims[..2], &[Dim::Fixed(1)], &dims[2..]].concat();
            x = self.helper(ctx, "apart", Op::Reshape { shape }, &[x])?;
            let after = vec![0, 0, stride - 1, 0, 0, 0];
            x = self.helper(ctx, "between", Op::Pad { before: vec![0; 6], after, mode: PadMode::Constant(0.0) }, &[x])?;
            let shape = [&dims[..1], &[Dim::Fixed(depth * stride)], &dims[2..]].concat();
            x = self.helper(ctx, "spread", Op::Reshape { shape }, &[x])?;
        }
        x = self.deeper(ctx, x, spread, spread + more[0])?;
        let starts = (0..axes.kernel[0]).map(|t| spread + axes.begin[0] - t * axes.dilations[0]);
        let image = self.taps(ctx, x, starts, [to, 1], w.groups)?;
        // [I, O/groups, kd, kh, kw] → [kh, kw, kd·I/groups, O]
        let [i, own, kd, kh, kw] = [0, 1, 2, 3, 4].map(|d| w.shape[d]);
        let (inputs_of, o) = (i / w.groups, own * w.groups);
        let mut hwio = vec![0f32; w.data.len()];
        for (at, &v) in w.data.iter().enumerate() {
            let (tap, t, co, ci) = (at % (kh * kw), at / (kh * kw) % kd, at / (kh * kw * kd) % own, at / (kh * kw * kd * own));
            hwio[((tap * kd + t) * inputs_of + ci % inputs_of) * o + ci / inputs_of * own + co] = v;
        }
        let weights = self.net.constant(ctx.node.input[1].clone(), &[kh, kw, kd * inputs_of, o], &hwio);
        let mut inputs = vec![image, weights];
        inputs.extend(self.bias(ctx)?);
        let op = Op::ConvTranspose(ConvTranspose { window: axes.image(), groups: w.groups, output_padding: [more[1], more[2]] });
        let y = self.net.push(op, &inputs, ctx.name, "")?;
        self.volume_output(ctx, y, &dims[0], to)
    }

    pub(super) fn pool_volume(&mut self, ctx: &Ctx<'_>, x: ValueId, function: PoolFn, ceil_mode: bool, count_include_pad: bool) -> Outputs {
        let (x, dims) = self.channels_last(ctx, x)?;
        let kernel = positive(ctx, "kernel_shape", 3, 1)?;
        let axes = self.axes(ctx, &kernel, &dims[1..4])?;
        let pool = |window| Op::Pool(Pool { function, window, ceil_mode, count_include_pad });
        let images = self.slices(ctx, x)?;
        let y = self.helper(ctx, "pooled", pool(axes.image()), &[images])?;
        // Slices as rows, pixels as columns.
        let pooled = self.dims(y);
        let Some(pixels) = pooled[1].times(&pooled[2]) else { return invalid("its extents overflow") };
        let shape = vec![dims[0].clone(), dims[1].clone(), pixels, pooled[3].clone()];
        let y = self.helper(ctx, "rows", Op::Reshape { shape }, &[y])?;
        let y = self.net.push(pool(axes.depth()), &[y], ctx.name, "")?;
        let depth = Self::fixed_extent(&self.dims(y), 1)?;
        let Some(images) = dims[0].times(&Dim::Fixed(depth)) else { return invalid("its extents overflow") };
        let shape = [&[images], &pooled[1..]].concat();
        let y = self.helper(ctx, "images", Op::Reshape { shape }, &[y])?;
        self.volume_output(ctx, y, &dims[0], depth)
    }
}
