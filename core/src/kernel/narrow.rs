//! Windows over pixels of few channels, as in the first layer of a network: a kernel row's bytes are one run, filled up to
//! whole quads at its end, where the file fills up every pixel. 7×7 over 3 channels takes 42 quads of K instead of 49.
//!
//! Its weights are the file's in another order. They are few, so a backend may keep a copy of them; it is the only one.

use crate::format::weights::{K_BLOCK, N_BLOCK, PackedShape};
use crate::graph::op::Window;
use crate::tensor::AlignedBytes;

/// Most bytes of weights that are worth a copy.
const MOST: usize = 1 << 18;

/// The order of K: kernel rows, of each its columns, of each the channels, and zeros up to a whole quad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Narrow {
    kernel: [usize; 2],
    channels: usize,
}

impl Narrow {
    /// For a convolution whose weights have this shape; `None` where this order takes no fewer quads, or rows are no runs.
    pub fn of(window: &Window, shape: &PackedShape) -> Option<Self> {
        let narrow = Self { kernel: window.kernel, channels: shape.input_channels };
        let applies = shape.groups == 1 && !shape.depthwise && window.dilations[1] == 1 && shape.len() <= MOST;
        (applies && narrow.quads() < shape.k_blocks()).then_some(narrow)
    }

    /// Quads of a kernel row.
    pub fn run(&self) -> usize {
        (self.kernel[1] * self.channels).div_ceil(K_BLOCK)
    }

    /// Quads of K.
    pub fn quads(&self) -> usize {
        self.kernel[0] * self.run()
    }

    /// The weights of the file, which have that shape, in this order: `[N/16][K/4]` rows of 16 channels × 4, aligned as those of a file
    /// are, since a row that crosses lines of a cache takes twice as long to load. `None` where there is no memory for them.
    pub fn weights(&self, shape: &PackedShape, packed: &[i8]) -> Option<AlignedBytes> {
        let mut bytes = AlignedBytes::zeroed(shape.n_blocks() * self.quads() * N_BLOCK * K_BLOCK)?;
        let (rows, _) = bytemuck::cast_slice_mut::<u8, i8>(&mut bytes).as_chunks_mut::<{ N_BLOCK * K_BLOCK }>();
        for n in 0..shape.output_channels {
            for tap in 0..shape.taps {
                let (y, x) = (tap / self.kernel[1], tap % self.kernel[1]);
                for c in 0..self.channels {
                    let k = x * self.channels + c;
                    let row = n / N_BLOCK * self.quads() + y * self.run() + k / K_BLOCK;
                    rows[row][n % N_BLOCK * K_BLOCK + k % K_BLOCK] = packed[shape.index(0, n, tap, c)];
                }
            }
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(kernel: [usize; 2]) -> Window {
        Window { kernel, ..Window::unit() }
    }

    #[test]
    fn it_is_for_rows_that_become_shorter() {
        let of = |kernel, channels| Narrow::of(&window(kernel), &PackedShape::grouped(kernel, channels, 8, 1).expect("small"));
        assert_eq!(of([7, 7], 3).map(|narrow| narrow.quads()), Some(42));
        assert_eq!(of([5, 5], 1).map(|narrow| narrow.quads()), Some(10));
        assert_eq!(of([3, 3], 1).map(|narrow| narrow.quads()), Some(3));
        assert_eq!([of([3, 3], 3), of([3, 3], 4), of([1, 1], 3), of([7, 1], 3)], [None; 4]);
        let apart = Window { dilations: [1, 2], ..window([7, 7]) };
        assert_eq!(Narrow::of(&apart, &PackedShape::grouped([7, 7], 3, 8, 1).expect("small")), None);
        assert_eq!(Narrow::of(&window([7, 7]), &PackedShape::grouped([7, 7], 6, 8, 2).expect("small")), None);
    }

    #[test]
    fn each_weight_has_its_place() {
        let (kernel, channels) = ([2, 4], 3);
        let shape = PackedShape::grouped(kernel, channels, 20, 1).expect("small");
        let hwio: Vec<i8> = (0..2 * 4 * 3 * 20).map(|i| (i % 127 + 1) as i8).collect();
        let narrow = Narrow::of(&window(kernel), &shape).expect("12 bytes are 3 quads, instead of 4 pixels of one");
        let bytes = narrow.weights(&shape, &shape.pack(&hwio).expect("length")).expect("memory");
        let weights: &[i8] = bytemuck::cast_slice(&bytes);
        let (rows, _) = weights.as_chunks::<64>();
        for (i, w) in hwio.iter().enumerate() {
            let (n, tap, c) = (i % 20, i / 20 / 3, i / 20 % 3);
            let k = tap / 4 * 12 + tap % 4 * 3 + c;
            assert_eq!(rows[n / 16 * 6 + k / 4][n % 16 * 4 + k % 4], *w);
        }
        assert_eq!(weights.iter().filter(|&&w| w != 0).count(), hwio.len());
    }
}
