//! Biases for dot products of lessened activations ([`crate::kernel::simd::Simd::OFFSET`]): larger by the offset times the sum of
//! a channel's weights. They are a model's constants too, and so made once.

use crate::format::weights::{K_BLOCK, N_BLOCK};

/// How weights lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[groups·N/16][quads][16][4]`, with so many quads.
    Packed(usize),
    /// `[taps][N]`, of a depthwise convolution.
    Depthwise,
}

impl Layout {
    /// The larger biases for such weights.
    pub fn larger(self, bias: &[i32], weights: &[i8], offset: u8) -> Vec<i32> {
        match self {
            Self::Packed(quads) => packed(bias, weights, quads, offset),
            Self::Depthwise => depthwise(bias, weights, offset),
        }
    }
}

fn depthwise(bias: &[i32], weights: &[i8], offset: u8) -> Vec<i32> {
    let mut bias = bias.to_vec();
    for taps in weights.chunks_exact(bias.len().max(1)) {
        for (bias, &w) in bias.iter_mut().zip(taps) {
            *bias = add(*bias, &[w], offset);
        }
    }
    bias
}

fn packed(bias: &[i32], weights: &[i8], quads: usize, offset: u8) -> Vec<i32> {
    let mut bias = bias.to_vec();
    let blocks = weights.chunks_exact((quads * N_BLOCK * K_BLOCK).max(1));
    for (bias, block) in bias.chunks_exact_mut(N_BLOCK).zip(blocks) {
        for row in block.chunks_exact(N_BLOCK * K_BLOCK) {
            for (bias, w) in bias.iter_mut().zip(row.chunks_exact(K_BLOCK)) {
                *bias = add(*bias, w, offset);
            }
        }
    }
    bias
}

/// Sums wrap, as those of the products do, which end where they do not.
fn add(bias: i32, weights: &[i8], offset: u8) -> i32 {
    weights.iter().fold(bias, |bias, &w| bias.wrapping_add(i32::from(offset) * i32::from(w)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_summed_by_channel() {
        // Two blocks of two quads; channel 17's weights are 1, 2, 3, 4 and −5, 0, 0, 0.
        let mut weights = vec![0; 2 * 2 * 64];
        weights[128 + 4..128 + 8].copy_from_slice(&[1, 2, 3, 4]);
        weights[192 + 4] = -5;
        let mut expected = vec![7; 32];
        expected[17] += 128 * 5;
        assert_eq!(Layout::Packed(2).larger(&[7; 32], &weights, 128), expected);
        // Three taps.
        let weights: Vec<i8> = (0..48).map(|i| if i % 16 == 1 { 3 } else { 0 }).collect();
        assert_eq!(Layout::Depthwise.larger(&[5; 16], &weights, 2)[..3], [5, 5 + 2 * 9, 5]);
    }
}
