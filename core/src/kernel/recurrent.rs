//! The recurrence of RNN, GRU and LSTM on f32.
//!
//! Steps need those before them, so it is one unit. Its loops are those of the definition, which run over the columns of R
//! side by side, compiled for the instruction set that they run on.

use std::ops::Range;

use super::simd::Simd;
use super::split::Split;
use crate::backend::{Operand, OutputMut};
use crate::graph::recurrent::Recurrent;
use crate::reference::recurrent::Recurrence;

/// All steps of all samples. The one unit is the whole output.
#[derive(Debug, Clone, Copy)]
pub struct Steps<'a> {
    recurrence: Recurrence<'a>,
}

impl<'a> Steps<'a> {
    /// `None` where there is nothing to compute.
    pub fn new(op: &Recurrent, inputs: &[Operand<'a>], _: &OutputMut<'_>) -> Option<Self> {
        Recurrence::new(op, inputs).map(|recurrence| Self { recurrence })
    }
}

impl Split for Steps<'_> {
    fn units(&self) -> usize {
        1
    }

    fn unit_bytes(&self) -> usize {
        self.recurrence.len() * size_of::<f32>()
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, _: S, _: Range<usize>, to: &mut [u8]) {
        if let Ok(to) = bytemuck::try_cast_slice_mut(to) {
            self.recurrence.run(to);
        }
    }
}
