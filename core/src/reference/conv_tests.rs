//! Convolutions of every kind, on random odd shapes, against loops over weights as they were before packing.

use super::testing::{Rng, Tensor, call, call_f32};
use crate::format::weights::PackedShape;
use crate::graph::Op;
use crate::graph::op::{Conv, ConvTranspose, Epilogue, QConv, QConvTranspose, QGemm, Residual, Window};
use crate::graph::shape::{transposed_extent, window_extent};
use crate::quant::Affine;
use crate::tensor::DType;

const X: Affine = Affine { scale: 0.1, zero_point: 7, q_max: 255 };
const Y: Affine = Affine { scale: 0.2, zero_point: 90, q_max: 255 };
const R: Affine = Affine { scale: 0.2, zero_point: 9, q_max: 255 };

/// A convolution with its operands, the weights HWIO as well as packed.
struct Case {
    transposed: bool,
    window: Window,
    groups: usize,
    output_padding: [usize; 2],
    channels: usize,
    x: Tensor,
    hwio: Vec<i8>,
    shape: PackedShape,
    weights: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    to: [usize; 2],
}

impl Case {
    fn random(rng: &mut Rng, transposed: bool) -> Self {
        let (ic, oc, groups) = match rng.below(4) {
            0 => [2 + rng.below(70); 3].into(),
            1 => {
                let g = 2 + rng.below(2);
                (g * (1 + rng.below(5)), g * (1 + rng.below(20)), g)
            }
            _ => (1 + rng.below(9), 1 + rng.below(35), 1),
        };
        let mut pair = |from: usize, n: [usize; 2]| n.map(|n| from + rng.below(n));
        let (kernel, strides, dilations) = (pair(1, [3, 3]), pair(1, [3, 3]), pair(1, [2, 2]));
        let window = Window { kernel, strides, dilations, pads_begin: pair(0, kernel), pads_end: pair(0, kernel) };
        let output_padding = pair(0, if transposed { strides } else { [1, 1] });
        let extents = pair(6, [4, 4]);
        let to = [0, 1].map(|d| {
            let normal = || window_extent(&window, d, extents[d], false);
            let extent = if transposed { transposed_extent(&window, d, extents[d], output_padding[d]) } else { normal() };
            extent.expect("six elements are enough")
        });
        let make = if transposed { PackedShape::grouped } else { PackedShape::conv };
        let shape = make(kernel, ic, oc, groups).expect("small");
        let hwio: Vec<i8> = rng.bytes(kernel[0] * kernel[1] * ic / groups * oc, 255).into_iter().map(|b| b as i8).collect();
        let padded = shape.padded_channels();
        let bias: Vec<i32> = (0..padded).map(|_| rng.next() as i32 >> 12).collect();
        let multiplier: Vec<f32> = (0..padded).map(|_| (1 + rng.below(1000)) as f32 * 1e-6).collect();
        Self {
            x: Tensor::quantized(&[2, extents[0], extents[1], ic], &rng.bytes(2 * extents[0] * extents[1] * ic, 255), X),
            weights: Tensor::new(&shape.weights(), &shape.pack(&hwio).expect("length")),
            bias: Tensor::new(&[padded], &bias),
            multiplier: Tensor::new(&[padded], &multiplier),
            channels: oc,
            transposed,
            window,
            groups,
            output_padding,
            hwio,
            shape,
            to,
        }
    }

    /// Weight of (tap, input channel of a group, output channel).
    fn weight(&self, tap: usize, c: usize, n: usize) -> i64 {
        let ic = self.x.shape[3] / self.groups;
        i64::from(self.hwio[(tap * ic + c) * self.channels + n])
    }

    /// Σ (x − z)·w of every output element: each input element is scattered to the outputs that it reaches.
    fn sums(&self) -> Vec<i64> {
        let [images, h, w, ic] = self.x.shape[..] else { unreachable!() };
        let (icg, ocg) = (ic / self.groups, self.channels / self.groups);
        let mut sums = vec![0; images * self.to[0] * self.to[1] * self.channels];
        let Window { kernel, strides, dilations, pads_begin, .. } = self.window;
        let reached = |d: usize, i: usize, k: usize| {
            let (i, k, pad, stride) = (i as i64, (k * dilations[d]) as i64, pads_begin[d] as i64, strides[d] as i64);
            let o = if self.transposed { i * stride + k - pad } else { (i + pad - k).div_euclid(stride) };
            let hit = self.transposed || (i + pad - k).rem_euclid(stride) == 0;
            (hit && (0..self.to[d] as i64).contains(&o)).then_some(o as usize)
        };
        for (at, &q) in self.x.data::<u8>().iter().enumerate() {
            let (c, x, y, image) = (at % ic, at / ic % w, at / ic / w % h, at / ic / w / h);
            for tap in 0..kernel[0] * kernel[1] {
                let (Some(oy), Some(ox)) = (reached(0, y, tap / kernel[1]), reached(1, x, tap % kernel[1])) else { continue };
                for n in c / icg * ocg..(c / icg + 1) * ocg {
                    let to = ((image * self.to[0] + oy) * self.to[1] + ox) * self.channels + n;
                    sums[to] += (i64::from(q) - i64::from(X.zero_point)) * self.weight(tap, c % icg, n);
                }
            }
        }
        sums
    }

    /// Where an output channel's bias and multiplier are.
    fn slot(&self, n: usize) -> usize {
        let group = self.channels / self.groups;
        if self.shape.depthwise { n } else { self.shape.channel(n / group, n % group) }
    }

    /// The accumulators, from [`Case::sums`]: the weights of all taps, seen or not, meet the zero point.
    fn accumulators(&self) -> Vec<i64> {
        let (taps, ic) = (self.window.kernel[0] * self.window.kernel[1], self.x.shape[3] / self.groups);
        let all = |n: usize| -> i64 { (0..taps * ic).map(|k| self.weight(k / ic, k % ic, n)).sum() };
        let bias = |n: usize| i64::from(self.bias.data::<i32>()[self.slot(n)]);
        let base: Vec<i64> = (0..self.channels).map(|n| bias(n) + i64::from(X.zero_point) * all(n)).collect();
        self.sums().into_iter().enumerate().map(|(at, sum)| base[at % self.channels] + sum).collect()
    }

    fn op(&self, epilogue: Option<Epilogue>) -> Op {
        let Self { window, groups, channels, output_padding, .. } = *self;
        let pad_value = X.zero_point;
        if self.transposed {
            Op::QConvTranspose(QConvTranspose { window, groups, channels, output_padding, pad_value, epilogue })
        } else {
            Op::QConv(QConv { window, groups, channels, pad_value, epilogue })
        }
    }

    fn check(&self, rng: &mut Rng, epilogue: Option<Epilogue>) {
        let shape = [2, self.to[0], self.to[1], self.channels];
        let residual = Tensor::quantized(&shape, &rng.bytes(shape.iter().product(), 255), R);
        let table = Tensor::new(&[256], &rng.bytes(256, 255));
        let padded = self.multiplier.shape[0];
        let mut swish: Vec<f32> = (0..padded).map(|_| (1 + rng.below(200)) as f32 * 5e-5).collect();
        swish.extend((0..padded).map(|_| rng.below(32) as f32 / 8.0 - 2.0));
        let swish = Tensor::new(&[2, padded], &swish);
        let mut inputs = vec![&self.x, &self.weights, &self.bias, &self.multiplier];
        inputs.extend(epilogue.filter(|e| e.residual.is_some()).map(|_| &residual));
        inputs.extend(epilogue.filter(|e| e.hard_swish).map(|_| &swish));
        inputs.extend(epilogue.filter(|e| e.table).map(|_| &table));
        let (dtype, quant) = if epilogue.is_some() { (DType::U8, Some(Y)) } else { (DType::F32, None) };
        let y = call(&self.op(epilogue), &inputs, dtype, quant);
        assert_eq!(y.shape, shape);
        for (at, acc) in self.accumulators().into_iter().enumerate() {
            let mut t = acc as f32 * self.multiplier.data::<f32>()[self.slot(at % self.channels)];
            let Some(e) = epilogue else {
                assert_eq!(y.data::<f32>()[at], t, "element {at} of {shape:?}, {:?}", self.window);
                continue;
            };
            if let Some(r) = e.residual {
                t += (f32::from(residual.data::<u8>()[at]) - f32::from(r.zero_point)) * r.multiplier;
            }
            if e.hard_swish {
                let [slope, shift] = [0, padded].map(|from| swish.data::<f32>()[from + self.slot(at % self.channels)]);
                // f64 holds each product and sum, so that one rounding to f32 is left.
                let line = (f64::from((f64::from(t) * f64::from(slope)) as f32) + 0.5) as f32;
                t = (f64::from(t) * f64::from(line.clamp(0.0, 1.0))) as f32;
                t = (f64::from(t) + f64::from(shift)) as f32;
            }
            let q = f64::from(t).round_ties_even() + f64::from(e.zero_point);
            let q = q.clamp(f64::from(e.lo), f64::from(e.hi)) as u8;
            let expected = if e.table { table.data::<u8>()[usize::from(q)] } else { q };
            assert_eq!(y.data::<u8>()[at], expected, "element {at} of {shape:?}, {:?}, {e:?}", self.window);
        }
    }
}

#[test]
fn packed_convolutions_equal_scattered_products() {
    let mut rng = Rng(11);
    for round in 0..160 {
        let case = Case::random(&mut rng, round % 4 == 3);
        let residual = (round % 3 == 0).then_some(Residual { zero_point: R.zero_point, multiplier: 0.7 });
        let mut epilogue = Epilogue { zero_point: Y.zero_point, lo: 20, hi: 230, residual, hard_swish: false, table: round % 4 == 1 };
        if round % 7 == 2 {
            epilogue = Epilogue { residual: None, hard_swish: true, table: false, ..epilogue };
        }
        case.check(&mut rng, (round % 5 != 4).then_some(epilogue));
    }
}

#[test]
fn float_convolutions_equal_scattered_products() {
    let mut rng = Rng(13);
    for round in 0..60 {
        let case = Case::random(&mut rng, round % 2 == 1);
        // Sums of products of 8-bit integers are exact in f32.
        let x: Vec<f32> = case.x.data::<u8>().iter().map(|&q| f32::from(q) - f32::from(X.zero_point)).collect();
        let w: Vec<f32> = case.hwio.iter().map(|&w| f32::from(w)).collect();
        let bias: Vec<f32> = (0..case.channels).map(|n| n as f32 - 3.0).collect();
        let Window { kernel: [kh, kw], .. } = case.window;
        let x = Tensor::new(&case.x.shape, &x);
        let w = Tensor::new(&[kh, kw, case.x.shape[3] / case.groups, case.channels], &w);
        let bias = Tensor::new(&[case.channels], &bias);
        let (window, groups, output_padding) = (case.window, case.groups, case.output_padding);
        let op = match case.transposed {
            true => Op::ConvTranspose(ConvTranspose { window, groups, output_padding }),
            false => Op::Conv(Conv { window, groups }),
        };
        let (with, without) = (call_f32(&op, &[&x, &w, &bias]), call_f32(&op, &[&x, &w]));
        let sums = case.sums();
        assert!(sums.iter().zip(without.data::<f32>()).all(|(&sum, &y)| sum as f64 == f64::from(y)));
        let biased = |at: usize| sums[at] as f64 + (at % case.channels) as f64 - 3.0;
        assert!(with.data::<f32>().iter().enumerate().all(|(at, &y)| biased(at) == f64::from(y)));
    }
}

#[test]
fn a_product_is_a_convolution_of_one_tap() {
    let mut rng = Rng(14);
    let shape = PackedShape::grouped([1, 1], 13, 21, 1).expect("small");
    let w: Vec<i8> = rng.bytes(13 * 21, 255).into_iter().map(|b| b as i8).collect();
    let (w, b) = (Tensor::new(&shape.weights(), &shape.pack(&w).expect("length")), Tensor::new(&[32], &[-9; 32]));
    let m = Tensor::new(&[32], &[1e-3f32; 32]);
    let data = rng.bytes(3 * 50 * 13, 255);
    let residual = Some(Residual { zero_point: 1, multiplier: 0.5 });
    let epilogue = Some(Epilogue { zero_point: 90, lo: 0, hi: 255, residual, hard_swish: false, table: true });
    let (added, table) = (rng.bytes(3 * 50 * 21, 255), Tensor::new(&[256], &rng.bytes(256, 255)));
    let product = Op::QGemm(QGemm { channels: 21, epilogue });
    let conv = Op::QConv(QConv { window: Window::unit(), groups: 1, channels: 21, pad_value: 7, epilogue });
    let results = [(product, [3, 50].as_slice()), (conv, &[3, 1, 50])].map(|(op, dims)| {
        let x = Tensor::quantized(&[dims, &[13]].concat(), &data, X);
        let r = Tensor::quantized(&[dims, &[21]].concat(), &added, R);
        call(&op, &[&x, &w, &b, &m, &r, &table], DType::U8, Some(Y)).data::<u8>().to_vec()
    });
    assert_eq!(results[0], results[1]);
}

#[test]
fn the_largest_sums_are_exact() {
    // K·255·128 + |bias| ≤ 2³¹ − 1 is the bound of the file format, and this K is its largest multiple of 4.
    let k = 65_792;
    let shape = PackedShape::grouped([1, 1], k, 1, 1).expect("small");
    let x = Tensor::quantized(&[1, k], &vec![255; k], X);
    let weights = Tensor::new(&shape.weights(), &shape.pack(&vec![-128; k]).expect("length"));
    let room = i32::MAX - 255 * 128 * k as i32;
    let (bias, one) = (Tensor::new(&[16], &[-room; 16]), Tensor::new(&[16], &[1.0f32; 16]));
    let op = Op::QGemm(QGemm { channels: 1, epilogue: None });
    let y = call(&op, &[&x, &weights, &bias, &one], DType::F32, None);
    assert_eq!(y.data::<f32>(), [-(i32::MAX as f32)]);
}

#[test]
fn no_images_are_no_work() {
    let mut rng = Rng(15);
    for round in 0..8 {
        let mut case = Case::random(&mut rng, round % 2 == 1);
        case.x = Tensor::quantized(&[[0].as_slice(), &case.x.shape[1..]].concat(), &[], X);
        let y = call(&case.op(None), &[&case.x, &case.weights, &case.bias, &case.multiplier], DType::F32, None);
        assert_eq!(y.shape[0], 0);
    }
}
