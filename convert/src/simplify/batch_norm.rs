//! Scale and shift of channels, folded into the weights and bias of the convolution or Gemm beside them.
//!
//! This is BatchNorm in its spelled-out form, and also a bias that stands as an Add. Channels are the last dimension, as
//! [`super::layout`] leaves them. A chain of such operations is composed in f64 and rounded once.

use std::collections::HashSet;

use quaver_core::graph::check::GraphError;
use quaver_core::graph::op::{BinaryFn, Conv, UnaryFn};
use quaver_core::graph::{Dim, Network, Node, Op, ValueId};

use super::rewrite::{PassResult, Rewriter, fixed_shape, rewrite};

/// Folds backwards into what produces the value, else forwards into what reads it; MatMul with constant weights becomes Gemm.
pub(super) fn fold(network: Network) -> PassResult {
    let inner = inner_links(&network);
    rewrite(network, |r, node| {
        if let Op::MatMul = node.op
            && r.shape(node.inputs[1]).len() == 2
            && r.net().elements::<f32>(node.inputs[1]).is_some()
        {
            return Ok(Some(r.push(Op::Gemm, &node.inputs, node)?));
        }
        if Weighted::of(r, node).is_some() {
            return forwards(r, node);
        }
        if inner.contains(&node.outputs[0]) { Ok(None) } else { backwards(r, node) }
    })
}

/// Outputs of links that are followed by another link of the same chain; only the last one looks back.
pub(super) fn inner_links(network: &Network) -> HashSet<ValueId> {
    let consumers = network.graph.consumers();
    let links = network.graph.nodes.iter().filter(|n| Channels::of(network, n).is_some());
    links
        .map(|n| n.outputs[0])
        .filter(|id| match consumers[id.index()][..] {
            [next] => Channels::of(network, &network.graph.nodes[next]).is_some() && !network.graph.outputs.contains(id),
            _ => false,
        })
        .collect()
}

/// x · scale + shift, one entry per channel.
pub(super) struct Channels {
    /// Factors.
    pub(super) scale: Vec<f64>,
    /// Summands.
    pub(super) shift: Vec<f64>,
}

impl Channels {
    /// The operand and the function of a node that maps each channel by a line.
    pub(super) fn of(net: &Network, node: &Node) -> Option<(ValueId, Self)> {
        let shape = &net.graph.value(node.outputs[0]).shape;
        let channels = shape.last()?.fixed()?;
        let (function, x, c, flipped) = match node.op {
            Op::Unary { function: UnaryFn::Neg } => {
                let line = Self { scale: vec![-1.0; channels], shift: vec![0.0; channels] };
                return Some((node.inputs[0], line));
            }
            Op::Binary { function } => match (net.elements::<f32>(node.inputs[0]), net.elements::<f32>(node.inputs[1])) {
                (None, Some(_)) => (function, node.inputs[0], node.inputs[1], false),
                (Some(_), None) => (function, node.inputs[1], node.inputs[0], true),
                _ => return None,
            },
            _ => return None,
        };
        let data = net.elements::<f32>(c)?;
        let per_channel = net.graph.value(c).shape.iter().rev().skip(1).all(|d| *d == Dim::Fixed(1));
        if &net.graph.value(x).shape != shape || !per_channel || !(data.len() == channels || data.len() == 1) {
            return None;
        }
        let line = |c: f64| match function {
            BinaryFn::Add => Some((1.0, c)),
            BinaryFn::Sub if flipped => Some((-1.0, c)),
            BinaryFn::Sub => Some((1.0, -c)),
            BinaryFn::Mul => Some((c, 0.0)),
            BinaryFn::Div if !flipped && c != 0.0 => Some((1.0 / c, 0.0)),
            _ => None,
        };
        let (scale, shift) = (0..channels).map(|i| line(f64::from(data[i % data.len()]))).collect::<Option<(Vec<_>, Vec<_>)>>()?;
        Some((x, Self { scale, shift }))
    }

    /// This one first, then `next`.
    pub(super) fn then(&self, next: &Self) -> Self {
        let scale = std::iter::zip(&self.scale, &next.scale).map(|(a, b)| a * b).collect();
        let shift = std::iter::zip(&self.shift, &next.scale).zip(&next.shift).map(|((b, s), t)| b * s + t).collect();
        Self { scale, shift }
    }
}

/// A node with constant weights whose last dimension is the output channel.
struct Weighted {
    op: Op,
    x: ValueId,
    weights: ValueId,
    bias: Option<ValueId>,
}

impl Weighted {
    fn of(r: &Rewriter, node: &Node) -> Option<Self> {
        if !matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm) {
            return None;
        }
        let is_constant = |id: ValueId| r.net().elements::<f32>(id).is_some();
        let bias = node.inputs.get(2).copied();
        let constant = is_constant(node.inputs[1]) && bias.is_none_or(is_constant);
        constant.then(|| Self { op: node.op.clone(), x: node.inputs[0], weights: node.inputs[1], bias })
    }

    fn weights<'a>(&self, r: &'a Rewriter) -> &'a [f32] {
        r.net().elements::<f32>(self.weights).unwrap_or_default()
    }

    fn bias(&self, r: &Rewriter, channels: usize) -> Vec<f64> {
        let bias = self.bias.and_then(|id| r.net().elements::<f32>(id));
        bias.map_or_else(|| vec![0.0; channels], |b| b.iter().map(|&v| f64::from(v)).collect())
    }

    /// The same operation on `x` with new weights and bias; `None` if one is not finite.
    fn with(&self, r: &mut Rewriter, x: ValueId, weights: &[f64], bias: &[f64], like: &Node) -> Result<Option<ValueId>, GraphError> {
        let Some(shape) = fixed_shape(r.shape(self.weights)) else { return Ok(None) };
        let round = |data: &[f64]| data.iter().map(|&v| v as f32).collect::<Vec<f32>>();
        let (weights, rounded) = (round(weights), round(bias));
        if !weights.iter().chain(&rounded).all(|v| v.is_finite()) {
            return Ok(None);
        }
        let name = |id: ValueId| r.value(id).name.clone();
        let (weights_name, bias_name) = (name(self.weights), self.bias.map_or_else(String::new, name));
        let mut inputs = vec![x, r.constant(&weights_name, &shape, &weights)];
        if self.bias.is_some() || rounded.iter().any(|&b| b != 0.0) {
            inputs.push(r.constant(&bias_name, &[rounded.len()], &rounded));
        }
        Ok(Some(r.push(self.op.clone(), &inputs, like)?))
    }
}

/// `node` ends a chain of lines: folds the chain into the weights in front of it.
fn backwards(r: &mut Rewriter, node: &Node) -> Result<Option<ValueId>, GraphError> {
    let Some((mut x, mut line)) = Channels::of(r.net(), node) else { return Ok(None) };
    loop {
        let Some(producer) = r.producer(x).filter(|_| r.used_once(x)) else { return Ok(None) };
        if let Some(weighted) = Weighted::of(r, producer) {
            let channels = line.scale.len();
            let weights: Vec<f64> = weighted.weights(r).iter().enumerate().map(|(i, &w)| f64::from(w) * line.scale[i % channels]).collect();
            let own = Channels { scale: vec![1.0; channels], shift: weighted.bias(r, channels) };
            let bias = own.then(&line).shift;
            // The layer keeps its name, by which a qconfig mapping knows it; its result is the chain's.
            let layer = Node { name: producer.name.clone(), ..node.clone() };
            return weighted.with(r, weighted.x, &weights, &bias, &layer);
        }
        let Some((before, first)) = Channels::of(r.net(), producer) else { return Ok(None) };
        (x, line) = (before, first.then(&line));
    }
}

/// `node` has weights and reads a chain of lines: folds the chain into the weights.
fn forwards(r: &mut Rewriter, node: &Node) -> Result<Option<ValueId>, GraphError> {
    let Some(weighted) = Weighted::of(r, node) else { return Ok(None) };
    let (groups, padded) = match &node.op {
        Op::Conv(Conv { window, groups }) => (*groups, window.pads_begin != [0; 2] || window.pads_end != [0; 2]),
        Op::Gemm => (1, false),
        _ => return Ok(None),
    };
    let mut x = weighted.x;
    let mut line: Option<Channels> = None;
    while let Some((before, first)) = r.producer(x).filter(|_| r.used_once(x)).and_then(|p| Channels::of(r.net(), p)) {
        let composed = match &line {
            Some(behind) => first.then(behind),
            None => first,
        };
        (x, line) = (before, Some(composed));
    }
    let Some(line) = line else { return Ok(None) };
    // Padding is zero behind the line, not in front of it.
    if padded && line.shift.iter().any(|&s| s != 0.0) {
        return Ok(None);
    }
    let shape = r.shape(weighted.weights);
    let [.., Dim::Fixed(members), Dim::Fixed(channels)] = *shape else { return Ok(None) };
    let mut bias = weighted.bias(r, channels);
    let weights = weighted.weights(r).iter().enumerate().map(|(i, &w)| {
        let (member, output) = (i / channels % members, i % channels);
        let input = output / (channels / groups) * members + member;
        bias[output] += f64::from(w) * line.shift[input];
        f64::from(w) * line.scale[input]
    });
    let weights: Vec<f64> = weights.collect();
    weighted.with(r, x, &weights, &bias, node)
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::op::{ConvTranspose, Window};
    use quaver_core::tensor::DType;

    use super::super::testing::{assert_same, ramp};
    use super::*;

    fn binary(net: &mut Network, function: BinaryFn, a: ValueId, b: ValueId, name: &str) -> ValueId {
        net.push(Op::Binary { function }, &[a, b], name, name).expect("valid")
    }

    fn image(net: &mut Network) -> ValueId {
        net.input("x", DType::F32, vec![Dim::BATCH, 5.into(), 5.into(), 4.into()])
    }

    fn line(net: &mut Network, x: ValueId, channels: usize) -> ValueId {
        let scale = net.constant("", &[1, 1, 1, channels], &ramp(channels));
        let shift = net.constant("", &[channels], &ramp(channels + 1)[1..]);
        let m = binary(net, BinaryFn::Mul, x, scale, "m");
        binary(net, BinaryFn::Sub, m, shift, "t42")
    }

    #[track_caller]
    fn folds_to(mut net: Network, y: ValueId, nodes: usize) -> Network {
        net.output(y);
        let folded = fold(net.clone()).expect("valid");
        assert_eq!(folded.graph.nodes.len(), nodes);
        assert_same(&net, &folded);
        folded
    }

    #[test]
    fn behind_weights() {
        for groups in [1, 2, 4] {
            let mut net = Network::new("n");
            let x = image(&mut net);
            let w = net.constant("w", &[3, 3, 4 / groups, 8], &ramp(9 * 4 / groups * 8));
            let window = Window { kernel: [3, 3], pads_begin: [1, 1], ..Window::unit() };
            let y = net.push(Op::Conv(Conv { window, groups }), &[x, w], "c", "c").expect("valid");
            let y = line(&mut net, y, 8);
            let folded = folds_to(net, y, 1);
            assert!(folded.graph.value_named("t42").is_some(), "the result carries the last name");
            assert_eq!(folded.graph.nodes[0].name, "c", "the node its own");
        }
        let mut net = Network::new("n");
        let x = image(&mut net);
        let w = net.constant("w", &[2, 2, 4, 3], &ramp(48));
        let b = net.constant("b", &[3], &[0.5f32, -1.0, 2.0]);
        let window = Window { kernel: [2, 2], strides: [2, 2], ..Window::unit() };
        let op = Op::ConvTranspose(ConvTranspose { window, groups: 1, output_padding: [0, 0] });
        let y = net.push(op, &[x, w, b], "c", "c").expect("valid");
        let y = line(&mut net, y, 3);
        folds_to(net, y, 1);
    }

    #[test]
    fn matmul_and_bias_become_gemm() {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 6.into()]);
        let w = net.constant("w", &[6, 5], &ramp(30));
        let b = net.constant("b", &[1, 5], &ramp(5));
        let y = net.push(Op::MatMul, &[x, w], "", "").expect("valid");
        let y = binary(&mut net, BinaryFn::Add, b, y, "y");
        let folded = folds_to(net, y, 1);
        assert_eq!((&folded.graph.nodes[0].op, folded.graph.nodes[0].inputs.len()), (&Op::Gemm, 3));
    }

    #[test]
    fn in_front_of_weights() {
        for (groups, pad, nodes) in [(1, 0, 2), (2, 0, 2), (1, 1, 4)] {
            let mut net = Network::new("n");
            let x = image(&mut net);
            let x = net.push(Op::Unary { function: UnaryFn::Relu }, &[x], "", "").expect("valid");
            let x = line(&mut net, x, 4);
            let w = net.constant("w", &[3, 3, 4 / groups, 8], &ramp(9 * 4 / groups * 8));
            let window = Window { kernel: [3, 3], pads_begin: [pad, 0], ..Window::unit() };
            let y = net.push(Op::Conv(Conv { window, groups }), &[x, w], "c", "c").expect("valid");
            folds_to(net, y, nodes);
        }
    }

    #[test]
    fn not_where_the_value_is_used_elsewhere_or_the_line_is_no_line_of_channels() {
        let mut net = Network::new("n");
        let x = image(&mut net);
        let w = net.constant("w", &[1, 1, 4, 4], &ramp(16));
        let rows = net.constant("rows", &[5, 1, 1], &ramp(5));
        let conv = Op::Conv(Conv { window: Window::unit(), groups: 1 });
        let a = net.push(conv.clone(), &[x, w], "a", "a").expect("valid");
        let m = line(&mut net, a, 4);
        let b = net.push(conv, &[x, w], "b", "b").expect("valid");
        let n = binary(&mut net, BinaryFn::Mul, b, rows, "n");
        let s = binary(&mut net, BinaryFn::Add, a, m, "s");
        let y = binary(&mut net, BinaryFn::Add, s, n, "y");
        folds_to(net, y, 7);
    }
}
