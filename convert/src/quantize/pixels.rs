//! Transposed convolutions whose windows lie side by side: as many products of a pixel as a window has taps, which are then put in
//! their places. The definition asks each position of the output for all taps, and all but one are holes.
//!
//! Integers are the same: a sum lacks what holes add to it, and its bias what it takes off for them.

use quaver_core::format::weights::PackedShape;
use quaver_core::graph::check::GraphError;
use quaver_core::graph::op::{QConv, QConvTranspose, Window};
use quaver_core::graph::{Dim, Network, Node, Op, ValueId};
use quaver_core::tensor::Element;

/// The network with such convolutions as products, which give the same bytes.
///
/// # Errors
/// [`GraphError`], where the network is not valid.
pub fn split(network: &Network) -> Result<Network, GraphError> {
    let mut net = network.clone();
    for node in std::mem::take(&mut net.graph.nodes) {
        match Pixels::of(&net, &node) {
            Some(pixels) => pixels.push(&mut net, node)?,
            None => net.graph.nodes.push(node),
        }
    }
    net.compact();
    Ok(net)
}

/// A convolution that is to be split.
struct Pixels {
    op: QConvTranspose,
    /// Weights, bias and multipliers of a channel for each tap and channel.
    shape: PackedShape,
    weights: Vec<i8>,
    bias: Vec<i32>,
    multipliers: Vec<f32>,
    hard_swish: Option<Vec<f32>>,
}

impl Pixels {
    /// `None` where windows overlap or have gaps, and where a residual is added, which lies in the output's order.
    fn of(net: &Network, node: &Node) -> Option<Self> {
        let Op::QConvTranspose(op) = node.op else { return None };
        let window = Window { kernel: op.window.kernel, strides: op.window.kernel, ..Window::unit() };
        let residual = op.epilogue.is_some_and(|epilogue| epilogue.residual.is_some());
        if op.window != window || window.kernel == [1, 1] || op.groups != 1 || op.output_padding != [0, 0] || residual {
            return None;
        }
        let (ic, oc) = (net.graph.value(node.inputs[0]).shape.last()?.fixed()?, op.channels);
        let before = PackedShape::grouped(window.kernel, ic, oc, 1)?;
        let taps = before.taps;
        let shape = PackedShape::grouped([1, 1], ic, taps.checked_mul(oc)?, 1)?;
        // `[tap][ic][oc]`, to be `[ic][tap][oc]`.
        let old = before.unpack(elements(net, node, 1)?)?;
        let mut weights = vec![0; old.len()];
        let mut sums = vec![0i64; taps * oc];
        for (i, &w) in old.iter().enumerate() {
            let (tap, c, n) = (i / (ic * oc), i / oc % ic, i % oc);
            weights[(c * taps + tap) * oc + n] = w;
            sums[tap * oc + n] += i64::from(w);
        }
        let (old_bias, old_multipliers): (&[i32], &[f32]) = (elements(net, node, 2)?, elements(net, node, 3)?);
        let mut bias = vec![0; shape.padded_channels()];
        for (channel, bias) in bias.iter_mut().enumerate().take(taps * oc) {
            let others: i64 = sums.iter().skip(channel % oc).step_by(oc).sum::<i64>() - sums[channel];
            *bias = i32::try_from(i64::from(old_bias[channel % oc]) + i64::from(op.pad_value) * others).ok()?;
        }
        let spread = |of: &[f32]| (0..shape.padded_channels()).map(|channel| of[channel % oc]).collect::<Vec<f32>>();
        let hard_swish = match op.epilogue.filter(|epilogue| epilogue.hard_swish) {
            Some(_) => {
                let (slopes, shifts) = elements(net, node, 4)?.split_at_checked(before.padded_channels())?;
                Some([spread(slopes), spread(shifts)].concat())
            }
            None => None,
        };
        Some(Self { op, shape, weights: shape.pack(&weights)?, bias, multipliers: spread(old_multipliers), hard_swish })
    }

    /// A product of pixels, and moves of its bytes to where the node's output has them.
    fn push(self, net: &mut Network, node: Node) -> Result<(), GraphError> {
        let Self { op: QConvTranspose { window, channels, pad_value, epilogue, .. }, shape, .. } = self;
        let name = node.name;
        let output = net.graph.value(node.outputs[0]).clone();
        let mut inputs = vec![
            node.inputs[0],
            net.constant(format!("{name}.weight"), &shape.weights(), &self.weights),
            net.constant(format!("{name}.bias"), &[self.bias.len()], &self.bias),
            net.constant(format!("{name}.multiplier"), &[self.multipliers.len()], &self.multipliers),
        ];
        if let Some(parameters) = &self.hard_swish {
            inputs.push(net.constant(format!("{name}.hard_swish"), &[2, parameters.len() / 2], parameters));
        }
        // The table.
        inputs.extend(node.inputs.iter().skip(inputs.len()));
        let conv = Op::QConv(QConv { window: Window::unit(), groups: 1, channels: shape.output_channels, pad_value, epilogue });
        let pixels = net.push_typed(conv, &inputs, &name, "", output.dtype, output.quant)?;
        // [N,H,W,kh,kw·C], of which a row's taps belong to a row of the output.
        let mut extents: Vec<Dim> = net.graph.value(pixels).shape[..3].to_vec();
        extents.extend([window.kernel[0], window.kernel[1] * channels].map(Dim::Fixed));
        let moves = [Op::Reshape { shape: extents }, Op::Transpose { perm: vec![0, 1, 3, 2, 4] }];
        let mut moved = pixels;
        for (op, what) in moves.into_iter().zip(["taps", "rows"]) {
            moved = net.push_typed(op, &[moved], &format!("{name}/{what}"), "", output.dtype, output.quant)?;
        }
        net.graph.nodes.push(Node {
            name: format!("{name}/image"),
            op: Op::Reshape { shape: output.shape },
            inputs: vec![moved],
            outputs: node.outputs,
        });
        Ok(())
    }
}

/// Operand `i`, a constant.
fn elements<'n, T: Element>(net: &'n Network, node: &Node, i: usize) -> Option<&'n [T]> {
    let id: ValueId = *node.inputs.get(i)?;
    net.elements(id)
}

#[cfg(test)]
mod tests {
    use quaver_core::exec::Executor;
    use quaver_core::graph::op::{ConvTranspose, UnaryFn};
    use quaver_core::plan::Plan;
    use quaver_core::reference::Reference;
    use quaver_core::tensor::{DType, TensorView};

    use super::*;
    use crate::quantize::qconfig::QConfigMapping;
    use crate::quantize::quantize;

    const SHAPE: [usize; 4] = [2, 3, 4, 3];

    fn ramp(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    /// The output by the definition.
    fn run(network: &Network, x: &[f32]) -> Vec<f32> {
        let plan = Plan::new(&network.graph, SHAPE[0], 1 << 30).expect("small");
        let mut executor = Executor::new(plan, 0).expect("memory");
        let input = TensorView::from_slice(&SHAPE, x).expect("sized");
        executor.run(&network.graph, network, &Reference, &[input], None).expect("runs");
        executor.output(&network.graph, 0).and_then(|y| y.as_slice::<f32>().map(<[f32]>::to_vec)).expect("f32")
    }

    /// A transposed convolution of three channels to `channels`, and what is behind it, quantized.
    fn network(window: Window, channels: usize, function: Option<UnaryFn>) -> Network {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, SHAPE[1].into(), SHAPE[2].into(), SHAPE[3].into()]);
        let [kh, kw] = window.kernel;
        let w = net.constant("w", &[kh, kw, 3, channels], &ramp(kh * kw * 3 * channels));
        let bias = net.constant("b", &[channels], &ramp(channels));
        let op = Op::ConvTranspose(ConvTranspose { window, groups: 1, output_padding: [0, 0] });
        let mut y = net.push(op, &[x, w, bias], "conv", "conv").expect("fits");
        if let Some(function) = function {
            y = net.push(Op::Unary { function }, &[y], "behind", "behind").expect("fits");
        }
        net.output(y);
        quantize(&net, &QConfigMapping::default(), &|_| Some((-1.5, 2.0))).expect("it has all ranges").network
    }

    #[test]
    fn windows_side_by_side_become_products_of_the_same_bytes() {
        let window = |kernel: [usize; 2], strides| Window { kernel, strides, ..Window::unit() };
        for kernel in [[2, 2], [3, 2], [1, 4]] {
            for channels in [1, 5, 16, 20] {
                for function in [None, Some(UnaryFn::Relu), Some(UnaryFn::HardSwish), Some(UnaryFn::Sigmoid)] {
                    let before = network(window(kernel, kernel), channels, function);
                    let after = split(&before).expect("valid");
                    quaver_core::graph::check::check(&after.graph).expect("valid");
                    let gone = |net: &Network| !net.graph.nodes.iter().any(|n| matches!(n.op, Op::QConvTranspose(_)));
                    assert!(!gone(&before) && gone(&after));
                    let x = ramp(SHAPE.iter().product());
                    let [expected, got] = [&before, &after].map(|net| run(net, &x));
                    assert_eq!(got, expected, "{kernel:?} {channels} {function:?}");
                }
            }
        }
        // Windows that overlap stay as they are.
        let overlapping = network(window([3, 3], [2, 2]), 4, None);
        assert_eq!(split(&overlapping).expect("valid").graph, overlapping.graph);
    }
}
