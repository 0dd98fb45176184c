//! The backend of a session at one batch size: each node is bound to a kernel of the session's class once, a run then only calls
//! them. What no kernel takes, the definition computes.
//!
//! | module | what it holds |
//! |---|---|
//! | `packed` | convolutions and products with packed weights |
//! | `depthwise` | depthwise convolutions |
//! | `bias` | biases of both, for dot products that lessen activations |

mod bias;
mod depthwise;
mod packed;

use quaver_core::backend::{Backend, Operand, OutputMut};
use quaver_core::graph::largest::largest;
use quaver_core::graph::{Constants, Graph, Op};
use quaver_core::kernel::bind::depthwise::{Average, takes};
use quaver_core::kernel::bind::work::{Visitor, visit};
use quaver_core::kernel::depthwise::takes_compactly;
use quaver_core::kernel::matmul::MatMul;
use quaver_core::kernel::simd::Simd;
use quaver_core::kernel::split::Split;
use quaver_core::plan::{Location, Plan};
use quaver_core::reference::Reference;

use crate::class::Class;
use crate::isa::{PLAIN, Token};
use crate::threads::pool;

/// A kernel for each node.
#[derive(Debug)]
pub struct Bindings {
    class: Class,
    nodes: Vec<Bound>,
}

/// A node's kernel, with what could be computed before the first run.
#[derive(Debug)]
enum Bound {
    Reference,
    /// Whichever takes the operands.
    Work,
    Packed(Box<packed::Packed>),
    MatMul(Token, Box<MatMul>),
    Depthwise(Box<depthwise::Depthwise>),
}

impl Bindings {
    /// Binds the nodes of a graph under `plan`.
    pub fn new(class: Class, graph: &Graph, constants: &dyn Constants, plan: &Plan) -> Self {
        let Some([any, reduced]) = class.tokens() else {
            return Self { class, nodes: graph.nodes.iter().map(|_| Bound::Reference).collect() };
        };
        let largest = largest(graph, constants);
        let bind = |(index, node): (usize, &quaver_core::graph::Node)| {
            let shapes = &plan.pass_of(index).shapes;
            let (x, y) = (node.inputs[0], node.outputs[0]);
            let (x_shape, y_shape) = (&shapes[x.index()], &shapes[y.index()]);
            let token = if largest[x.index()] <= 127 { reduced } else { any };
            let slack = matches!(plan.locations[x.index()], Location::Arena(_));
            match &node.op {
                op @ Op::QConv(conv) if takes(op, x_shape) && takes_compactly(&conv.window) => {
                    Bound::Depthwise(Box::new(depthwise::Depthwise::bind(any, |i| constant(graph, constants, node, i))))
                }
                op @ (Op::QConv(_) | Op::QConvTranspose(_) | Op::QGemm(_) | Op::DynamicGemm { .. }) => {
                    let node = packed::Packed::bind(token, op, [x_shape, y_shape], slack, |i| constant(graph, constants, node, i));
                    node.map_or(Bound::Reference, |node| Bound::Packed(Box::new(node)))
                }
                Op::MatMul => {
                    let quant = |id| graph.value(id).quant;
                    let node = quant(x)
                        .zip(quant(node.inputs[1]))
                        .and_then(|(a, b)| MatMul::bind([x_shape, &shapes[node.inputs[1].index()], y_shape], [a, b], quant(y), slack));
                    node.map_or(Bound::Work, |node| Bound::MatMul(token, Box::new(node)))
                }
                op @ Op::Pool(pool) if quaver_core::kernel::bind::window_is_usual(op) => {
                    let quant = [graph.value(x).quant, graph.value(y).quant];
                    let average = Average::bind(op, [x_shape, y_shape], quant).filter(|_| takes_compactly(&pool.window));
                    average.map_or(Bound::Work, |average| Bound::Depthwise(Box::new(depthwise::Depthwise::average(any, average))))
                }
                Op::Pool(_) => Bound::Reference,
                _ => Bound::Work,
            }
        };
        Self { class, nodes: graph.nodes.iter().enumerate().map(bind).collect() }
    }

    /// Bytes of scratch that a run needs.
    pub fn scratch(&self) -> usize {
        let of = |bound: &Bound| match bound {
            Bound::Packed(packed) => packed.scratch(),
            Bound::MatMul(_, node) => quaver_pool::matmul::scratch(node),
            _ => 0,
        };
        self.nodes.iter().map(of).max().unwrap_or(0)
    }
}

/// The bytes of a node's operand `index`, if it is a constant.
fn constant<'a>(graph: &Graph, constants: &'a dyn Constants, node: &quaver_core::graph::Node, index: usize) -> Option<&'a [u8]> {
    Some(constants.bytes_of(graph.value(*node.inputs.get(index)?).constant?))
}

impl Backend for Bindings {
    fn name(&self) -> &str {
        self.class.name()
    }

    fn run(&self, node: usize, op: &Op, inputs: &[Operand<'_>], output: &mut OutputMut<'_>, scratch: &mut [u8]) {
        let ran = match &self.nodes[node] {
            Bound::Reference => false,
            Bound::Work => visit(op, inputs, output, Run),
            Bound::Packed(packed) => {
                packed.run(op, inputs, output, scratch);
                true
            }
            Bound::MatMul(token, node) => {
                let operands = [inputs[0].with_slack, inputs[1].view.bytes()];
                let compute: &quaver_pool::packed::Compute<'_> = &|gemm, _| token.vectorize(gemm);
                let node = (&**node, token.offset());
                quaver_pool::matmul::run(pool(), node, operands, output.view.bytes_mut(), scratch, &|pack| PLAIN.vectorize(pack), compute);
                true
            }
            Bound::Depthwise(node) => node.run(op, inputs, output),
        };
        if !ran {
            Reference.compute(op, inputs, output);
        }
    }
}

/// Runs a kernel.
struct Run;

impl Visitor for Run {
    const COMPACT: bool = true;

    fn visit<W: Split>(self, work: W, output: &mut OutputMut<'_>) {
        quaver_pool::work::run(pool(), work, output.view.bytes_mut(), |part| PLAIN.vectorize(part));
    }
}
