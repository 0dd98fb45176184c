//! Scale and shift of channels that have no weights beside them: one depthwise 1×1 convolution.
//!
//! BatchNorm behind a Concat or in front of a ReLU (DenseNet, pre-activation ResNet) is left over by [`super::batch_norm`].
//! As a convolution it is one layer with one rounding, and its ReLU can be fused like any other.

use quaver_core::graph::check::GraphError;
use quaver_core::graph::op::{Conv, Window};
use quaver_core::graph::{Network, Node, Op, ValueId};

use super::batch_norm::{self, Channels};
use super::rewrite::{PassResult, Rewriter, rewrite};

/// Gathers chains of two or more operations on images.
pub(super) fn gather(mut network: Network) -> PassResult {
    // What can be folded must be gone, because a convolution would keep it.
    loop {
        let folded = batch_norm::fold(network.clone())?;
        if folded.graph == network.graph {
            break;
        }
        network = folded;
    }
    let inner = batch_norm::inner_links(&network);
    rewrite(network, |r, node| if inner.contains(&node.outputs[0]) { Ok(None) } else { last_link(r, node) })
}

fn last_link(r: &mut Rewriter, node: &Node) -> Result<Option<ValueId>, GraphError> {
    let Some((mut x, mut line)) = Channels::of(r.net(), node).filter(|(x, _)| r.shape(*x).len() == 4) else { return Ok(None) };
    let mut links = 1;
    while let Some((before, first)) = r.producer(x).filter(|_| r.used_once(x)).and_then(|p| Channels::of(r.net(), p)) {
        (x, line, links) = (before, first.then(&line), links + 1);
    }
    let round = |data: &[f64]| data.iter().map(|&v| v as f32).collect::<Vec<f32>>();
    let (scale, shift) = (round(&line.scale), round(&line.shift));
    let extents_known = r.shape(x)[1..].iter().all(|d| d.fixed().is_some());
    if links < 2 || scale.is_empty() || !extents_known || !scale.iter().chain(&shift).all(|v| v.is_finite()) {
        return Ok(None);
    }
    let channels = scale.len();
    let weights = r.constant("", &[1, 1, 1, channels], &scale);
    let bias = r.constant("", &[channels], &shift);
    let op = Op::Conv(Conv { window: Window::unit(), groups: channels });
    Ok(Some(r.push(op, &[x, weights, bias], node)?))
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::Dim;
    use quaver_core::graph::op::{BinaryFn, UnaryFn};
    use quaver_core::tensor::DType;

    use super::super::testing::{assert_same, ramp};
    use super::*;

    fn with_line(links: &[BinaryFn]) -> Network {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 3.into(), 2.into(), 6.into()]);
        let mut v = net.push(Op::Unary { function: UnaryFn::Tanh }, &[x], "", "").expect("valid");
        for &function in links {
            let c = net.constant("", &[6], &ramp(6));
            v = net.push(Op::Binary { function }, &[v, c], "", "").expect("valid");
        }
        let y = net.push(Op::Unary { function: UnaryFn::Relu }, &[v], "", "y").expect("valid");
        net.output(y);
        net
    }

    #[test]
    fn a_batch_norm_alone_is_one_convolution() {
        let net = with_line(&[BinaryFn::Mul, BinaryFn::Add]);
        let after = gather(net.clone()).expect("valid");
        assert_eq!(after.graph.nodes.iter().map(|n| n.op.name()).collect::<Vec<_>>(), ["Tanh", "Conv", "Relu"]);
        assert_same(&net, &after);
    }

    #[test]
    fn a_single_operation_stays() {
        let net = with_line(&[BinaryFn::Mul]);
        assert_eq!(gather(net.clone()).expect("valid").graph, net.graph);
    }
}
