//! Operands of kernels.

use quaver_core::backend::Operand;
use quaver_core::quant::Affine;
use quaver_core::tensor::{AlignedBytes, DType, Element, TensorView};

use crate::common::Rng;

/// A tensor with its affine parameters.
#[derive(Debug, Clone)]
pub struct Tensor {
    dtype: DType,
    pub shape: Vec<usize>,
    bytes: AlignedBytes,
    pub quant: Option<Affine>,
}

impl Tensor {
    pub fn new<T: Element>(shape: &[usize], data: &[T]) -> Self {
        let bytes = AlignedBytes::copy_of(bytemuck::cast_slice(data)).expect("memory");
        Self { dtype: T::DTYPE, shape: shape.to_vec(), bytes, quant: None }
    }

    /// Random bytes up to the largest in use.
    pub fn bytes(shape: &[usize], quant: Affine, rng: &mut Rng) -> Self {
        Self { quant: Some(quant), ..Self::new(shape, &rng.bytes(shape.iter().product(), quant.q_max)) }
    }

    /// Random numbers, see [`Rng::floats`].
    pub fn floats(shape: &[usize], rng: &mut Rng) -> Self {
        Self::new(shape, &rng.floats(shape.iter().product()))
    }

    pub fn operand(&self) -> Operand<'_> {
        Operand::new(TensorView::new(self.dtype, &self.shape, &self.bytes).expect("sized"), self.quant)
    }
}
