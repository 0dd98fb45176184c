//! Biases for dot products of lessened activations ([`crate::kernel::simd::Simd::OFFSET`]): larger by the offset times the sum of
//! a channel's weights. They are a model's constants too, and so made once.

use crate::format::weights::{K_BLOCK, N_BLOCK};

/// Of packed weights, `[groups·N/16][quads][16][4]`.
pub fn packed(bias: &[i32], weights: &[i8], quads: usize, offset: u8) -> Vec<i32> {
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
        assert_eq!(packed(&[7; 32], &weights, 2, 128), expected);
    }
}
