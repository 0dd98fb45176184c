//! Operations on one element at a time.
//!
//! | module | what it holds |
//! |---|---|
//! | [`binary_u8`] | Add, Sub, Mul on u8, with broadcasting |
//! | [`binary_f32`] | f32 functions of two numbers but Pow, with broadcasting |
//! | [`unary_f32`] | f32 functions of one number that are steps of IEEE arithmetic |
//! | [`table`] | u8 → u8 through 256 bytes |

pub mod binary_f32;
pub mod binary_u8;
pub mod table;
pub mod unary_f32;

use crate::backend::{Operand, OutputMut};
use crate::reference::walk::{self, Walk};

/// The walk over both operands of an operation that broadcasts; `None` where there is nothing to walk over.
fn broadcast(inputs: &[Operand<'_>], output: &OutputMut<'_>) -> Option<Walk<2>> {
    (!output.view.view().shape().contains(&0)).then(|| walk::broadcast(inputs, output))
}
