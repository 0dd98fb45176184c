//! The depthwise kernel against the reference, byte for byte: every kernel path, odd shapes, full-range and extreme data.
//!
//! [`check`] takes any instruction set; a test an instruction set is one line. A skip is printed.

mod soft;

use quaver::isa::avx512vnni::Avx512Vnni;
use quaver_core::backend::{Backend, Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::graph::op::{Epilogue, QConv, Residual, Window};
use quaver_core::kernel::depthwise::Depthwise;
use quaver_core::kernel::epilogue::{self, Finish, Requantize, SliceRows};
use quaver_core::kernel::simd::Simd;
use quaver_core::quant::Affine;
use quaver_core::reference::Reference;
use quaver_core::tensor::{DType, TensorView, TensorViewMut};

/// Convolutions on a processor's own instructions.
const ROUNDS: u64 = 4000;

#[test]
fn avx512vnni() {
    match Avx512Vnni::detect() {
        Some(isa) => check(isa, ROUNDS),
        None => println!("skipped: this processor has no AVX-512 VNNI"),
    }
}

#[test]
fn software() {
    check(soft::Soft::<0>, 250);
    check(soft::Soft::<1>, 250);
    check(soft::Soft::<2>, 100);
    check(soft::Soft::<3>, 100);
}

/// `rounds` random convolutions.
fn check<S: Simd>(s: S, rounds: u64) {
    for seed in 0..rounds {
        Case::random(&mut Rng(seed)).check(s, &mut Rng(!seed), seed);
    }
}

/// A convolution with its operands.
struct Case {
    images: usize,
    extents: [usize; 3],
    output: [usize; 2],
    window: Window,
    pad: u8,
    x: Vec<u8>,
    weights: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    epilogue: Option<Epilogue>,
    residual: Vec<u8>,
    table: Vec<u8>,
}

impl Case {
    fn random(rng: &mut Rng) -> Self {
        let mut pair = |from: usize, n: usize| [from + rng.below(n), from + rng.below(n)];
        let (any, strides, dilations) = (pair(1, 5), pair(1, 3), pair(1, 3));
        let square = |k| [k, k];
        let (kernel, strides, dilations) = match rng.below(9) {
            0 => (square(3), square(1), square(1)),
            1 => (square(5), square(1), square(1)),
            2 => (square(7), square(1), square(1)),
            3 => (square(3), square(2), square(1)),
            4 => (square(5), square(2), square(1)),
            5 => (square(7), square(2), square(1)),
            6 => (square(1), strides, square(1)),
            _ => (any, strides, dilations),
        };
        let mut pads = || [rng.below(kernel[0]), rng.below(kernel[1])];
        let mut window = Window { kernel, strides, dilations, pads_begin: pads(), pads_end: pads() };
        // Now and then wider than a run of columns.
        let widest = if rng.below(8) == 0 { 70 } else { 12 };
        let extents = [1 + rng.below(12), 1 + rng.below(widest), 2 + rng.below(199)];
        let output = [0, 1].map(|d| {
            let reach = window.reach(d);
            window.pads_end[d] += reach.saturating_sub(extents[d] + window.pads_begin[d] + window.pads_end[d]);
            (extents[d] + window.pads_begin[d] + window.pads_end[d] - reach) / strides[d] + 1
        });
        let (images, taps, padded) = (1 + rng.below(3), kernel[0] * kernel[1], extents[2].next_multiple_of(16));
        let extreme = rng.below(6) == 0;
        let (x, w) =
            if extreme { (vec![255; images * extents.iter().product::<usize>()], vec![128; taps * padded]) } else { (vec![], vec![]) };
        let x = if extreme { x } else { rng.bytes(images * extents.iter().product::<usize>()) };
        let w = if extreme { w } else { rng.bytes(taps * padded) };
        let pad = rng.next() as u8;
        // From biases that a lifted sum holds to those that nearly overflow, and multipliers to match or beyond.
        let (shift, size) = (rng.below(24) as u32, [1.0, 1e-3, 1e6][rng.below(3).min(rng.below(3))]);
        let least = (taps.div_ceil(4) * 4 * 255 * 128) as i64;
        let bias =
            |rng: &mut Rng| (i64::from(rng.next() as i32 >> shift)).clamp(-i64::from(i32::MAX) + least, i64::from(i32::MAX) - least) as i32;
        let spread = 2f32.powi(shift as i32 - 24).min(1e-2);
        let sign = if rng.below(8) == 0 { -1.0 } else { 1.0 };
        let limits = match rng.below(3) {
            0 => (0, 0, 255),
            1 => (30, 30, 200 + rng.below(56) as u8),
            _ => (rng.next() as u8, rng.below(100) as u8, 100 + rng.below(156) as u8),
        };
        let residual =
            (rng.below(3) == 0).then(|| Residual { zero_point: rng.next() as u8, multiplier: 0.01 + rng.below(100) as f32 / 50.0 });
        let epilogue = Epilogue { zero_point: limits.0, lo: limits.1, hi: limits.2, residual, table: rng.below(4) == 0 };
        Self {
            images,
            extents,
            output,
            window,
            pad,
            x,
            weights: w.into_iter().map(|w| w as i8).collect(),
            bias: (0..padded).map(|_| bias(rng)).collect(),
            multiplier: (0..padded).map(|_| sign * spread * size * (1.0 + rng.below(1 << 20) as f32) / (1 << 20) as f32).collect(),
            epilogue: (rng.below(6) != 0).then_some(epilogue),
            residual: rng.bytes(images * output[0] * output[1] * extents[2]),
            table: rng.bytes(256),
        }
    }

    fn dtype(&self) -> DType {
        if self.epilogue.is_some() { DType::U8 } else { DType::F32 }
    }

    fn reference(&self) -> Vec<u8> {
        let [h, w, c] = self.extents;
        let (taps, padded) = (self.window.kernel[0] * self.window.kernel[1], self.bias.len());
        let shape = [self.images, self.output[0], self.output[1], c];
        let (x_shape, w_shape) = ([self.images, h, w, c], [taps, padded]);
        let mut operands = vec![
            (DType::U8, &x_shape[..], self.x.as_slice()),
            (DType::I8, &w_shape[..], bytemuck::cast_slice(&self.weights)),
            (DType::I32, &w_shape[1..], bytemuck::cast_slice(&self.bias)),
            (DType::F32, &w_shape[1..], bytemuck::cast_slice(&self.multiplier)),
        ];
        if self.epilogue.is_some_and(|e| e.residual.is_some()) {
            operands.push((DType::U8, &shape, &self.residual));
        }
        if self.epilogue.is_some_and(|e| e.table) {
            operands.push((DType::U8, &[256], &self.table));
        }
        let affine = |zero_point| Some(Affine { scale: 1.0, zero_point, q_max: 255 });
        let operands: Vec<_> = operands
            .into_iter()
            .map(|(dtype, shape, bytes)| Operand {
                view: TensorView::new(dtype, shape, bytes).expect("sized"),
                quant: affine(self.pad),
                constant: None,
            })
            .collect();
        // Words, so that f32 are aligned.
        let len = shape.iter().product::<usize>() * if self.epilogue.is_some() { 1 } else { 4 };
        let mut words = vec![0u32; len.div_ceil(4)];
        let bytes: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut words)[..len];
        let view = TensorViewMut::new(self.dtype(), &shape, bytes).expect("sized");
        let conv = QConv { window: self.window, groups: c, channels: c, pad_value: self.pad, epilogue: self.epilogue };
        let quant = affine(self.epilogue.map_or(0, |e| e.zero_point));
        Reference.run(&Op::QConv(conv), &operands, &mut OutputMut { view, quant });
        bytemuck::cast_slice(&words)[..len].to_vec()
    }

    fn finish(&self) -> Finish<'_> {
        let Some(e) = self.epilogue else { return Finish::F32 };
        Finish::U8(Requantize {
            zero_point: e.zero_point,
            lo: e.lo,
            hi: e.hi,
            residual: e.residual.map(|r| epilogue::Residual { bytes: &self.residual, zero_point: r.zero_point, multiplier: r.multiplier }),
            table: e.table.then(|| self.table.first_chunk().expect("256 bytes")),
        })
    }

    /// Computes in parts, as threads would.
    fn check<S: Simd>(&self, s: S, rng: &mut Rng, seed: u64) {
        let size = self.finish().size();
        let expected = self.reference();
        // What is behind the output stays as it is.
        let mut bytes = vec![0xA5; expected.len() + 64];
        let (lines, blocks) = (self.images * self.output[0], self.bias.len() / 16);
        let cut_lines = if rng.below(2) == 0 { 0 } else { rng.below(lines + 1) };
        let cut_blocks = if rng.below(2) == 0 { 0 } else { rng.below(blocks + 1) };
        for lines in [0..cut_lines, cut_lines..lines] {
            for blocks in [0..cut_blocks, cut_blocks..blocks] {
                s.vectorize(Depthwise {
                    input: &self.x,
                    extents: self.extents,
                    window: self.window,
                    output: self.output,
                    weights: &self.weights,
                    bias: &self.bias,
                    multiplier: &self.multiplier,
                    finish: self.finish(),
                    pad: self.pad,
                    lines: lines.clone(),
                    blocks,
                    to: SliceRows { bytes: &mut bytes, pitch: self.extents[2] * size },
                });
            }
        }
        let [_, width, c] = [self.output[0], self.output[1], self.extents[2]];
        if let Some(at) = (0..expected.len()).find(|&i| expected[i] != bytes[i]) {
            let (element, e) = (at / size, self.epilogue);
            panic!(
                "seed {seed}: channel {} column {} line {}: {} for {}; {:?} of {} × {:?}, {e:?}, lines cut at {cut_lines}, blocks at {cut_blocks}",
                element % c,
                element / c % width,
                element / c / width,
                bytes[at],
                expected[at],
                self.window,
                self.images,
                self.extents,
            );
        }
        assert!(bytes[expected.len()..].iter().all(|&b| b == 0xA5), "seed {seed}: bytes behind the output");
    }
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| (self.next() >> 32) as u8).collect()
    }
}
