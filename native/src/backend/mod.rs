//! The native [`Backend`]: at the start of a session, each node is bound to the kernel that the dispatcher chooses for it;
//! a run then only calls them.
//!
//! | module | what it holds |
//! |---|---|
//! | [`packed`] | convolutions and products with packed weights |

mod packed;

use std::sync::Arc;

use quaver_core::backend::{Backend, Operand, OutputMut};
use quaver_core::graph::{Graph, Op};
use quaver_core::plan::Plan;
use quaver_core::reference::Reference;

use crate::cpu::Isa;
use crate::isa::Token;
use crate::pool::Pool;

/// The backend of a session at one batch size.
#[derive(Debug)]
pub(crate) struct Native {
    isa: Isa,
    machine: Option<Machine>,
    nodes: Vec<Bound>,
}

/// What kernels run on.
#[derive(Debug)]
struct Machine {
    token: Token,
    pool: Arc<Pool>,
}

/// Bytes or multiply-accumulates (in 64ths) below which a job is not worth a second thread.
const SMALL: usize = 1 << 14;

/// Parts to cut a job into.
fn parts(machine: &Machine, work: usize) -> usize {
    if work < SMALL { 1 } else { machine.pool.threads() }
}

/// A node's kernel, with what could be computed before the first run.
#[derive(Debug)]
enum Bound {
    /// By definition.
    Reference,
    /// Packed weights.
    Packed(packed::Packed),
}

impl Native {
    /// Binds every node of `graph` under `plan`, with instructions up to `isa`.
    pub(crate) fn new(isa: Isa, pool: &Arc<Pool>, graph: &Graph, plan: &Plan) -> Self {
        let machine = Token::detect(isa).map(|token| Machine { token, pool: Arc::clone(pool) });
        let bind = |node: &quaver_core::graph::Node| {
            if machine.is_none() {
                return Bound::Reference;
            }
            packed::Packed::bind(graph, plan, node).map_or(Bound::Reference, Bound::Packed)
        };
        let nodes = graph.nodes.iter().map(bind).collect();
        Self { isa, machine, nodes }
    }

    /// Bytes of scratch that a run needs.
    pub(crate) fn scratch(&self) -> usize {
        let of = |bound: &Bound| match bound {
            Bound::Reference => 0,
            Bound::Packed(packed) => packed.scratch(),
        };
        self.nodes.iter().map(of).max().unwrap_or(0)
    }
}

impl Backend for Native {
    fn name(&self) -> &str {
        self.isa.name()
    }

    fn run(&self, node: usize, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>, scratch: &mut [u8]) {
        match (&self.nodes[node], &self.machine) {
            (Bound::Packed(packed), Some(machine)) => packed.run(machine, op, inputs, output, scratch),
            _ => Reference.compute(op, inputs, output),
        }
    }
}
