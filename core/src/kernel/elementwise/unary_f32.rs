//! f32 functions of one number that consist of IEEE operations and selections.
//!
//! What a function computes is [`crate::arith::table::unary_f32`]; here its body is inlined into a loop that is compiled for
//! the instruction set that it runs on. Functions of the crate `libm` stay with the reference.

use std::ops::Range;

use crate::arith::table::unary_f32;
use crate::backend::{Operand, OutputMut};
use crate::graph::op::UnaryFn;
use crate::kernel::simd::Simd;
use crate::kernel::split::Split;

/// y = function(x). A unit is an element.
#[derive(Debug, Clone, Copy)]
pub struct UnaryF32<'a> {
    function: UnaryFn,
    x: &'a [f32],
}

/// `$body` for each function in a branch of its own, where `$known` is that function; `$none` for the others.
macro_rules! functions {
    ($function:expr, $known:ident => $body:expr, $none:expr) => {
        functions!(@ $function, $known => $body, $none,
            [Relu Sigmoid HardSwish Silu Tanh Gelu GeluTanh Softsign Exp Log Reciprocal Abs Neg Sign Erf]
            [LeakyRelu { alpha } Clip { lo, hi } HardSigmoid { alpha, beta } Elu { alpha } Selu { alpha, gamma } Celu { alpha }
             ThresholdedRelu { alpha } Shrink { lambda, bias }])
    };
    (@ $function:expr, $known:ident => $body:expr, $none:expr, [$($plain:ident)*] [$($name:ident { $($field:ident),* })*]) => {
        match $function {
            $(UnaryFn::$plain => {
                let $known = UnaryFn::$plain;
                $body
            })*
            $(UnaryFn::$name { $($field),* } => {
                let $known = UnaryFn::$name { $($field),* };
                $body
            })*
            _ => $none,
        }
    };
}

impl<'a> UnaryF32<'a> {
    /// `None` for functions of the crate `libm`.
    pub fn new(function: UnaryFn, inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let x = inputs.first()?.view.as_slice()?;
        let applies = functions!(function, _known => true, false);
        (applies && output.view.view().as_slice::<f32>()?.len() == x.len()).then_some(Self { function, x })
    }
}

impl Split for UnaryF32<'_> {
    fn units(&self) -> usize {
        self.x.len()
    }

    fn unit_bytes(&self) -> usize {
        4
    }

    fn grain(&self) -> usize {
        16
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, _: S, units: Range<usize>, to: &mut [u8]) {
        let Ok(to) = bytemuck::try_cast_slice_mut(to) else { return };
        let x = &self.x[units];
        functions!(self.function, known => each(x, to, known), ());
    }
}

#[inline(always)]
fn each(x: &[f32], to: &mut [f32], function: UnaryFn) {
    let len = to.len();
    let x = &x[..len];
    for i in 0..len {
        to[i] = unary_f32(function, x[i]);
    }
}
