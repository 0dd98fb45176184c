//! Pools over NHWC images. Windows see the taps that lie inside the image; the channels of a tap are the inner loop.
//!
//! * Max, u8: the largest byte. Max, f32: m starts at −∞, and m = x where x > m, tap by tap in row order, so NaN is passed
//!   over. Padding is never seen; a window without a tap inside (a dilated one can miss the image) gives 0 or −∞.
//! * Average, f32: the sum tap by tap in row order, from 0, divided by the count.
//! * Average, u8: acc = Σ(q − z) is exact, then requantized with the count, see [`crate::arith::requant`].
//!
//! The count is that of the taps inside the image; where padding counts, that of the taps inside the padded image,
//! without what ceil mode adds to it. It is at least 1.

use std::ops::Range;

use crate::arith::requant::Mean;
use crate::backend::{Operand, OutputMut};
use crate::graph::op::{Pool, PoolFn, Window};

/// Channels that are worked on at once: a buffer on the stack.
const BLOCK: usize = 64;

/// u8 → u8.
pub(super) fn pool_u8(pool: &Pool, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let shapes = Shapes::new(inputs, output);
    let from = inputs[0].view.bytes();
    let (Some(x), Some(y)) = (inputs[0].quant, output.quant) else { return };
    let to = output.view.bytes_mut();
    match pool.function {
        PoolFn::Max => each_window(pool, &shapes, from, to, &mut |window, to| {
            to.fill(0);
            window.taps(&mut |tap| {
                for (m, &q) in to.iter_mut().zip(tap) {
                    *m = q.max(*m);
                }
            });
        }),
        PoolFn::Average => each_window(pool, &shapes, from, to, &mut |window, to| {
            let mut sums = [0i32; BLOCK];
            let mut inside = 0;
            window.taps(&mut |tap| {
                inside += 1;
                for (sum, &q) in sums.iter_mut().zip(tap) {
                    *sum += i32::from(q);
                }
            });
            let mean = Mean::new(x, y, window.count);
            for (q, &sum) in to.iter_mut().zip(&sums) {
                *q = mean.apply(sum - inside * i32::from(x.zero_point));
            }
        }),
    }
}

/// f32 → f32.
pub(super) fn pool_f32(pool: &Pool, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) {
    let shapes = Shapes::new(inputs, output);
    let (Some(from), Some(to)) = (inputs[0].view.as_slice::<f32>(), output.view.as_slice_mut::<f32>()) else { return };
    match pool.function {
        PoolFn::Max => each_window(pool, &shapes, from, to, &mut |window, to| {
            to.fill(f32::NEG_INFINITY);
            window.taps(&mut |tap| {
                for (m, &x) in to.iter_mut().zip(tap) {
                    *m = if x > *m { x } else { *m };
                }
            });
        }),
        PoolFn::Average => each_window(pool, &shapes, from, to, &mut |window, to| {
            to.fill(0.0);
            window.taps(&mut |tap| {
                for (sum, &x) in to.iter_mut().zip(tap) {
                    *sum += x;
                }
            });
            let count = window.count as f32;
            to.iter_mut().for_each(|sum| *sum /= count);
        }),
    }
}

/// Extents of input and output.
struct Shapes {
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
}

impl Shapes {
    fn new(inputs: &[Operand<'_>], output: &OutputMut<'_>) -> Self {
        let (x, y) = (inputs[0].view.shape(), output.view.shape());
        Self { input: [x[1], x[2]], output: [y[1], y[2]], channels: x[3] }
    }
}

/// One position of the window over a block of channels.
struct At<'a, T> {
    image: &'a [T],
    rows: Along,
    columns: Along,
    width: usize,
    pixel: usize,
    block: Range<usize>,
    /// What an average divides by.
    count: usize,
}

impl<T> At<'_, T> {
    /// Calls `visit` with the channels of every tap inside the image, in row order.
    fn taps(&self, visit: &mut dyn FnMut(&[T])) {
        let (rows, columns) = (self.rows, self.columns);
        for row in (0..rows.len).map(|k| rows.first + k * rows.step) {
            for column in (0..columns.len).map(|k| columns.first + k * columns.step) {
                let at = (row * self.width + column) * self.pixel;
                visit(&self.image[at + self.block.start..at + self.block.end]);
            }
        }
    }
}

/// Calls `compute` for each position and block of channels, with the place of its result.
fn each_window<T>(pool: &Pool, shapes: &Shapes, from: &[T], to: &mut [T], compute: &mut dyn FnMut(&At<'_, T>, &mut [T])) {
    let Shapes { input: [h, w], output: [oh, ow], channels: c } = *shapes;
    if to.is_empty() {
        return;
    }
    for (n, image) in to.chunks_exact_mut(oh * ow * c).enumerate() {
        for (o, pixel) in image.chunks_exact_mut(c).enumerate() {
            let rows = inside(pool, 0, o / ow, h);
            let columns = inside(pool, 1, o % ow, w);
            for (i, channels) in pixel.chunks_mut(BLOCK).enumerate() {
                let block = i * BLOCK..i * BLOCK + channels.len();
                let count = (rows.counted * columns.counted).max(1);
                let image = &from[n * h * w * c..(n + 1) * h * w * c];
                compute(&At { image, rows, columns, width: w, pixel: c, block, count }, channels);
            }
        }
    }
}

/// What a window sees along one dimension.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Along {
    /// The first tap inside the image, in the image.
    pub(crate) first: usize,
    /// Taps inside the image.
    pub(crate) len: usize,
    /// The distance between two.
    pub(crate) step: usize,
    /// Taps that count in an average.
    pub(crate) counted: usize,
}

/// Along dimension `d` at output position `o`.
#[inline]
pub(crate) fn inside(pool: &Pool, d: usize, o: usize, extent: usize) -> Along {
    let Window { kernel, strides, dilations, pads_begin, pads_end } = pool.window;
    let start = o * strides[d];
    if start >= pads_begin[d] && start + pool.window.reach(d) <= pads_begin[d] + extent {
        return Along { first: start - pads_begin[d], len: kernel[d], step: dilations[d], counted: kernel[d] };
    }
    // Tap k is at start + k·dilation of the padded extent; taps before `limit` are counted.
    let taps_before = |limit: usize| limit.saturating_sub(start).div_ceil(dilations[d]).min(kernel[d]);
    let (skipped, end) = (taps_before(pads_begin[d]), taps_before(pads_begin[d] + extent));
    let len = end - skipped;
    let counted = if pool.count_include_pad { taps_before(pads_begin[d] + extent + pads_end[d]) } else { len };
    let first = (start + skipped * dilations[d]).saturating_sub(pads_begin[d]);
    Along { first, len, step: dilations[d], counted }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rng, Tensor, call, call_f32};
    use super::*;
    use crate::graph::Op;
    use crate::graph::shape::window_extent;
    use crate::quant::Affine;
    use crate::tensor::DType;

    fn window(kernel: [usize; 2], strides: [usize; 2], dilations: [usize; 2], pads: [usize; 4]) -> Window {
        Window { kernel, strides, dilations, pads_begin: [pads[0], pads[1]], pads_end: [pads[2], pads[3]] }
    }

    /// A 5×6 image in one channel.
    fn image() -> Tensor {
        let data: Vec<f32> = (0..30).map(|n| (n / 6, n % 6)).map(|(i, j)| ((3 * i * i + 5 * j + i * j) % 17) as f32).collect();
        Tensor::new(&[1, 5, 6, 1], &data)
    }

    fn close(y: &Tensor, shape: [usize; 2], expected: &[f32]) {
        assert_eq!(y.shape[1..3], shape);
        for (y, e) in y.data::<f32>().iter().zip(expected) {
            assert!((y - e).abs() <= 2e-6 * e.abs(), "{y} should be {e}");
        }
    }

    /// Expected values are those of onnxruntime.
    #[test]
    fn averages_count_as_onnx_does() {
        let average = |window, ceil_mode, count_include_pad| {
            call_f32(&Op::Pool(Pool { function: PoolFn::Average, window, ceil_mode, count_include_pad }), &[&image()])
        };
        let halves = window([3, 3], [2, 2], [1, 1], [1, 1, 1, 1]);
        let expected = [4.25, 9.666667, 9.333333, 12.0, 6.166667, 7.222222, 9.888889, 15.0, 7.75, 6.333333, 9.166667, 12.0];
        close(&average(halves, true, false), [3, 4], &expected);
        let expected = [1.888889, 6.444445, 6.222222, 4.0, 4.111111, 7.222222, 9.888889, 7.5, 3.444444, 4.222222, 6.111111, 4.0];
        close(&average(halves, true, true), [3, 4], &expected);
        let uneven = window([3, 2], [3, 3], [1, 1], [1, 0, 0, 1]);
        close(&average(uneven, true, false), [2, 2], &[4.25, 8.0, 7.5, 8.833333]);
        close(&average(uneven, true, true), [2, 2], &[2.833333, 5.333333, 7.5, 8.833333]);
        let dilated = window([2, 2], [2, 1], [2, 2], [1, 1, 1, 1]);
        let expected = [9.0, 9.0, 6.5, 12.5, 10.0, 10.0, 5.0, 9.25, 3.5, 10.5, 9.0, 9.0, 1.0, 9.5, 0.5, 8.5, 8.0, 8.0];
        close(&average(dilated, false, false), [3, 6], &expected);
        let expected = [2.25, 4.5, 3.25, 6.25, 5.0, 2.5, 2.5, 9.25, 3.5, 10.5, 9.0, 4.5, 0.25, 4.75, 0.25, 4.25, 4.0, 2.0];
        close(&average(dilated, false, true), [3, 6], &expected);
    }

    /// Expected values are those of onnxruntime.
    #[test]
    fn largest_never_see_padding() {
        let largest = |window| Op::Pool(Pool { function: PoolFn::Max, window, ceil_mode: true, count_include_pad: false });
        let y = call_f32(&largest(window([3, 3], [2, 2], [1, 1], [0; 4])), &[&image()]);
        close(&y, [2, 3], &[15.0, 16.0, 16.0, 15.0, 16.0, 16.0]);
        let y = call_f32(&largest(window([2, 2], [3, 2], [2, 2], [0, 1, 1, 1])), &[&image()]);
        close(&y, [2, 4], &[5.0, 16.0, 16.0, 13.0, 1.0, 1.0, 16.0, 16.0]);
        let negative = Tensor::new(&[1, 1, 1, 2], &[-3.0f32, f32::NAN]);
        let y = call_f32(&largest(window([3, 3], [1, 1], [1, 1], [1; 4])), &[&negative]);
        assert_eq!(y.data::<f32>(), [-3.0, f32::NEG_INFINITY]);
    }

    /// Two taps four apart, around one pixel.
    #[test]
    fn a_window_can_miss_the_image() {
        let window = window([2, 2], [1, 1], [4, 4], [2; 4]);
        let pool = |function, count_include_pad| Op::Pool(Pool { function, window, ceil_mode: false, count_include_pad });
        let x = Tensor::new(&[1, 1, 1, 1], &[5.0f32]);
        assert_eq!(call_f32(&pool(PoolFn::Max, false), &[&x]).data::<f32>(), [f32::NEG_INFINITY]);
        assert_eq!(call_f32(&pool(PoolFn::Average, false), &[&x]).data::<f32>(), [0.0]);
        assert_eq!(call_f32(&pool(PoolFn::Average, true), &[&x]).data::<f32>(), [0.0]);
        let q = Affine { scale: 1.0, zero_point: 7, q_max: 255 };
        let x = Tensor::quantized(&[1, 1, 1, 1], &[9], q);
        assert_eq!(call(&pool(PoolFn::Max, false), &[&x], DType::U8, Some(q)).data::<u8>(), [0]);
        assert_eq!(call(&pool(PoolFn::Average, false), &[&x], DType::U8, Some(q)).data::<u8>(), [7]);
    }

    /// Padded coordinates of the taps of one window, row by row: inside the image, and inside the padded one.
    fn taps(pool: &Pool, o: [usize; 2], extents: [usize; 2]) -> (Vec<[usize; 2]>, usize) {
        let w = pool.window;
        let mut inside = Vec::new();
        let mut padded = 0;
        for k in 0..w.kernel[0] * w.kernel[1] {
            let k = [k / w.kernel[1], k % w.kernel[1]];
            let at = [0, 1].map(|d| o[d] * w.strides[d] + k[d] * w.dilations[d]);
            padded += usize::from((0..2).all(|d| at[d] < w.pads_begin[d] + extents[d] + w.pads_end[d]));
            if (0..2).all(|d| at[d] >= w.pads_begin[d] && at[d] - w.pads_begin[d] < extents[d]) {
                inside.push([0, 1].map(|d| at[d] - w.pads_begin[d]));
            }
        }
        let count = if pool.count_include_pad { padded } else { inside.len() };
        (inside, count)
    }

    fn random_pools(mut each: impl FnMut(&mut Rng, Pool, [usize; 4], Vec<[usize; 2]>)) {
        let mut rng = Rng(21);
        let mut done = 0;
        while done < 150 {
            let mut two = |most: usize| [1 + rng.below(most), 1 + rng.below(most)];
            let (kernel, strides, dilations) = (two(4), two(3), two(2));
            let mut window = Window { kernel, strides, dilations, ..Window::unit() };
            let shape = [1 + rng.below(2), 1 + rng.below(9), 1 + rng.below(9), 1 + rng.below(150)];
            window.pads_begin = [0, 1].map(|d| rng.below(window.reach(d)));
            window.pads_end = [0, 1].map(|d| rng.below(window.reach(d)));
            let function = if rng.below(2) == 0 { PoolFn::Max } else { PoolFn::Average };
            let pool = Pool { function, window, ceil_mode: rng.below(2) == 0, count_include_pad: rng.below(2) == 0 };
            let extent = |d: usize| window_extent(&window, d, shape[d + 1], pool.ceil_mode);
            if let (Some(oh), Some(ow)) = (extent(0), extent(1)) {
                let positions = (0..shape[0] * oh * ow).map(|i| [i / ow % oh, i % ow]).collect();
                each(&mut rng, pool, shape, positions);
                done += 1;
            }
        }
    }

    #[test]
    fn floats_equal_a_naive_loop() {
        random_pools(|rng, pool, shape, positions| {
            let [_, h, w, c] = shape;
            let data = rng.floats(shape.iter().product());
            let y = call_f32(&Op::Pool(pool), &[&Tensor::new(&shape, &data)]);
            for (i, &value) in y.data::<f32>().iter().enumerate() {
                let n = i / (y.shape[1] * y.shape[2] * c);
                let (taps, count) = taps(&pool, positions[i / c], [h, w]);
                let values = taps.iter().map(|t| data[((n * h + t[0]) * w + t[1]) * c + i % c]);
                let expected = match pool.function {
                    PoolFn::Max => values.fold(f32::NEG_INFINITY, f32::max),
                    PoolFn::Average => values.fold(0.0, |s, x| s + x) / count.max(1) as f32,
                };
                assert_eq!(value, expected, "{pool:?} {shape:?} {i}");
            }
        });
    }

    #[test]
    fn bytes_equal_the_formula_in_f64() {
        let qx = Affine { scale: 0.05, zero_point: 60, q_max: 255 };
        random_pools(|rng, pool, shape, positions| {
            let [_, h, w, c] = shape;
            let qy = if pool.function == PoolFn::Max { qx } else { Affine { scale: 0.03, zero_point: 31, q_max: 127 } };
            let data = rng.bytes(shape.iter().product(), 255);
            let y = call(&Op::Pool(pool), &[&Tensor::quantized(&shape, &data, qx)], DType::U8, Some(qy));
            for (i, &q) in y.data::<u8>().iter().enumerate() {
                let n = i / (y.shape[1] * y.shape[2] * c);
                let (taps, count) = taps(&pool, positions[i / c], [h, w]);
                let values = taps.iter().map(|t| data[((n * h + t[0]) * w + t[1]) * c + i % c]);
                if pool.function == PoolFn::Max {
                    assert_eq!(q, values.max().unwrap_or(0), "{pool:?} {shape:?} {i}");
                    continue;
                }
                let sum: f64 = values.map(|q| f64::from(q) - 60.0).sum();
                let t = f64::from(qx.scale) / f64::from(qy.scale) * sum / count.max(1) as f64;
                // Half a step, and what the f32 steps can move a tie by.
                let off = (f64::from(q) - 31.0 - t.clamp(-31.0, 96.0)).abs();
                assert!(off <= 0.5 + 1e-4, "{q} for {t}: {pool:?} {shape:?} {i}");
            }
        });
    }
}
