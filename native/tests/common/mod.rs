//! Random operands of tests, each from a seed that a failure names.

use quaver_core::quant::Affine;

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

    /// Affine parameters of any zero point and limit.
    pub fn affine(&mut self) -> Affine {
        let q_max = [255, 127, self.between(1, 255) as u8][self.below(3)];
        let scale = [1.0 / 32.0, (1.0 + self.below(1000) as f32) / 9000.0][self.below(2)];
        Affine { scale, zero_point: self.below(usize::from(q_max) + 1) as u8, q_max }
    }
}
