//! Depthwise convolutions, and average pools that are such: lines of the output, or blocks of channels, for each thread.

use std::ops::Range;

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::format::weights::N_BLOCK;
use quaver_core::graph::Op;
use quaver_core::kernel::bind::depthwise::{self as bind, Constants};

use super::parts;
use crate::dispatch::query::Query;
use crate::isa::Token;
use crate::pool::{Pool, rectangles, split};

/// Lines of the output that are enough for a thread.
const LINES: usize = 4;

/// Whether a node is one.
pub(crate) fn takes(query: &Query<'_>) -> bool {
    bind::takes(query.op, query.inputs[0].shape)
}

/// Runs it; `false` where it isn't one.
pub(super) fn run(on: (&Pool, Token), op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) -> bool {
    Constants::of(op, inputs).is_some_and(|constants| compute(on, &constants, &inputs[0], output))
}

fn compute((pool, token): (&Pool, Token), constants: &Constants<'_>, input: &Operand<'_>, output: &mut OutputMut<'_>) -> bool {
    let &[images, h, w, channels] = input.view.shape() else { return false };
    let &[_, to_h, to_w, _] = output.view.view().shape() else { return false };
    let (input, finish) = (input.view.bytes(), constants.finish);
    let kernel = |lines: Range<usize>, blocks: Range<usize>| constants.kernel(input, [h, w, channels], [to_h, to_w], lines, blocks);
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

/// [`bind::Average`].
#[derive(Debug)]
pub(super) struct Average(bind::Average);

impl Average {
    /// Binds a node, where it is one.
    pub(super) fn bind(query: &Query<'_>) -> Option<Self> {
        let (x, y) = (&query.inputs[0], &query.output);
        bind::Average::bind(query.op, [x.shape, y.shape], [x.quant, y.quant]).map(Self)
    }

    /// Runs the node.
    pub(super) fn run(&self, on: (&Pool, Token), inputs: &[Operand<'_>], output: &mut OutputMut<'_>) -> bool {
        compute(on, &self.0.constants(), &inputs[0], output)
    }
}
