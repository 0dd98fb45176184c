//! GridSample on images: elements between pixels, at coordinates that a run knows.
//!
//! Neighbours are picked from the pixels of all images by their numbers, which are computed in real numbers (so there are 2²⁴ pixels
//! at most), and weighted. What is outside weighs nothing, or is the nearest or the mirrored pixel.

use quaver_core::graph::Dim;

use super::compose::{int, ints, real};
use super::{Ctx, Importer, NodeError, Outputs, Sym, Val, invalid, unsupported};
use crate::import::onnx::proto::tensor_proto::DataType;

/// What is outside of an image.
#[derive(Clone, Copy, PartialEq)]
enum Outside {
    Zeros,
    Border,
    Reflection,
}

/// Along one dimension: for each tap its pixel and its weight.
pub(super) type Taps = Vec<(Val, Val)>;

/// Most pixels of all images.
const MOST: usize = 1 << 24;

impl Importer<'_> {
    pub(super) fn grid_sample(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let (x, grid) = (self.given(ctx, 0)?, self.given(ctx, 1)?);
        let (dims, to) = (self.extents(x), self.extents(grid));
        if dims.len() != 4 || to.len() != 4 {
            return unsupported("it is supported on images, of rank 4");
        }
        let mode = ctx.attrs.string("mode", "linear")?;
        let align = ctx.attrs.flag("align_corners", false)?;
        let outside = match ctx.attrs.string("padding_mode", "zeros")?.as_str() {
            "zeros" => Outside::Zeros,
            "border" => Outside::Border,
            "reflection" => Outside::Reflection,
            other => return invalid(format!("padding_mode '{other}' is unknown")),
        };
        let mut taps = Vec::new();
        for (axis, coordinate) in [(2, 1), (3, 0)] {
            let n = Self::fixed_extent(&dims, axis)? as f32;
            let index = Val::Ints { shape: Vec::new(), data: vec![Sym::Num(coordinate)] };
            let g = self.call(ctx, "Gather", &[grid, &index], &[int("axis", -1)])?;
            // −1 and 1 are the centers of the first and the last pixel, or their outer edges.
            let (scale, shift) = if align { ((n - 1.0) / 2.0, (n - 1.0) / 2.0) } else { (n / 2.0, (n - 1.0) / 2.0) };
            let g = self.line(ctx, &g, scale, shift)?;
            taps.push(self.taps_at(ctx, g, &mode, n, align, outside)?);
        }
        let sum = self.weighted(ctx, x, &dims, &taps[0], &taps[1])?;
        self.last(ctx, "Transpose", &[&sum], &[ints("perm", [0, 3, 1, 2])])
    }

    pub(super) fn two(&mut self, ctx: &Ctx<'_>, op: &str, a: &Val, b: &Val) -> Result<Val, NodeError> {
        self.call(ctx, op, &[a, b], &[])
    }

    /// scale·x + shift
    pub(super) fn line(&mut self, ctx: &Ctx<'_>, x: &Val, scale: f32, shift: f32) -> Result<Val, NodeError> {
        let x = self.two(ctx, "Mul", x, &real(scale))?;
        self.two(ctx, "Add", &x, &real(shift))
    }

    fn clipped(&mut self, ctx: &Ctx<'_>, x: &Val, n: f32) -> Result<Val, NodeError> {
        let x = self.two(ctx, "Max", x, &real(0.0))?;
        self.two(ctx, "Min", &x, &real(n - 1.0))
    }

    /// Mirrored at the edges until it is within.
    fn reflected(&mut self, ctx: &Ctx<'_>, x: &Val, n: f32, align: bool) -> Result<Val, NodeError> {
        let (low, range) = if align { (0.0, n - 1.0) } else { (-0.5, n) };
        if range == 0.0 {
            return self.line(ctx, x, 0.0, 0.0);
        }
        let from_low = self.line(ctx, x, 1.0, -low)?;
        let from_low = self.call(ctx, "Abs", &[&from_low], &[])?;
        // Up, and down again, by a period of two.
        let period = self.two(ctx, "Mod", &from_low, &real(2.0 * range))?;
        let down = self.line(ctx, &period, -1.0, 2.0 * range)?;
        let within = self.two(ctx, "Min", &period, &down)?;
        self.line(ctx, &within, 1.0, low)
    }

    /// The four neighbours of each coordinate, which may be outside, and their weights.
    pub(super) fn cubic_taps(&mut self, ctx: &Ctx<'_>, x: &Val, a: f32) -> Result<Taps, NodeError> {
        let first = self.call(ctx, "Floor", &[x], &[])?;
        let part = self.two(ctx, "Sub", x, &first)?;
        // Keys' kernel, as polynomials of the distance to the pixel at or before.
        let kernels = [[0.0, a, -2.0 * a, a], [1.0, 0.0, -(a + 3.0), a + 2.0], [0.0, -a, 2.0 * a + 3.0, -(a + 2.0)], [0.0, 0.0, a, -a]];
        let mut taps = Vec::new();
        for (i, [c0, c1, c2, c3]) in kernels.into_iter().enumerate() {
            let mut weight = self.line(ctx, &part, c3, c2)?;
            for c in [c1, c0] {
                weight = self.two(ctx, "Mul", &weight, &part)?;
                weight = self.two(ctx, "Add", &weight, &real(c))?;
            }
            taps.push((self.line(ctx, &first, 1.0, i as f32 - 1.0)?, weight));
        }
        Ok(taps)
    }

    fn taps_at(&mut self, ctx: &Ctx<'_>, x: Val, mode: &str, n: f32, align: bool, outside: Outside) -> Result<Taps, NodeError> {
        let cubic = matches!(mode, "bicubic" | "cubic");
        // A cubic's taps are brought within one by one.
        let x = match outside {
            Outside::Reflection if !cubic => {
                let x = self.reflected(ctx, &x, n, align)?;
                self.clipped(ctx, &x, n)?
            }
            Outside::Border if !cubic => self.clipped(ctx, &x, n)?,
            _ => x,
        };
        let mut taps = Vec::new();
        match mode {
            "nearest" => {
                let pixel = self.call(ctx, "Round", &[&x], &[])?;
                taps.push((pixel, real(1.0)));
            }
            "bilinear" | "linear" => {
                let first = self.call(ctx, "Floor", &[&x], &[])?;
                let part = self.two(ctx, "Sub", &x, &first)?;
                taps.push((first.clone(), self.line(ctx, &part, -1.0, 1.0)?));
                taps.push((self.line(ctx, &first, 1.0, 1.0)?, part));
            }
            _ if cubic => taps = self.cubic_taps(ctx, &x, -0.75)?,
            other => return invalid(format!("mode '{other}' is unknown")),
        }
        for (pixel, weight) in &mut taps {
            if outside == Outside::Reflection && cubic {
                *pixel = self.reflected(ctx, pixel, n, align)?;
            }
            let within = self.clipped(ctx, pixel, n)?;
            if outside == Outside::Zeros {
                let inside = self.two(ctx, "Equal", &within, pixel)?;
                let inside = self.as_floats(ctx, &inside)?;
                *weight = self.two(ctx, "Mul", weight, &inside)?;
            }
            *pixel = within;
        }
        Ok(taps)
    }

    /// Channels last: the sum over rows' and columns' taps of images `[N,C,H,W]`, at `[N,…]` places of each.
    fn weighted(&mut self, ctx: &Ctx<'_>, x: &Val, dims: &[Dim], rows: &Taps, columns: &Taps) -> Result<Val, NodeError> {
        let (h, w) = (Self::fixed_extent(dims, 2)?, Self::fixed_extent(dims, 3)?);
        if dims[0].about().checked_mul(h * w).is_none_or(|n| n > MOST) {
            return unsupported("its images have too many pixels");
        }
        let count = self.count_up(ctx, &dims[0])?;
        let count = self.as_floats(ctx, &count)?;
        let start = self.line(ctx, &count, (h * w) as f32, 0.0)?;
        let start = self.along(ctx, &start, 0, self.extents(&rows[0].0).len())?;
        let pixels = self.call(ctx, "Transpose", &[x], &[ints("perm", [0, 2, 3, 1])])?;
        let Some(all) = dims[0].times(&Dim::Fixed(h * w)) else { return unsupported("its images have too many pixels") };
        let pixels = self.reshaped(ctx, &pixels, &[all, dims[1].clone()])?;
        let mut sum: Option<Val> = None;
        for (row, row_weight) in rows {
            let row = self.line(ctx, row, w as f32, 0.0)?;
            let row = self.two(ctx, "Add", &row, &start)?;
            for (column, weight) in columns {
                let place = self.two(ctx, "Add", &row, column)?;
                let place = self.call(ctx, "Cast", &[&place], &[int("to", DataType::Int64 as i64)])?;
                let pixel = self.call(ctx, "Gather", &[&pixels, &place], &[int("axis", 0)])?;
                let weight = self.two(ctx, "Mul", row_weight, weight)?;
                let mut shape = self.extents(&weight);
                if !shape.is_empty() {
                    shape.push(Dim::Fixed(1));
                }
                let weight = self.reshaped(ctx, &weight, &shape)?;
                let part = self.two(ctx, "Mul", &pixel, &weight)?;
                sum = Some(match sum {
                    Some(sum) => self.two(ctx, "Add", &sum, &part)?,
                    None => part,
                });
            }
        }
        sum.map_or_else(|| invalid("it has no taps"), Ok)
    }
}
