//! What the dispatcher is asked about: a node, with everything that a rule may look at.

use quaver_core::format::weights::{PackedShape, is_depthwise};
use quaver_core::graph::op::{QGemm, Window};
use quaver_core::graph::{Graph, Node, Op};
use quaver_core::kernel::bind::window_is_usual;
use quaver_core::plan::{Location, Plan};
use quaver_core::quant::Affine;
use quaver_core::tensor::DType;

use crate::amx::Extents;

/// An operand or a result.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: &'a [usize],
    /// Affine parameters.
    pub quant: Option<Affine>,
    /// Whether a few bytes behind it may be read.
    pub slack: bool,
    /// The largest byte it can hold, as far as that is known.
    pub largest: u8,
}

/// A node at known extents.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// The operation.
    pub op: &'a Op,
    /// Its operands.
    pub inputs: Vec<Value<'a>>,
    /// Its result.
    pub output: Value<'a>,
    /// Threads of the session.
    pub threads: usize,
    /// Whether a pool is computed along with it, so that its result stays near.
    pub pooled: bool,
}

/// A product with packed weights: rows M, channels N of a group, K of a group, and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Output rows.
    pub m: usize,
    /// Output channels of a group.
    pub n: usize,
    /// Values that are summed, padding to whole quads included.
    pub k: usize,
    /// Groups.
    pub groups: usize,
    /// Input channels of a group.
    pub channels: usize,
    /// The window, of a convolution.
    pub window: Option<Window>,
    /// Whether a pool is computed along, so that the result stays near.
    pub pooled: bool,
}

impl Product {
    /// What decides between tiles and vectors.
    pub fn extents(&self) -> Extents {
        let Self { m, n, k, groups, channels, window, pooled } = *self;
        let (run, pitch) = match window {
            // Taps of a group lie apart; those of a line of all channels beside each other.
            Some(Window { kernel: [_, width], dilations: [_, 1], .. }) if groups == 1 => (width * channels.next_multiple_of(4), channels),
            Some(_) => (channels, groups * channels),
            None => (k, channels),
        };
        Extents { m, n, k, run, pitch, near: pooled }
    }
}

impl<'a> Query<'a> {
    /// About a node of a planned graph, for the whole batch.
    pub fn new(graph: &'a Graph, plan: &'a Plan, node: &'a Node, threads: usize) -> Self {
        Self::of(graph, (plan, &plan.shapes), node, threads)
    }

    /// About a node of a planned graph, for the samples of its pass: what a kernel gets to see.
    pub fn in_pass(graph: &'a Graph, plan: &'a Plan, node: usize, threads: usize) -> Self {
        Self::of(graph, (plan, &plan.pass_of(node).shapes), &graph.nodes[node], threads)
    }

    fn of(graph: &'a Graph, (plan, shapes): (&'a Plan, &'a [Vec<usize>]), node: &'a Node, threads: usize) -> Self {
        let value = |id: quaver_core::graph::ValueId| Value {
            dtype: graph.value(id).dtype,
            shape: &shapes[id.index()],
            quant: graph.value(id).quant,
            slack: matches!(plan.locations[id.index()], Location::Arena(_)),
            largest: u8::MAX,
        };
        Self {
            op: &node.op,
            inputs: node.inputs.iter().map(|&id| value(id)).collect(),
            output: value(node.outputs[0]),
            threads,
            pooled: false,
        }
    }

    /// The same, knowing for each value of the graph the [`largest`](quaver_core::graph::largest::largest) byte it can hold.
    pub fn knowing(mut self, largest: &[u8], node: &Node) -> Self {
        for (input, id) in self.inputs.iter_mut().zip(&node.inputs) {
            input.largest = largest[id.index()];
        }
        self
    }

    /// Whether the window's numbers are such as networks have: a file may hold any, and the definition takes them.
    pub fn window_is_usual(&self) -> bool {
        window_is_usual(self.op)
    }

    /// Whether activations have 7 bits, so that sums of two products fit in 16.
    pub fn is_reduced(&self) -> bool {
        self.inputs[0].largest <= 127
    }

    /// The product that the node is, where it is one but no depthwise convolution.
    pub fn product(&self) -> Option<Product> {
        let x = self.inputs[0].shape;
        let (&channels, rows) = x.last().zip(Some(self.output.shape.split_last()?.1.iter().product::<usize>()))?;
        let (shape, groups, window) = match self.op {
            Op::QGemm(QGemm { channels: n, .. }) | Op::DynamicGemm { channels: n } => {
                (PackedShape::grouped([1, 1], channels, *n, 1)?, 1, None)
            }
            Op::QConv(conv) if is_depthwise(channels, conv.channels, conv.groups) => return None,
            Op::QConv(conv) => {
                (PackedShape::grouped(conv.window.kernel, channels, conv.channels, conv.groups)?, conv.groups, Some(conv.window))
            }
            Op::QConvTranspose(conv) => {
                (PackedShape::grouped(conv.window.kernel, channels, conv.channels, conv.groups)?, conv.groups, Some(conv.window))
            }
            _ => return None,
        };
        let (n, k, channels) = (shape.output_channels, shape.k_blocks() * 4, shape.input_channels);
        Some(Product { m: rows, n, k, groups, channels, window, pooled: self.pooled })
    }

    /// Multiply-accumulates, of those operations that are made of them; padding counts.
    pub fn macs(&self) -> u64 {
        let outputs = self.output.shape.iter().product::<usize>() as u64;
        let (taps, channels) = match self.op {
            Op::QConv(conv) => (conv.window.kernel, self.inputs[0].shape.last().copied().unwrap_or_default() / conv.groups),
            Op::QGemm(_) | Op::DynamicGemm { .. } | Op::WeightOnlyGemm | Op::Gemm | Op::MatMul => {
                ([1, 1], self.inputs[0].shape.last().copied().unwrap_or_default())
            }
            Op::Conv(conv) => (conv.window.kernel, self.inputs[0].shape.last().copied().unwrap_or_default() / conv.groups),
            Op::QConvTranspose(conv) => return self.scattered(conv.window, conv.groups),
            Op::ConvTranspose(conv) => return self.scattered(conv.window, conv.groups),
            _ => return 0,
        };
        outputs * taps.iter().product::<usize>() as u64 * channels as u64
    }

    /// A transposed convolution multiplies each input with each tap.
    fn scattered(&self, window: Window, groups: usize) -> u64 {
        let inputs = self.inputs[0].shape.iter().product::<usize>() as u64;
        let channels = self.output.shape.last().copied().unwrap_or_default() / groups;
        inputs * window.kernel.iter().product::<usize>() as u64 * channels as u64
    }

    /// Bytes read and written, each operand once.
    pub fn bytes(&self) -> u64 {
        let of = |value: &Value<'_>| value.shape.iter().product::<usize>() as u64 * value.dtype.size() as u64;
        self.inputs.iter().chain([&self.output]).map(of).sum()
    }
}
