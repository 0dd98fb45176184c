//! Reshapes between a product and its activation, as those around a convolution of lines: the activation goes first, so that it can
//! be a part of the product, and what is below its limits needs no integers.

use quaver_core::graph::{Network, Node, Op};

use super::rewrite::{PassResult, rewrite};

/// Swaps a function of single elements with the Reshape between it and a product.
pub(super) fn pass_by(network: Network) -> PassResult {
    rewrite(network, |r, node| {
        let Op::Unary { function } = node.op else { return Ok(None) };
        let Some(reshape) = r.producer(node.inputs[0]).filter(|p| matches!(p.op, Op::Reshape { .. })).cloned() else { return Ok(None) };
        let x = reshape.inputs[0];
        let product = r.producer(x).is_some_and(|p| matches!(p.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm));
        if !product || !r.used_once(node.inputs[0]) || !r.used_once(x) {
            return Ok(None);
        }
        let active = r.push_between(Op::Unary { function }, &[x], &node.name)?;
        Ok(Some(r.push(reshape.op.clone(), &[active], &Node { name: reshape.name.clone(), ..node.clone() })?))
    })
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::Dim;
    use quaver_core::graph::op::UnaryFn;
    use quaver_core::tensor::DType;

    use super::super::testing::{assert_same, ramp};
    use super::*;

    fn net(also_read: bool) -> Network {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 6.into()]);
        let w = net.constant("w", &[6, 8], &ramp(48));
        let v = net.push(Op::Gemm, &[x, w], "fc", "fc").expect("valid");
        let v = net.push(Op::Reshape { shape: vec![Dim::BATCH, 2.into(), 4.into()] }, &[v], "reshape", "wide").expect("valid");
        let y = net.push(Op::Unary { function: UnaryFn::Relu }, &[v], "relu", "y").expect("valid");
        net.output(y);
        if also_read {
            net.output(v);
        }
        net
    }

    #[test]
    fn the_activation_goes_first_where_nothing_else_reads() {
        let (before, read) = (net(false), net(true));
        let after = pass_by(before.clone()).expect("valid");
        assert_eq!(after.graph.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["fc", "relu", "reshape"]);
        assert!(after.graph.value_named("wide").is_none(), "a tensor that is no more has no name");
        assert_same(&before, &after);
        assert_eq!(pass_by(read.clone()).expect("valid").graph, read.graph);
    }
}
