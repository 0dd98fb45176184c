//! Resize and Upsample.

use quaver_core::graph::extent::Extent;
use quaver_core::graph::op::{Coordinates, Resize, ResizeMode};
use quaver_core::graph::{Dim, Op, ValueId};

use super::matrix_resize::{Along, Filter};
use super::open_resize::OpenAlong;
use super::{Ctx, Importer, NodeError, Outputs, Val, axis, invalid, unsupported};

impl Importer<'_> {
    pub(super) fn resize(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.real(ctx, 0)?;
        let dims = self.dims(x);
        // Upsample and Resize of opset 10 have no coordinate mode.
        let old = ctx.node.op_type == "Upsample" || self.opset < 11;
        let filter = Filter {
            coordinates: ctx.attrs.string("coordinate_transformation_mode", "half_pixel")?,
            nearest: ctx.attrs.string("nearest_mode", "round_prefer_floor")?,
            mode: ctx.attrs.string("mode", "nearest")?,
            cubic: f64::from(ctx.attrs.float("cubic_coeff_a", -0.75)?),
            exclude_outside: ctx.attrs.flag("exclude_outside", false)?,
            antialias: ctx.attrs.flag("antialias", false)?,
            extrapolation: f64::from(ctx.attrs.float("extrapolation_value", 0.0)?),
        };
        if !matches!(ctx.attrs.string("keep_aspect_ratio_policy", "stretch")?.as_str(), "stretch") {
            return unsupported("only the 'stretch' aspect ratio policy is supported");
        }
        if !old && filter.needs_matrices() {
            return self.resize_filtered(ctx, x, &filter);
        }
        let coordinates = ctx.attrs.string("coordinate_transformation_mode", "half_pixel")?;
        let coordinates = match coordinates.as_str() {
            _ if old => Coordinates::Asymmetric,
            "half_pixel" => Coordinates::HalfPixel,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            other => return unsupported(format!("coordinate_transformation_mode '{other}' is not supported")),
        };
        let nearest = ctx.attrs.string("nearest_mode", "round_prefer_floor")?;
        let mode = match (ctx.attrs.string("mode", "nearest")?.as_str(), nearest.as_str()) {
            ("linear" | "bilinear", _) => ResizeMode::Linear,
            ("nearest", _) if old => ResizeMode::Floor,
            ("nearest", "round_prefer_floor") => ResizeMode::RoundPreferFloor,
            ("nearest", "round_prefer_ceil") => ResizeMode::RoundPreferCeil,
            ("nearest", "floor") => ResizeMode::Floor,
            ("nearest", "ceil") => ResizeMode::Ceil,
            (mode, _) => return unsupported(format!("mode '{mode}' is not supported; nearest and linear are")),
        };
        let axes = match ctx.attrs.ints("axes")? {
            Some(axes) => axes.iter().map(|&a| axis(a, dims.len())).collect::<Result<Vec<_>, _>>()?,
            None => (0..dims.len()).collect(),
        };
        let given = if old { (self.scales(ctx, 1)?, None) } else { (self.scales(ctx, 2)?, self.syms(ctx, 3)?) };
        let mut shape = dims.clone();
        let mut scales = vec![1f32; dims.len()];
        match given {
            (_, Some(sizes)) if !sizes.is_empty() => {
                if sizes.len() != axes.len() {
                    return invalid(format!("there are {} sizes for {} axes", sizes.len(), axes.len()));
                }
                for (&a, size) in axes.iter().zip(&sizes) {
                    let Some(size) = size.dim() else { return invalid(format!("size {size} is no extent")) };
                    scales[a] = match (dims[a].fixed(), size.fixed()) {
                        (Some(from), Some(to)) => to as f32 / from as f32,
                        _ if size == dims[a] || (self.promote && a == 0 && size == Dim::Fixed(1)) => continue,
                        // The graph of a run knows.
                        _ => 0.0,
                    };
                    shape[a] = size;
                }
            }
            (Some(given), _) if !given.is_empty() => {
                if given.len() != axes.len() {
                    return invalid(format!("there are {} scales for {} axes", given.len(), axes.len()));
                }
                for (&a, &scale) in axes.iter().zip(&given) {
                    let Some(from) = dims[a].fixed() else {
                        let Some(to) = scaled(&dims[a], scale) else {
                            return unsupported(format!("scaling extent {} by {scale} gives no formula", dims[a]));
                        };
                        (shape[a], scales[a]) = (to, scale);
                        continue;
                    };
                    let to = (from as f32 * scale).floor();
                    if !(1.0..1e9).contains(&to) {
                        return invalid(format!("scale {scale} of extent {from} gives no extent"));
                    }
                    (shape[a], scales[a]) = (Dim::Fixed(to as usize), scale);
                }
            }
            _ => return invalid("neither scales nor sizes are given"),
        }
        self.push(ctx, Op::Resize(Resize { mode, coordinates, shape, scales }), &[x])
    }

    /// By matrices; where an extent is open, by what a run computes.
    fn resize_filtered(&mut self, ctx: &Ctx<'_>, x: ValueId, filter: &Filter) -> Outputs {
        let dims = self.dims(x);
        let axes = match ctx.attrs.ints("axes")? {
            Some(axes) => axes.iter().map(|&a| axis(a, dims.len())).collect::<Result<Vec<_>, _>>()?,
            None => (0..dims.len()).collect(),
        };
        let (scales, sizes) = (self.scales(ctx, 2)?.unwrap_or_default(), self.syms(ctx, 3)?.unwrap_or_default());
        let crop = if filter.coordinates == "tf_crop_and_resize" { self.floats(ctx, 1)?.1.to_vec() } else { Vec::new() };
        let crops = crop.is_empty() || crop.len() == 2 * axes.len();
        if !crops || [scales.len(), sizes.len()].iter().all(|&n| n != axes.len()) {
            return invalid("its scales, sizes or regions are not as many as its axes");
        }
        let (mut all, mut open, mut some_open) = (Vec::new(), Vec::new(), false);
        for (i, &a) in axes.iter().enumerate() {
            let size = sizes.get(i).map(|size| size.dim().filter(|d| d.fixed() != Some(0)).ok_or(size)).transpose();
            let size = size.map_err(|size| NodeError::Invalid(format!("extent {size} is no extent")))?;
            let scale = scales.get(i).copied().filter(|_| size.is_none());
            let same = scale == Some(1.0)
                || size.as_ref().is_some_and(|n| *n == dims[a] && n.fixed().is_none() || self.promote && a == 0 && *n == Dim::Fixed(1));
            if same && crop.is_empty() {
                continue;
            }
            let to = match (size, scale, dims[a].fixed()) {
                (Some(to), _, _) => Some(to),
                (None, Some(scale), Some(n)) => Some(Dim::Fixed((n as f64 * f64::from(scale)).floor() as usize)),
                (None, Some(scale), None) => scaled(&dims[a], scale),
                (None, None, _) => return invalid("neither scales nor sizes are given"),
            };
            let Some(to) = to else { return unsupported(format!("resizing extent {} by such a scale gives no formula", dims[a])) };
            if to.fixed().is_some_and(|to| !(1..1 << 20).contains(&to)) {
                return invalid(format!("extent {to} is no extent"));
            }
            if let (Some(n), Some(to)) = (dims[a].fixed(), to.fixed()) {
                let crop = if crop.is_empty() { [0.0, 1.0] } else { [crop[i], crop[axes.len() + i]].map(f64::from) };
                all.push(Along { axis: a, to, scale: scale.map_or(to as f64 / n as f64, f64::from), crop });
            }
            some_open |= dims[a].fixed().is_none() || to.fixed().is_none();
            if scale.is_some() || to != dims[a] {
                open.push(OpenAlong { axis: a, to, scale });
            }
        }
        if some_open {
            return self.resize_open(ctx, &Val::Tensor(x), &open, filter);
        }
        self.resize_by_matrices(ctx, &Val::Tensor(x), &dims, &all, filter)
    }

    fn scales(&self, ctx: &Ctx<'_>, i: usize) -> Result<Option<Vec<f32>>, NodeError> {
        if let Some(scales) = ctx.attrs.floats("scales")? {
            return Ok(Some(scales));
        }
        match ctx.inputs.get(i).and_then(Option::as_ref) {
            None => Ok(None),
            Some(Val::Floats { data, .. }) => Ok(Some(data.to_vec())),
            Some(_) => unsupported("its scales are not known at import"),
        }
    }
}

/// ⌊extent·scale⌋, where the scale is a ratio of small numbers.
fn scaled(extent: &Dim, scale: f32) -> Option<Dim> {
    let by = (1..=64).find(|&by| (scale * by as f32).fract() == 0.0 && scale > 0.0 && scale < 1e6)?;
    Dim::of(extent.extent()?.times(&Extent::from((scale * by as f32) as i64))?.over(&Extent::from(by))?)
}
