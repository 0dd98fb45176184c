//! What a backend may ask of a plan: samples in several passes, and values that lie where and as their readers want them.

use std::ops::Range;

use crate::graph::{Dim, Graph, Node, Op, ValueId};

/// How a graph is to run. By default all samples run at once, and every value lies by itself, as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arrangement {
    /// The passes in the order of their nodes, which together are all; none stands for one of all samples. More than one are
    /// for graphs whose [`samples_are_apart`].
    pub passes: Vec<Pass>,
    /// For each value, how it lies; none for all that lie as they are.
    pub stored: Vec<Option<Storage>>,
}

/// Nodes that run one after another for so many samples. Passes are nested loops: before each run of a pass, those before it
/// run as often as it takes for their results to be there. So what they leave for it is still in a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Indices of the nodes.
    pub nodes: Range<usize>,
    /// Samples; divides that of the pass behind it, and the last one's the batch.
    pub batch: usize,
}

/// How a value lies, if not as it is. It is then neither an input nor an output of the graph, and the nodes that write and
/// read it are agreed about it: they get the tensor that is said here instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// As a tensor of these extents, of which the value is some part.
    As(Vec<Dim>),
    /// Within that value, in the elements of its last dimension from `start` on. That value is a concatenation along its last
    /// dimension, and nothing else reads this one.
    Within {
        /// The concatenation.
        value: ValueId,
        /// The first element.
        start: usize,
    },
}

impl Arrangement {
    /// Whether a value lies within another one.
    pub fn is_within(&self, id: ValueId, other: ValueId) -> bool {
        matches!(self.stored.get(id.index()), Some(Some(Storage::Within { value, .. })) if *value == other)
    }
}

/// Whether each value that is no constant is a row of samples, one behind the other, and no node mixes samples: then any
/// samples can run by themselves.
pub fn samples_are_apart(graph: &Graph) -> bool {
    let is_row = |shape: &[Dim]| matches!(shape.split_first(), Some((Dim::Batch { .. }, rest)) if rest.iter().all(|d| !d.is_batch()));
    let rows = graph.values.iter().all(|value| value.constant.is_some() || is_row(&value.shape));
    rows && graph.nodes.iter().all(|node| keeps_samples_apart(graph, node))
}

/// Of a node whose operands and result are rows of samples, or constants.
fn keeps_samples_apart(graph: &Graph, node: &Node) -> bool {
    let rank = |id: ValueId| graph.value(id).shape.len();
    let is_constant = |&id: &ValueId| graph.value(id).constant.is_some();
    let result = rank(node.outputs[0]);
    // Aligned at the end, dimensions of an operand of another rank would meet others.
    let aligned = |ids: &[ValueId]| ids.iter().all(|id| is_constant(id) || rank(*id) == result);
    let constants = |ids: &[ValueId]| ids.iter().all(is_constant);
    match &node.op {
        // The same bytes, or one result for each element.
        Op::Reshape { .. } | Op::Unary { .. } | Op::Table | Op::Quantize { .. } | Op::Dequantize => true,
        // The first dimension counts images.
        Op::DepthToSpace { .. } | Op::SpaceToDepth { .. } | Op::Pool(_) => true,
        Op::Resize(resize) => resize.scales.first() == Some(&1.0),
        Op::Transpose { perm } => perm.first() == Some(&0),
        // An operand that is not there for every sample would have to be repeated.
        Op::Concat { axis } => *axis != 0 && !node.inputs.iter().any(is_constant),
        Op::Slice { cuts } => cuts.iter().all(|cut| cut.axis != 0),
        Op::Pad { before, after, .. } => before.first() == Some(&0) && after.first() == Some(&0),
        Op::ChannelShuffle { axis, .. } | Op::Softmax { axis } | Op::LogSoftmax { axis } => *axis != 0,
        Op::Reduce { axes, .. } => !axes.contains(&0),
        Op::Binary { .. } => aligned(&node.inputs),
        // A row of the left matrix may be a sample; the right one is nothing of the kind.
        Op::MatMul => aligned(&node.inputs) && (is_constant(&node.inputs[1]) || result > 2),
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm => constants(&node.inputs[1..]),
        // Behind the constants may be a residual, of the result's extents, and a table.
        Op::QConv(_) | Op::QConvTranspose(_) | Op::QGemm(_) => constants(&node.inputs[1..4]) && aligned(&node.inputs[4..]),
    }
}

/// The value whose bytes hold a value.
pub(super) fn holder(stored: &[Option<Storage>], mut id: ValueId) -> ValueId {
    while let Some(Some(Storage::Within { value, .. })) = stored.get(id.index()) {
        id = *value;
    }
    id
}

/// Extents of the tensor that stands for a value.
pub(super) fn dims<'a>(graph: &'a Graph, stored: &'a [Option<Storage>], id: ValueId) -> &'a [Dim] {
    let id = holder(stored, id);
    match stored.get(id.index()) {
        Some(Some(Storage::As(dims))) => dims,
        _ => &graph.value(id).shape,
    }
}
