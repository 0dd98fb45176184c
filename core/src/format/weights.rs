//! Layout of quantized weights: packed `[groups][N/16][K/4][16][4]`, and depthwise `[kh·kw][C]`.
//!
//! 64 consecutive bytes hold 16 output channels × 4 values of K: one AVX-512 register for `vpdpbusd`, two AVX2
//! registers, four wasm vectors; sixteen such rows are one AMX B-tile. K runs over (kh, kw, ic) with the channels of a
//! group padded to a multiple of 4, N over the output channels of a group padded to a multiple of 16. Padding is zero.

/// Output channels in one packed row.
pub const N_BLOCK: usize = 16;
/// Values of K in one packed row.
pub const K_BLOCK: usize = 4;

/// Whether a convolution has the depthwise weight layout.
pub fn is_depthwise(input_channels: usize, output_channels: usize, groups: usize) -> bool {
    groups > 1 && groups == input_channels && groups == output_channels
}

/// The layout of one operation's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedShape {
    /// Number of groups (1 for depthwise, whose channels are not packed by group).
    pub groups: usize,
    /// Taps of the window, kh · kw.
    pub taps: usize,
    /// Input channels of a group.
    pub input_channels: usize,
    /// Output channels of a group (all channels for depthwise).
    pub output_channels: usize,
    /// Whether this is `[kh·kw][C]`.
    pub depthwise: bool,
}

impl PackedShape {
    /// Layout of a convolution, depthwise where it is one; `None` where a size overflows.
    ///
    /// `groups` divides both channel counts, which are not zero.
    pub fn conv(kernel: [usize; 2], input_channels: usize, output_channels: usize, groups: usize) -> Option<Self> {
        if !is_depthwise(input_channels, output_channels, groups) {
            return Self::grouped(kernel, input_channels, output_channels, groups);
        }
        let taps = kernel[0].checked_mul(kernel[1])?;
        Self { groups: 1, taps, input_channels: 1, output_channels, depthwise: true }.checked()
    }

    /// The packed layout, for any number of groups; `None` where a size overflows.
    pub fn grouped(kernel: [usize; 2], input_channels: usize, output_channels: usize, groups: usize) -> Option<Self> {
        let taps = kernel[0].checked_mul(kernel[1])?;
        let (input_channels, output_channels) = (input_channels / groups, output_channels / groups);
        Self { groups, taps, input_channels, output_channels, depthwise: false }.checked()
    }

    fn checked(self) -> Option<Self> {
        let n = self.output_channels.checked_next_multiple_of(N_BLOCK)?;
        let k = self.taps.checked_mul(self.input_channels.checked_next_multiple_of(K_BLOCK)?)?;
        let bytes = n.checked_mul(k)?.checked_mul(self.groups)?;
        // Biases have 4 bytes a channel; both must stay addressable on a 32-bit target.
        (bytes <= i32::MAX as usize && n.checked_mul(self.groups)? <= (i32::MAX / 4) as usize).then_some(self)
    }

    /// Extents of the i8 tensor.
    pub fn weights(&self) -> Vec<usize> {
        if self.depthwise {
            vec![self.taps, self.padded_channels()]
        } else {
            vec![self.groups, self.n_blocks(), self.k_blocks(), N_BLOCK, K_BLOCK]
        }
    }

    /// Blocks of 16 output channels in a group.
    pub fn n_blocks(&self) -> usize {
        self.output_channels.div_ceil(N_BLOCK)
    }

    /// Blocks of 4 values of K.
    pub fn k_blocks(&self) -> usize {
        self.taps * self.input_channels.div_ceil(K_BLOCK)
    }

    /// Length of the bias and multiplier tensors: output channels, padded to 16 in each group.
    pub fn padded_channels(&self) -> usize {
        self.groups * self.n_blocks() * N_BLOCK
    }

    /// Number of weights in the layout, padding included.
    pub fn len(&self) -> usize {
        self.weights().iter().product()
    }

    /// Whether there are no weights.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Position of a weight: group, output channel in the group, tap (row-major over kh, kw), input channel in the group.
    pub fn index(&self, group: usize, n: usize, tap: usize, c: usize) -> usize {
        if self.depthwise {
            return tap * self.padded_channels() + n;
        }
        let k = tap * self.input_channels.next_multiple_of(K_BLOCK) + c;
        let row = (group * self.n_blocks() + n / N_BLOCK) * self.k_blocks() + k / K_BLOCK;
        (row * N_BLOCK + n % N_BLOCK) * K_BLOCK + k % K_BLOCK
    }

    /// Position of an output channel in the bias and multiplier tensors.
    pub fn channel(&self, group: usize, n: usize) -> usize {
        group * self.n_blocks() * N_BLOCK + n
    }

    /// Packs weights given in HWIO order `[kh·kw][ic of a group][all output channels]`; `None` if their number is wrong.
    pub fn pack(&self, hwio: &[i8]) -> Option<Vec<i8>> {
        let channels = self.groups * self.output_channels;
        if hwio.len() != self.taps * self.input_channels * channels {
            return None;
        }
        let mut packed = vec![0i8; self.len()];
        for (i, &w) in hwio.iter().enumerate() {
            let (rest, channel) = (i / channels, i % channels);
            let (tap, c) = (rest / self.input_channels, rest % self.input_channels);
            packed[self.index(channel / self.output_channels, channel % self.output_channels, tap, c)] = w;
        }
        Some(packed)
    }

    /// The inverse of [`PackedShape::pack`]; `None` if the number of weights is wrong.
    pub fn unpack(&self, packed: &[i8]) -> Option<Vec<i8>> {
        if packed.len() != self.len() {
            return None;
        }
        let channels = self.groups * self.output_channels;
        let hwio = (0..self.taps * self.input_channels * channels).map(|i| {
            let (rest, channel) = (i / channels, i % channels);
            let (tap, c) = (rest / self.input_channels, rest % self.input_channels);
            packed[self.index(channel / self.output_channels, channel % self.output_channels, tap, c)]
        });
        Some(hwio.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpack_inverts_pack() {
        for (kernel, c, n, groups) in [([3, 3], 3, 17, 1), ([1, 1], 58, 58, 1), ([3, 2], 8, 40, 4), ([5, 5], 24, 24, 24), ([1, 1], 5, 1, 1)]
        {
            let shape = PackedShape::conv(kernel, c, n, groups).expect("small");
            let total = kernel[0] * kernel[1] * (c / groups) * n;
            let hwio: Vec<i8> = (0..total).map(|i| (i % 251) as u8 as i8).collect();
            let packed = shape.pack(&hwio).expect("length");
            assert_eq!(packed.len() % 16, 0);
            assert_eq!(shape.unpack(&packed).expect("length"), hwio);
        }
    }

    #[test]
    fn sixteen_channels_of_four_values_are_contiguous() {
        let shape = PackedShape::conv([1, 1], 8, 32, 1).expect("small");
        assert_eq!(shape.weights(), [1, 2, 2, 16, 4]);
        assert_eq!(shape.index(0, 0, 0, 3), 3);
        assert_eq!(shape.index(0, 1, 0, 0), 4);
        assert_eq!(shape.index(0, 0, 0, 4), 64);
        assert_eq!(shape.index(0, 16, 0, 0), 128);
    }

    #[test]
    fn overflow_is_refused() {
        assert_eq!(PackedShape::conv([1 << 20, 1 << 20], 1 << 20, 1 << 20, 1), None);
    }
}
