//! Depthwise convolutions, and average pools that are such: lines of the output, or blocks of channels, for each thread.

use std::ops::Range;

use quaver_core::arith::requant::Mean;
use quaver_core::backend::{Operand, OutputMut};
use quaver_core::format::weights::{N_BLOCK, is_depthwise};
use quaver_core::graph::Op;
use quaver_core::graph::op::{Pool as PoolOp, PoolFn, Window};
use quaver_core::kernel::depthwise::Depthwise;
use quaver_core::kernel::epilogue::{Finish, Requantize};
use quaver_core::quant::Affine;
use quaver_core::tensor::DType;

use super::packed::finish_of;
use super::parts;
use crate::dispatch::query::Query;
use crate::isa::Token;
use crate::pool::{Pool, rectangles, split};

/// Lines of the output that are enough for a thread.
const LINES: usize = 4;
/// Most taps of an average that is computed as a convolution.
const MOST_TAPS: usize = 49;

/// Whether a node is one.
pub(crate) fn takes(query: &Query<'_>) -> bool {
    let Op::QConv(conv) = query.op else { return false };
    query.window_is_usual() && query.inputs[0].shape.last().is_some_and(|&channels| is_depthwise(channels, conv.channels, conv.groups))
}

/// Runs it; `false` where it isn't one.
pub(super) fn run(on: (&Pool, Token), op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) -> bool {
    let Op::QConv(conv) = op else { return false };
    let constants = Constants {
        weights: inputs[1].view.as_slice().unwrap_or_default(),
        bias: inputs[2].view.as_slice().unwrap_or_default(),
        multiplier: inputs[3].view.as_slice().unwrap_or_default(),
        finish: finish_of(op, inputs),
        pad: conv.pad_value,
    };
    compute(on, conv.window, constants, &inputs[0], output)
}

/// What a depthwise convolution computes with.
#[derive(Clone, Copy)]
struct Constants<'a> {
    weights: &'a [i8],
    bias: &'a [i32],
    multiplier: &'a [f32],
    finish: Finish<'a>,
    pad: u8,
}

fn compute(
    (pool, token): (&Pool, Token),
    window: Window,
    Constants { weights, bias, multiplier, finish, pad }: Constants<'_>,
    input: &Operand<'_>,
    output: &mut OutputMut<'_>,
) -> bool {
    let &[images, h, w, channels] = input.view.shape() else { return false };
    let &[_, to_h, to_w, _] = output.view.view().shape() else { return false };
    let (input, extents, output_extents) = (input.view.bytes(), [h, w, channels], [to_h, to_w]);
    let kernel = |lines: Range<usize>, blocks: Range<usize>| Depthwise {
        input,
        extents,
        window,
        output: output_extents,
        weights,
        bias,
        multiplier,
        finish,
        pad,
        lines,
        blocks,
        to: (),
    };
    let (lines, blocks, pitch) = (images * to_h, channels.div_ceil(N_BLOCK), channels * finish.size());
    let to = output.view.bytes_mut();
    let parts = parts(pool, to.len());
    // Blocks of channels share nothing; lines share what the window sees of their neighbours, but are what other operations
    // are cut into, so that a thread finds in its cache what it has written itself.
    if blocks >= 8 * parts && lines < LINES * parts {
        let cut = split(blocks, parts, 4);
        rectangles(pool, to, pitch, split(lines * to_w, 1, lines * to_w), (cut, N_BLOCK * finish.size()), &mut [], &|_, c, to, _| {
            token.vectorize(kernel(0..lines, cut.get(c)).onto(to));
        });
    } else {
        let cut = split(lines, parts, 1);
        let rows = split(lines * to_w, cut.len(), to_w);
        rectangles(pool, to, pitch, rows, (split(1, 1, 1), pitch), &mut [], &|r, _, to, _| {
            token.vectorize(kernel(cut.get(r), 0..blocks).onto(to));
        });
    }
    true
}

/// An average pool of which every window counts as many taps, which makes it a depthwise convolution with ones: faster, as
/// windows share what they see.
#[derive(Debug)]
pub(super) struct Average {
    window: Window,
    weights: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    x: Affine,
    y: Affine,
}

impl Average {
    /// Binds a node, where it is one.
    pub(super) fn bind(query: &Query<'_>) -> Option<Self> {
        let Op::Pool(pool @ PoolOp { function: PoolFn::Average, window, .. }) = query.op else { return None };
        let (&[_, h, w, channels], &[_, to_h, to_w, _]) = (query.inputs[0].shape, query.output.shape) else { return None };
        let (x, y) = (query.inputs[0].quant?, query.output.quant?);
        let taps = window.kernel[0] * window.kernel[1];
        // Only windows that overlap share anything, and a window may be of any size.
        let usual = query.window_is_usual() && window.strides[1] < window.kernel[1] && taps <= MOST_TAPS;
        if !usual || query.inputs[0].dtype != DType::U8 || query.output.dtype != DType::U8 || channels == 0 {
            return None;
        }
        let padded = window.pads_begin != [0, 0] || window.pads_end != [0, 0];
        let ends_inside = |d: usize, extent: usize, to: usize| {
            to > 0 && (to - 1) * window.strides[d] + window.reach(d) <= window.pads_begin[d] + extent + window.pads_end[d]
        };
        let alike = (!padded || pool.count_include_pad) && ends_inside(0, h, to_h) && ends_inside(1, w, to_w);
        let channels = channels.next_multiple_of(N_BLOCK);
        alike.then(|| Self {
            window: *window,
            weights: vec![1; taps * channels],
            bias: vec![-(taps as i32) * i32::from(x.zero_point); channels],
            multiplier: vec![Mean::new(x, y, taps).multiplier(); channels],
            x,
            y,
        })
    }

    /// Runs the node.
    pub(super) fn run(&self, on: (&Pool, Token), inputs: &[Operand<'_>], output: &mut OutputMut<'_>) -> bool {
        let how = Requantize { zero_point: self.y.zero_point, lo: 0, hi: self.y.q_max, residual: None, table: None };
        let (weights, bias, multiplier) = (&self.weights[..], &self.bias[..], &self.multiplier[..]);
        let constants = Constants { weights, bias, multiplier, finish: Finish::U8(how), pad: self.x.zero_point };
        compute(on, self.window, constants, &inputs[0], output)
    }
}
