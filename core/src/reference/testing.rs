//! What the tests of this module share: owned tensors, one call of an operation, random numbers from a seed.

use super::Reference;
use crate::backend::{Operand, OutputMut};
use crate::graph::shape::infer;
use crate::graph::{Dim, Op};
use crate::quant::Affine;
use crate::tensor::{AlignedBytes, DType, Element, TensorView, TensorViewMut, byte_count};

/// A tensor with its affine parameters.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: AlignedBytes,
    pub(super) quant: Option<Affine>,
}

impl Tensor {
    pub(super) fn new<T: Element>(shape: &[usize], data: &[T]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "{shape:?}");
        let bytes = AlignedBytes::copy_of(bytemuck::cast_slice(data)).expect("memory");
        Self { dtype: T::DTYPE, shape: shape.to_vec(), bytes, quant: None }
    }

    pub(super) fn quantized(shape: &[usize], data: &[u8], quant: Affine) -> Self {
        Self { quant: Some(quant), ..Self::new(shape, data) }
    }

    pub(super) fn data<T: Element>(&self) -> &[T] {
        assert_eq!(T::DTYPE, self.dtype);
        bytemuck::cast_slice(&self.bytes)
    }
}

/// The result of `op`; the output's shape is the inferred one, and its bytes are dirty before.
pub(super) fn call(op: &Op, inputs: &[&Tensor], dtype: DType, quant: Option<Affine>) -> Tensor {
    let dims: Vec<Vec<Dim>> = inputs.iter().map(|t| t.shape.iter().map(|&d| Dim::Fixed(d)).collect()).collect();
    let shape = infer(op, &dims.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("the operands fit");
    let shape: Vec<usize> = shape.iter().map(|d| d.fixed().expect("a number")).collect();
    let mut bytes = AlignedBytes::zeroed(byte_count(dtype, &shape).expect("small")).expect("memory");
    bytes.fill(0xA5);
    let operands: Vec<Operand<'_>> =
        inputs.iter().map(|t| Operand::new(TensorView::new(t.dtype, &t.shape, &t.bytes).expect("sized"), t.quant)).collect();
    let view = TensorViewMut::new(dtype, &shape, &mut bytes).expect("sized");
    Reference.compute(op, &operands, &mut OutputMut { view, quant });
    Tensor { dtype, shape, bytes, quant }
}

/// [`call`] where everything is f32.
pub(super) fn call_f32(op: &Op, inputs: &[&Tensor]) -> Tensor {
    call(op, inputs, DType::F32, None)
}

/// SplitMix64.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `0 .. n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// `n` numbers in −4 .. 4.
    pub(super) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.next() >> 40) as f32 / (1 << 21) as f32 - 4.0).collect()
    }

    /// `n` bytes in 0 ..= `most`.
    pub(super) fn bytes(&mut self, n: usize, most: u8) -> Vec<u8> {
        (0..n).map(|_| self.below(usize::from(most) + 1) as u8).collect()
    }

    /// A shape of extents 1 ..= `most`.
    pub(super) fn shape(&mut self, rank: usize, most: usize) -> Vec<usize> {
        (0..rank).map(|_| 1 + self.below(most)).collect()
    }
}

/// The index along each dimension of element `flat` of a row-major tensor.
pub(super) fn unravel(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (slot, &extent) in index.iter_mut().zip(shape).rev() {
        *slot = flat % extent;
        flat /= extent;
    }
    index
}

/// The inverse of [`unravel`].
pub(super) fn ravel(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |flat, (&i, &extent)| flat * extent + i)
}
