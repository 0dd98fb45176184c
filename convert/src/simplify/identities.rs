//! Identities: operations that return their operand, reshapes of reshapes, and Expands that broadcasting makes needless.

use quaver_core::graph::check::GraphError;
use quaver_core::graph::op::{BinaryFn, PoolFn, ReduceFn, UnaryFn, Window};
use quaver_core::graph::shape::infer;
use quaver_core::graph::{Dim, Network, Node, Op, ValueId};

use super::rewrite::{PassResult, Rewriter, rewrite, uniform};

/// Drops identities; a Reshape reads past another Reshape.
pub(super) fn remove(network: Network) -> PassResult {
    rewrite(network, |r, node| {
        if let Some(same) = operand(r, node) {
            return Ok(Some(same));
        }
        if let Op::Reshape { .. } = node.op
            && let Some(Node { op: Op::Reshape { .. }, inputs, .. }) = r.producer(node.inputs[0])
        {
            let source = inputs[0];
            return Ok(Some(r.push(node.op.clone(), &[source], node)?));
        }
        spread(r, node)
    })
}

/// An operation that broadcasts its operands, without the Expands in front of it.
fn spread(r: &mut Rewriter, node: &Node) -> Result<Option<ValueId>, GraphError> {
    if !matches!(node.op, Op::Binary { .. } | Op::Compare { .. } | Op::Where) {
        return Ok(None);
    }
    let mut inputs = node.inputs.clone();
    for i in 0..inputs.len() {
        let Some(Node { op: Op::Expand { .. }, inputs: from, .. }) = r.producer(inputs[i]) else { continue };
        let before = std::mem::replace(&mut inputs[i], from[0]);
        let shapes: Vec<&[Dim]> = inputs.iter().map(|&id| r.shape(id)).collect();
        if !infer(&node.op, &shapes).is_ok_and(|shape| shape == r.shape(node.outputs[0])) {
            inputs[i] = before;
        }
    }
    if inputs == node.inputs { Ok(None) } else { r.push(node.op.clone(), &inputs, node).map(Some) }
}

/// The operand that `node` returns unchanged.
fn operand(r: &Rewriter, node: &Node) -> Option<ValueId> {
    let x = node.inputs[0];
    let (from, to) = (r.value(x), r.value(node.outputs[0]));
    let same = |id: ValueId| r.shape(id) == to.shape && r.value(id).dtype == to.dtype && r.value(id).quant == to.quant;
    if let Op::Binary { function } = node.op {
        let (a, b) = (x, node.inputs[1]);
        let neutral = match function {
            BinaryFn::Add | BinaryFn::Sub => 0.0,
            BinaryFn::Mul | BinaryFn::Div | BinaryFn::Pow => 1.0,
            BinaryFn::Min | BinaryFn::Max => return (a == b && same(a)).then_some(a),
        };
        let commutes = matches!(function, BinaryFn::Add | BinaryFn::Mul);
        let is_neutral = |id| uniform(r.net(), id) == Some(neutral);
        return match () {
            () if is_neutral(b) && same(a) => Some(a),
            () if commutes && is_neutral(a) && same(b) => Some(b),
            () => None,
        };
    }
    let identity = match &node.op {
        Op::Reshape { .. } | Op::Slice { .. } if from.shape == to.shape => match &node.op {
            Op::Slice { cuts } => cuts.iter().all(|c| c.start == Dim::Fixed(0) && (c.step == 1 || c.len == Dim::Fixed(1))),
            _ => true,
        },
        Op::Transpose { perm } => perm.iter().enumerate().all(|(i, &p)| i == p),
        Op::Concat { .. } => node.inputs.len() == 1,
        Op::Expand { .. } => from.shape == to.shape,
        Op::Pad { before, after, .. } => before.iter().chain(after).all(|&n| n == 0),
        Op::DepthToSpace { block, .. } | Op::SpaceToDepth { block } => *block == 1,
        Op::ChannelShuffle { axis, groups } => *groups == 1 || from.shape[*axis].fixed() == Some(*groups),
        Op::Pool(pool) => pool.window == Window::unit() && matches!(pool.function, PoolFn::Max | PoolFn::Average),
        Op::Reduce { function, axes, .. } => {
            let keeps = matches!(function, ReduceFn::Mean | ReduceFn::Sum | ReduceFn::Max | ReduceFn::Min | ReduceFn::Prod);
            keeps && axes.is_empty()
        }
        Op::Resize(resize) => resize.shape == from.shape && resize.scales.iter().all(|&s| s == 1.0),
        Op::Unary { function: UnaryFn::Clip { lo, hi } } => *lo <= f32::MIN && *hi >= f32::MAX,
        _ => false,
    };
    (identity && same(x)).then_some(x)
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::Dim;
    use quaver_core::graph::op::Cut;
    use quaver_core::tensor::DType;

    use super::super::testing::assert_same;
    use super::*;

    #[test]
    fn drops_what_does_nothing() {
        let mut net = Network::new("n");
        let shape = || vec![Dim::BATCH, 4.into(), 3.into()];
        let x = net.input("x", DType::F32, shape());
        let one = net.constant("one", &[3], &[1f32; 3]);
        let zero = net.constant("zero", &[1], &[0f32]);
        let mut v = net.push(Op::Unary { function: UnaryFn::Tanh }, &[x], "tanh", "tanh").expect("valid");
        let ops = [
            Op::Reshape { shape: shape() },
            Op::Transpose { perm: vec![0, 1, 2] },
            Op::Slice { cuts: vec![Cut::new(1, 0, 4, 1)] },
            Op::Concat { axis: 1 },
            Op::ChannelShuffle { axis: 1, groups: 4 },
            Op::Unary { function: UnaryFn::Clip { lo: f32::MIN, hi: f32::MAX } },
        ];
        for op in ops {
            v = net.push(op, &[v], "", "").expect("valid");
        }
        v = net.push(Op::Binary { function: BinaryFn::Mul }, &[one, v], "", "").expect("valid");
        v = net.push(Op::Binary { function: BinaryFn::Sub }, &[v, zero], "", "y").expect("valid");
        net.output(v);
        let small = remove(net.clone()).expect("valid");
        assert_eq!(small.graph.nodes.len(), 1);
        assert_eq!(small.graph.value(small.graph.outputs[0]).name, "y", "an output keeps its name");
        assert_same(&net, &small);
    }

    #[test]
    fn keeps_what_changes_shape_or_order() {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 1.into(), 3.into()]);
        let ones = net.constant("ones", &[2, 1], &[1f32; 2]);
        let wide = net.push(Op::Binary { function: BinaryFn::Mul }, &[x, ones], "", "wide").expect("valid");
        let cut = Cut::new(2, 2, 3, -1);
        let back = net.push(Op::Slice { cuts: vec![cut] }, &[wide], "", "back").expect("valid");
        net.output(back);
        assert_eq!(remove(net).expect("valid").graph.nodes.len(), 2);
    }

    #[test]
    fn an_expand_before_what_broadcasts_is_dropped() {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 4.into(), 3.into()]);
        let row = net.push(Op::Reduce { function: ReduceFn::Mean, axes: vec![1], keep_dims: true }, &[x], "", "").expect("valid");
        let wide = net.push(Op::Expand { shape: vec![Dim::BATCH, 4.into(), 3.into()] }, &[row], "", "wide").expect("valid");
        let y = net.push(Op::Binary { function: BinaryFn::Sub }, &[x, wide], "", "y").expect("valid");
        // Of two operands, one has to have the extent.
        let z = net.push(Op::Binary { function: BinaryFn::Mul }, &[wide, row], "", "z").expect("valid");
        net.output(y);
        net.output(z);
        let after = remove(net.clone()).expect("valid");
        let inputs: Vec<&[ValueId]> = after.graph.nodes.iter().map(|n| &n.inputs[..]).collect();
        assert_eq!(inputs[2][1], after.graph.nodes[0].outputs[0]);
        assert_eq!(inputs[3][0], after.graph.nodes[1].outputs[0]);
        assert_same(&net, &after);
    }

    #[test]
    fn an_input_that_is_also_an_output_keeps_both_names() {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH]);
        let y = net.push(Op::Reshape { shape: vec![Dim::BATCH] }, &[x], "", "y").expect("valid");
        net.output(y);
        let kept = remove(net).expect("valid");
        assert_eq!(kept.graph.value(kept.graph.inputs[0]).name, "x");
        assert_eq!(kept.graph.value(kept.graph.outputs[0]).name, "y");
    }

    #[test]
    fn reshape_of_reshape_is_one() {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 12.into()]);
        let a = net.push(Op::Reshape { shape: vec![Dim::BATCH, 3.into(), 4.into()] }, &[x], "", "a").expect("valid");
        let b = net.push(Op::Reshape { shape: vec![Dim::BATCH, 4.into(), 3.into()] }, &[a], "", "b").expect("valid");
        net.output(b);
        assert_eq!(remove(net).expect("valid").graph.nodes.len(), 1);
    }
}
