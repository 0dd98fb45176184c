//! Cubic resizing from or to extents that are open: a run computes where an output's neighbours are, and what they weigh.

use quaver_core::graph::{Dim, Op};

use super::compose::{int, real};
use super::matrix_resize::Filter;
use super::{Ctx, Importer, NodeError, Outputs, Sym, Val, invalid, unsupported};
use crate::import::onnx::proto::tensor_proto::DataType;

/// How one dimension is resized.
#[derive(Debug, Clone)]
pub(super) struct OpenAlong {
    pub(super) axis: usize,
    pub(super) to: Dim,
    /// Output extent over input extent, where it is given instead of the extent.
    pub(super) scale: Option<f32>,
}

impl Importer<'_> {
    /// One dimension after the other: the sum of four neighbours, each picked by its number and weighted.
    pub(super) fn resize_open(&mut self, ctx: &Ctx<'_>, x: &Val, all: &[OpenAlong], filter: &Filter) -> Outputs {
        if filter.mode != "cubic" || filter.antialias {
            return unsupported("from or to an extent that is open such a mode is not supported; fix it with --input-shape");
        }
        let mut y = x.clone();
        for along in all {
            let dims = self.extents(&y);
            let (n, to) = (self.real_extent(ctx, &dims[along.axis])?, self.real_extent(ctx, &along.to)?);
            let last = self.line(ctx, &n, 1.0, -1.0)?;
            let x = self.coordinates(ctx, along, &n, &to, filter)?;
            let mut sums: [Option<Val>; 2] = [None, None];
            for (pixel, mut weight) in self.cubic_taps(ctx, &x, filter.cubic as f32)? {
                let within = self.two(ctx, "Max", &pixel, &real(0.0))?;
                let within = self.two(ctx, "Min", &within, &last)?;
                if filter.exclude_outside {
                    let inside = self.two(ctx, "Equal", &within, &pixel)?;
                    let inside = self.as_floats(ctx, &inside)?;
                    weight = self.two(ctx, "Mul", &weight, &inside)?;
                }
                let pixel = self.call(ctx, "Cast", &[&within], &[int("to", DataType::Int64 as i64)])?;
                let element = self.call(ctx, "Gather", &[&y, &pixel], &[int("axis", along.axis as i64)])?;
                let weight = self.along(ctx, &weight, along.axis, dims.len())?;
                let part = self.two(ctx, "Mul", &element, &weight)?;
                for (sum, part) in sums.iter_mut().zip([part, weight]) {
                    *sum = Some(match sum.take() {
                        Some(sum) => self.two(ctx, "Add", &sum, &part)?,
                        None => part,
                    });
                }
            }
            y = match sums {
                [Some(sum), Some(weights)] if filter.exclude_outside => self.two(ctx, "Div", &sum, &weights)?,
                [Some(sum), _] => sum,
                [None, _] => return invalid("it has no taps"),
            };
        }
        let id = self.as_value(&y)?;
        let shape = self.dims(id);
        self.push(ctx, Op::Reshape { shape }, &[id])
    }

    /// Where each output lies among the inputs, of which there are `n`.
    fn coordinates(&mut self, ctx: &Ctx<'_>, along: &OpenAlong, n: &Val, to: &Val, filter: &Filter) -> Result<Val, NodeError> {
        let count = self.count_up(ctx, &along.to)?;
        let count = self.as_floats(ctx, &count)?;
        // Input extent over output extent.
        let ratio = match along.scale {
            Some(scale) => real(1.0 / scale),
            None => self.two(ctx, "Div", n, to)?,
        };
        match filter.coordinates.as_str() {
            "half_pixel" | "pytorch_half_pixel" => {
                let middles = self.line(ctx, &count, 1.0, 0.5)?;
                let x = self.two(ctx, "Mul", &middles, &ratio)?;
                let x = self.line(ctx, &x, 1.0, -0.5)?;
                if filter.coordinates == "half_pixel" {
                    return Ok(x);
                }
                // A single output is the first input.
                let several = self.line(ctx, to, 1.0, -1.0)?;
                let several = self.two(ctx, "Min", &several, &real(1.0))?;
                self.two(ctx, "Mul", &x, &several)
            }
            "align_corners" => {
                let full = match along.scale {
                    Some(scale) => self.line(ctx, n, scale, 0.0)?,
                    None => to.clone(),
                };
                let (last, full) = (self.line(ctx, n, 1.0, -1.0)?, self.line(ctx, &full, 1.0, -1.0)?);
                // Of a single output there is only number 0.
                let full = self.two(ctx, "Max", &full, &real(f32::MIN_POSITIVE))?;
                let x = self.two(ctx, "Mul", &count, &last)?;
                self.two(ctx, "Div", &x, &full)
            }
            "asymmetric" => self.two(ctx, "Mul", &count, &ratio),
            other => unsupported(format!("coordinate_transformation_mode '{other}' is not supported on extents that are open")),
        }
    }

    /// An extent as a real number, which a run knows where it is open.
    fn real_extent(&mut self, ctx: &Ctx<'_>, extent: &Dim) -> Result<Val, NodeError> {
        if let Some(n) = extent.fixed() {
            return Ok(real(n as f32));
        }
        let id = self.as_value(&Val::Ints { shape: Vec::new(), data: vec![Sym::from_dim(extent)] })?;
        self.as_floats(ctx, &Val::Tensor(id))
    }
}
