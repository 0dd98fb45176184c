//! Which nodes become integer operations, and which values are needed as u8.
//!
//! Data should stay u8 from the first to the last operation that gains by it. Convolutions and matrix products
//! ("heavy") are quantized wherever the qconfig says so; what lies between them follows, so that nothing goes to f32 and
//! back. What lies behind the last heavy operation or mean stays real: it is short, and rounding it to 8 bits would only
//! cost accuracy.

use quaver_core::graph::check::MOST_PRODUCTS;
use quaver_core::graph::op::{BinaryFn, PadMode, PoolFn, ReduceFn, UnaryFn};
use quaver_core::graph::{Dim, Graph, Node, Op};
use quaver_core::tensor::DType;

use super::masks;
use super::qconfig::{NodeConfig, Scheme};

/// What a node is to the quantizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Convolution or matrix product with constant weights.
    Heavy,
    /// A matrix product of two activations.
    Product,
    /// A mean or average pool: an exact integer sum.
    Mean,
    /// Element by element.
    Light,
    /// Moves data; input and output share their affine parameters.
    Move,
    /// Not defined on u8, for this reason.
    Never(&'static str),
}

/// The decision for a graph.
#[derive(Debug)]
pub struct Regions {
    /// For each node, its kind.
    pub kinds: Vec<Kind>,
    /// For each node, whether it becomes an integer operation.
    pub quantized: Vec<bool>,
    /// For each node, how its arithmetic is done; static where it becomes an integer operation.
    pub schemes: Vec<Scheme>,
    /// For each node that stays float, why.
    pub reasons: Vec<Option<String>>,
    /// For each value, whether a quantized node computes it as u8.
    pub is_u8: Vec<bool>,
}

/// Decides for every node of `graph`, given what the qconfig mapping says of each, and the calibrated range of a value.
pub fn decide(graph: &Graph, configs: &[NodeConfig], range: &dyn Fn(usize) -> Option<(f32, f32)>) -> Regions {
    let mut kinds: Vec<Kind> = graph.nodes.iter().zip(configs).map(|(n, c)| kind(graph, n, c.explicit)).collect();
    masks::keep_real(graph, range, &mut kinds);
    let able = |i: usize| !matches!(kinds[i], Kind::Never(_)) && configs[i].scheme == Scheme::Static;
    let consumers = graph.consumers();

    // Backwards: `leads[value]`: some able consumer is an anchor or leads to one. `wanted[value]`: every consumer takes
    // it as u8 and nothing else, so that quantizing it early costs no accuracy.
    let mut leads = vec![false; graph.values.len()];
    let mut wanted = vec![false; graph.values.len()];
    let mut here = vec![false; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        let output = node.outputs[0].index();
        here[i] = able(i) && (matches!(kinds[i], Kind::Heavy | Kind::Product | Kind::Mean) || leads[output]);
        wanted[output] = !consumers[output].is_empty()
            && !graph.outputs.contains(&node.outputs[0])
            && consumers[output].iter().all(|&c| {
                here[c] && (matches!(kinds[c], Kind::Heavy | Kind::Product) || (kinds[c] == Kind::Move && wanted_output(graph, &wanted, c)))
            });
        if here[i] {
            for input in activations(graph, node) {
                leads[input] = true;
            }
        }
    }

    // Forwards: follow what is there as u8.
    let mut is_u8 = vec![false; graph.values.len()];
    let mut quantized = vec![false; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        let output = node.outputs[0].index();
        let fed = activations(graph, node).any(|v| is_u8[v]);
        quantized[i] = here[i]
            && match kinds[i] {
                Kind::Heavy | Kind::Product => true,
                Kind::Move => fed || wanted[output],
                Kind::Mean | Kind::Light => fed,
                Kind::Never(_) => false,
            };
        // A heavy node or a mean can give f32 where nothing behind it wants u8.
        let real = matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm | Op::MatMul | Op::Reduce { .. }) && !leads[output];
        is_u8[output] = quantized[i] && !real;
    }
    let schemes: Vec<Scheme> = (0..graph.nodes.len()).map(|i| scheme(graph, &graph.nodes[i], quantized[i], configs[i].scheme)).collect();
    let reasons = (0..graph.nodes.len())
        .map(|i| match (quantized[i], kinds[i]) {
            _ if schemes[i] != Scheme::Float => None,
            (true, _) => None,
            (false, _) if matches!(configs[i].scheme, Scheme::Dynamic | Scheme::WeightOnly) => {
                Some("of this scheme are matrix products with constant weights, and embeddings".into())
            }
            (false, Kind::Never(reason)) => Some(reason.to_owned()),
            (false, _) if configs[i].scheme == Scheme::Float => Some("the qconfig mapping says float".to_owned()),
            (false, _) if !here[i] => Some("it is behind the last quantized operation".to_owned()),
            (false, _) => Some("none of its inputs is quantized".to_owned()),
        })
        .collect();
    Regions { kinds, quantized, schemes, reasons, is_u8 }
}

/// How a node's arithmetic is done: what is not asked for, or is impossible, is real. Embeddings lose so little by 8 bits that they
/// have them unless all is to be real.
pub(super) fn scheme(graph: &Graph, node: &Node, quantized: bool, asked: Scheme) -> Scheme {
    let constant = |i: usize| node.inputs.get(i).is_none_or(|&v| graph.value(v).constant.is_some());
    let real = |i: usize| graph.value(node.inputs[i]).dtype == DType::F32;
    match (&node.op, asked) {
        _ if quantized => Scheme::Static,
        (Op::Gemm, Scheme::Dynamic | Scheme::WeightOnly) if constant(1) && constant(2) => asked,
        (Op::Gather { axis: 0 }, Scheme::Static | Scheme::Dynamic | Scheme::WeightOnly)
            if constant(0) && !constant(1) && real(0) && graph.value(node.inputs[0]).shape.len() == 2 =>
        {
            Scheme::WeightOnly
        }
        _ => Scheme::Float,
    }
}

fn wanted_output(graph: &Graph, wanted: &[bool], node: usize) -> bool {
    wanted[graph.nodes[node].outputs[0].index()]
}

/// The operands that are not constant, by value index.
pub fn activations<'a>(graph: &'a Graph, node: &'a Node) -> impl Iterator<Item = usize> + 'a {
    node.inputs.iter().map(|v| v.index()).filter(|&v| graph.values[v].constant.is_none())
}

/// What `node` is; `explicit` if it was asked for by itself.
pub(super) fn kind(graph: &Graph, node: &Node, explicit: bool) -> Kind {
    let constant = |i: usize| node.inputs.get(i).is_none_or(|&v| graph.value(v).constant.is_some());
    if node.inputs.iter().chain(&node.outputs).any(|&v| graph.value(v).dtype != DType::F32) {
        return Kind::Never("it works on integers already");
    }
    match &node.op {
        _ if node.inputs.iter().all(|&v| graph.value(v).constant.is_some()) => Kind::Never("it is constant"),
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm => {
            if constant(1) && constant(2) {
                Kind::Heavy
            } else {
                Kind::Never("its weights are not constant")
            }
        }
        Op::Pool(p) if p.function == PoolFn::Average => Kind::Mean,
        Op::Reduce { function: ReduceFn::Mean, .. } => Kind::Mean,
        Op::Reduce { .. } => Kind::Never("only means are defined on u8"),
        Op::Binary { function } => binary_kind(graph, node, *function),
        Op::Unary { function } if wide(*function) && !explicit => {
            Kind::Never("its values span too many magnitudes for 8 bits (a qconfig entry of its own can force it)")
        }
        Op::Unary { .. } => Kind::Light,
        Op::Softmax { axis } if *axis + 1 == graph.value(node.inputs[0]).shape.len() => Kind::Light,
        Op::Softmax { .. } => Kind::Never("a u8 softmax runs along the last dimension only"),
        Op::Pad { mode: PadMode::Constant(v), .. } if !v.is_finite() => Kind::Never("it pads with an infinity"),
        Op::Expand { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
        | Op::ChannelShuffle { .. }
        | Op::Resize(_)
        | Op::Pool(_) => Kind::Move,
        Op::Gather { .. } | Op::TopK { .. } | Op::NonMaxSuppression { .. } | Op::Cast { .. } | Op::Compare { .. } | Op::Where => {
            Kind::Never("it works by whole numbers or truth")
        }
        Op::LayerNorm { .. } => Kind::Never("means and roots of rows are real"),
        Op::MatMul => match graph.value(node.inputs[0]).shape.last().and_then(Dim::fixed) {
            Some(k) if k > MOST_PRODUCTS => Kind::Never("its sums of 8-bit products could overflow 32 bits"),
            _ => Kind::Product,
        },
        Op::Recurrent(_) => Kind::Never("errors of 8 bits would add up from step to step"),
        Op::LogSoftmax { .. } => Kind::Never("a logarithm of probabilities doesn't fit in 8 bits"),
        Op::Quantize { .. }
        | Op::Dequantize
        | Op::Table
        | Op::QConv(_)
        | Op::QConvTranspose(_)
        | Op::QGemm(_)
        | Op::ChooseQparams { .. }
        | Op::DynamicQuantize
        | Op::DynamicGemm { .. }
        | Op::WeightOnlyGemm
        | Op::Embedding => Kind::Never("it is quantized already"),
    }
}

fn binary_kind(graph: &Graph, node: &Node, function: BinaryFn) -> Kind {
    let scalar = node.inputs.iter().any(|&v| {
        let value = graph.value(v);
        value.constant.is_some() && value.shape.iter().all(|d| d.fixed() == Some(1))
    });
    match function {
        BinaryFn::Add | BinaryFn::Sub | BinaryFn::Mul => Kind::Light,
        // With one number it is a function of the other operand: a table.
        BinaryFn::Div | BinaryFn::Min | BinaryFn::Max if scalar => Kind::Light,
        _ => Kind::Never("it is not defined on u8"),
    }
}

/// Functions whose results differ by orders of magnitude over their input's range.
fn wide(function: UnaryFn) -> bool {
    use UnaryFn as F;
    matches!(function, F::Exp | F::Log | F::Sqrt | F::Reciprocal | F::Tan | F::Sinh | F::Cosh | F::Acosh | F::Atanh | F::Asinh)
}
