//! From a node to its kernel: what every backend does alike. Where a kernel runs, on which instruction set and how many threads,
//! is the backend's affair.
//!
//! | module | what it holds |
//! |---|---|
//! | [`packed`] | convolutions and products with packed weights |
//! | [`depthwise`] | depthwise convolutions, and average pools that are such |
//! | [`work`] | kernels whose output is cut into ranges |
//! | [`offset`] | biases for dot products of lessened activations |

pub mod depthwise;
pub mod offset;
pub mod packed;
pub mod work;

use super::epilogue::{Finish, HardSwish, Requantize, Residual};
use super::real::Dynamic;
use crate::backend::Operand;
use crate::graph::Op;
use crate::graph::op::{Epilogue, Window};

/// The epilogue of a packed operation, with its operands.
pub fn finish_of<'a>(op: &Op, inputs: &[Operand<'a>]) -> Finish<'a> {
    let epilogue: Option<Epilogue> = match op {
        Op::QConv(conv) => conv.epilogue,
        Op::QConvTranspose(conv) => conv.epilogue,
        Op::QGemm(gemm) => gemm.epilogue,
        Op::DynamicGemm { .. } => return dynamic(inputs),
        _ => None,
    };
    let Some(epilogue) = epilogue else { return Finish::F32 };
    let residual =
        epilogue.residual.map(|r| Residual { bytes: inputs[4].view.bytes(), zero_point: r.zero_point, multiplier: r.multiplier });
    let table = inputs.last().filter(|_| epilogue.table).and_then(|table| table.view.bytes().as_array());
    let hard_swish = epilogue.hard_swish.then(|| {
        let (slope, shift) = blocks(&inputs[4]).split_at(blocks(&inputs[3]).len());
        HardSwish { slope, shift }
    });
    let Epilogue { zero_point, lo, hi, .. } = epilogue;
    Finish::U8(Requantize { zero_point, lo, hi, residual, hard_swish, table })
}

fn dynamic<'a>(inputs: &[Operand<'a>]) -> Finish<'a> {
    let qparams = inputs[4].view.as_slice::<f32>().unwrap_or_default().as_chunks().0;
    let rows = inputs[0].view.bytes().len() / inputs[0].view.shape().last().map_or(1, |&k| k.max(1));
    Finish::Dynamic(Dynamic { qparams, rows: (rows / qparams.len().max(1)).max(1), sums: blocks(&inputs[5]), offset: blocks(&inputs[6]) })
}

/// Numbers of channels, in blocks.
fn blocks<'a>(operand: &Operand<'a>) -> &'a [[f32; 16]] {
    operand.view.as_slice().unwrap_or_default().as_chunks().0
}

/// Whether the window's numbers are such as networks have: a file may hold any, and the definition takes them.
pub fn window_is_usual(op: &Op) -> bool {
    const LARGEST: usize = 1 << 16;
    let window = match op {
        Op::Conv(conv) => &conv.window,
        Op::ConvTranspose(conv) => &conv.window,
        Op::QConv(conv) => &conv.window,
        Op::QConvTranspose(conv) => &conv.window,
        Op::Pool(pool) => &pool.window,
        _ => return true,
    };
    let Window { kernel, strides, dilations, pads_begin, pads_end } = window;
    [kernel, strides, dilations, pads_begin, pads_end].into_iter().flatten().all(|&n| n <= LARGEST)
}
