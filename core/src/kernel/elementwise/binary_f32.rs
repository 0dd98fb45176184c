//! f32 functions of two numbers, with ONNX's broadcasting.
//!
//! Each is one IEEE operation or one comparison, so the loops are plain ones: compiled for the instruction set that they run
//! on, they are vector loops. Pow is not here.

use std::ops::Range;

use super::broadcast;
use crate::backend::{Operand, OutputMut};
use crate::graph::op::BinaryFn;
use crate::kernel::simd::Simd;
use crate::kernel::split::Split;
use crate::reference::walk::Walk;

/// Shortest row that is worth a loop of its own.
const SHORTEST: usize = 8;

/// y = function(a, b). A unit is an element where both operands have all of them, else a row.
#[derive(Debug, Clone, Copy)]
pub struct BinaryF32<'a> {
    function: BinaryFn,
    x: [&'a [f32]; 2],
    rows: Walk<2>,
    /// Elements of a unit.
    run: usize,
    len: usize,
}

impl<'a> BinaryF32<'a> {
    /// `None` for Pow, and where rows are short.
    pub fn new(function: BinaryFn, inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let [a, b] = inputs else { return None };
        let x = [a.view.as_slice()?, b.view.as_slice()?];
        output.view.view().as_slice::<f32>()?;
        let rows = broadcast(inputs, output)?;
        let run = if rows.rank() <= 1 && rows.dim(0).1 == [1, 1] { 1 } else { rows.dim(0).0 };
        let applies = function != BinaryFn::Pow && (run == 1 || run >= SHORTEST);
        applies.then_some(Self { function, x, rows, run, len: rows.len() })
    }
}

impl Split for BinaryF32<'_> {
    fn units(&self) -> usize {
        self.len / self.run
    }

    fn unit_bytes(&self) -> usize {
        self.run * 4
    }

    fn grain(&self) -> usize {
        if self.run == 1 { 16 } else { 1 }
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, _: S, units: Range<usize>, to: &mut [u8]) {
        let Ok(to) = bytemuck::try_cast_slice_mut(to) else { return };
        macro_rules! each {
            ($($function:pat => $f:expr),*) => {
                match self.function {
                    $($function => self.each(units, to, #[inline(always)] $f),)*
                    BinaryFn::Pow => {}
                }
            };
        }
        each! {
            BinaryFn::Add => |a, b| a + b,
            BinaryFn::Sub => |a, b| a - b,
            BinaryFn::Mul => |a, b| a * b,
            BinaryFn::Div => |a, b| a / b,
            BinaryFn::Min => |a: f32, b: f32| if (a < b) | a.is_nan() { a } else { b },
            BinaryFn::Max => |a: f32, b: f32| if (a > b) | a.is_nan() { a } else { b }
        }
    }
}

impl BinaryF32<'_> {
    #[inline(always)]
    fn each(&self, units: Range<usize>, to: &mut [f32], f: impl Fn(f32, f32) -> f32) {
        let [a, b] = self.x;
        let (_, inner) = self.rows.dim(0);
        if self.run == 1 {
            return pairs(&a[units.clone()], &b[units], to, f);
        }
        for (i, to) in units.zip(to.chunks_exact_mut(self.run)) {
            let [at_a, at_b] = self.rows.at(1, i);
            let (a, b) = (&a[at_a as usize..], &b[at_b as usize..]);
            match inner {
                [1, 1] => pairs(&a[..self.run], &b[..self.run], to, &f),
                [1, _] => {
                    let (a, b) = (&a[..self.run], b[0]);
                    for k in 0..self.run {
                        to[k] = f(a[k], b);
                    }
                }
                _ => {
                    let (a, b) = (a[0], &b[..self.run]);
                    for k in 0..self.run {
                        to[k] = f(a, b[k]);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn pairs(a: &[f32], b: &[f32], to: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    let len = to.len();
    let (a, b) = (&a[..len], &b[..len]);
    for i in 0..len {
        to[i] = f(a[i], b[i]);
    }
}
