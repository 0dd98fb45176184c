//! What tests of kernels and of whole operations share: random operands, each from a seed that a failure names, what the
//! reference makes of them, the comparison of results, guards around them, and what becomes of an instruction set that the
//! processor lacks; [`isas`] runs a test on each.

// Each test binary uses its part.
#![allow(dead_code, reason = "shared by several test binaries")]

pub mod isas;

use std::env;
use std::sync::Mutex;

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::quant::Affine;
use quaver_core::reference::Reference;
use quaver_core::tensor::{AlignedBytes, DType, TensorViewMut, byte_count};

/// What unwritten bytes and guards hold.
pub const GUARD: u8 = 0xA5;

/// What the reference gives, in words so that f32 are aligned.
pub fn reference(op: &Op, operands: &[Operand<'_>], shape: &[usize], dtype: DType, quant: Option<Affine>) -> AlignedBytes {
    let mut bytes = AlignedBytes::zeroed(byte_count(dtype, shape).expect("small")).expect("memory");
    let view = TensorViewMut::new(dtype, shape, &mut bytes).expect("sized");
    Reference.compute(op, operands, &mut OutputMut { view, quant });
    bytes
}

/// The first element that differs, of results of one length; every NaN is as good as another.
pub fn difference(dtype: DType, got: &[u8], expected: &[u8]) -> Option<usize> {
    if dtype != DType::F32 {
        return (0..expected.len()).find(|&i| got[i] != expected[i]);
    }
    let at = |bytes: &[u8], i: usize| f32::from_bits(u32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().expect("four bytes")));
    (0..expected.len() / 4).find(|&i| {
        let (a, b) = (at(got, i), at(expected, i));
        a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan())
    })
}

/// Says that an instruction set is missing, once and not for every case; a panic, if `QUAVER_REQUIRE_ISA` names it.
pub fn skip(name: &'static str) {
    static SAID: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let required = env::var("QUAVER_REQUIRE_ISA").unwrap_or_default();
    assert!(!required.split(',').any(|required| required == name), "{name} is required, and the processor lacks it");
    let mut said = SAID.lock().expect("no test panics here");
    if !said.contains(&name) {
        said.push(name);
        println!("skipped: the processor lacks {name}");
    }
}

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `0 .. n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In `from ..= to`.
    pub fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    /// Any bytes up to `most`.
    pub fn bytes(&mut self, n: usize, most: u8) -> Vec<u8> {
        (0..n).map(|_| self.below(usize::from(most) + 1) as u8).collect()
    }

    /// Numbers of many magnitudes, NaN, infinities and zeros among them.
    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    fn float(&mut self) -> f32 {
        let unit = (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0;
        match self.below(24) {
            0 => f32::NAN,
            1 => [f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-40, f32::MAX, f32::MIN][self.below(7)],
            2 => f32::from_bits(self.next() as u32),
            // Ties of the rounding that follows a division by a power of 2.
            3..8 => self.below(1024) as f32 / 64.0 - 8.0,
            _ => unit * 8.0,
        }
    }

    /// Slopes and then shifts of HardSwish for so many channels: slopes of scales that a byte has, or so steep that it is a step;
    /// all alike or not, mostly with nothing added.
    pub fn hard_swish(&mut self, channels: usize) -> Vec<f32> {
        let (alike, added) = (self.below(3) == 0, self.below(2) == 0);
        let mut both = [vec![0.003; channels], vec![0.0; channels]];
        for i in 0..channels {
            if !alike {
                both[0][i] = [1e-4, 0.003, 0.02, 1e30][self.below(4)] * (1.0 + self.below(100) as f32 / 64.0);
            }
            if added {
                both[1][i] = [0.0, -7.3, 40.6, 5e6][self.below(if i % 16 == 3 { 4 } else { 3 })];
            }
        }
        both.concat()
    }

    /// Affine parameters of any zero point and limit.
    pub fn affine(&mut self) -> Affine {
        let q_max = [255, 127, self.between(1, 255) as u8][self.below(3)];
        let scale = [1.0 / 32.0, (1.0 + self.below(1000) as f32) / 9000.0][self.below(2)];
        // Often 0, as behind a ReLU, for which kernels have ways of their own.
        let zero_point = if self.below(4) == 0 { 0 } else { self.below(usize::from(q_max) + 1) as u8 };
        Affine { scale, zero_point, q_max }
    }
}
