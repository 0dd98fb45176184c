//! Common subexpressions: equal constants and equal nodes become one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use quaver_core::graph::{Network, ValueId};

use super::rewrite::{PassResult, constant_data, rewrite};

/// Merges what is equal; an output of the graph stays a value of its own.
pub(super) fn merge(mut network: Network) -> PassResult {
    let same = equal_constants(&network);
    for input in network.graph.nodes.iter_mut().flat_map(|n| n.inputs.iter_mut()) {
        *input = same[input.index()];
    }
    let mut seen: HashMap<(String, Vec<ValueId>), ValueId> = HashMap::new();
    rewrite(network, |r, node| {
        let output = r.value(node.outputs[0]);
        let key = format!("{:?} {:?} {:?}", node.op, output.dtype, output.quant);
        match seen.entry((key, node.inputs.clone())) {
            Entry::Occupied(entry) => Ok(Some(*entry.get())),
            Entry::Vacant(entry) => {
                entry.insert(node.outputs[0]);
                Ok(None)
            }
        }
    })
}

/// For each value, the first constant that equals it, or itself.
fn equal_constants(network: &Network) -> Vec<ValueId> {
    let mut first = HashMap::new();
    let values = network.graph.values.iter().enumerate();
    values
        .map(|(index, value)| {
            let id = ValueId(index as u32);
            match constant_data(network, id) {
                Some(data) => {
                    let quant = format!("{:?}", value.quant);
                    *first.entry((value.dtype, value.shape.clone(), quant, data)).or_insert(id)
                }
                None => id,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::op::{BinaryFn, UnaryFn};
    use quaver_core::graph::{Dim, Op};
    use quaver_core::tensor::DType;

    use super::super::testing::assert_same;
    use super::*;

    #[test]
    fn merges_equal_branches_but_not_outputs() {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 2.into()]);
        let a = net.constant("a", &[2], &[1f32, 2.0]);
        let b = net.constant("b", &[2], &[1f32, 2.0]);
        let c = net.constant("c", &[2], &[1f32, 3.0]);
        let add = |net: &mut Network, k| net.push(Op::Binary { function: BinaryFn::Add }, &[x, k], "", "").expect("valid");
        let (p, q, s) = (add(&mut net, a), add(&mut net, b), add(&mut net, c));
        let y = net.push(Op::Concat { axis: 1 }, &[p, q, s], "", "y").expect("valid");
        let u = net.push(Op::Unary { function: UnaryFn::Relu }, &[y], "", "u").expect("valid");
        let v = net.push(Op::Unary { function: UnaryFn::Relu }, &[y], "", "v").expect("valid");
        net.output(u);
        net.output(v);
        let merged = merge(net.clone()).expect("valid");
        // Two sums instead of three; both outputs, which have their own names.
        assert_eq!(merged.graph.nodes.len(), 5);
        let names: Vec<_> = merged.graph.outputs.iter().map(|&o| merged.graph.value(o).name.as_str()).collect();
        assert_eq!(names, ["u", "v"]);
        assert_same(&net, &merged);
    }
}
