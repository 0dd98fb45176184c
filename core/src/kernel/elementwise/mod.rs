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
use crate::reference::walk::{Walk, strides};

/// The walk over both operands of an operation that broadcasts: a dimension that one of them lacks, or has with extent 1,
/// has stride 0 there. `None` where there is nothing to walk over.
fn broadcast(inputs: &[Operand<'_>], output: &OutputMut<'_>) -> Option<Walk<2>> {
    let output = output.view.view();
    let shape = output.shape();
    let stride = |operand: &Operand<'_>, d: usize| {
        let from = operand.view.shape();
        match (d + from.len()).checked_sub(shape.len()) {
            Some(i) if from[i] != 1 => strides(from)[i],
            _ => 0,
        }
    };
    let mut walk = Walk::new();
    for (d, &extent) in shape.iter().enumerate() {
        walk.push(extent, [stride(&inputs[0], d), stride(&inputs[1], d)]);
    }
    (!shape.contains(&0)).then_some(walk)
}
