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
    /// Nowhere: the node that would write it writes that value, a pool of it, and nothing else reads this one.
    Pooled(ValueId),
}

impl Arrangement {
    /// Whether a value lies within another one.
    pub fn is_within(&self, id: ValueId, other: ValueId) -> bool {
        matches!(self.stored.get(id.index()), Some(Some(Storage::Within { value, .. })) if *value == other)
    }

    /// Whether a node finds its result in place: those that write its operands have written it.
    pub(super) fn is_done(&self, node: &Node) -> bool {
        let pooled = |id: ValueId| self.stored.get(id.index()) == Some(&Some(Storage::Pooled(node.outputs[0])));
        match node.op {
            Op::Concat { .. } => node.inputs.iter().all(|&id| self.is_within(id, node.outputs[0])),
            Op::Pool(_) => pooled(node.inputs[0]),
            _ => false,
        }
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
        Op::ChannelShuffle { axis, .. } | Op::TopK { axis, .. } | Op::Softmax { axis } | Op::LogSoftmax { axis } => *axis != 0,
        // Its first dimension is steps, of which each needs those before it, or states.
        Op::Recurrent(_) => false,
        // Rows say which sample they are of.
        Op::NonMaxSuppression { .. } => false,
        Op::Reduce { axes, .. } => !axes.contains(&0),
        Op::Binary { .. } | Op::Compare { .. } | Op::Where => aligned(&node.inputs),
        Op::Cast { .. } | Op::LayerNorm { .. } | Op::Embedding => true,
        // One pair of parameters for all samples makes each depend on the others.
        Op::ChooseQparams { kept } => *kept > 0,
        Op::DynamicQuantize => rank(node.inputs[1]) > 1,
        Op::DynamicGemm { .. } => constants(&node.inputs[1..4]) && constants(&node.inputs[5..]) && rank(node.inputs[4]) > 1,
        // What indices name is among the samples, or among what is there for all.
        Op::Gather { axis } if is_constant(&node.inputs[0]) => *axis == 0 && !is_constant(&node.inputs[1]),
        Op::Gather { axis } => *axis != 0 && is_constant(&node.inputs[1]),
        Op::Expand { shape } => shape.len() <= result && rank(node.inputs[0]) == result,
        // A row of the left matrix may be a sample; the right one is nothing of the kind.
        Op::MatMul => aligned(&node.inputs) && (is_constant(&node.inputs[1]) || result > 2),
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm | Op::WeightOnlyGemm => constants(&node.inputs[1..]),
        // Behind the constants may be a residual, of the result's extents, and a table.
        Op::QConv(_) | Op::QConvTranspose(_) | Op::QGemm(_) => constants(&node.inputs[1..4]) && aligned(&node.inputs[4..]),
    }
}

/// The value whose bytes hold a value, or hold what is left of it.
pub(super) fn holder(stored: &[Option<Storage>], mut id: ValueId) -> ValueId {
    while let Some(Some(Storage::Within { value, .. } | Storage::Pooled(value))) = stored.get(id.index()) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Executor;
    use crate::graph::op::{BinaryFn, Cut, ReduceFn, UnaryFn};
    use crate::graph::{Network, check};
    use crate::plan::Plan;
    use crate::reference::Reference;
    use crate::tensor::TensorView;

    /// Whether samples stay apart in a node on `x[N,4,6]`.
    fn apart(op: Op, other: Option<&[usize]>) -> bool {
        let mut net = Network::new("one");
        let x = net.input("x", crate::tensor::DType::F32, vec![Dim::BATCH, 4.into(), 6.into()]);
        let mut inputs = vec![x];
        inputs.extend(other.map(|shape| net.constant("c", shape, &vec![1.0f32; shape.iter().product()])));
        let y = net.push(op, &inputs, "node", "y").expect("valid");
        net.output(y);
        samples_are_apart(&net.graph)
    }

    #[test]
    fn samples_that_meet_are_found() {
        let mean = |axis| Op::Reduce { function: ReduceFn::Mean, axes: vec![axis], keep_dims: true };
        let add = || Op::Binary { function: BinaryFn::Add };
        let cut = |axis| Op::Slice { cuts: vec![Cut::new(axis, 1, 2, 1)] };
        let reshape = |shape: &[Dim]| Op::Reshape { shape: shape.to_vec() };
        assert!(apart(mean(1), None) && apart(Op::Softmax { axis: 2 }, None) && apart(cut(2), None));
        assert!(apart(Op::Transpose { perm: vec![0, 2, 1] }, None) && !apart(Op::Transpose { perm: vec![1, 0, 2] }, None));
        assert!(apart(reshape(&[Dim::Batch { times: 24 }]), None) && apart(reshape(&[Dim::Batch { times: 2 }, 12.into()]), None));
        assert!(!apart(reshape(&[4.into(), Dim::Batch { times: 6 }]), None));
        assert!(apart(add(), Some(&[4, 6])) && apart(add(), Some(&[1, 1, 6])) && !apart(add(), Some(&[2, 1, 4, 6])));
        assert!(apart(Op::MatMul, Some(&[6, 5])) && apart(Op::Gemm, Some(&[6, 5])));
    }

    #[test]
    fn passes_change_no_result() {
        // Values that live within a pass, cross to the next and to the one after it, share bytes, and are outputs of each.
        let mut net = Network::new("passes");
        let x = net.input("x", crate::tensor::DType::F32, vec![Dim::BATCH, 3.into(), 5.into()]);
        let unary = |function| Op::Unary { function };
        let a = net.push(unary(UnaryFn::Abs), &[x], "a", "a").expect("valid");
        let b = net.push(unary(UnaryFn::Sqrt), &[a], "b", "b").expect("valid");
        let r = net.push(Op::Reshape { shape: vec![Dim::Batch { times: 3 }, 5.into()] }, &[b], "r", "r").expect("valid");
        let c = net.push(unary(UnaryFn::Neg), &[r], "c", "c").expect("valid");
        let d = net.push(Op::Concat { axis: 1 }, &[c, r], "d", "d").expect("valid");
        let e = net.push(unary(UnaryFn::Relu), &[a], "e", "e").expect("valid");
        let f = net.push(Op::Binary { function: BinaryFn::Add }, &[e, x], "f", "f").expect("valid");
        let g = net.push(Op::Reduce { function: ReduceFn::Sum, axes: vec![1], keep_dims: false }, &[d], "g", "g").expect("valid");
        [r, d, f, g, x].into_iter().for_each(|id| net.output(id));
        check::check(&net.graph).expect("valid");
        assert!(samples_are_apart(&net.graph));
        let batch = 12;
        let data: Vec<f32> = (0..batch * 15).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
        let shape = [batch, 3, 5];
        let input = TensorView::from_slice(&shape, &data).expect("sized");
        let run = |passes: Vec<Pass>| {
            let arrangement = Arrangement { passes, stored: Vec::new() };
            let plan = Plan::arranged(&net.graph, batch, usize::MAX, arrangement).expect("fits");
            let mut executor = Executor::new(plan, 0).expect("memory");
            executor.run(&net.graph, &net, &Reference, &[input], None).expect("runs");
            let output = |i| executor.output(&net.graph, i).map(|view| (view.shape().to_vec(), view.bytes().to_vec()));
            (0..5).map(output).collect::<Vec<_>>()
        };
        let expected = run(Vec::new());
        for batch in [1, 3, 12] {
            assert_eq!(run(vec![Pass { nodes: 0..8, batch }]), expected, "one pass of {batch}");
        }
        for cuts in [[0, 8], [1, 1], [1, 3], [2, 5], [3, 4], [4, 7], [6, 7]] {
            for batches in [[1, 2, 4], [3, 6, 12], [1, 1, 12], [2, 4, 12], [4, 4, 4]] {
                let nodes = [0..cuts[0], cuts[0]..cuts[1], cuts[1]..8];
                let passes = nodes.into_iter().zip(batches).map(|(nodes, batch)| Pass { nodes, batch }).collect();
                assert_eq!(run(passes), expected, "{cuts:?} {batches:?}");
            }
        }
    }
}
