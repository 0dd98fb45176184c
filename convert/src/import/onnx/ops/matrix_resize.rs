//! Resizing by what `Op::Resize` has no mode for (cubic, antialiased, cropped): along each dimension a product with a matrix of weights.

use quaver_core::graph::{Dim, Op};

use super::compose::ints;
use super::{Ctx, Importer, NodeError, Outputs, Val, unsupported};

/// How one dimension is resized.
#[derive(Debug, Clone)]
pub(super) struct Along {
    pub(super) axis: usize,
    pub(super) to: usize,
    /// Output extent over input extent, as given.
    pub(super) scale: f64,
    /// What is cropped, in parts of the extent.
    pub(super) crop: [f64; 2],
}

/// What all dimensions have in common.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub(super) coordinates: String,
    pub(super) nearest: String,
    pub(super) mode: String,
    pub(super) cubic: f64,
    pub(super) exclude_outside: bool,
    pub(super) antialias: bool,
    pub(super) extrapolation: f64,
}

impl Filter {
    /// Whether `Op::Resize` has no such mode.
    pub(super) fn needs_matrices(&self) -> bool {
        let other = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"];
        self.mode == "cubic" || self.antialias || !other.contains(&self.coordinates.as_str())
    }
}

/// Most numbers of a matrix.
const MOST: usize = 1 << 24;

impl Importer<'_> {
    pub(super) fn resize_by_matrices(&mut self, ctx: &Ctx<'_>, x: &Val, dims: &[Dim], all: &[Along], filter: &Filter) -> Outputs {
        let mut y = x.clone();
        for along in all {
            let n = Self::fixed_extent(dims, along.axis)?;
            if n.checked_mul(along.to).is_none_or(|count| count > MOST) {
                return unsupported("its extents are too large");
            }
            let (weights, outside) = matrix(n, along, filter)?;
            if along.to == n && (0..n * n).all(|i| weights[i] == f32::from(u8::from(i / n == i % n))) {
                continue;
            }
            let mut perm: Vec<i64> = (0..dims.len() as i64).collect();
            perm.swap(along.axis, dims.len() - 1);
            let moved = self.call(ctx, "Transpose", &[&y], &[ints("perm", perm.clone())])?;
            let mut z = self.call(ctx, "MatMul", &[&moved, &Val::floats(vec![n, along.to], weights)], &[])?;
            if outside.iter().any(|&o| o != 0.0) {
                z = self.call(ctx, "Add", &[&z, &Val::floats(vec![along.to], outside)], &[])?;
            }
            y = self.call(ctx, "Transpose", &[&z], &[ints("perm", perm)])?;
        }
        let id = self.as_value(&y)?;
        let shape = self.dims(id);
        self.push(ctx, Op::Reshape { shape }, &[id])
    }
}

/// Weights [in, out], and what is added where all of an output's neighbours are outside.
fn matrix(n: usize, along: &Along, filter: &Filter) -> Result<(Vec<f32>, Vec<f32>), NodeError> {
    let to = along.to;
    let mut weights = vec![0f64; n * to];
    let mut outside = vec![0f32; to];
    // An antialiased filter is as wide as what an output stands for.
    let stretch = if filter.antialias { (1.0 / along.scale).max(1.0) } else { 1.0 };
    for o in 0..to {
        let x = coordinate(o as f64, n as f64, to as f64, along, &filter.coordinates)?;
        if filter.coordinates == "tf_crop_and_resize" && !(0.0..=n as f64 - 1.0).contains(&x) {
            outside[o] = filter.extrapolation as f32;
            continue;
        }
        let taps: Vec<(i64, f64)> = match filter.mode.as_str() {
            "nearest" => vec![(nearest(x, &filter.nearest)?, 1.0)],
            mode => {
                let (reach, weight): (f64, Box<dyn Fn(f64) -> f64>) = match mode {
                    "linear" => (1.0, Box::new(|d: f64| (1.0 - d.abs()).max(0.0))),
                    "cubic" => (2.0, Box::new(|d: f64| cubic(d.abs(), filter.cubic))),
                    other => return unsupported(format!("mode '{other}' is not supported")),
                };
                let (first, last) = ((x - reach * stretch).ceil() as i64, (x + reach * stretch).floor() as i64);
                (first..=last).map(|i| (i, weight((i as f64 - x) / stretch))).filter(|tap| tap.1 != 0.0).collect()
            }
        };
        let excluded = filter.exclude_outside || filter.antialias;
        let inside = |i: i64| (0..n as i64).contains(&i);
        let taps: Vec<(i64, f64)> = taps.into_iter().filter(|tap| !excluded || inside(tap.0)).collect();
        let sum: f64 = taps.iter().map(|tap| tap.1).sum();
        for (i, weight) in taps {
            weights[i.clamp(0, n as i64 - 1) as usize * to + o] += weight / sum;
        }
    }
    Ok((weights.into_iter().map(|w| w as f32).collect(), outside))
}

fn coordinate(o: f64, n: f64, to: f64, along: &Along, mode: &str) -> Result<f64, NodeError> {
    let scale = along.scale;
    // Where scales are given, an image's extent is not always that of the output.
    let full = scale * n;
    Ok(match mode {
        "half_pixel" => (o + 0.5) / scale - 0.5,
        "half_pixel_symmetric" => n / 2.0 * (1.0 - to / full) + (o + 0.5) / scale - 0.5,
        "pytorch_half_pixel" => {
            if to > 1.0 {
                (o + 0.5) / scale - 0.5
            } else {
                0.0
            }
        }
        "align_corners" => {
            if full == 1.0 {
                0.0
            } else {
                o * (n - 1.0) / (full - 1.0)
            }
        }
        "asymmetric" => o / scale,
        "tf_half_pixel_for_nn" => (o + 0.5) / scale,
        "tf_crop_and_resize" => {
            let [start, end] = along.crop;
            if to > 1.0 { start * (n - 1.0) + o * (end - start) * (n - 1.0) / (to - 1.0) } else { 0.5 * (start + end) * (n - 1.0) }
        }
        other => return unsupported(format!("coordinate_transformation_mode '{other}' is not supported")),
    })
}

fn nearest(x: f64, mode: &str) -> Result<i64, NodeError> {
    Ok(match mode {
        "round_prefer_floor" => (x - 0.5).ceil() as i64,
        "round_prefer_ceil" => (x + 0.5).floor() as i64,
        "floor" => x.floor() as i64,
        "ceil" => x.ceil() as i64,
        other => return unsupported(format!("nearest_mode '{other}' is not supported")),
    })
}

/// Keys' kernel: (a+2)d³ − (a+3)d² + 1 up to 1, a(d³ − 5d² + 8d − 4) up to 2.
fn cubic(d: f64, a: f64) -> f64 {
    match d {
        d if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
        d if d < 2.0 => a * (((d - 5.0) * d + 8.0) * d - 4.0),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(mode: &str, antialias: bool) -> Filter {
        Filter {
            coordinates: "half_pixel".to_owned(),
            nearest: "floor".to_owned(),
            mode: mode.to_owned(),
            cubic: -0.75,
            exclude_outside: false,
            antialias,
            extrapolation: 0.0,
        }
    }

    #[test]
    fn weights_of_an_output_sum_to_1_and_lines_stay_lines() {
        for (mode, antialias, n, to) in [("cubic", false, 9, 20), ("cubic", true, 20, 7), ("linear", true, 24, 8), ("linear", false, 5, 9)]
        {
            let along = Along { axis: 0, to, scale: to as f64 / n as f64, crop: [0.0, 1.0] };
            let Ok((weights, _)) = matrix(n, &along, &filter(mode, antialias)) else { panic!("{mode}") };
            for o in 0..to {
                let column = |f: &dyn Fn(usize) -> f32| (0..n).map(|i| weights[i * to + o] * f(i)).sum::<f32>();
                assert!((column(&|_| 1.0) - 1.0).abs() < 1e-5, "{mode} {o}");
                let x = (o as f32 + 0.5) * n as f32 / to as f32 - 0.5;
                // Away from the edges, and where the kernel reproduces lines.
                if !antialias && x > 2.0 && x < n as f32 - 3.0 {
                    let line = column(&|i| i as f32);
                    assert!((line - x).abs() < if mode == "linear" { 1e-4 } else { 0.1 }, "{mode} {o}: {line} {x}");
                }
            }
        }
    }
}
