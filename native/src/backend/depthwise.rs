//! Depthwise convolutions: lines of the output, or blocks of channels, for each thread.

use std::ops::Range;

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::format::weights::{N_BLOCK, is_depthwise};
use quaver_core::graph::Op;
use quaver_core::kernel::depthwise::Depthwise;

use super::packed::finish_of;
use super::parts;
use crate::dispatch::query::Query;
use crate::isa::Token;
use crate::pool::{Pool, rectangles, split};

/// Whether a node is one.
pub(crate) fn takes(query: &Query<'_>) -> bool {
    let Op::QConv(conv) = query.op else { return false };
    query.window_is_usual() && query.inputs[0].shape.last().is_some_and(|&channels| is_depthwise(channels, conv.channels, conv.groups))
}

/// Runs it; `false` where it isn't one.
pub(super) fn run((pool, token): (&Pool, Token), op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) -> bool {
    let Op::QConv(conv) = op else { return false };
    let &[images, h, w, channels] = inputs[0].view.shape() else { return false };
    let &[_, to_h, to_w, _] = output.view.view().shape() else { return false };
    let finish = finish_of(op, inputs);
    let kernel = |lines: Range<usize>, blocks: Range<usize>| Depthwise {
        input: inputs[0].view.bytes(),
        extents: [h, w, channels],
        window: conv.window,
        output: [to_h, to_w],
        weights: inputs[1].view.as_slice().unwrap_or_default(),
        bias: inputs[2].view.as_slice().unwrap_or_default(),
        multiplier: inputs[3].view.as_slice().unwrap_or_default(),
        finish,
        pad: conv.pad_value,
        lines,
        blocks,
        to: (),
    };
    let (lines, blocks, pitch) = (images * to_h, channels.div_ceil(N_BLOCK), channels * finish.size());
    let to = output.view.bytes_mut();
    let parts = parts(pool, to.len());
    // Blocks of channels share nothing; lines share what the window sees of their neighbours.
    if blocks >= 8 * parts {
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
