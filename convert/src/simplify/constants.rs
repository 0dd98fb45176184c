//! Constant folding: what depends on constants alone is computed now, by the reference backend.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::{Network, Node};
use quaver_core::reference::Reference;
use quaver_core::tensor::{AlignedBytes, TensorView, TensorViewMut, byte_count};

use super::rewrite::{PassResult, constant_data, fixed_shape, rewrite};

/// A folded constant may always have this many bytes; above, no more than twice its operands, so that a small model
/// cannot unfold into a large one.
const SMALL: usize = 1 << 20;

/// Replaces every node whose operands are constants by its result.
pub(super) fn fold(network: Network) -> PassResult {
    rewrite(network, |r, node| {
        let Some((shape, bytes)) = evaluate(r.net(), node) else { return Ok(None) };
        let output = r.value(node.outputs[0]);
        let (name, dtype) = (output.name.clone(), output.dtype);
        Ok(r.constant_bytes(&name, dtype, &shape, &bytes))
    })
}

/// The result of `node`; `None` if an operand is no constant, or the result is too large.
fn evaluate(net: &Network, node: &Node) -> Option<(Vec<usize>, AlignedBytes)> {
    let output = net.graph.value(node.outputs[0]);
    if output.quant.is_some() || output.shape.iter().any(|d| d.is_batch()) {
        return None;
    }
    let mut shapes = Vec::with_capacity(node.inputs.len());
    let mut total = 0usize;
    for &id in &node.inputs {
        let value = net.graph.value(id);
        if value.constant.is_none() || value.quant.is_some() {
            return None;
        }
        let shape = fixed_shape(&value.shape)?;
        total = total.checked_add(byte_count(value.dtype, &shape)?)?;
        shapes.push(shape);
    }
    let shape = fixed_shape(&output.shape)?;
    let size = byte_count(output.dtype, &shape)?;
    if size > SMALL.max(total.saturating_mul(2)) {
        return None;
    }
    let operands: Option<Vec<Operand<'_>>> = std::iter::zip(&node.inputs, &shapes)
        .map(|(&id, shape)| {
            let value = net.graph.value(id);
            let view = TensorView::new(value.dtype, shape, constant_data(net, id)?)?;
            Some(Operand { constant: value.constant, ..Operand::new(view, None) })
        })
        .collect();
    let mut bytes = AlignedBytes::zeroed(size)?;
    let mut result = OutputMut { view: TensorViewMut::new(output.dtype, &shape, &mut bytes)?, quant: None };
    Reference.compute(&node.op, &operands?, &mut result);
    Some((shape, bytes))
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::op::BinaryFn;
    use quaver_core::graph::{Dim, Op};
    use quaver_core::tensor::DType;

    use super::super::testing::assert_same;
    use super::*;

    #[test]
    fn folds_chains_and_keeps_names() {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 2.into(), 3.into()]);
        let a = net.constant("a", &[3, 2], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let b = net.constant("b", &[2, 1], &[10f32, 20.0]);
        let t = net.push(Op::Transpose { perm: vec![1, 0] }, &[a], "t", "t").expect("valid");
        let s = net.push(Op::Binary { function: BinaryFn::Add }, &[t, b], "s", "s").expect("valid");
        let y = net.push(Op::Binary { function: BinaryFn::Mul }, &[x, s], "y", "y").expect("valid");
        net.output(y);
        let folded = fold(net.clone()).expect("valid");
        assert_eq!(folded.graph.nodes.len(), 1);
        let s = folded.graph.value_named("s").expect("named");
        assert_eq!(folded.elements::<f32>(s), Some(&[11f32, 13.0, 15.0, 22.0, 24.0, 26.0][..]));
        assert_same(&net, &folded);
    }

    #[test]
    fn does_not_unfold_a_small_model_into_a_large_one() {
        let mut net = Network::new("n");
        let a = net.constant("a", &[1024, 1], &[1f32; 1024]);
        let b = net.constant("b", &[1, 1024], &[1f32; 1024]);
        let y = net.push(Op::Binary { function: BinaryFn::Add }, &[a, b], "y", "y").expect("valid");
        net.output(y);
        assert_eq!(fold(net).expect("valid").graph.nodes.len(), 1);
    }
}
