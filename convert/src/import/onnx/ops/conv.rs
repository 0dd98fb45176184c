//! Conv, ConvTranspose, BatchNormalization.

use quaver_core::graph::op::{BinaryFn, Conv, ConvTranspose};
use quaver_core::graph::{Op, ValueId};

use super::{Ctx, Importer, NodeError, Outputs, invalid, positive, unsupported};

/// Weights with their kernel's extents.
pub(super) struct Weights<'c> {
    pub(super) shape: &'c [usize],
    pub(super) data: &'c [f32],
    pub(super) kernel: Vec<usize>,
    pub(super) groups: usize,
}

impl Importer<'_> {
    fn weights<'c>(&self, ctx: &'c Ctx<'_>) -> Result<Weights<'c>, NodeError> {
        let (shape, data) = self.floats(ctx, 1)?;
        if !(3..=5).contains(&shape.len()) {
            return unsupported(format!("its weights have rank {}; 3 (1-D) to 5 (3-D) are supported", shape.len()));
        }
        if shape.contains(&0) {
            return invalid(format!("its weights of shape {shape:?} are empty"));
        }
        let kernel = shape[2..].to_vec();
        if ctx.attrs.ints("kernel_shape")?.is_some_and(|k| !k.iter().map(|&k| k as usize).eq(kernel.iter().copied())) {
            return invalid(format!("kernel_shape differs from the weights' shape {shape:?}"));
        }
        let groups = ctx.attrs.int("group")?.unwrap_or(1);
        let groups = usize::try_from(groups).ok().filter(|&g| g > 0 && shape[0] % g == 0);
        match groups {
            Some(groups) => Ok(Weights { shape, data, kernel, groups }),
            None => invalid(format!("its groups don't divide the {} channels of its weights", shape[0])),
        }
    }

    pub(super) fn bias(&mut self, ctx: &Ctx<'_>) -> Result<Option<ValueId>, NodeError> {
        if !ctx.has(2) {
            return Ok(None);
        }
        self.floats(ctx, 2)?;
        self.real(ctx, 2).map(Some)
    }

    fn check_image(&self, ctx: &Ctx<'_>, x: ValueId, kernel: &[usize]) -> Result<(), NodeError> {
        let rank = self.dims(x).len();
        if rank == kernel.len() + 2 {
            Ok(())
        } else {
            invalid(format!("'{}' has rank {rank}, but the kernel has {} dimensions", ctx.node.input[0], kernel.len()))
        }
    }

    pub(super) fn conv(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.real(ctx, 0)?;
        let w = self.weights(ctx)?;
        self.check_image(ctx, x, &w.kernel)?;
        let rank = self.dims(x).len();
        if rank == 5 {
            return self.conv_volume(ctx, x, &w);
        }
        // OIHW → HWIO.
        let [o, i] = [w.shape[0], w.shape[1]];
        let (kh, kw) = if rank == 3 { (1, w.kernel[0]) } else { (w.kernel[0], w.kernel[1]) };
        let taps = kh * kw;
        let mut hwio = vec![0f32; w.data.len()];
        for (at, &v) in w.data.iter().enumerate() {
            let (tap, ci, co) = (at % taps, at / taps % i, at / taps / i);
            hwio[(tap * i + ci) * o + co] = v;
        }
        let image = self.nhwc(ctx, x)?;
        let window = self.window(ctx, &w.kernel, &self.dims(image))?;
        let groups = w.groups;
        let weights = self.net.constant(ctx.node.input[1].clone(), &[kh, kw, i, o], &hwio);
        let mut inputs = vec![image, weights];
        inputs.extend(self.bias(ctx)?);
        let y = self.net.push(Op::Conv(Conv { window, groups }), &inputs, ctx.name, "")?;
        self.nchw_output(ctx, y, rank)
    }

    pub(super) fn conv_transpose(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.real(ctx, 0)?;
        let w = self.weights(ctx)?;
        self.check_image(ctx, x, &w.kernel)?;
        let rank = self.dims(x).len();
        if rank == 5 {
            return self.conv_transpose_volume(ctx, x, &w);
        }
        let dims = rank - 2;
        // [I, O/groups, H, W] → HWIO with the groups' outputs one after the other.
        let (i, ocg) = (w.shape[0], w.shape[1]);
        let (icg, o) = (i / w.groups, ocg * w.groups);
        let (kh, kw) = if rank == 3 { (1, w.kernel[0]) } else { (w.kernel[0], w.kernel[1]) };
        let taps = kh * kw;
        let mut hwio = vec![0f32; w.data.len()];
        for (at, &v) in w.data.iter().enumerate() {
            let (tap, co, ci) = (at % taps, at / taps % ocg, at / taps / ocg);
            hwio[(tap * icg + ci % icg) * o + ci / icg * ocg + co] = v;
        }
        let image = self.nhwc(ctx, x)?;
        let extents = self.dims(image);
        let auto_pad = ctx.attrs.string("auto_pad", "NOTSET")?;
        let mut output_padding = match ctx.attrs.ints("output_padding")? {
            Some(p) if p.len() == dims && p.iter().all(|&p| p >= 0) => p.iter().map(|&p| p as usize).collect(),
            Some(p) => return invalid(format!("output_padding {p:?} should be {dims} numbers that are not negative")),
            None => vec![0; dims],
        };
        if dims == 1 {
            output_padding.insert(0, 0);
        }
        let mut output_padding = [output_padding[0], output_padding[1]];
        // `window` would work SAME out for a convolution; a transposed one has its own rule, below.
        let strides = positive(ctx, "strides", dims, 1)?;
        let target: Option<Vec<usize>> = match ctx.attrs.ints("output_shape")? {
            Some(s) if s.len() >= dims => s[s.len() - dims..].iter().map(|&v| usize::try_from(v).ok()).collect(),
            Some(s) => return invalid(format!("output_shape {s:?} should have {dims} numbers")),
            None if auto_pad.starts_with("SAME") => {
                (0..dims).map(|d| extents[3 - dims + d].fixed().and_then(|n| n.checked_mul(strides[d]))).collect()
            }
            None => None,
        };
        let mut window = self.window(ctx, &w.kernel, &extents)?;
        if let Some(target) = target {
            for (d, &target) in (2 - dims..2).zip(&target) {
                let Some(extent) = extents[d + 1].fixed() else { return unsupported("its input's extents are not known") };
                let full = (extent - 1) * window.strides[d] + super::window_reach(&window, d)? + output_padding[d];
                let total = full.saturating_sub(target);
                // What the target has beyond the full extent is added at the end.
                output_padding[d] += target.saturating_sub(full);
                let less = total / 2;
                let begin = if auto_pad == "SAME_UPPER" { less } else { total - less };
                (window.pads_begin[d], window.pads_end[d]) = (begin, total - begin);
            }
        }
        let groups = w.groups;
        let weights = self.net.constant(ctx.node.input[1].clone(), &[kh, kw, icg, o], &hwio);
        let mut inputs = vec![image, weights];
        inputs.extend(self.bias(ctx)?);
        let op = Op::ConvTranspose(ConvTranspose { window, groups, output_padding });
        let y = self.net.push(op, &inputs, ctx.name, "")?;
        self.nchw_output(ctx, y, rank)
    }

    /// y = x·scale + shift with one pair a channel: γ/√(σ² + ε), β − μ·γ/√(σ² + ε), in f64, rounded once.
    pub(super) fn batch_norm(&mut self, ctx: &Ctx<'_>) -> Outputs {
        for name in ["momentum", "is_test", "consumed_inputs"] {
            ctx.attrs.ignore(name);
        }
        let more = ctx.node.output.iter().skip(1).any(|o| !o.is_empty());
        // Before opset 14, results are what tells.
        let training = ctx.attrs.flag("training_mode", false)? || (more && self.opset < 14);
        if !training && more {
            return unsupported("results besides the first are those of training mode, which is not set");
        }
        if ctx.attrs.int("spatial")?.unwrap_or(1) != 1 {
            return unsupported("spatial = 0 is not supported");
        }
        let epsilon = f64::from(ctx.attrs.float("epsilon", 1e-5)?);
        let x = self.real(ctx, 0)?;
        let dims = self.dims(x);
        if training {
            // By its own mean and variance, as weights are standardized.
            let normal = self.normal(ctx, x, (0..dims.len()).filter(|&d| d != 1).collect())?;
            return self.by_channel(ctx, normal, dims.len());
        }
        let channels = dims.get(1).and_then(|d| d.fixed()).unwrap_or(0);
        let mut parts = Vec::with_capacity(4);
        for i in 1..5 {
            let (shape, data) = self.floats(ctx, i)?;
            if data.len() != channels {
                return invalid(format!(
                    "operand '{}' of shape {shape:?} should have one number for each of {channels} channels",
                    ctx.node.input[i]
                ));
            }
            parts.push(data);
        }
        let scale: Vec<f64> = (0..channels).map(|c| f64::from(parts[0][c]) / (f64::from(parts[3][c]) + epsilon).sqrt()).collect();
        let shift: Vec<f32> = (0..channels).map(|c| (f64::from(parts[1][c]) - f64::from(parts[2][c]) * scale[c]) as f32).collect();
        let scale: Vec<f32> = scale.into_iter().map(|s| s as f32).collect();
        let mut shape = vec![1; dims.len() - 1];
        shape[0] = channels;
        let scale = self.net.constant(format!("{}.scale", ctx.name), &shape, &scale);
        let shift = self.net.constant(format!("{}.shift", ctx.name), &shape, &shift);
        let scaled = self.helper(ctx, "scale", Op::Binary { function: BinaryFn::Mul }, &[x, scale])?;
        self.push(ctx, Op::Binary { function: BinaryFn::Add }, &[scaled, shift])
    }
}
