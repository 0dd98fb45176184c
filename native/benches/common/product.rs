//! Operands of a matrix product for benchmarks, of any extents whose K is a multiple of 4, and the bytes to expect. Activations
//! have 7 bits, so that every instruction set takes them.

use quaver_core::arith::requant::{requantize, requantize_swished};
use quaver_core::graph::op::Epilogue;
use quaver_core::kernel::epilogue::{Finish, HardSwish, Requantize, Residual};
use quaver_core::kernel::gemm::{Bases, Gemm, Source, Weights};
use quaver_core::kernel::pairing::Pairing;
use quaver_core::kernel::soft::Soft;
use quaver_core::tensor::AlignedBytes;

/// Operands of a product.
pub struct Problem {
    /// Rows, channels and products of a sum.
    pub shape: [usize; 3],
    x: AlignedBytes,
    residual: AlignedBytes,
    weights: AlignedBytes,
    pairing: Pairing,
    bias: Vec<[i32; 16]>,
    multiplier: Vec<[f32; 16]>,
    /// Slopes and shifts of HardSwish.
    swish: [Vec<[f32; 16]>; 2],
}

impl Problem {
    /// Random operands, the same each time.
    pub fn new(shape: [usize; 3]) -> Self {
        let [m, n, k] = shape;
        let mut state = 1u32;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        // As those of a trained layer are: few are large.
        let bell = |next: &mut dyn FnMut() -> u8| ((0..4).map(|_| i32::from(next() as i8)).sum::<i32>() / 4) as i8;
        // Sums grow with the root of K; results are to use all of a byte.
        let scale = 1.0 / (256.0 * 32.0 * (k as f32).sqrt());
        let blocks = n.div_ceil(16);
        let weights: Vec<_> = (0..blocks * k / 4).map(|_| [0; 64].map(|_: i8| bell(&mut next))).collect();
        Self {
            shape,
            pairing: Pairing::of(Soft::<0>, &weights, k / 4),
            x: aligned((0..m * k).map(|_| next() & 127).collect()),
            residual: aligned((0..m * n).map(|_| next()).collect()),
            weights: aligned(bytemuck::cast_slice(&weights).to_vec()),
            bias: (0..blocks).map(|_| [0; 16].map(|_: i32| i32::from(next()) * 64)).collect(),
            multiplier: (0..blocks).map(|_| [0.0; 16].map(|_: f32| f32::from(next()) * scale)).collect(),
            swish: [0.004, 0.0].map(|number| vec![[number; 16]; blocks]),
        }
    }

    fn packed(&self) -> &[[i8; 64]] {
        bytemuck::cast_slice(&self.weights)
    }

    /// The whole product, to be run on an instruction set, without a place for it.
    pub fn product(&self, epilogue: &Epilogue) -> Gemm<'_, ()> {
        let [m, n, k] = self.shape;
        let Epilogue { zero_point, lo, hi, .. } = *epilogue;
        let hard_swish = epilogue.hard_swish.then_some(HardSwish { slope: &self.swish[0], shift: &self.swish[1] });
        let residual = epilogue.residual.map(|r| Residual { bytes: &self.residual, zero_point: r.zero_point, multiplier: r.multiplier });
        Gemm {
            source: Source { bytes: &self.x, segments: &[0], quads: k / 4, bases: Bases::matrix(m, k) },
            weights: Weights {
                packed: self.packed(),
                bias: &self.bias,
                multiplier: &self.multiplier,
                orders: Some(self.pairing.orders(0..n.div_ceil(16))),
                quads: k / 4,
                channels: n,
            },
            finish: Finish::U8(Requantize { zero_point, lo, hi, residual, hard_swish, table: None }),
            rows: 0..m,
            blocks: 0..n.div_ceil(16),
            channel: 0,
            width: n,
            to: (),
        }
    }

    /// A row of the product by its definition.
    pub fn expected(&self, row: usize, epilogue: &Epilogue) -> Vec<u8> {
        let [_, n, k] = self.shape;
        let channel = |c: usize| {
            let mut acc = self.bias[c / 16][c % 16];
            for (quad, w) in self.x[row * k..][..k].as_chunks::<4>().0.iter().zip(&self.packed()[c / 16 * k / 4..]) {
                for j in 0..4 {
                    acc += i32::from(quad[j]) * i32::from(w[c % 16 * 4 + j]);
                }
            }
            let m = self.multiplier[c / 16][c % 16];
            if epilogue.hard_swish {
                return requantize_swished(acc, m, [0, 1].map(|i| self.swish[i][c / 16][c % 16]), epilogue);
            }
            let residual = epilogue.residual.map(|_| self.residual[row * n + c]);
            requantize(acc, m, residual, epilogue)
        };
        (0..n).map(channel).collect()
    }
}

/// From a cache line's start on, as in a session.
fn aligned(bytes: Vec<u8>) -> AlignedBytes {
    AlignedBytes::copy_of(&bytes).expect("memory")
}
