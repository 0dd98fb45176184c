//! ChannelShuffle: Reshape that splits a dimension into groups, Transpose that swaps them, Reshape back.

use quaver_core::graph::{Dim, Network, Node, Op, ValueId};

use super::rewrite::{PassResult, Rewriter, rewrite};

/// Recognises the three operations at their last.
pub(super) fn recognise(network: Network) -> PassResult {
    rewrite(network, |r, node| match shuffle(r, node) {
        Some((x, axis, groups)) => Ok(Some(r.push(Op::ChannelShuffle { axis, groups }, &[x], node)?)),
        None => Ok(None),
    })
}

fn shuffle(r: &Rewriter, node: &Node) -> Option<(ValueId, usize, usize)> {
    let Op::Reshape { shape } = &node.op else { return None };
    let transpose = r.producer(node.inputs[0])?;
    let Op::Transpose { perm } = &transpose.op else { return None };
    let split = r.producer(transpose.inputs[0])?;
    let Op::Reshape { shape: grouped } = &split.op else { return None };
    let x = split.inputs[0];
    if r.shape(x) != shape {
        return None;
    }
    // The swap of two neighbours a, a + 1, and nothing else.
    let a = perm.iter().enumerate().position(|(i, &p)| i != p)?;
    let swapped = |i: usize| match i {
        i if i == a => a + 1,
        i if i == a + 1 => a,
        i => i,
    };
    if perm.iter().enumerate().any(|(i, &p)| p != swapped(i)) {
        return None;
    }
    let groups = grouped[a].fixed()?;
    // The dimension of x that was split: as much before it, and groups times members in it.
    let before = Dim::product(&grouped[..a]);
    let axis = (0..shape.len()).find(|&i| Dim::product(&shape[..i]) == before && shape[i] != Dim::Fixed(1))?;
    (grouped[a].times(&grouped[a + 1])? == shape[axis]).then_some((x, axis, groups))
}

#[cfg(test)]
mod tests {
    use quaver_core::tensor::DType;

    use super::super::testing::assert_same;
    use super::*;

    fn spelled(grouped: Vec<Dim>, perm: Vec<usize>) -> Network {
        let mut net = Network::new("n");
        let shape = || vec![Dim::BATCH, 6.into(), 2.into(), 5.into()];
        let x = net.input("x", DType::F32, shape());
        let a = net.push(Op::Reshape { shape: grouped }, &[x], "", "").expect("valid");
        let b = net.push(Op::Transpose { perm }, &[a], "", "").expect("valid");
        let y = net.push(Op::Reshape { shape: shape() }, &[b], "", "y").expect("valid");
        net.output(y);
        net
    }

    #[test]
    fn recognises_both_spellings() {
        let full = spelled(vec![Dim::BATCH, 3.into(), 2.into(), 2.into(), 5.into()], vec![0, 2, 1, 3, 4]);
        let flat = spelled(vec![Dim::BATCH, 3.into(), 2.into(), 10.into()], vec![0, 2, 1, 3]);
        for net in [full, flat] {
            let short = recognise(net.clone()).expect("valid");
            assert_eq!(short.graph.nodes.len(), 1);
            assert_eq!(short.graph.nodes[0].op, Op::ChannelShuffle { axis: 1, groups: 3 });
            assert_same(&net, &short);
        }
    }

    #[test]
    fn leaves_other_transposes() {
        let moved = spelled(vec![Dim::BATCH, 3.into(), 2.into(), 2.into(), 5.into()], vec![0, 2, 3, 1, 4]);
        let across = spelled(vec![Dim::BATCH, 2.into(), 6.into(), 5.into()], vec![0, 2, 1, 3]);
        for net in [moved, across] {
            assert_eq!(recognise(net).expect("valid").graph.nodes.len(), 3);
        }
    }
}
