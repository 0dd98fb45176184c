//! Resize: one dimension after the other, along tables of input positions that are computed once.
//!
//! A dimension changes where its extents differ or its scale isn't 1. Coordinates are f32, each step rounded; positions
//! outside of the image are those of its edge.
//!
//! * Nearest: a copy of the element at the rounded coordinate.
//! * Linear: y = a·(1 − f) + b·f between the element a before and b behind, with f = x − ⌊x⌋: two products and a sum,
//!   each rounded. On u8 the bytes themselves are interpolated, in f32, and rounded to nearest even behind the last
//!   dimension: averages of bytes stay in the range of bytes.

use crate::arith::round::{clamp, rne};
use crate::backend::{Operand, OutputMut};
use crate::graph::op::{Coordinates, Resize, ResizeMode};

/// y is x at other extents.
pub(super) fn resize(resize: &Resize, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let x = &inputs[0].view;
    let axes: Vec<Axis> = (0..x.shape().len()).map(|d| Axis::new(resize, d, x.shape(), output.view.shape())).collect();
    if output.view.bytes_mut().is_empty() {
        return;
    }
    if resize.mode != ResizeMode::Linear || axes.iter().all(|axis| !axis.changes) {
        let depth = axes.iter().rposition(|axis| axis.changes).map_or(0, |last| last + 1);
        return nearest(&axes[..depth], resize.mode, x.bytes(), output.view.bytes_mut());
    }
    if let (Some(from), Some(to)) = (x.as_slice::<f32>(), output.view.as_slice_mut::<f32>()) {
        linear(&axes, x.shape(), from, |result| to.copy_from_slice(result));
    } else {
        let from: Vec<f32> = x.bytes().iter().map(|&q| f32::from(q)).collect();
        let to = output.view.bytes_mut();
        linear(&axes, x.shape(), &from, |result| {
            for (q, &t) in to.iter_mut().zip(result) {
                *q = rne(clamp(t, 0.0, 255.0)) as u8;
            }
        });
    }
}

/// How the positions along one dimension of the output see the input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    pub(crate) changes: bool,
    coordinates: Coordinates,
    scale: f32,
    input: usize,
    output: usize,
}

impl Axis {
    pub(crate) fn new(resize: &Resize, d: usize, input: &[usize], output: &[usize]) -> Self {
        let (scale, input, output) = (resize.scales[d], input[d], output[d]);
        Self { changes: scale != 1.0 || input != output, coordinates: resize.coordinates, scale, input, output }
    }

    /// The input coordinate of output position `o`.
    fn coordinate(&self, o: usize) -> f32 {
        let x = o as f32;
        match self.coordinates {
            Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if self.output <= 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (x + 0.5) / self.scale - 0.5,
            Coordinates::AlignCorners => x * (self.input as f32 - 1.0) / (self.output as f32 - 1.0),
            Coordinates::Asymmetric => x / self.scale,
        }
    }

    /// The nearest input position.
    pub(crate) fn nearest(&self, o: usize, mode: ResizeMode) -> usize {
        if !self.changes {
            return o;
        }
        let x = self.coordinate(o);
        let (floor, ceil) = (libm::floorf(x), libm::ceilf(x));
        let rounded = match mode {
            ResizeMode::RoundPreferFloor if x - floor <= 0.5 => floor,
            ResizeMode::RoundPreferCeil if x - floor < 0.5 => floor,
            ResizeMode::Floor | ResizeMode::Linear => floor,
            ResizeMode::RoundPreferFloor | ResizeMode::RoundPreferCeil | ResizeMode::Ceil => ceil,
        };
        clamp(rounded, 0.0, (self.input - 1) as f32) as usize
    }

    /// The input positions before and behind, and the weight of the latter.
    pub(crate) fn neighbours(&self, o: usize) -> (usize, usize, f32) {
        if !self.changes {
            return (o, o, 0.0);
        }
        let x = clamp(self.coordinate(o), 0.0, (self.input - 1) as f32);
        let floor = libm::floorf(x);
        let before = floor as usize;
        (before, (before + 1).min(self.input - 1), x - floor)
    }
}

/// Copies blocks of bytes, from the outermost dimension inwards; behind the last of `axes` nothing changes.
fn nearest(axes: &[Axis], mode: ResizeMode, from: &[u8], to: &mut [u8]) {
    let Some((axis, inner)) = axes.split_first() else {
        return to.copy_from_slice(from);
    };
    let (from_len, to_len) = (from.len() / axis.input, to.len() / axis.output);
    let mut last = None;
    for o in 0..axis.output {
        let i = axis.nearest(o, mode);
        if last == Some(i) {
            to.copy_within((o - 1) * to_len..o * to_len, o * to_len);
        } else {
            nearest(inner, mode, &from[i * from_len..(i + 1) * from_len], &mut to[o * to_len..(o + 1) * to_len]);
        }
        last = Some(i);
    }
}

/// Interpolates along each axis that changes, and hands the result to `finish`.
fn linear(axes: &[Axis], shape: &[usize], from: &[f32], finish: impl FnOnce(&[f32])) {
    let mut current: Option<Vec<f32>> = None;
    for (d, axis) in axes.iter().enumerate().filter(|(_, axis)| axis.changes) {
        let inner: usize = shape[d + 1..].iter().product();
        let neighbours: Vec<_> = (0..axis.output).map(|o| axis.neighbours(o)).collect();
        let source = current.as_deref().unwrap_or(from);
        let mut next = vec![0.0; source.len() / axis.input * axis.output];
        for (image, result) in source.chunks_exact(axis.input * inner).zip(next.chunks_exact_mut(axis.output * inner)) {
            for (row, &(before, behind, f)) in result.chunks_exact_mut(inner).zip(&neighbours) {
                let (a, b) = (&image[before * inner..][..inner], &image[behind * inner..][..inner]);
                for ((y, &a), &b) in row.iter_mut().zip(a).zip(b) {
                    *y = a * (1.0 - f) + b * f;
                }
            }
        }
        current = Some(next);
    }
    finish(current.as_deref().unwrap_or(from));
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rng, Tensor, call, call_f32, ravel, unravel};
    use super::*;
    use crate::graph::{Dim, Op};
    use crate::quant::Affine;
    use crate::tensor::DType;

    const COORDINATES: [Coordinates; 4] =
        [Coordinates::HalfPixel, Coordinates::PytorchHalfPixel, Coordinates::AlignCorners, Coordinates::Asymmetric];
    const MODES: [ResizeMode; 5] =
        [ResizeMode::RoundPreferFloor, ResizeMode::RoundPreferCeil, ResizeMode::Floor, ResizeMode::Ceil, ResizeMode::Linear];

    fn op(mode: ResizeMode, coordinates: Coordinates, input: &[usize], scales: &[f32]) -> Op {
        let shape = input.iter().zip(scales).map(|(&e, &s)| Dim::Fixed((e as f32 * s) as usize)).collect();
        Op::Resize(Resize { mode, coordinates, shape, scales: scales.to_vec() })
    }

    /// 1 5 2 / 7 3 11 as NHWC, resized by 2 × 1.5 and by 0.5 × 2.34.
    fn resized(mode: ResizeMode, coordinates: Coordinates) -> [Vec<f32>; 2] {
        let x = Tensor::new(&[1, 2, 3, 1], &[1.0f32, 5.0, 2.0, 7.0, 3.0, 11.0]);
        [[1.0, 2.0, 1.5, 1.0], [1.0, 0.5, 2.34, 1.0]].map(|s| call_f32(&op(mode, coordinates, &x.shape, &s), &[&x]).data::<f32>().to_vec())
    }

    /// Expected values are those of onnxruntime.
    #[test]
    fn linear_matches_onnx() {
        let half = [1.0, 3.0, 4.5, 2.5, 2.5, 3.5, 4.458333, 4.291667, 5.5, 4.5, 4.375, 7.875, 7.0, 5.0, 4.333333, 9.666666];
        let expected: [(Coordinates, [f32; 16], [f32; 7]); 4] = [
            (Coordinates::HalfPixel, half, [4.0, 4.0, 4.0, 4.0, 5.057693, 6.126068, 6.5]),
            (Coordinates::PytorchHalfPixel, half, [1.0, 1.564103, 3.273504, 4.982906, 3.730769, 2.448718, 2.0]),
            (
                Coordinates::AlignCorners,
                [1.0, 3.666667, 4.0, 2.0, 3.0, 3.888889, 4.555555, 5.0, 5.0, 4.111111, 5.111112, 8.0, 7.0, 4.333333, 5.666667, 11.0],
                [1.0, 2.333333, 3.666667, 5.0, 4.0, 3.0, 2.0],
            ),
            (
                Coordinates::Asymmetric,
                [1.0, 3.666667, 4.0, 2.0, 4.0, 4.0, 4.833333, 6.5, 7.0, 4.333333, 5.666667, 11.0, 7.0, 4.333333, 5.666667, 11.0],
                [1.0, 2.709402, 4.418803, 4.153846, 2.871795, 2.0, 2.0],
            ),
        ];
        for (coordinates, grown, shrunk) in expected {
            let [a, b] = resized(ResizeMode::Linear, coordinates);
            assert_eq!((a.len(), b.len()), (16, 7));
            for (y, e) in a.iter().chain(&b).zip(grown.iter().chain(&shrunk)) {
                assert!((y - e).abs() <= 2e-6 * e.abs(), "{coordinates:?}: {y} should be {e}");
            }
        }
    }

    /// Expected values are those of onnxruntime: four rows of four digits (b for 11), then one of seven.
    #[test]
    fn nearest_matches_onnx() {
        use Coordinates::{AlignCorners, Asymmetric, HalfPixel, PytorchHalfPixel};
        for (mode, coordinates, grown, shrunk) in [
            (ResizeMode::RoundPreferFloor, HalfPixel, "11521152773b773b", "1155522"),
            (ResizeMode::RoundPreferFloor, PytorchHalfPixel, "11521152773b773b", "1155522"),
            (ResizeMode::RoundPreferFloor, AlignCorners, "15521552733b733b", "1155522"),
            (ResizeMode::RoundPreferFloor, Asymmetric, "15521552733b733b", "1155222"),
            (ResizeMode::RoundPreferCeil, HalfPixel, "15521552733b733b", "77333bb"),
            (ResizeMode::RoundPreferCeil, PytorchHalfPixel, "15521552733b733b", "1155522"),
            (ResizeMode::RoundPreferCeil, AlignCorners, "15521552733b733b", "1155522"),
            (ResizeMode::RoundPreferCeil, Asymmetric, "1552733b733b733b", "1155222"),
            (ResizeMode::Floor, HalfPixel, "1155115511557733", "1111552"),
            (ResizeMode::Floor, PytorchHalfPixel, "1155115511557733", "1111552"),
            (ResizeMode::Floor, AlignCorners, "115211521152773b", "1115552"),
            (ResizeMode::Floor, Asymmetric, "11521152773b773b", "1115522"),
            (ResizeMode::Ceil, HalfPixel, "152273bb73bb73bb", "7333bbb"),
            (ResizeMode::Ceil, PytorchHalfPixel, "152273bb73bb73bb", "1555222"),
            (ResizeMode::Ceil, AlignCorners, "152273bb73bb73bb", "1555222"),
            (ResizeMode::Ceil, Asymmetric, "152273bb73bb73bb", "1552222"),
        ] {
            let digits = |v: &Vec<f32>| v.iter().map(|&x| char::from_digit(x as u32, 12).expect("below 12")).collect::<String>();
            let got = resized(mode, coordinates).each_ref().map(digits);
            assert_eq!(got, [grown, shrunk], "{mode:?} {coordinates:?}");
        }
    }

    fn random_resizes(mut each: impl FnMut(&mut Rng, ResizeMode, Coordinates, Vec<usize>, Vec<f32>)) {
        let mut rng = Rng(31);
        for round in 0..200 {
            let shape = rng.shape(1 + round % 5, 6);
            let scales = shape.iter().map(|&e| [1.0f32, 2.0, 0.5, 1.7, 3.1][rng.below(5)].max(1.0 / e as f32)).collect();
            let (mode, coordinates) = (MODES[rng.below(5)], COORDINATES[rng.below(4)]);
            each(&mut rng, mode, coordinates, shape, scales);
        }
    }

    /// Σ over all corners of the product of weights, in f64 from f32 coordinates.
    fn interpolated(data: &[f32], shape: &[usize], y: &[usize], scales: &[f32], coordinates: Coordinates, index: &[usize]) -> f64 {
        let rank = shape.len();
        let at: Vec<f32> = (0..rank)
            .map(|d| {
                let (o, e, n, s) = (index[d] as f32, shape[d] as f32, y[d] as f32, scales[d]);
                let x = match coordinates {
                    _ if s == 1.0 => o,
                    Coordinates::HalfPixel => (o + 0.5) / s - 0.5,
                    Coordinates::PytorchHalfPixel => {
                        if n > 1.0 {
                            (o + 0.5) / s - 0.5
                        } else {
                            0.0
                        }
                    }
                    Coordinates::AlignCorners => {
                        if n > 1.0 {
                            o * (e - 1.0) / (n - 1.0)
                        } else {
                            0.0
                        }
                    }
                    Coordinates::Asymmetric => o / s,
                };
                x.max(0.0).min(e - 1.0)
            })
            .collect();
        (0..1usize << rank)
            .map(|corner| {
                let mut weight = 1.0;
                let index: Vec<usize> = (0..rank)
                    .map(|d| {
                        let f = f64::from(at[d].fract());
                        let far = corner >> d & 1;
                        weight *= if far == 1 { f } else { 1.0 - f };
                        (at[d] as usize + far).min(shape[d] - 1)
                    })
                    .collect();
                weight * f64::from(data[ravel(&index, shape)])
            })
            .sum()
    }

    #[test]
    fn linear_is_the_weighted_sum_of_corners() {
        let affine = Affine { scale: 0.1, zero_point: 3, q_max: 255 };
        random_resizes(|rng, _, coordinates, shape, scales| {
            let op = op(ResizeMode::Linear, coordinates, &shape, &scales);
            let bytes = rng.bytes(shape.iter().product(), 255);
            let data: Vec<f32> = bytes.iter().map(|&q| f32::from(q)).collect();
            let y = call_f32(&op, &[&Tensor::new(&shape, &data)]);
            let q = call(&op, &[&Tensor::quantized(&shape, &bytes, affine)], DType::U8, Some(affine));
            for (i, &v) in y.data::<f32>().iter().enumerate() {
                let expected = interpolated(&data, &shape, &y.shape, &scales, coordinates, &unravel(i, &y.shape));
                assert!((f64::from(v) - expected).abs() < 1e-3, "{op:?}: {v} should be {expected}");
                assert_eq!(i32::from(q.data::<u8>()[i]), rne(v), "rounded once, at the end");
            }
        });
    }

    #[test]
    fn nearest_copies_the_closest() {
        random_resizes(|rng, mode, coordinates, shape, scales| {
            if mode == ResizeMode::Linear {
                return;
            }
            let op = op(mode, coordinates, &shape, &scales);
            let data = rng.bytes(shape.iter().product(), 255);
            // With the position itself as the value along one dimension, interpolation gives the coordinate.
            let y = call(&op, &[&Tensor::new(&shape, &data)], DType::U8, None);
            for (i, &v) in y.data::<u8>().iter().enumerate() {
                let index = unravel(i, &y.shape);
                let source: Vec<usize> = (0..shape.len())
                    .map(|d| {
                        let ramp: Vec<f32> = (0..shape[d]).map(|k| k as f32).collect();
                        let x = interpolated(&ramp, &shape[d..=d], &y.shape[d..=d], &scales[d..=d], coordinates, &index[d..=d]);
                        (match mode {
                            ResizeMode::RoundPreferFloor => (x - 0.5).ceil(),
                            ResizeMode::RoundPreferCeil => (x + 0.5).floor(),
                            ResizeMode::Floor => x.floor(),
                            _ => x.ceil(),
                        }) as usize
                    })
                    .collect();
                assert_eq!(v, data[ravel(&source, &shape)], "{op:?} at {index:?}");
            }
        });
    }

    #[test]
    fn equal_extents_of_another_scale_still_move() {
        let x = Tensor::new(&[3], &[0.0f32, 10.0, 20.0]);
        let y = call_f32(&op(ResizeMode::Linear, Coordinates::Asymmetric, &[3], &[1.25]), &[&x]);
        assert_eq!(y.data::<f32>(), [0.0, 8.0, 16.0]);
        let y = call_f32(&op(ResizeMode::Linear, Coordinates::HalfPixel, &[3], &[1.0]), &[&x]);
        assert_eq!(y.data::<f32>(), [0.0, 10.0, 20.0]);
    }
}
