//! The native [`Backend`]: at the start of a session, each node is bound to the kernel that the dispatcher chooses for it;
//! a run then only calls them.
//!
//! | module | what it holds |
//! |---|---|
//! | [`packed`] | convolutions and products with packed weights |

mod packed;

use quaver_core::backend::{Backend, Operand, OutputMut};
use quaver_core::graph::{Graph, Op};
use quaver_core::plan::Plan;
use quaver_core::reference::Reference;

use crate::cpu::Isa;
use crate::isa::Token;

/// The backend of a session at one batch size.
#[derive(Debug)]
pub(crate) struct Native {
    isa: Isa,
    token: Option<Token>,
    nodes: Vec<Bound>,
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
    pub(crate) fn new(isa: Isa, graph: &Graph, plan: &Plan) -> Self {
        let token = Token::detect(isa);
        let bind = |node: &quaver_core::graph::Node| {
            if token.is_none() {
                return Bound::Reference;
            }
            packed::Packed::bind(graph, plan, node).map_or(Bound::Reference, Bound::Packed)
        };
        Self { isa, token, nodes: graph.nodes.iter().map(bind).collect() }
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
        match (&self.nodes[node], self.token) {
            (Bound::Packed(packed), Some(token)) => packed.run(token, op, inputs, output, scratch),
            _ => Reference.compute(op, inputs, output),
        }
    }
}
