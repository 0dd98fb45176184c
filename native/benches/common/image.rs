//! Operands of a depthwise convolution of one square image for benchmarks, and the bytes to expect. Activations have 7 bits, so
//! that every instruction set takes them; the window is square and padded to the extent of the image.

use quaver_core::arith::requant::requantize;
use quaver_core::graph::op::{Epilogue, Window};
use quaver_core::kernel::depthwise::Depthwise;
use quaver_core::kernel::epilogue::{Finish, Requantize, SliceRows};
use quaver_core::tensor::AlignedBytes;

/// What padding holds.
const PAD: u8 = 5;

/// Operands of a depthwise convolution.
pub struct Problem {
    extents: [usize; 3],
    /// Rows and columns of the output.
    pub output: [usize; 2],
    window: Window,
    input: AlignedBytes,
    weights: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
}

impl Problem {
    /// For the image's extent, channels, the window's extent and its stride.
    pub fn new([extent, channels, kernel, stride]: [usize; 4]) -> Self {
        let (pad, padded) = (kernel / 2, channels.next_multiple_of(16));
        let window = Window { kernel: [kernel; 2], strides: [stride; 2], dilations: [1; 2], pads_begin: [pad; 2], pads_end: [pad; 2] };
        let input: Vec<u8> = (0..extent * extent * channels).map(|i| (i * 37 % 127) as u8).collect();
        Self {
            extents: [extent, extent, channels],
            output: [(extent + 2 * pad - kernel) / stride + 1; 2],
            window,
            // As in an arena.
            input: AlignedBytes::copy_of(&input).expect("memory"),
            weights: (0..kernel * kernel * padded).map(|i| (i * 29 % 255) as i8).collect(),
            bias: (0..padded).map(|c| (c * 90 % 6000) as i32).collect(),
            multiplier: vec![2e-3; padded],
        }
    }

    /// Elements of the output.
    pub fn len(&self) -> usize {
        self.output[0] * self.output[1] * self.extents[2]
    }

    /// The whole convolution, to be run on an instruction set.
    pub fn depthwise<'a>(&'a self, epilogue: &Epilogue, table: Option<&'a [u8; 256]>, y: &'a mut [u8]) -> Depthwise<'a, SliceRows<'a>> {
        let Epilogue { zero_point, lo, hi, .. } = *epilogue;
        Depthwise {
            input: &self.input,
            extents: self.extents,
            window: self.window,
            output: self.output,
            weights: &self.weights,
            bias: &self.bias,
            multiplier: &self.multiplier,
            finish: Finish::U8(Requantize { zero_point, lo, hi, residual: None, hard_swish: None, table }),
            pad: PAD,
            lines: 0..self.output[0],
            blocks: 0..self.extents[2].div_ceil(16),
            to: SliceRows { bytes: y, pitch: self.extents[2] },
        }
    }

    /// The output by its definition, before a table.
    pub fn expected(&self, epilogue: &Epilogue) -> Vec<u8> {
        let [height, width, channels] = self.extents;
        let ([kernel, _], [stride, _], [pad, _]) = (self.window.kernel, self.window.strides, self.window.pads_begin);
        let padded = channels.next_multiple_of(16);
        let mut y = Vec::with_capacity(self.len());
        let mut sums = vec![0; channels];
        for at in 0..self.output[0] * self.output[1] {
            let (line, column) = (at / self.output[1] * stride, at % self.output[1] * stride);
            sums.copy_from_slice(&self.bias[..channels]);
            for (tap, weights) in self.weights.chunks_exact(padded).enumerate() {
                let (row, column) = (line + tap / kernel, column + tap % kernel);
                let inside = (pad..pad + height).contains(&row) && (pad..pad + width).contains(&column);
                let pixel = inside.then(|| &self.input[((row - pad) * width + column - pad) * channels..][..channels]);
                for (c, sum) in sums.iter_mut().enumerate() {
                    *sum += i32::from(pixel.map_or(PAD, |pixel| pixel[c])) * i32::from(weights[c]);
                }
            }
            y.extend(sums.iter().zip(&self.multiplier).map(|(&sum, &multiplier)| requantize(sum, multiplier, None, epilogue)));
        }
        y
    }
}
