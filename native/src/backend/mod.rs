//! The native [`Backend`]: when a session first sees a batch size, each node is bound to the kernel that the dispatcher chooses
//! for it; a run then only calls them.
//!
//! | module | what it holds |
//! |---|---|
//! | [`arrange`] | what is asked of the plan: passes, and values that are written where they are read |
//! | [`packed`] | convolutions and products with packed weights |
//! | [`matmul`] | products of two activations |
//! | [`depthwise`] | depthwise convolutions |
//! | [`work`] | kernels whose output is cut into ranges |

pub(crate) mod arrange;
pub(crate) mod depthwise;
pub(crate) mod matmul;
pub(crate) mod packed;
pub(crate) mod work;

use std::sync::Arc;

use quaver_core::backend::{Backend, Operand, OutputMut};
use quaver_core::graph::largest::largest;
use quaver_core::graph::{ConstantId, Constants, Graph, Node, Op};
use quaver_core::kernel::conv::Frame;
use quaver_core::kernel::matmul::MatMul;
use quaver_core::plan::arrange::Arrangement;
use quaver_core::plan::{Plan, PlanError};
use quaver_core::reference::Reference;
use quaver_pool::strips::Strips;

use crate::Model;
use crate::cpu::Isa;
use crate::dispatch::kernel::Kind;
use crate::dispatch::query::Query;
use crate::dispatch::tune::Tuning;
use crate::dispatch::{Choice, resolve};
use crate::isa::Token;
use crate::pool::Pool;

/// The backend of a session at one batch size.
#[derive(Debug)]
pub(crate) struct Native {
    pool: Arc<Pool>,
    model: Model,
    bindings: Bindings,
}

/// A graph that can run, with its constants.
#[derive(Clone, Copy)]
pub(crate) struct Net<'a> {
    /// The graph.
    pub(crate) graph: &'a Graph,
    /// What its constants hold.
    pub(crate) constants: &'a dyn Constants,
}

/// A kernel for each node.
#[derive(Debug)]
pub(crate) struct Bindings {
    isa: Isa,
    threads: usize,
    nodes: Vec<Bound>,
}

/// A node's kernel, with what could be computed before the first run.
#[derive(Debug)]
struct Bound {
    choice: Choice,
    token: Option<Token>,
    state: State,
    /// The pool that is better computed along with it.
    pooled: Option<Strips>,
    /// The weights that are read next after those of a packed node, which had better be near by then.
    after: Option<ConstantId>,
}

#[derive(Debug)]
enum State {
    None,
    Packed(Box<packed::Packed>),
    MatMul(Box<MatMul>),
    Average(Box<depthwise::Average>),
    /// A quantization into the frames of the convolution behind it.
    Framed(Frame),
}

impl Bindings {
    /// Plans a graph at that batch size in the way that is fastest, and binds its nodes, as [`Bindings::new`].
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub(crate) fn planned(
        isas: &[Isa],
        threads: usize,
        net: Net<'_>,
        (batch, limit): (usize, usize),
        tuning: Option<&Tuning>,
    ) -> Result<(Plan, Self), PlanError> {
        let graph = net.graph;
        let passes = arrange::passes(graph, batch, threads);
        let plan = Plan::arranged(graph, batch, limit, Arrangement { passes, stored: Vec::new() })?;
        let mut bindings = Self::new(isas, threads, net, &plan, tuning);
        let stored = bindings.store(graph, &plan);
        let arrangement = Arrangement { stored, ..plan.arrangement };
        Ok((Plan::arranged(graph, batch, limit, arrangement)?, bindings))
    }

    /// Binds every node under `plan`, whose values all lie as they are, to a kernel of `isas` (ascending), or to
    /// the one that `tuning` names.
    pub(crate) fn new(isas: &[Isa], threads: usize, net: Net<'_>, plan: &Plan, tuning: Option<&Tuning>) -> Self {
        let (graph, largest) = (net.graph, largest(net.graph, net.constants));
        let pools = arrange::pools(graph, plan, threads);
        let bind = |(index, node): (usize, &Node)| {
            let pooled = pools[index];
            let query = Query { pooled: pooled.is_some(), ..Query::in_pass(graph, plan, index, threads).knowing(&largest, node) };
            let choice = resolve(index, &query, isas, tuning);
            let token = Token::detect(choice.kernel);
            let state = match choice.kernel.kind {
                Kind::Gemm => packed::Packed::bind(&query).map_or(State::None, |packed| {
                    let weights = node.inputs.get(1).and_then(|&id| graph.value(id).constant);
                    let weights = weights.map(|id| bytemuck::cast_slice(net.constants.bytes_of(id))).unwrap_or_default();
                    State::Packed(Box::new(packed.narrowed(&query, weights).paired(token, weights)))
                }),
                Kind::MatMul => matmul::bind(&query).map_or(State::None, |node| State::MatMul(Box::new(node))),
                Kind::Pool => depthwise::Average::bind(&query).map_or(State::None, |average| State::Average(Box::new(average))),
                _ => State::None,
            };
            Bound { choice, token, state, pooled, after: None }
        };
        let mut nodes: Vec<Bound> = graph.nodes.iter().enumerate().map(bind).collect();
        let mut after = None;
        for &index in plan.steps.iter().rev() {
            if let (bound @ Bound { state: State::Packed(_), .. }, Some(&weights)) = (&mut nodes[index], graph.nodes[index].inputs.get(1)) {
                bound.after = std::mem::replace(&mut after, graph.value(weights).constant);
            }
        }
        Self { isa: isas.last().copied().unwrap_or(Isa::Scalar), threads, nodes }
    }

    /// What each node runs.
    pub(crate) fn choices(&self) -> impl ExactSizeIterator<Item = Choice> {
        self.nodes.iter().map(|bound| bound.choice)
    }

    /// Whether a pool is better computed along with a node, as the dispatcher was told.
    pub(crate) fn is_pooled(&self, node: usize) -> bool {
        self.nodes[node].pooled.is_some()
    }
}

impl Native {
    /// What runs such bindings of a model, which are for as many threads.
    pub(crate) fn new(pool: &Arc<Pool>, model: &Model, bindings: Bindings) -> Self {
        Self { pool: Arc::clone(pool), model: model.clone(), bindings }
    }

    /// Bytes of scratch that a run needs.
    pub(crate) fn scratch(&self) -> usize {
        let of = |bound: &Bound| match &bound.state {
            State::None | State::Average(_) | State::Framed(_) => 0,
            State::Packed(packed) => packed.scratch(self.pool.threads()),
            State::MatMul(node) => matmul::scratch(node, self.pool.threads()),
        };
        self.bindings.nodes.iter().map(of).max().unwrap_or(0)
    }

    /// What each node runs.
    pub(crate) fn choices(&self) -> impl ExactSizeIterator<Item = Choice> {
        self.bindings.choices()
    }
}

impl Backend for Native {
    fn name(&self) -> &str {
        self.bindings.isa.name()
    }

    fn run(&self, node: usize, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>, scratch: &mut [u8]) {
        let bound = &self.bindings.nodes[node];
        let Some(token) = bound.token else { return Reference.compute(op, inputs, output) };
        let ran = match (&bound.state, bound.choice.kernel.kind) {
            (State::Packed(packed), _) => {
                let after = bound.after.map(|id| bytemuck::cast_slice(self.model.constants().bytes_of(id))).unwrap_or_default();
                packed.run((&self.pool, token), op, (inputs, after), output, scratch);
                true
            }
            (State::MatMul(node), _) => {
                matmul::run((&self.pool, token), node, inputs, output, scratch);
                true
            }
            (State::Average(average), _) => average.run((&self.pool, token), inputs, output),
            (State::Framed(frame), _) => work::quantize_framed((&self.pool, token), *frame, op, inputs, output),
            (State::None, Kind::Depthwise) => depthwise::run((&self.pool, token), op, inputs, output),
            (State::None, _) => work::run((&self.pool, token), op, inputs, output),
        };
        if !ran {
            Reference.compute(op, inputs, output);
        }
    }
}
