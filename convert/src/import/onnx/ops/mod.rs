//! Node → operations of the core graph, one family a file.

mod attention;
mod col2im;
pub(super) mod compose;
mod conv;
mod einsum;
mod elementwise;
mod gemm;
mod grid_sample;
mod index;
mod known;
mod matrix_resize;
mod normalize;
mod open_resize;
mod order;
mod pad;
mod pool;
mod quantized;
mod recurrent;
mod reduce;
mod resize;
mod select;
mod shape;
mod signal;
#[cfg(test)]
mod tests;
mod volume;

pub(super) use quantized::MICROSOFT;
use quaver_core::graph::op::{UnaryFn, Window};
use quaver_core::graph::{Dim, Op, ValueId};

use super::attrs::Attrs;
use super::proto::NodeProto;
use super::value::{Sym, Val};
use super::{Importer, NodeError, invalid, unsupported};

/// Operation types that can be imported.
#[rustfmt::skip]
pub(super) const SUPPORTED: &[&str] = &[
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh", "Attention", "AveragePool",
    "BatchNormalization", "BitShift", "BlackmanWindow", "Cast", "CastLike", "Ceil", "Celu", "CenterCropPad", "Clip",
    "Col2Im", "Compress", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvInteger", "ConvTranspose", "Cos", "Cosh", "CumSum",
    "DFT", "DepthToSpace", "DequantizeLinear", "Div", "Dropout", "DynamicQuantizeLinear", "Einsum", "Elu", "Equal", "Erf",
    "Exp", "Expand", "EyeLike", "Flatten", "Floor", "GRU", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm",
    "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "GridSample", "GroupNormalization",
    "HammingWindow", "HannWindow", "HardSigmoid", "HardSwish", "Hardmax", "Identity", "If", "InstanceNormalization",
    "IsInf", "IsNaN", "LRN", "LSTM", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax",
    "Loop", "LpNormalization", "LpPool", "MatMul", "MatMulInteger", "Max", "MaxPool", "MaxUnpool", "Mean", "MeanVarianceNormalization",
    "Min", "Mish", "Mod", "Mul", "Neg", "NonMaxSuppression", "NonZero", "Not", "OneHot", "Or", "PRelu", "Pad", "Pow",
    "QLinearConv", "QLinearMatMul", "QuantizeLinear", "RMSNormalization", "RNN", "Range", "Reciprocal", "ReduceL1",
    "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare", "Relu", "Reshape", "Resize", "ReverseSequence", "RotaryEmbedding", "Round", "STFT", "Scan", "Scatter",
    "ScatterElements", "ScatterND", "Selu", "Shape", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice",
    "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Swish", "Tan", "Tanh",
    "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Upsample", "Where", "Xor",
];

/// A node under import.
pub(super) struct Ctx<'n> {
    pub(super) node: &'n NodeProto,
    pub(super) name: &'n str,
    pub(super) inputs: &'n [Option<Val>],
    pub(super) attrs: &'n Attrs<'n>,
}

impl Ctx<'_> {
    /// The name of output `i`.
    fn out(&self, i: usize) -> &str {
        self.node.output.get(i).map_or("", String::as_str)
    }

    fn has(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(Option::is_some)
    }
}

pub(super) type Outputs = Result<Vec<Val>, NodeError>;

impl Importer<'_> {
    /// Imports one node; its operands are known not to be [`Val::Unknown`].
    pub(super) fn node(&mut self, node: &NodeProto, name: &str) -> Outputs {
        let mut inputs = Vec::with_capacity(node.input.len());
        for input in &node.input {
            inputs.push(if input.is_empty() { None } else { self.values.get(input.as_str()).cloned() });
        }
        let attrs = Attrs::new(node);
        self.operation(&Ctx { node, name, inputs: &inputs, attrs: &attrs })
    }

    /// The results of an operation: known ones where its operands are, else values of the network.
    fn operation(&mut self, ctx: &Ctx<'_>) -> Outputs {
        if let Some(value) = self.evaluate(&ctx.node.op_type, ctx.inputs, ctx.attrs)? {
            return Ok(vec![value]);
        }
        let before = self.net.graph.nodes.len();
        let outputs = if self.moves_integers(ctx) { self.move_integers(ctx)? } else { self.dispatch(ctx)? };
        if let Some(attribute) = ctx.attrs.unknown() {
            return unsupported(format!("attribute '{attribute}' is not supported"));
        }
        let known = !ctx.inputs.iter().flatten().any(|value| matches!(value, Val::Tensor(_)));
        Ok(if known { self.known(before, &outputs).unwrap_or(outputs) } else { outputs })
    }

    fn dispatch(&mut self, ctx: &Ctx<'_>) -> Outputs {
        match ctx.node.op_type.as_str() {
            "Conv" => self.conv(ctx),
            "ConvTranspose" => self.conv_transpose(ctx),
            "Gemm" => self.gemm(ctx),
            "MatMul" => self.mat_mul(ctx),
            "MaxPool" | "AveragePool" => self.pool(ctx),
            "GlobalAveragePool" | "GlobalMaxPool" => self.global_pool(ctx),
            "BatchNormalization" => self.batch_norm(ctx),
            "Add" | "Sub" | "Mul" | "Div" | "Pow" => self.binary(ctx),
            "Min" | "Max" | "Sum" | "Mean" => self.variadic(ctx),
            "RNN" | "GRU" | "LSTM" => self.recurrent(ctx),
            "Softmax" | "LogSoftmax" => self.softmax(ctx),
            "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare" => {
                self.reduce(ctx)
            }
            "Concat" => self.concat(ctx),
            "Split" => self.split(ctx),
            "Slice" => self.slice(ctx),
            "Gather" => self.gather(ctx),
            "Pad" => self.pad(ctx),
            "Reshape" => self.reshape(ctx),
            "Flatten" => self.flatten(ctx),
            "Squeeze" | "Unsqueeze" => self.squeeze(ctx),
            "Transpose" => self.transpose(ctx),
            "Expand" => self.expand(ctx),
            "Resize" | "Upsample" => self.resize(ctx),
            "DepthToSpace" | "SpaceToDepth" => self.space(ctx),
            "Cast" => self.cast(ctx),
            "Equal" | "Less" | "Greater" | "LessOrEqual" | "GreaterOrEqual" => self.compare(ctx),
            "Where" => self.choose(ctx),
            "And" | "Or" | "Xor" | "Not" => self.logic(ctx),
            "PRelu" => self.p_relu(ctx),
            "LayerNormalization" | "RMSNormalization" => self.layer_norm(ctx),
            "InstanceNormalization" => self.instance_norm(ctx),
            "GroupNormalization" => self.group_norm(ctx),
            "Tile" => self.tile(ctx),
            "Identity" | "Dropout" => self.pass(ctx),
            "Constant" => self.constant_node(ctx),
            "QuantizeLinear" => self.quantize_linear(ctx),
            "DequantizeLinear" => self.dequantize_linear(ctx),
            "DynamicQuantizeLSTM" => self.quantized_lstm(ctx),
            "DynamicQuantizeLinear" => self.dynamic_quantize(ctx),
            "ConvInteger" | "MatMulInteger" => self.integer_product(ctx),
            op if op.starts_with("QLinear") || op == "QGemm" => self.qlinear(ctx),
            "ReduceLogSum"
            | "ReduceLogSumExp"
            | "CumSum"
            | "Trilu"
            | "Mod"
            | "BitShift"
            | "IsNaN"
            | "IsInf"
            | "CastLike"
            | "EyeLike"
            | "LRN"
            | "MeanVarianceNormalization"
            | "LpPool"
            | "GlobalLpPool"
            | "Hardmax"
            | "CenterCropPad"
            | "LpNormalization"
            | "Swish" => self.compose(ctx),
            "Attention" => self.attention(ctx),
            "RotaryEmbedding" => self.rotary_embedding(ctx),
            "Einsum" => self.einsum(ctx),
            "NonMaxSuppression" => self.suppression(ctx),
            "GridSample" => self.grid_sample(ctx),
            "HannWindow" | "HammingWindow" | "BlackmanWindow" => self.signal_window(ctx),
            "DFT" => self.dft(ctx),
            "STFT" => self.stft(ctx),
            "TopK" => self.top_k(ctx),
            "ArgMax" | "ArgMin" => self.arg_extreme(ctx),
            "OneHot" => self.one_hot(ctx),
            "GatherElements" => self.gather_elements(ctx),
            "GatherND" => self.gather_nd(ctx),
            "Scatter" | "ScatterElements" | "ScatterND" => self.scatter(ctx),
            "Compress" => self.compress(ctx),
            "NonZero" => self.non_zero(ctx),
            "ReverseSequence" => self.reverse_sequence(ctx),
            "MaxUnpool" => self.max_unpool(ctx),
            "Col2Im" => self.col2im(ctx),
            "Range" => self.range(ctx),
            "ConstantOfShape" => self.constant_of_shape(ctx),
            "Shape" | "Size" => unsupported("its operand is of a kind that has no extents"),
            _ => self.unary(ctx),
        }
    }

    /// Operand `i` as a value of the network.
    fn value(&mut self, ctx: &Ctx<'_>, i: usize) -> Result<ValueId, NodeError> {
        let Some(Some(value)) = ctx.inputs.get(i) else { return invalid(format!("operand {i} is missing")) };
        let name = ctx.node.input[i].clone();
        match self.materialise(value, &name) {
            Some(id) => Ok(id),
            None => unsupported(format!("operand '{name}' depends on the inputs' extents alone")),
        }
    }

    /// Operand `i` as an f32 value of the network; whole numbers that are known become real.
    fn real(&mut self, ctx: &Ctx<'_>, i: usize) -> Result<ValueId, NodeError> {
        let id = self.value(ctx, i)?;
        self.as_real(ctx, id)
    }

    /// Operand `i` as known real numbers.
    fn floats<'c>(&self, ctx: &'c Ctx<'_>, i: usize) -> Result<(&'c [usize], &'c [f32]), NodeError> {
        match ctx.inputs.get(i).and_then(Option::as_ref) {
            Some(Val::Floats { shape, data }) => Ok((shape, data)),
            Some(Val::Tensor(_)) => unsupported(format!("operand '{}' is not constant", ctx.node.input[i])),
            Some(_) => unsupported(format!("operand '{}' is not a float constant", ctx.node.input[i])),
            None => invalid(format!("operand {i} is missing")),
        }
    }

    /// Operand `i` as known whole numbers; `None` if it is left out.
    fn ints(&self, ctx: &Ctx<'_>, i: usize) -> Result<Option<Vec<i64>>, NodeError> {
        match self.syms(ctx, i)? {
            None => Ok(None),
            Some(syms) => match syms.iter().map(|s| s.num()).collect() {
                Some(numbers) => Ok(Some(numbers)),
                None => unsupported(format!("operand '{}' depends on the inputs' extents", ctx.node.input[i])),
            },
        }
    }

    /// Operand `i` as whole numbers, which may be formulas over the inputs' extents; `None` if it is left out.
    fn syms(&self, ctx: &Ctx<'_>, i: usize) -> Result<Option<Vec<Sym>>, NodeError> {
        match ctx.inputs.get(i).and_then(Option::as_ref) {
            None => Ok(None),
            Some(Val::Ints { data, .. }) => Ok(Some(data.clone())),
            Some(Val::Floats { data, .. }) if data.is_empty() => Ok(Some(Vec::new())),
            Some(_) => unsupported(format!("operand '{}' is not known at import", ctx.node.input[i])),
        }
    }

    /// Attribute `name` (older opsets) or operand `i` (newer ones).
    fn ints_of(&self, ctx: &Ctx<'_>, name: &'static str, i: usize) -> Result<Option<Vec<i64>>, NodeError> {
        match ctx.attrs.ints(name)? {
            Some(values) => Ok(Some(values)),
            None => self.ints(ctx, i),
        }
    }

    /// As [`Importer::ints_of`], of numbers that may depend on the inputs' extents.
    fn syms_of(&self, ctx: &Ctx<'_>, name: &'static str, i: usize) -> Result<Option<Vec<Sym>>, NodeError> {
        match ctx.attrs.ints(name)? {
            Some(values) => Ok(Some(values.into_iter().map(Sym::Num).collect())),
            None => self.syms(ctx, i),
        }
    }

    /// Pushes an operation whose output is the node's.
    fn push(&mut self, ctx: &Ctx<'_>, op: Op, inputs: &[ValueId]) -> Outputs {
        Ok(vec![Val::Tensor(self.net.push(op, inputs, ctx.name, ctx.out(0))?)])
    }

    /// Pushes a helper operation whose output has no name.
    fn helper(&mut self, ctx: &Ctx<'_>, what: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, NodeError> {
        Ok(self.net.push(op, inputs, &format!("{}/{what}", ctx.name), "")?)
    }

    /// An NCHW image (or NCW row) as NHWC.
    fn nhwc(&mut self, ctx: &Ctx<'_>, x: ValueId) -> Result<ValueId, NodeError> {
        let dims = self.dims(x);
        let x = match &dims[..] {
            [n, c, w] => self.helper(ctx, "row", Op::Reshape { shape: vec![n.clone(), c.clone(), Dim::Fixed(1), w.clone()] }, &[x])?,
            [_, _, _, _] => x,
            _ => return unsupported(format!("its input has rank {}; 3 (1-D) and 4 (2-D) are supported", dims.len())),
        };
        self.helper(ctx, "nhwc", Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x])
    }

    /// An NHWC image back as NCHW (or NCW), as the node's output.
    fn nchw_output(&mut self, ctx: &Ctx<'_>, y: ValueId, rank: usize) -> Outputs {
        let back = Op::Transpose { perm: vec![0, 3, 1, 2] };
        if rank == 4 {
            return Ok(vec![Val::Tensor(self.net.push(back, &[y], &format!("{}/nchw", ctx.name), ctx.out(0))?)]);
        }
        let y = self.helper(ctx, "nchw", back, &[y])?;
        let mut shape = self.dims(y);
        shape.remove(2);
        let op = Op::Reshape { shape };
        Ok(vec![Val::Tensor(self.net.push(op, &[y], &format!("{}/unrow", ctx.name), ctx.out(0))?)])
    }

    /// The window that a node's attributes describe, over an NHWC image. `pads` by `auto_pad` are worked out.
    fn window(&self, ctx: &Ctx<'_>, kernel: &[usize], image: &[Dim]) -> Result<Window, NodeError> {
        let rank = kernel.len();
        let spread = |v: Vec<usize>| if rank == 1 { [1, v[0]] } else { [v[0], v[1]] };
        let strides = spread(positive(ctx, "strides", rank, 1)?);
        let dilations = spread(positive(ctx, "dilations", rank, 1)?);
        let kernel = spread(kernel.to_vec());
        let mut window = Window { kernel, strides, dilations, pads_begin: [0, 0], pads_end: [0, 0] };
        let pads = ctx.attrs.ints("pads")?;
        match ctx.attrs.string("auto_pad", "NOTSET")?.as_str() {
            "VALID" => {}
            mode @ ("SAME_UPPER" | "SAME_LOWER") => {
                for d in 0..2 {
                    let reach = window_reach(&window, d)?;
                    let extent = match image[d + 1].fixed() {
                        Some(extent) => extent,
                        // Whatever the extent is.
                        None if window.strides[d] == 1 => reach,
                        None => return unsupported("auto_pad depends on extents that are open; fix them with --input-shape"),
                    };
                    let total = (extent.div_ceil(window.strides[d]).saturating_sub(1) * window.strides[d] + reach).saturating_sub(extent);
                    let less = total / 2;
                    let begin = if mode == "SAME_UPPER" { less } else { total - less };
                    (window.pads_begin[d], window.pads_end[d]) = (begin, total - begin);
                }
            }
            "NOTSET" | "" => {
                let pads = pads.unwrap_or_else(|| vec![0; 2 * rank]);
                if pads.len() != 2 * rank {
                    return invalid(format!("pads {pads:?} should have {} numbers", 2 * rank));
                }
                let pads: Option<Vec<usize>> = pads.iter().map(|&p| usize::try_from(p).ok()).collect();
                let Some(pads) = pads else { return unsupported("negative pads are not supported") };
                for d in 0..rank {
                    (window.pads_begin[2 - rank + d], window.pads_end[2 - rank + d]) = (pads[d], pads[rank + d]);
                }
            }
            other => return invalid(format!("auto_pad '{other}' is unknown")),
        }
        Ok(window)
    }

    fn pass(&mut self, ctx: &Ctx<'_>) -> Outputs {
        for name in ["ratio", "seed", "is_test"] {
            ctx.attrs.ignore(name);
        }
        let Some(Some(value)) = ctx.inputs.first() else { return invalid("operand 0 is missing") };
        // Exporters of old name the mask even where nobody reads it; inference drops nothing.
        let read = |name: &String| {
            let operands = self.graph.node.iter().flat_map(|node| &node.input);
            operands.chain(self.graph.output.iter().map(|output| &output.name)).any(|other| other == name)
        };
        let masked = ctx.node.op_type == "Dropout" && ctx.node.output.get(1).is_some_and(|name| !name.is_empty() && read(name));
        let mask = match (masked, value) {
            (false, _) | (_, Val::Unknown) => None,
            (true, Val::Tensor(id)) => {
                let (shape, one) = (self.dims(*id), self.as_value(&Val::floats(Vec::new(), vec![1.0]))?);
                Some(Val::Tensor(self.net.push(Op::Expand { shape }, &[one], &format!("{}/mask", ctx.name), ctx.out(1))?))
            }
            (true, Val::Floats { shape, .. } | Val::Ints { shape, .. }) => {
                Some(Val::floats(shape.clone(), vec![1.0; shape.iter().product()]))
            }
        };
        Ok(std::iter::once(value.clone()).chain(mask).collect())
    }

    fn constant_node(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let a = ctx.attrs;
        let value = if let Some(tensor) = a.tensor("value")? {
            super::tensor::decode(tensor, self.folder)?
        } else if let Some(x) = a.maybe_float("value_float")? {
            Val::floats(Vec::new(), vec![x])
        } else if let Some(x) = a.floats("value_floats")? {
            Val::floats(vec![x.len()], x)
        } else if let Some(x) = a.int("value_int")? {
            Val::Ints { shape: Vec::new(), data: vec![Sym::Num(x)] }
        } else if let Some(x) = a.ints("value_ints")? {
            Val::ints(x.into_iter().map(Sym::Num).collect())
        } else {
            return unsupported("its value is neither a tensor nor a number");
        };
        Ok(vec![value])
    }

    /// Pushes a unary function whose output is the node's.
    fn function(&mut self, ctx: &Ctx<'_>, function: UnaryFn) -> Outputs {
        let x = self.real(ctx, 0)?;
        self.push(ctx, Op::Unary { function }, &[x])
    }
}

fn window_reach(window: &Window, d: usize) -> Result<usize, NodeError> {
    match (window.kernel[d] - 1).checked_mul(window.dilations[d]).and_then(|r| r.checked_add(1)) {
        Some(reach) => Ok(reach),
        None => invalid("kernel times dilation is too large"),
    }
}

/// A list of `rank` positive numbers, or `default` for each.
fn positive(ctx: &Ctx<'_>, name: &'static str, rank: usize, default: usize) -> Result<Vec<usize>, NodeError> {
    let Some(values) = ctx.attrs.ints(name)? else { return Ok(vec![default; rank]) };
    let numbers: Option<Vec<usize>> = values.iter().map(|&v| usize::try_from(v).ok().filter(|v| (1..1 << 20).contains(v))).collect();
    match numbers {
        Some(numbers) if numbers.len() == rank => Ok(numbers),
        _ => invalid(format!("{name} {values:?} should be {rank} positive numbers")),
    }
}

/// An axis of a tensor of that rank, counted from the end where it is negative.
fn axis(value: i64, rank: usize) -> Result<usize, NodeError> {
    let at = if value < 0 { value + rank as i64 } else { value };
    match usize::try_from(at) {
        Ok(at) if at < rank => Ok(at),
        _ => invalid(format!("axis {value} is out of range for rank {rank}")),
    }
}
