//! Signals: DFT and STFT as products with cosines and sines, windows as numbers.

use std::f64::consts::PI;

use quaver_core::graph::Dim;

use super::compose::{int, ints, whole};
use super::{Ctx, Importer, NodeError, Outputs, Val, axis, invalid, unsupported};

/// Most numbers of a matrix.
const MOST: usize = 1 << 24;

impl Importer<'_> {
    /// HannWindow, HammingWindow and BlackmanWindow.
    pub(super) fn signal_window(&mut self, ctx: &Ctx<'_>) -> Outputs {
        ctx.attrs.ignore("output_datatype");
        let n = self.known_size(ctx, 0)?;
        let periodic = ctx.attrs.flag("periodic", true)?;
        let period = if periodic { n } else { n - 1 }.max(1) as f64;
        let coefficients: [f64; 3] = match ctx.node.op_type.as_str() {
            "HannWindow" => [0.5, -0.5, 0.0],
            "HammingWindow" => [25.0 / 46.0, -21.0 / 46.0, 0.0],
            _ => [0.42, -0.5, 0.08],
        };
        let at = |i: usize| (0..3).map(|k| coefficients[k] * (2.0 * PI * (k * i) as f64 / period).cos()).sum::<f64>() as f32;
        Ok(vec![Val::floats(vec![n], (0..n).map(at).collect())])
    }

    fn known_size(&self, ctx: &Ctx<'_>, i: usize) -> Result<usize, NodeError> {
        match self.ints(ctx, i)?.as_deref() {
            Some([n]) if (1..1 << 24).contains(n) => Ok(*n as usize),
            _ => invalid(format!("operand {i} should be one positive number")),
        }
    }

    /// [n·parts, bins·2]: from signals of real, or of real and imaginary numbers, to spectra of them.
    fn fourier(n: usize, of: usize, parts: usize, bins: usize, inverse: bool, window: &[f32]) -> Result<Val, NodeError> {
        if [n, parts, bins, 2].iter().try_fold(1usize, |a, &b| a.checked_mul(b)).is_none_or(|count| count > MOST) {
            return unsupported("its signal is too long");
        }
        let (sign, scale) = if inverse { (1.0, 1.0 / of as f64) } else { (-1.0, 1.0) };
        let mut data = vec![0f32; n * parts * bins * 2];
        for (i, k) in (0..n).flat_map(|i| (0..bins).map(move |k| (i, k))) {
            let angle = sign * 2.0 * PI * ((i * k) % of) as f64 / of as f64;
            let by = scale * f64::from(window.get(i).copied().unwrap_or(1.0));
            let (cos, sin) = ((angle.cos() * by) as f32, (angle.sin() * by) as f32);
            let mut put = |part: usize, to: usize, x: f32| data[(i * parts + part) * bins * 2 + k * 2 + to] = x;
            put(0, 0, cos);
            put(0, 1, sin);
            if parts == 2 {
                put(1, 0, -sin);
                put(1, 1, cos);
            }
        }
        Ok(Val::floats(vec![n * parts, bins * 2], data))
    }

    pub(super) fn dft(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.given(ctx, 0)?;
        let dims = self.extents(x);
        let parts = Self::fixed_extent(&dims, dims.len().wrapping_sub(1))?;
        if !(1..=2).contains(&parts) || dims.len() < 2 {
            return invalid("the last dimension of its operand should be 1 or 2");
        }
        // An operand since opset 20.
        let at = match self.ints(ctx, 2)?.as_deref() {
            Some([at]) => *at,
            _ => ctx.attrs.int("axis")?.unwrap_or(if self.opset >= 20 { -2 } else { 1 }),
        };
        let at = axis(at, dims.len())?;
        if at + 1 == dims.len() {
            return invalid("its axis is that of real and imaginary parts");
        }
        let n = Self::fixed_extent(&dims, at)?;
        let of = if ctx.has(1) { self.known_size(ctx, 1)? } else { n };
        let (inverse, onesided) = (ctx.attrs.flag("inverse", false)?, ctx.attrs.flag("onesided", false)?);
        let bins = if onesided { of / 2 + 1 } else { of };
        // What is longer is cut, what is shorter goes on with zeros.
        let taken = n.min(of);
        let matrix = Self::fourier(taken, of, parts, bins, inverse, &[])?;
        let mut perm: Vec<i64> = (0..dims.len() as i64).filter(|&d| d != at as i64).collect();
        perm.insert(dims.len() - 2, at as i64);
        let cut = self.call(ctx, "Slice", &[x, &whole([0]), &whole([taken as i64]), &whole([at as i64])], &[])?;
        let moved = self.call(ctx, "Transpose", &[&cut], &[ints("perm", perm.clone())])?;
        let lead: Vec<Dim> = self.extents(&moved)[..dims.len() - 2].to_vec();
        let flat = self.reshaped(ctx, &moved, &[&lead[..], &[Dim::Fixed(taken * parts)]].concat())?;
        let y = self.call(ctx, "MatMul", &[&flat, &matrix], &[])?;
        let y = self.reshaped(ctx, &y, &[&lead[..], &[Dim::Fixed(bins), Dim::Fixed(2)]].concat())?;
        let mut back: Vec<i64> = (0..dims.len() as i64).collect();
        perm.iter().enumerate().for_each(|(i, &p)| back[p as usize] = i as i64);
        self.last(ctx, "Transpose", &[&y], &[ints("perm", back)])
    }

    /// Of real signals `[N, length, 1]`: a convolution, whose kernels are a frame's cosines and sines under the window.
    pub(super) fn stft(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.given(ctx, 0)?;
        let dims = self.extents(x);
        let real_signal = matches!(&dims[..], [_, _]) || dims.get(2) == Some(&Dim::Fixed(1));
        if !real_signal {
            return unsupported("signals of complex numbers are not supported");
        }
        let step = self.known_size(ctx, 1)?;
        let window = if ctx.has(2) { self.floats(ctx, 2)?.1.to_vec() } else { Vec::new() };
        let frame = if ctx.has(3) { self.known_size(ctx, 3)? } else { window.len() };
        if frame == 0 || (!window.is_empty() && window.len() != frame) {
            return invalid("its frame's length is missing, or is not that of the window");
        }
        let bins = if ctx.attrs.flag("onesided", true)? { frame / 2 + 1 } else { frame };
        let Val::Floats { data, .. } = Self::fourier(frame, frame, 1, bins, false, &window)? else {
            return invalid("it has no frames");
        };
        let channels = bins * 2;
        let weights: Vec<f32> = (0..channels * frame).map(|i| data[i % frame * channels + i / frame]).collect();
        let weights = Val::floats(vec![channels, 1, frame], weights);
        let rows = self.reshaped(ctx, x, &[dims[0].clone(), Dim::Fixed(1), dims[1].clone()])?;
        let y = self.call(ctx, "Conv", &[&rows, &weights], &[ints("strides", [step as i64])])?;
        let y = self.call(ctx, "Transpose", &[&y], &[ints("perm", [0, 2, 1])])?;
        let frames = self.extents(&y)[1].clone();
        let shape = Self::shape_of(&[dims[0].clone(), frames, Dim::Fixed(bins), Dim::Fixed(2)]);
        self.last(ctx, "Reshape", &[&y, &shape], &[int("allowzero", 1)])
    }
}
