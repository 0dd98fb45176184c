//! Layout: Transposes move towards the outputs until they cancel.
//!
//! Importers wrap every windowed operation into a Transpose to NHWC and one back. This pass gives each value of the old
//! graph a [`view::View`]: a value of the new graph and a permutation that nobody has carried out. Operations that work
//! element by element or along named dimensions are applied below the permutation; the others ask for it to be carried
//! out. Where a flatten feeds constant weights, the rows of the weights are reordered instead.
//!
//! * [`propagate`] the pass · [`view`] values under a permutation · [`segments`] reshapes of transposed values

mod segments;
mod view;

use std::collections::HashMap;

use quaver_core::graph::check::GraphError;
use quaver_core::graph::op::{Cut, Resize};
use quaver_core::graph::{Graph, Network, Node, Op, ValueId};

use self::view::{Builder, View, elements, is_identity};
use super::dead_code;
use super::rewrite::PassResult;

/// Moves Transposes; the network stays as it is where that doesn't save any.
pub(super) fn propagate(network: Network) -> PassResult {
    let mut best = (cost(&network.graph), None);
    if best.0.1 == 0 {
        return Ok(network);
    }
    for keep_moved in [true, false] {
        for at_inputs in [true, false] {
            let moved = Walk::run(network.clone(), keep_moved, at_inputs)?;
            let new = cost(&moved.graph);
            if new < best.0 {
                best = (new, Some(moved));
            }
        }
    }
    Ok(best.1.unwrap_or(network))
}

/// Elements moved by Transposes at batch 1, their number, and how many operations deep they are: behind an input, a
/// Transpose lets the Pad or the normalisation that follows meet the first convolution.
fn cost(graph: &Graph) -> (usize, usize, usize) {
    let mut depth = vec![0usize; graph.values.len()];
    let mut cost = (0usize, 0, 0);
    for node in &graph.nodes {
        let before = node.inputs.iter().map(|i| depth[i.index()]).max().unwrap_or(0);
        let output = node.outputs[0];
        depth[output.index()] = before + 1;
        if let Op::Transpose { .. } = node.op {
            cost = (cost.0.saturating_add(elements(&graph.value(output).shape)), cost.1 + 1, cost.2 + before);
        }
    }
    cost
}

/// One walk over the old nodes.
struct Walk {
    new: Builder,
    /// For each old value, what it is in the new graph.
    views: Vec<Option<View>>,
    /// Old values that were flattened without their Transpose: the flat value, and where each element is in it.
    reordered: HashMap<ValueId, (ValueId, Vec<usize>)>,
    /// Old values that nothing reads but Gemm and MatMul with constant weights.
    feeds_weights: Vec<bool>,
    /// Whether operands of equal size meet in the permuted layout rather than in the plain one.
    keep_moved: bool,
}

impl Walk {
    /// Rebuilds the network. With `at_inputs`, images are transposed to NHWC before anything else.
    fn run(mut network: Network, keep_moved: bool, at_inputs: bool) -> PassResult {
        let feeds_weights = feeds_weights(&network);
        let nodes = std::mem::take(&mut network.graph.nodes);
        let count = network.graph.values.len();
        let inputs = network.graph.inputs.clone();
        let new = Builder::new(network);
        let mut walk = Self { new, views: vec![None; count], reordered: HashMap::new(), feeds_weights, keep_moved };
        for id in inputs {
            let perm: &[usize] = match walk.new.net.graph.value(id).shape.len() {
                3 => &[0, 2, 1],
                4 => &[0, 2, 3, 1],
                _ => continue,
            };
            if at_inputs {
                walk.views[id.index()] = Some(walk.new.ahead(id, perm)?);
            }
        }
        for node in &nodes {
            let view = walk.node(node)?;
            walk.views[node.outputs[0].index()] = Some(view);
        }
        let outputs = walk.new.net.graph.outputs.clone();
        for (index, old) in outputs.into_iter().enumerate() {
            let view = walk.view(old);
            walk.new.net.graph.outputs[index] = walk.new.output(&view, old, index)?;
        }
        dead_code::remove(walk.new.net)
    }

    /// Inputs and constants that were not given a view are themselves; nodes are in order, so every other operand has one.
    fn view(&self, old: ValueId) -> View {
        let rank = self.new.net.graph.value(old).shape.len();
        self.views[old.index()].clone().unwrap_or_else(|| View::plain(old, rank))
    }

    fn node(&mut self, node: &Node) -> Result<View, GraphError> {
        let x = self.view(node.inputs[0]);
        let View { base, perm } = x.clone();
        let same_order = |walk: &mut Self, op: Op| {
            let mut inputs = node.inputs.clone();
            inputs[0] = base;
            Ok(View { base: walk.new.push(op, &inputs, node)?, perm: perm.clone() })
        };
        match &node.op {
            Op::Transpose { perm: outer } => {
                let view = View { base, perm: outer.iter().map(|&i| perm[i]).collect() };
                self.new.inherit_name(base, node.outputs[0]);
                Ok(view)
            }
            Op::Unary { .. } | Op::Quantize { .. } | Op::Dequantize | Op::Table => same_order(self, node.op.clone()),
            Op::Softmax { axis } => same_order(self, Op::Softmax { axis: perm[*axis] }),
            Op::LogSoftmax { axis } => same_order(self, Op::LogSoftmax { axis: perm[*axis] }),
            Op::ChannelShuffle { axis, groups } => same_order(self, Op::ChannelShuffle { axis: perm[*axis], groups: *groups }),
            Op::Slice { cuts } => {
                let cuts = cuts.iter().map(|c| Cut { axis: perm[c.axis], ..c.clone() }).collect();
                same_order(self, Op::Slice { cuts })
            }
            Op::Pad { before, after, mode } => {
                let (before, after) = (below(&perm, before), below(&perm, after));
                same_order(self, Op::Pad { before, after, mode: *mode })
            }
            Op::Resize(resize) => {
                let (shape, scales) = (below(&perm, &resize.shape), below(&perm, &resize.scales));
                same_order(self, Op::Resize(Resize { shape, scales, ..resize.clone() }))
            }
            Op::Reduce { function, axes, keep_dims } => {
                let mut below_axes: Vec<usize> = axes.iter().map(|&a| perm[a]).collect();
                below_axes.sort_unstable();
                let left = |dim: usize| dim - below_axes.iter().filter(|&&a| a < dim).count();
                let dims = (0..perm.len()).filter(|i| *keep_dims || !axes.contains(i));
                let perm = dims.map(|i| if *keep_dims { perm[i] } else { left(perm[i]) }).collect();
                let op = Op::Reduce { function: *function, axes: below_axes.clone(), keep_dims: *keep_dims };
                Ok(View { base: self.new.push(op, &[base], node)?, perm })
            }
            Op::Binary { .. } => self.aligned(node, node.op.clone()),
            Op::Concat { axis } => {
                let perm = self.common_order(node);
                self.aligned(node, Op::Concat { axis: perm[*axis] })
            }
            Op::Reshape { shape } => {
                if is_identity(&perm) {
                    return self.plain(node);
                }
                let base_shape = self.new.net.graph.value(base).shape.clone();
                if let Some((shape, perm)) = segments::through(&base_shape, &perm, shape) {
                    return Ok(View { base: self.new.push(Op::Reshape { shape }, &[base], node)?, perm });
                }
                if self.feeds_weights[node.outputs[0].index()]
                    && let Some(order) = segments::flattened(&base_shape, &perm, shape)
                {
                    // Not the model's tensor any more, so it must not have its name.
                    let flat = self.new.push(node.op.clone(), &[base], node)?;
                    self.new.net.graph.values[flat.index()].name.clear();
                    self.reordered.insert(node.outputs[0], (flat, order));
                    return Ok(View::plain(flat, shape.len()));
                }
                self.plain(node)
            }
            Op::Gemm | Op::MatMul if self.reordered.contains_key(&node.inputs[0]) => {
                let (flat, order) = self.reordered[&node.inputs[0]].clone();
                let mut inputs = node.inputs.clone();
                inputs[0] = flat;
                inputs[1] = self.new.reorder_rows(inputs[1], &order);
                Ok(View::plain(self.new.push(node.op.clone(), &inputs, node)?, self.rank(node)))
            }
            // The last dimension meets the weights, or is a row; the others only have to come back in their order.
            Op::Gemm | Op::LayerNorm { .. } if !is_identity(&perm) && perm.last() == Some(&(perm.len() - 1)) => {
                same_order(self, node.op.clone())
            }
            _ => self.plain(node),
        }
    }

    fn rank(&self, node: &Node) -> usize {
        self.new.net.graph.value(node.outputs[0]).shape.len()
    }

    /// The node on operands in their own order.
    fn plain(&mut self, node: &Node) -> Result<View, GraphError> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &old in &node.inputs {
            let view = self.view(old);
            inputs.push(self.new.carry_out(&view)?);
        }
        Ok(View::plain(self.new.push(node.op.clone(), &inputs, node)?, self.rank(node)))
    }

    /// The node on operands that are all brought to [`Walk::common_order`].
    fn aligned(&mut self, node: &Node, op: Op) -> Result<View, GraphError> {
        let perm = self.common_order(node);
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &old in &node.inputs {
            let view = self.view(old);
            inputs.push(self.new.in_order(&view, &perm)?);
        }
        Ok(View { base: self.new.push(op, &inputs, node)?, perm })
    }

    /// The order in which the operands meet: that of most elements.
    fn common_order(&self, node: &Node) -> Vec<usize> {
        let rank = self.rank(node);
        let mut orders: Vec<(usize, bool, Vec<usize>)> = Vec::new();
        for &old in &node.inputs {
            let value = self.new.net.graph.value(old);
            let View { perm, .. } = self.view(old);
            if value.constant.is_some() || perm.len() != rank {
                continue;
            }
            let size = elements(&value.shape);
            match orders.iter_mut().find(|o| o.2 == perm) {
                Some(order) => order.0 = order.0.saturating_add(size),
                None => orders.push((size, is_identity(&perm) != self.keep_moved, perm)),
            }
        }
        orders.into_iter().max().map_or_else(|| (0..rank).collect(), |order| order.2)
    }
}

/// What belongs to the dimensions of a value, for those of its base.
fn below<T: Clone>(perm: &[usize], of_value: &[T]) -> Vec<T> {
    let mut of_base = of_value.to_vec();
    for (i, &p) in perm.iter().enumerate() {
        of_base[p] = of_value[i].clone();
    }
    of_base
}

/// For each value, whether it is read by Gemm and MatMul with constant matrices alone.
fn feeds_weights(network: &Network) -> Vec<bool> {
    let graph = &network.graph;
    let mut feeds = vec![true; graph.values.len()];
    for node in &graph.nodes {
        let weights = matches!(node.op, Op::Gemm | Op::MatMul)
            && graph.value(node.inputs[1]).shape.len() == 2
            && network.elements::<f32>(node.inputs[1]).is_some();
        for (operand, input) in node.inputs.iter().enumerate() {
            feeds[input.index()] &= weights && operand == 0;
        }
    }
    graph.outputs.iter().for_each(|o| feeds[o.index()] = false);
    feeds
}

#[cfg(test)]
mod tests;
