//! Depthwise convolutions, and average pools that are such.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::Op;
use quaver_core::kernel::bind::depthwise::{self as bind, Constants};
use quaver_pool::Pool;

use crate::dispatch::query::Query;
use crate::isa::Token;

/// Whether a node is one.
pub(crate) fn takes(query: &Query<'_>) -> bool {
    bind::takes(query.op, query.inputs[0].shape)
}

/// Runs it; `false` where it isn't one.
pub(super) fn run(on: (&Pool, Token), op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>) -> bool {
    Constants::of(op, inputs).is_some_and(|constants| compute(on, &constants, &inputs[0], output))
}

fn compute((pool, token): (&Pool, Token), constants: &Constants<'_>, input: &Operand<'_>, output: &mut OutputMut<'_>) -> bool {
    quaver_pool::depthwise::run(pool, constants, input, output, &|kernel| token.vectorize(kernel))
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
