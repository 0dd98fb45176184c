//! Parameters that the model brings itself: a network with Quantize and Dequantize nodes becomes one without them, whose
//! values have affine parameters, and regions follow from these.
//!
//! An operation becomes an integer one where the model gives parameters for all that it reads and for what it computes; a
//! convolution, a matrix product or a mean may also compute real numbers. Everything else stays float, as the model says. Values
//! that only moves, Relu or Clip separate from one with parameters take these over: rounding commutes with what keeps the order.

use quaver_core::graph::op::{BinaryFn, PadMode, PoolFn, ResizeMode, UnaryFn};
use quaver_core::graph::{Graph, Network, Node, Op, ValueId};
use quaver_core::quant::Affine;
use quaver_core::tensor::DType;

use super::grid;
use super::qconfig::{NodeConfig, Scheme};
use super::regions::{self, Kind, Regions, activations};

/// Whether a float network brings quantization parameters for its activations.
pub fn brings_parameters(network: &Network) -> bool {
    network.graph.nodes.iter().any(|n| matches!(n.op, Op::Quantize { .. } | Op::Dequantize))
}

/// Whether a float network's products have weights that were quantized, so that each run quantizes their activations: how ONNX
/// Runtime's `quantize_dynamic` and others leave a model.
pub fn is_dynamic(network: &Network) -> bool {
    /// Fewer weights may be on a grid by chance.
    const ENOUGH: usize = 64;
    let graph = &network.graph;
    let on_grid = |node: &Node| {
        let weights = network.elements::<f32>(node.inputs[1])?;
        let channels = graph.value(node.inputs[1]).shape.last()?.fixed()?;
        (weights.len() >= ENOUGH * channels.max(1)).then(|| grid::scales(weights, channels))?
    };
    !brings_parameters(network) && graph.nodes.iter().any(|n| matches!(n.op, Op::Gemm) && on_grid(n).is_some())
}

/// A float network and the parameters of its values.
#[derive(Debug, Clone)]
pub struct Given {
    /// The network, all of its values real. A Quantize node that is left stands for a rounding of what is also read unrounded, or
    /// rounded otherwise; its result is real too.
    pub network: Network,
    /// Parameters of a value.
    pub affine: Vec<Option<Affine>>,
    /// Sums of a product and a residual that come before any rounding: the product's parameters only stand in for those of the
    /// sum, so the two have to be one operation.
    pub unrounded: Vec<bool>,
    /// Inputs and outputs that are u8 in the model.
    pub integer: Vec<bool>,
}

impl Given {
    /// Takes the parameters out of `network`; `None` if it has none.
    pub fn read(network: &Network) -> Option<Self> {
        if !brings_parameters(network) {
            return None;
        }
        let mut given = strip(network.clone());
        given.commute();
        given.stand_in();
        Some(given)
    }

    /// Which nodes become integer operations.
    pub fn regions(&self, configs: &[NodeConfig]) -> Regions {
        let graph = &self.network.graph;
        let kinds: Vec<Kind> = graph.nodes.iter().zip(configs).map(|(n, _)| regions::kind(graph, n, true)).collect();
        let reasons: Vec<Option<String>> = (0..kinds.len()).map(|i| self.why_float(&graph.nodes[i], kinds[i], configs[i].scheme)).collect();
        let quantized: Vec<bool> = reasons.iter().map(Option::is_none).collect();
        let scheme = |(i, node): (usize, &Node)| {
            // What the model quantizes statically, it says.
            let asked = if configs[i].scheme == Scheme::Static { Scheme::Float } else { configs[i].scheme };
            regions::scheme(graph, node, quantized[i], asked)
        };
        let schemes = graph.nodes.iter().enumerate().map(scheme).collect();
        let is_u8 = self.affine.iter().map(Option::is_some).collect();
        Regions { kinds, quantized, schemes, reasons, is_u8 }
    }

    fn why_float(&self, node: &Node, kind: Kind, scheme: Scheme) -> Option<String> {
        let graph = &self.network.graph;
        if let Op::Quantize { .. } = node.op {
            return Some("the model rounds here what it also uses unrounded".to_owned());
        }
        if let Kind::Never(reason) = kind {
            return Some(reason.to_owned());
        }
        if scheme != Scheme::Static {
            return Some("the qconfig mapping says otherwise".to_owned());
        }
        if let Some(v) = activations(graph, node).find(|&v| self.affine[v].is_none()) {
            return Some(format!("the model gives no quantization parameters for its operand '{}'", graph.values[v].name));
        }
        let output = graph.value(node.outputs[0]);
        let may_be_real = matches!(kind, Kind::Heavy | Kind::Product) || matches!(node.op, Op::Reduce { .. });
        if self.affine[node.outputs[0].index()].is_none() && !may_be_real {
            return Some(format!("the model gives no quantization parameters for its result '{}'", output.name));
        }
        if kind == Kind::Heavy && self.weight_scales(node).is_none() {
            return Some("its weights are not quantized in the model".to_owned());
        }
        None
    }

    /// The scales of a heavy node's weights; `None` if they were not quantized.
    pub fn weight_scales(&self, node: &Node) -> Option<Vec<f64>> {
        let weights = node.inputs[1];
        let channels = self.network.graph.value(weights).shape.last()?.fixed()?;
        grid::scales(self.network.elements::<f32>(weights)?, channels)
    }

    /// Hands parameters on over what commutes with rounding, first towards the inputs, then towards the outputs.
    fn commute(&mut self) {
        let graph = &self.network.graph;
        let consumers = graph.consumers();
        let values = graph.nodes.iter().rev().map(|n| n.outputs[0]).chain(graph.inputs.iter().copied());
        for value in values {
            let v = value.index();
            if self.affine[v].is_some() || graph.outputs.contains(&value) {
                continue;
            }
            let through = |&c: &usize| {
                let node = &graph.nodes[c];
                let affine = self.affine[node.outputs[0].index()]?;
                keeps_order(node).then_some(affine)
            };
            let Some(first) = consumers[v].first().and_then(through) else { continue };
            if consumers[v].iter().all(|c| through(c) == Some(first)) {
                self.affine[v] = Some(first);
            }
        }
        for node in &graph.nodes {
            let output = node.outputs[0].index();
            let mut inputs = activations(graph, node).map(|v| self.affine[v]);
            if let (None, Some(Some(first))) = (self.affine[output], inputs.next())
                && inputs.all(|other| other == Some(first))
                && keeps_grid(graph, node, first)
            {
                self.affine[output] = Some(first);
            }
        }
    }

    /// A product without parameters of its own that only an addition reads takes those of the sum.
    fn stand_in(&mut self) {
        let graph = &self.network.graph;
        let (consumers, producers) = (graph.consumers(), graph.producers());
        for node in &graph.nodes {
            let Some(sum) = self.affine[node.outputs[0].index()] else { continue };
            let [a, b] = node.inputs[..] else { continue };
            if node.op != (Op::Binary { function: BinaryFn::Add }) || graph.value(a).shape != graph.value(b).shape {
                continue;
            }
            for (product, other) in [(a, b), (b, a)] {
                let alone = consumers[product.index()].len() == 1 && !graph.outputs.contains(&product);
                let Some(p) = producers[product.index()] else { continue };
                let heavy = matches!(graph.nodes[p].op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm)
                    && activations(graph, &graph.nodes[p]).all(|v| self.affine[v].is_some())
                    && graph.value(graph.nodes[p].inputs[1]).constant.is_some();
                let ready = producers[other.index()].is_none_or(|o| o < p) && graph.value(other).constant.is_none();
                if alone && heavy && ready && self.affine[product.index()].is_none() && self.affine[other.index()].is_some() {
                    self.affine[product.index()] = Some(sum);
                    self.unrounded[product.index()] = true;
                }
            }
        }
    }
}

/// Whether rounding the result is rounding the operands: each element of it is an element of theirs, or a limit.
fn keeps_order(node: &Node) -> bool {
    match &node.op {
        Op::Unary { function: UnaryFn::Relu | UnaryFn::Clip { .. } } => true,
        Op::Resize(resize) => resize.mode != ResizeMode::Linear,
        Op::Pool(pool) => pool.function == PoolFn::Max,
        Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
        | Op::ChannelShuffle { .. } => true,
        _ => false,
    }
}

/// Whether the result of rounded operands is on their grid.
fn keeps_grid(graph: &Graph, node: &Node, affine: Affine) -> bool {
    let on_grid = |x: f32| affine.dequantize(affine.quantize(x)) == x;
    match &node.op {
        Op::Unary { function: UnaryFn::Clip { .. } } => false,
        Op::Pad { mode: PadMode::Constant(x), .. } => on_grid(*x),
        Op::Concat { .. } => node.inputs.iter().all(|&v| graph.value(v).constant.is_none()),
        _ => keeps_order(node),
    }
}

/// Takes Quantize and Dequantize out where a value is read rounded by all who read it.
fn strip(mut network: Network) -> Given {
    let consumers = network.graph.consumers();
    let graph = &mut network.graph;
    let count = graph.values.len();
    let mut affine: Vec<Option<Affine>> = vec![None; count];
    let mut integer = vec![false; count];
    for (v, value) in graph.values.iter_mut().enumerate() {
        if value.dtype == DType::U8 && value.constant.is_none() {
            (affine[v], integer[v]) = (value.quant.take(), true);
            value.dtype = DType::F32;
        }
    }
    let mut stands_for: Vec<ValueId> = (0..count as u32).map(ValueId).collect();
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for mut node in std::mem::take(&mut graph.nodes) {
        for input in &mut node.inputs {
            *input = stands_for[input.index()];
        }
        let (x, y) = (node.inputs[0], node.outputs[0]);
        match node.op {
            Op::Dequantize => affine[y.index()] = affine[x.index()],
            // Nothing else reads x, and nothing has rounded it before.
            Op::Quantize { .. } if affine[x.index()].is_none() && consumers[x.index()].len() == 1 && !graph.outputs.contains(&x) => {
                affine[x.index()] = affine[y.index()];
            }
            _ => {}
        }
        if matches!(node.op, Op::Quantize { .. } | Op::Dequantize) && affine[x.index()] == affine[y.index()] {
            let output = graph.outputs.iter().position(|&o| o == y);
            let taken = graph.inputs.contains(&x) || graph.outputs.contains(&x);
            match output {
                // Inputs and other outputs have names to keep.
                Some(_) if taken => node.op = Op::Reshape { shape: graph.values[x.index()].shape.clone() },
                Some(at) => {
                    graph.outputs[at] = x;
                    graph.values[x.index()].name = graph.values[y.index()].name.clone();
                    integer[x.index()] = integer[y.index()];
                }
                None => {}
            }
            if output.is_none() || !taken {
                stands_for[y.index()] = x;
                continue;
            }
        }
        nodes.push(node);
    }
    graph.nodes = nodes;
    for (v, flag) in integer.iter_mut().enumerate() {
        let id = ValueId(v as u32);
        *flag &= graph.inputs.contains(&id) || graph.outputs.contains(&id);
    }
    Given { network, unrounded: vec![false; count], affine, integer }
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::Dim;
    use quaver_core::graph::check::check;
    use quaver_core::graph::op::{Conv, Pool, Window};

    use super::*;
    use crate::quantize::qconfig::QConfigMapping;
    use crate::quantize::{Decision, QuantizeError, quantize};

    const A: Affine = Affine { scale: 0.05, zero_point: 100, q_max: 255 };
    const B: Affine = Affine { scale: 0.25, zero_point: 10, q_max: 255 };

    fn start() -> (Network, ValueId) {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 4.into(), 4.into(), 2.into()]);
        (net, x)
    }

    /// x behind a Quantize and a Dequantize.
    fn rounded(net: &mut Network, x: ValueId, affine: Affine) -> ValueId {
        let q = net.push_typed(Op::Quantize { channels_last: false }, &[x], "q", "", DType::U8, Some(affine)).expect("fits");
        net.push(Op::Dequantize, &[q], "d", "").expect("fits")
    }

    fn conv(net: &mut Network, x: ValueId, name: &str) -> ValueId {
        let w = net.constant("w", &[1, 1, 2, 2], &[0.5f32, -0.75, 0.25, 1.0]);
        net.push(Op::Conv(Conv { window: Window::unit(), groups: 1 }), &[x, w], name, name).expect("fits")
    }

    fn unary(net: &mut Network, x: ValueId, function: UnaryFn, name: &str) -> ValueId {
        net.push(Op::Unary { function }, &[x], name, name).expect("fits")
    }

    fn converted(net: &Network) -> (Vec<&'static str>, Vec<Decision>) {
        check(&net.graph).expect("a valid network");
        let quantized = quantize(net, &QConfigMapping::default(), &|_| None).expect("it has all parameters");
        (quantized.network.graph.nodes.iter().map(|n| n.op.name()).collect(), quantized.decisions)
    }

    #[test]
    fn parameters_pass_what_keeps_the_order() {
        // As NNCF writes it: only what convolutions read is rounded.
        let (mut net, x) = start();
        let v = rounded(&mut net, x, A);
        let v = conv(&mut net, v, "conv1");
        let v = unary(&mut net, v, UnaryFn::Relu, "relu");
        let window = Window { kernel: [2, 2], ..Window::unit() };
        let pool = Pool { function: PoolFn::Max, window, ceil_mode: false, count_include_pad: false };
        let v = net.push(Op::Pool(pool), &[v], "pool", "pool").expect("fits");
        let v = rounded(&mut net, v, B);
        let y = conv(&mut net, v, "conv2");
        net.output(y);
        assert_eq!(converted(&net).0, ["Quantize", "QConv", "MaxPool", "QConv"]);
    }

    #[test]
    fn what_is_also_read_unrounded_stays_real_as_well() {
        let (mut net, x) = start();
        let v = rounded(&mut net, x, A);
        let v = conv(&mut net, v, "conv1");
        let r = rounded(&mut net, v, B);
        let y = conv(&mut net, r, "conv2");
        let z = unary(&mut net, v, UnaryFn::Tanh, "z");
        net.output(y);
        net.output(z);
        assert_eq!(converted(&net).0, ["Quantize", "QConv", "Quantize", "QConv", "Tanh"]);
    }

    #[test]
    fn a_residual_is_fused_only_where_the_model_does_not_round_before() {
        for before in [false, true] {
            let (mut net, x) = start();
            let x = rounded(&mut net, x, A);
            let mut v = conv(&mut net, x, "conv");
            if before {
                v = rounded(&mut net, v, A);
            }
            let v = net.push(Op::Binary { function: BinaryFn::Add }, &[v, x], "add", "add").expect("fits");
            let v = unary(&mut net, v, UnaryFn::Relu, "relu");
            let v = rounded(&mut net, v, B);
            let y = conv(&mut net, v, "last");
            net.output(y);
            let expected: &[&str] = if before { &["Quantize", "QConv", "Add", "Table", "QConv"] } else { &["Quantize", "QConv", "QConv"] };
            assert_eq!(converted(&net).0, expected, "{before}");
        }
    }

    #[test]
    fn a_rounding_before_hard_swish_is_the_models() {
        let (mut net, x) = start();
        let v = rounded(&mut net, x, A);
        let v = conv(&mut net, v, "conv1");
        let v = rounded(&mut net, v, A);
        let v = unary(&mut net, v, UnaryFn::HardSwish, "swish");
        let v = rounded(&mut net, v, B);
        let y = conv(&mut net, v, "conv2");
        net.output(y);
        let quantized = quantize(&net, &QConfigMapping::default(), &|_| None).expect("it has all parameters");
        let Op::QConv(first) = quantized.network.graph.nodes[1].op else { panic!("{:?}", quantized.network.graph.nodes[1]) };
        assert!(first.epilogue.is_some_and(|e| e.table && !e.hard_swish), "{first:?}");
    }

    #[test]
    fn what_has_no_parameters_stays_float_and_says_so() {
        let (mut net, x) = start();
        let v = rounded(&mut net, x, A);
        let v = conv(&mut net, v, "conv1");
        let v = unary(&mut net, v, UnaryFn::Sigmoid, "sigmoid");
        let y = rounded(&mut net, v, B);
        net.output(y);
        let (ops, decisions) = converted(&net);
        assert_eq!(ops, ["Quantize", "QConv", "Sigmoid", "Quantize", "Dequantize"]);
        let reasons: Vec<&str> = decisions.iter().filter_map(|d| d.reason.as_deref()).collect();
        assert!(reasons[0].contains("no quantization parameters for its operand 'conv1'"), "{reasons:?}");
        let reduced = QConfigMapping::from_toml("[global]\nreduce_range = true").expect("valid");
        assert_eq!(quantize(&net, &reduced, &|_| None).err(), Some(QuantizeError::ReducedRange));
    }
}
