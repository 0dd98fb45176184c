//! Dead code: nodes and values that no output of the graph needs.

use quaver_core::graph::Network;

use super::rewrite::PassResult;

/// Drops nodes whose results nobody reads, then values and constants that nothing names. Inputs stay.
pub(super) fn remove(mut network: Network) -> PassResult {
    let graph = &mut network.graph;
    let mut needed = vec![false; graph.values.len()];
    for output in &graph.outputs {
        needed[output.index()] = true;
    }
    let mut keep = vec![false; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        keep[index] = node.outputs.iter().any(|o| needed[o.index()]);
        if keep[index] {
            node.inputs.iter().for_each(|i| needed[i.index()] = true);
        }
    }
    let mut keep = keep.into_iter();
    graph.nodes.retain(|_| keep.next().unwrap_or(true));
    network.compact();
    Ok(network)
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::op::UnaryFn;
    use quaver_core::graph::{Dim, Op};
    use quaver_core::tensor::DType;

    use super::*;

    #[test]
    fn keeps_what_the_output_needs_and_every_input() {
        let mut net = Network::new("n");
        let relu = || Op::Unary { function: UnaryFn::Relu };
        let x = net.input("x", DType::F32, vec![Dim::BATCH]);
        net.input("unused", DType::F32, vec![Dim::BATCH]);
        net.constant("lost", &[1], &[1.0f32]);
        let a = net.push(relu(), &[x], "a", "a").expect("valid");
        let b = net.push(relu(), &[a], "b", "b").expect("valid");
        net.push(relu(), &[b], "c", "c").expect("valid");
        net.output(b);
        let net = remove(net).expect("valid");
        assert_eq!(net.graph.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(net.graph.inputs.len(), 2);
        assert_eq!(net.graph.value_named("lost"), None);
        assert_eq!(net.graph.value_named("c"), None);
    }
}
