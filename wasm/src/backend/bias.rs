//! Biases for dot products of lessened activations: see [`quaver_core::kernel::bind::offset`].

use std::borrow::Cow;

use quaver_core::backend::Operand;
use quaver_core::kernel::bind::offset::Layout;
use quaver_core::tensor::Element;

use crate::isa::Token;

/// The biases of a node.
#[derive(Debug)]
pub(super) enum Bias {
    /// Those of the model.
    Given,
    /// Larger ones.
    Larger(Vec<i32>),
    /// Larger ones, which wait for weights or biases that are computed while the model runs.
    Waiting(Layout, u8),
}

impl Bias {
    /// Those that `token` needs, of a node whose constant operands are asked for by their number.
    pub(super) fn bind<'a>(token: Token, layout: Layout, constant: impl Fn(usize) -> Option<&'a [u8]>) -> Self {
        let by = token.offset();
        if by == 0 {
            return Self::Given;
        }
        match (constant(1).and_then(elements), constant(2).and_then(elements)) {
            (Some(weights), Some(bias)) => Self::Larger(layout.larger(bias, weights, by)),
            _ => Self::Waiting(layout, by),
        }
    }

    /// The larger ones for these operands, where they have to be.
    pub(super) fn of(&self, inputs: &[Operand<'_>]) -> Option<Cow<'_, [i32]>> {
        match self {
            Self::Given => None,
            Self::Larger(bias) => Some(Cow::Borrowed(bias)),
            &Self::Waiting(layout, by) => {
                let (weights, bias) = (inputs[1].view.as_slice().unwrap_or_default(), inputs[2].view.as_slice().unwrap_or_default());
                Some(Cow::Owned(layout.larger(bias, weights, by)))
            }
        }
    }
}

/// A constant's bytes as elements of its type, for which the file's check has aligned them.
pub(super) fn elements<T: Element>(bytes: &[u8]) -> Option<&[T]> {
    bytemuck::try_cast_slice(bytes).ok()
}
