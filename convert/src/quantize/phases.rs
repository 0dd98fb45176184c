//! Transposed convolutions as the phases that they consist of: positions of the output that are a stride apart see the same taps of
//! the window, and others see others. So one convolution of the input computes all phases, as channels of a pixel, which are then put
//! in their places. The definition asks each position for all taps, and all but one in stride² are holes.
//!
//! Where `o` is a position of the output, `o + pad = stride · q + phase`: the input at `q - t` reaches it through tap
//! `phase + stride · t`. So the convolution's window has as many taps as there are `t`, and its outputs are the `q`.
//!
//! Integers are the same: a sum lacks what holes add to it, and its bias what it takes off for them.

use quaver_core::format::weights::PackedShape;
use quaver_core::graph::check::GraphError;
use quaver_core::graph::extent::Extent;
use quaver_core::graph::op::{Cut, PadMode, QConv, QConvTranspose, Window};
use quaver_core::graph::{Dim, Network, Node, Op, ValueId};
use quaver_core::tensor::Element;

/// The network with convolutions in place of transposed ones, which give the same bytes.
///
/// # Errors
/// [`GraphError`], where the network is not valid.
pub fn split(network: &Network) -> Result<Network, GraphError> {
    let mut net = network.clone();
    for node in std::mem::take(&mut net.graph.nodes) {
        match Phases::of(&net, &node) {
            Some(phases) => phases.push(&mut net, node)?,
            None => net.graph.nodes.push(node),
        }
    }
    net.compact();
    Ok(net)
}

/// The order in which phases of rows and columns of pixels have changed places.
const SWAPPED: [usize; 5] = [0, 1, 3, 2, 4];

/// A dimension of such a convolution.
#[derive(Clone, Copy)]
struct Axis {
    /// So many phases.
    stride: usize,
    /// Most taps of a phase.
    taps: usize,
    /// What the convolution sees before and behind its input.
    pads: [usize; 2],
    /// Positions before the first that the output has, and behind its last.
    cut: [usize; 2],
}

impl Axis {
    /// `None` where there is padding that no tap reaches, and where positions lie between windows.
    fn of(window: &Window, d: usize, output_padding: usize) -> Option<Self> {
        let (kernel, stride) = (window.kernel[d], window.strides[d]);
        let taps = kernel.div_ceil(stride);
        let [before, behind] = [window.pads_begin[d], window.pads_end[d]];
        let last = (kernel + output_padding).checked_sub(1 + behind)? / stride;
        let pads = [(taps - 1).checked_sub(before / stride)?, last];
        let cut = [before % stride, stride * (last + 1) + behind - kernel - output_padding];
        (kernel >= stride && window.dilations[d] == 1).then_some(Self { stride, taps, pads, cut })
    }

    /// Of a tap, its phase, and its place in the convolution's window.
    fn place(&self, tap: usize) -> [usize; 2] {
        [tap % self.stride, self.taps - 1 - tap / self.stride]
    }
}

/// A convolution that is to be split.
struct Phases {
    op: QConvTranspose,
    axes: [Axis; 2],
    /// The shape of the convolution's output.
    pixels: Vec<Dim>,
    /// That of the image that has all positions.
    whole: Vec<Dim>,
    /// Weights, bias and multipliers of a channel for each phase and channel.
    shape: PackedShape,
    weights: Vec<i8>,
    bias: Vec<i32>,
    multipliers: Vec<f32>,
    hard_swish: Option<Vec<f32>>,
}

impl Phases {
    /// `None` where there is one phase only.
    fn of(net: &Network, node: &Node) -> Option<Self> {
        let Op::QConvTranspose(op) = node.op else { return None };
        let window = op.window;
        if window.strides == [1, 1] || op.groups != 1 {
            return None;
        }
        let axes = [Axis::of(&window, 0, op.output_padding[0])?, Axis::of(&window, 1, op.output_padding[1])?];
        let mut pixels = net.graph.value(node.inputs[0]).shape.clone();
        let mut whole = net.graph.value(node.outputs[0]).shape.clone();
        let (ic, oc) = (pixels.last()?.fixed()?, op.channels);
        for (d, axis) in axes.iter().enumerate() {
            let more = axis.pads.iter().sum::<usize>() as i64 + 1 - axis.taps as i64;
            pixels[1 + d] = Dim::of(pixels[1 + d].extent()?.plus(&Extent::from(more))?)?;
            whole[1 + d] = whole[1 + d].plus(&axis.cut.iter().sum::<usize>().into())?;
        }
        let before = PackedShape::grouped(window.kernel, ic, oc, 1)?;
        let phases = axes[0].stride.checked_mul(axes[1].stride)?;
        let shape = PackedShape::grouped(axes.map(|axis| axis.taps), ic, phases.checked_mul(oc)?, 1)?;
        pixels[3] = shape.output_channels.into();
        // `[tap][ic][oc]`, to be `[tap][ic][phase][oc]`.
        let old = before.unpack(elements(net, node, 1)?)?;
        let mut weights = vec![0; shape.taps * ic * phases * oc];
        let mut sums = vec![0i64; phases * oc];
        for (i, &w) in old.iter().enumerate() {
            let (tap, c, n) = (i / (ic * oc), i / oc % ic, i % oc);
            let [y, x] = [axes[0].place(tap / window.kernel[1]), axes[1].place(tap % window.kernel[1])];
            let (phase, tap) = (y[0] * axes[1].stride + x[0], y[1] * axes[1].taps + x[1]);
            weights[((tap * ic + c) * phases + phase) * oc + n] = w;
            sums[phase * oc + n] += i64::from(w);
        }
        let (old_bias, old_multipliers): (&[i32], &[f32]) = (elements(net, node, 2)?, elements(net, node, 3)?);
        let mut bias = vec![0; shape.padded_channels()];
        for (channel, bias) in bias.iter_mut().enumerate().take(phases * oc) {
            let others: i64 = sums.iter().skip(channel % oc).step_by(oc).sum::<i64>() - sums[channel];
            *bias = i32::try_from(i64::from(old_bias[channel % oc]) + i64::from(op.pad_value) * others).ok()?;
        }
        let spread = |of: &[f32]| (0..shape.padded_channels()).map(|channel| of[channel % oc]).collect::<Vec<f32>>();
        let hard_swish = match op.epilogue.filter(|epilogue| epilogue.hard_swish) {
            Some(_) => {
                let (slopes, shifts) = elements(net, node, 4 + usize::from(adds(&op)))?.split_at_checked(before.padded_channels())?;
                Some([spread(slopes), spread(shifts)].concat())
            }
            None => None,
        };
        let (weights, multipliers) = (shape.pack(&weights)?, spread(old_multipliers));
        Some(Self { op, axes, pixels, whole, shape, weights, bias, multipliers, hard_swish })
    }

    /// A convolution, and moves of its bytes to where the node's output has them.
    fn push(self, net: &mut Network, node: Node) -> Result<(), GraphError> {
        let Self { op: QConvTranspose { pad_value, epilogue, .. }, axes, ref shape, .. } = self;
        let name = &node.name;
        let output = net.graph.value(node.outputs[0]).clone();
        let mut inputs = vec![
            node.inputs[0],
            net.constant(format!("{name}.weight"), &shape.weights(), &self.weights),
            net.constant(format!("{name}.bias"), &[self.bias.len()], &self.bias),
            net.constant(format!("{name}.multiplier"), &[self.multipliers.len()], &self.multipliers),
        ];
        if adds(&self.op) {
            inputs.push(self.residual(net, name, node.inputs[inputs.len()])?);
        }
        if let Some(parameters) = &self.hard_swish {
            inputs.push(net.constant(format!("{name}.hard_swish"), &[2, parameters.len() / 2], parameters));
        }
        // The table.
        inputs.extend(node.inputs.iter().skip(inputs.len()));
        let [pads_begin, pads_end] = [0, 1].map(|end| axes.map(|axis| axis.pads[end]));
        let window = Window { kernel: axes.map(|axis| axis.taps), pads_begin, pads_end, ..Window::unit() };
        let conv = Op::QConv(QConv { window, groups: 1, channels: shape.output_channels, pad_value, epilogue });
        let pixels = net.push_typed(conv, &inputs, name, "", output.dtype, output.quant)?;
        let mut moved = push(net, Op::Reshape { shape: self.split(SWAPPED) }, pixels, format!("{name}/phases"))?;
        moved = push(net, Op::Transpose { perm: SWAPPED.to_vec() }, moved, format!("{name}/rows"))?;
        let cuts: Vec<Cut> =
            (0..2).filter(|&d| axes[d].cut != [0, 0]).map(|d| Cut::new(1 + d, axes[d].cut[0], output.shape[1 + d].clone(), 1)).collect();
        let mut last = Op::Reshape { shape: self.whole };
        let mut what = "image";
        if !cuts.is_empty() {
            moved = push(net, last, moved, format!("{name}/{what}"))?;
            (last, what) = (Op::Slice { cuts }, "cut");
        }
        net.graph.nodes.push(Node { name: format!("{name}/{what}"), op: last, inputs: vec![moved], outputs: node.outputs });
        Ok(())
    }

    /// What is added to the output, as the convolution's pixels are: the same moves backwards.
    fn residual(&self, net: &mut Network, name: &str, mut residual: ValueId) -> Result<ValueId, GraphError> {
        let axes = self.axes;
        if axes.iter().any(|axis| axis.cut != [0, 0]) {
            let [before, after] = [0, 1].map(|end| vec![0, axes[0].cut[end], axes[1].cut[end], 0]);
            let pad = Op::Pad { before, after, mode: PadMode::Constant(0.0) };
            residual = push(net, pad, residual, format!("{name}/residual"))?;
        }
        let rows = Op::Reshape { shape: self.split([0, 1, 2, 3, 4]) };
        residual = push(net, rows, residual, format!("{name}/residual/rows"))?;
        residual = push(net, Op::Transpose { perm: SWAPPED.to_vec() }, residual, format!("{name}/residual/phases"))?;
        push(net, Op::Reshape { shape: self.pixels.clone() }, residual, format!("{name}/residual/pixels"))
    }

    /// The extents of images, rows of pixels, their phases, columns of pixels, and what a pixel's row of phases has, in that order.
    fn split(&self, order: [usize; 5]) -> Vec<Dim> {
        let [n, h, w] = [0, 1, 2].map(|d| self.pixels[d].clone());
        let [rows, columns] = self.axes.map(|axis| axis.stride);
        let dims = [n, h, rows.into(), w, (columns * self.op.channels).into()];
        order.map(|d| dims[d].clone()).to_vec()
    }
}

/// Whether the epilogue adds a residual.
fn adds(op: &QConvTranspose) -> bool {
    op.epilogue.is_some_and(|epilogue| epilogue.residual.is_some())
}

/// Adds a move of a value's bytes.
fn push(net: &mut Network, op: Op, input: ValueId, name: String) -> Result<ValueId, GraphError> {
    let (dtype, quant) = (net.graph.value(input).dtype, net.graph.value(input).quant);
    net.push_typed(op, &[input], &name, "", dtype, quant)
}

/// Operand `i`, a constant.
fn elements<'n, T: Element>(net: &'n Network, node: &Node, i: usize) -> Option<&'n [T]> {
    let id: ValueId = *node.inputs.get(i)?;
    net.elements(id)
}

#[cfg(test)]
mod tests {
    use quaver_core::exec::Executor;
    use quaver_core::graph::op::{BinaryFn, Conv, ConvTranspose, UnaryFn};
    use quaver_core::graph::shape::transposed_extent;
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

    /// A transposed convolution of three channels to `channels`, and what is behind it, quantized; with `adds`, the sum of it and of
    /// another.
    fn network(
        window: Window,
        output_padding: [usize; 2],
        channels: usize,
        function: Option<UnaryFn>,
        extents: [Dim; 2],
        adds: bool,
    ) -> Network {
        let mut net = Network::new("n");
        let [h, w] = extents;
        let x = net.input("x", DType::F32, vec![Dim::BATCH, h, w, SHAPE[3].into()]);
        let [kh, kw] = window.kernel;
        let w = net.constant("w", &[kh, kw, 3, channels], &ramp(kh * kw * 3 * channels));
        let bias = net.constant("b", &[channels], &ramp(channels));
        let op = Op::ConvTranspose(ConvTranspose { window, groups: 1, output_padding });
        let mut y = net.push(op.clone(), &[x, w, bias], "conv", "conv").expect("fits");
        if adds {
            let other = net.push(Op::Unary { function: UnaryFn::Relu }, &[y], "other", "other").expect("fits");
            let second = net.push(op, &[x, w, bias], "second", "second").expect("fits");
            y = net.push(Op::Binary { function: BinaryFn::Add }, &[second, other], "sum", "sum").expect("fits");
        }
        if let Some(function) = function {
            y = net.push(Op::Unary { function }, &[y], "behind", "behind").expect("fits");
        }
        // So that all before it have 8 bits.
        let last = Conv { window: Window::unit(), groups: 1 };
        let w = net.constant("last.w", &[1, 1, channels, 4], &ramp(channels * 4));
        y = net.push(Op::Conv(last), &[y, w], "last", "last").expect("fits");
        net.output(y);
        quantize(&net, &QConfigMapping::default(), &|_| Some((-1.5, 2.0))).expect("it has all ranges").network
    }

    fn fixed() -> [Dim; 2] {
        [SHAPE[1].into(), SHAPE[2].into()]
    }

    fn has_transposed(net: &Network) -> bool {
        net.graph.nodes.iter().any(|n| matches!(n.op, Op::QConvTranspose(_)))
    }

    fn expect_the_same(window: Window, output_padding: [usize; 2], channels: usize, function: Option<UnaryFn>) {
        for adds in [false, true] {
            expect_the_same_of(&network(window, output_padding, channels, function, fixed(), adds), adds);
        }
    }

    fn expect_the_same_of(before: &Network, adds: bool) {
        let after = split(before).expect("valid");
        quaver_core::graph::check::check(&after.graph).expect("valid");
        assert!(has_transposed(before) && !has_transposed(&after));
        let has_residual = |op: &Op| matches!(op, Op::QConv(conv) if conv.epilogue.is_some_and(|e| e.residual.is_some()));
        assert_eq!(after.graph.nodes.iter().any(|node| has_residual(&node.op)), adds);
        let x = ramp(SHAPE.iter().product());
        let [expected, got] = [before, &after].map(|net| run(net, &x));
        assert_eq!(got, expected, "{:?}", before.graph.nodes);
    }

    #[test]
    fn windows_side_by_side_become_products_of_the_same_bytes() {
        for kernel in [[2, 2], [3, 2], [1, 4]] {
            for channels in [1, 5, 16, 20] {
                for function in [None, Some(UnaryFn::Relu), Some(UnaryFn::HardSwish), Some(UnaryFn::Sigmoid)] {
                    expect_the_same(Window { kernel, strides: kernel, ..Window::unit() }, [0, 0], channels, function);
                }
            }
        }
    }

    #[test]
    fn windows_that_overlap_become_convolutions_of_the_same_bytes() {
        for (kernel, strides) in [([4, 4], [2, 2]), ([3, 3], [2, 2]), ([5, 3], [2, 1]), ([9, 4], [3, 4]), ([2, 7], [1, 3])] {
            for pads_begin in [[0, 0], [1, 2], [2, 0], [4, 3]] {
                for pads_end in [[0, 1], [1, 1], [2, 3]] {
                    for output_padding in [[0, 0], [strides[0] - 1, strides[1] - 1]] {
                        let window = Window { kernel, strides, pads_begin, pads_end, dilations: [1, 1] };
                        let reached = (0..2).all(|d| pads_begin[d] < kernel[d] && pads_end[d] < kernel[d]);
                        let has_output = (0..2).all(|d| transposed_extent(&window, d, SHAPE[1 + d], output_padding[d]).is_some());
                        if reached && has_output {
                            expect_the_same(window, output_padding, 5, Some(UnaryFn::Relu));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn extents_stay_open() {
        let window = Window { kernel: [4, 4], strides: [2, 2], pads_begin: [1, 1], pads_end: [1, 1], dilations: [1, 1] };
        let before = network(window, [0, 0], 4, None, ["H", "W"].map(Dim::symbol), true);
        let after = split(&before).expect("valid");
        quaver_core::graph::check::check(&after.graph).expect("valid");
        assert!(!has_transposed(&after));
        let shape = |net: &Network| net.graph.value(net.graph.outputs[0]).shape.clone();
        assert_eq!(shape(&after), shape(&before));
    }

    #[test]
    fn others_stay_as_they_are() {
        let window = Window { kernel: [3, 3], strides: [2, 2], ..Window::unit() };
        for window in [
            Window { strides: [1, 1], ..window },
            Window { dilations: [2, 1], ..window },
            // Positions that no window reaches.
            Window { strides: [4, 2], ..window },
        ] {
            let net = network(window, [0, 0], 4, None, fixed(), false);
            assert_eq!(split(&net).expect("valid").graph, net.graph);
        }
    }
}
