//! The depthwise kernel against the reference, byte for byte: every kernel path, odd shapes, full-range and extreme data, in
//! parts as threads would compute them.

use quaver_core::backend::Operand;
use quaver_core::graph::Op;
use quaver_core::graph::op::{Epilogue, QConv, Residual, Window};
use quaver_core::kernel::depthwise::Depthwise;
use quaver_core::kernel::epilogue::{self, Finish, Requantize, SliceRows};
use quaver_core::kernel::simd::Simd;
use quaver_core::quant::Affine;
use quaver_core::tensor::{AlignedBytes, DType, TensorView};

use crate::common::isas::{Test, on_isas, on_tiles};
use crate::common::{GUARD, Rng, reference};

#[test]
fn every_instruction_set_equals_the_reference() {
    on_isas(&mut Rounds(2500));
}

/// Bodies choose by the tile what suits the registers.
#[test]
fn every_tile_equals_the_reference() {
    on_tiles(&mut Rounds(200));
}

/// So many random convolutions.
struct Rounds(u64);

impl Test for Rounds {
    fn on<S: Simd>(&mut self, name: &str, isa: S) {
        for seed in 0..self.0 {
            Case::random(&mut Rng(seed), S::MAX_ACTIVATION).check(name, isa, &mut Rng(!seed), seed);
        }
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
    swish: Vec<f32>,
    epilogue: Option<Epilogue>,
    residual: Vec<u8>,
    table: Vec<u8>,
}

impl Case {
    fn random(rng: &mut Rng, max_activation: u8) -> Self {
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
            6 => (square(1), if rng.below(2) == 0 { square(1) } else { strides }, square(1)),
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
        let pixels = images * extents.iter().product::<usize>();
        let x = if extreme { vec![max_activation; pixels] } else { rng.bytes(pixels, max_activation) };
        let w = if extreme { vec![128; taps * padded] } else { rng.bytes(taps * padded, 255) };
        let pad = rng.below(usize::from(max_activation) + 1) as u8;
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
        let mut epilogue =
            Epilogue { zero_point: limits.0, lo: limits.1, hi: limits.2, residual, hard_swish: false, table: rng.below(4) == 0 };
        if rng.below(4) == 0 {
            epilogue = Epilogue { residual: None, hard_swish: true, table: false, ..epilogue };
        }
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
            swish: rng.hard_swish(padded),
            epilogue: (rng.below(6) != 0).then_some(epilogue),
            residual: rng.bytes(images * output[0] * output[1] * extents[2], 255),
            table: rng.bytes(256, 255),
        }
    }

    fn dtype(&self) -> DType {
        if self.epilogue.is_some() { DType::U8 } else { DType::F32 }
    }

    fn expected(&self) -> AlignedBytes {
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
        let swish_shape = [2, padded];
        if self.epilogue.is_some_and(|e| e.hard_swish) {
            operands.push((DType::F32, &swish_shape, bytemuck::cast_slice(&self.swish)));
        }
        if self.epilogue.is_some_and(|e| e.table) {
            operands.push((DType::U8, &[256], &self.table));
        }
        let affine = |zero_point| Some(Affine { scale: 1.0, zero_point, q_max: 255 });
        let operands: Vec<_> = operands
            .into_iter()
            .map(|(dtype, shape, bytes)| Operand::new(TensorView::new(dtype, shape, bytes).expect("sized"), affine(self.pad)))
            .collect();
        let conv = QConv { window: self.window, groups: c, channels: c, pad_value: self.pad, epilogue: self.epilogue };
        let quant = affine(self.epilogue.map_or(0, |e| e.zero_point));
        reference(&Op::QConv(conv), &operands, &shape, self.dtype(), quant)
    }

    fn finish(&self) -> Finish<'_> {
        let Some(e) = self.epilogue else { return Finish::F32 };
        Finish::U8(Requantize {
            zero_point: e.zero_point,
            lo: e.lo,
            hi: e.hi,
            residual: e.residual.map(|r| epilogue::Residual { bytes: &self.residual, zero_point: r.zero_point, multiplier: r.multiplier }),
            hard_swish: e.hard_swish.then(|| {
                let (slope, shift) = self.swish.as_chunks().0.split_at(self.bias.len() / 16);
                epilogue::HardSwish { slope, shift }
            }),
            table: e.table.then(|| self.table.first_chunk().expect("256 bytes")),
        })
    }

    /// Computes in parts, as threads would.
    fn check<S: Simd>(&self, name: &str, s: S, rng: &mut Rng, seed: u64) {
        let size = self.finish().size();
        let expected = self.expected();
        // What is behind the output stays as it is.
        let mut bytes = vec![GUARD; expected.len() + 64];
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
                "{name}, seed {seed}: channel {} column {} line {}: {} for {}; {:?} of {} × {:?}, {e:?}, lines cut at {cut_lines}, blocks at {cut_blocks}",
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
        assert!(bytes[expected.len()..].iter().all(|&b| b == GUARD), "{name}, seed {seed}: bytes behind the output");
    }
}
