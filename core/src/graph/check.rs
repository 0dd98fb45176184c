//! Structural validation: every index exists, nodes are in order, types and shapes are those that the operations give.
//!
//! A graph that passes can be planned and executed without a further check of an index, a rank or an extent.

use thiserror::Error;

use super::extent::BATCH;
use super::op::{BinaryFn, Epilogue, Op, PoolFn, ReduceFn};
use super::shape::{ShapeError, infer};
use super::{Dim, Graph, Node, Value, ValueId};
use crate::tensor::{DType, MAX_RANK};

/// Why a graph is not valid. Names are those of the model; an unnamed one is given by its index.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum GraphError {
    /// The operands' shapes.
    #[error("node '{node}' ({op}): {source}")]
    Shape {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// What is wrong.
        #[source]
        source: Box<ShapeError>,
    },
    /// An operand's or the output's element type.
    #[error("node '{node}' ({op}): {what}")]
    Type {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// What is wrong.
        what: String,
    },
    /// An index that points nowhere, or at a value that isn't there yet.
    #[error("node '{node}': value {index} {problem}")]
    Value {
        /// The node, or `inputs` / `outputs`.
        node: String,
        /// The index.
        index: u32,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A declared shape that is not the inferred one.
    #[error("node '{node}' gives shape {inferred}, but the file declares {declared}")]
    Declared {
        /// The node.
        node: String,
        /// What its operation gives.
        inferred: String,
        /// What its output says.
        declared: String,
    },
    /// A value that contradicts itself.
    #[error("value '{value}': {what}")]
    BadValue {
        /// The value.
        value: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A value that no machine of this one's addresses can hold; one with larger addresses may.
    #[error("value '{value}': a single sample has more bytes than this machine's addresses allow")]
    TooLarge {
        /// The value.
        value: String,
    },
}

impl GraphError {
    /// Whether the graph might be valid on a machine with larger addresses.
    pub fn is_about_addresses(&self) -> bool {
        match self {
            Self::TooLarge { .. } => true,
            Self::Shape { source, .. } => matches!(**source, ShapeError::TooLarge { .. }),
            _ => false,
        }
    }
}

/// Most products of two activations in a sum, so that it and the parts that kernels split it into, K·255·128 each, fit in i32.
pub const MOST_PRODUCTS: usize = 32_764;

/// The type that an operation's output has where nothing else is asked for.
pub fn default_dtype(op: &Op, first_input: DType) -> DType {
    match op {
        Op::Quantize { .. } => DType::U8,
        Op::Dequantize | Op::Compare { .. } => DType::F32,
        Op::Cast { to } => *to,
        Op::TopK { .. } | Op::NonMaxSuppression { .. } => DType::I64,
        Op::QConv(c) => quantized(c.epilogue.as_ref()),
        Op::QConvTranspose(c) => quantized(c.epilogue.as_ref()),
        Op::QGemm(g) => quantized(g.epilogue.as_ref()),
        Op::DynamicQuantize => DType::U8,
        Op::DynamicGemm { .. } | Op::Embedding => DType::F32,
        _ => first_input,
    }
}

fn quantized(epilogue: Option<&Epilogue>) -> DType {
    if epilogue.is_some() { DType::U8 } else { DType::F32 }
}

/// Checks the whole graph.
///
/// # Errors
/// The first [`GraphError`] met.
pub fn check(graph: &Graph) -> Result<(), GraphError> {
    let mut defined = vec![false; graph.values.len()];
    for (index, value) in graph.values.iter().enumerate() {
        check_value(value)?;
        defined[index] = value.constant.is_some();
    }
    for &id in &graph.inputs {
        let slot = defined.get_mut(id.index()).ok_or_else(|| lost("inputs", id))?;
        if std::mem::replace(slot, true) {
            return Err(GraphError::Value { node: "inputs".into(), index: id.0, problem: "is defined twice" });
        }
    }
    let mut symbols = vec![BATCH];
    for dim in graph.inputs.iter().flat_map(|&id| &graph.value(id).shape) {
        if let Dim::Open(extent) = dim {
            let error = || GraphError::BadValue { value: "inputs".into(), what: "an open extent of an input is no name" };
            symbols.push(extent.name().ok_or_else(error)?);
        }
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        let mut known = true;
        for dim in node.op.extents() {
            if let Dim::Open(extent) = dim {
                extent.symbols(&mut |name| known &= symbols.contains(&name));
            }
        }
        if !known {
            let what = "an extent depends on what is no extent of an input".to_owned();
            return Err(GraphError::Type { node: node.name.clone(), op: node.op.name(), what });
        }
        let name = if node.name.is_empty() { format!("#{index}") } else { node.name.clone() };
        check_node(graph, node, &name, &mut defined)?;
    }
    for &id in &graph.outputs {
        match defined.get(id.index()) {
            None => return Err(lost("outputs", id)),
            Some(false) => return Err(GraphError::Value { node: "outputs".into(), index: id.0, problem: "is never computed" }),
            Some(true) => {}
        }
    }
    Ok(())
}

fn lost(node: &str, id: ValueId) -> GraphError {
    GraphError::Value { node: node.to_owned(), index: id.0, problem: "doesn't exist" }
}

fn check_value(value: &Value) -> Result<(), GraphError> {
    let bad = |what| Err(GraphError::BadValue { value: value.name.clone(), what });
    if value.shape.len() > MAX_RANK {
        return bad("its rank is above 8");
    }
    if value.constant.is_some() && value.shape.iter().any(|d| d.fixed().is_none()) {
        return bad("a constant's shape can't depend on the inputs");
    }
    if value.shape.iter().any(|d| matches!(d, Dim::Batch { times: 0 })) {
        return bad("a multiple of the batch size is 0");
    }
    let bytes = value.shape.iter().try_fold(value.dtype.size(), |n, d| n.checked_mul(d.about()));
    if bytes.is_none_or(|n| n > isize::MAX as usize) {
        return Err(GraphError::TooLarge { value: value.name.clone() });
    }
    match (&value.quant, value.dtype) {
        (Some(q), DType::U8) if q.is_valid() => Ok(()),
        (Some(_), DType::U8) => bad("its scale is not a positive number, or its zero point is above the largest integer"),
        (Some(_), _) => bad("only u8 values have affine parameters"),
        (None, _) => Ok(()),
    }
}

fn check_node(graph: &Graph, node: &Node, name: &str, defined: &mut [bool]) -> Result<(), GraphError> {
    for &id in &node.inputs {
        match defined.get(id.index()) {
            None => return Err(lost(name, id)),
            Some(false) => {
                return Err(GraphError::Value { node: name.to_owned(), index: id.0, problem: "is used before it is computed" });
            }
            Some(true) => {}
        }
    }
    let [output] = node.outputs[..] else {
        return Err(type_error(node, name, format!("has {} outputs instead of 1", node.outputs.len())));
    };
    let slot = defined.get_mut(output.index()).ok_or_else(|| lost(name, output))?;
    if std::mem::replace(slot, true) {
        return Err(GraphError::Value { node: name.to_owned(), index: output.0, problem: "is defined twice" });
    }
    let shapes: Vec<&[Dim]> = node.inputs.iter().map(|&i| graph.value(i).shape.as_slice()).collect();
    let shape = infer(&node.op, &shapes).map_err(|source| GraphError::Shape { node: name.to_owned(), op: node.op.name(), source })?;
    let declared = &graph.value(output).shape;
    if &shape != declared {
        return Err(GraphError::Declared {
            node: name.to_owned(),
            inferred: super::dim::display(&shape),
            declared: super::dim::display(declared),
        });
    }
    let inputs: Vec<&Value> = node.inputs.iter().map(|&i| graph.value(i)).collect();
    check_types(&node.op, &inputs, graph.value(output)).map_err(|what| type_error(node, name, what))
}

fn type_error(node: &Node, name: &str, what: String) -> GraphError {
    GraphError::Type { node: name.to_owned(), op: node.op.name(), what }
}

/// Checks element types, affine parameters and the constancy of weights; shapes are known to fit.
fn check_types(op: &Op, inputs: &[&Value], output: &Value) -> Result<(), String> {
    let all = |dtype: DType| match inputs.iter().chain([&output]).find(|v| v.dtype != dtype) {
        Some(v) => Err(format!("works on {dtype}, but '{}' is {}", v.name, v.dtype)),
        None => Ok(()),
    };
    let same_affine = || match inputs.iter().find(|v| v.quant != output.quant) {
        Some(v) => Err(format!("'{}' and '{}' have different affine parameters", v.name, output.name)),
        None => Ok(()),
    };
    match op {
        Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Slice { .. }
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
        | Op::ChannelShuffle { .. }
        | Op::Expand { .. } => {
            all(output.dtype)?;
            same_affine()
        }
        Op::Gather { .. } => match (inputs[0], inputs[1]) {
            (_, indices) if indices.dtype != DType::I64 => {
                Err(format!("its indices should be i64, but '{}' is {}", indices.name, indices.dtype))
            }
            (x, _) if x.dtype != output.dtype || x.quant != output.quant => {
                Err(format!("'{}' and '{}' are not of the same type and affine parameters", x.name, output.name))
            }
            _ => Ok(()),
        },
        Op::TopK { .. } => match (inputs[0].dtype, output.dtype) {
            (DType::F32, DType::F32 | DType::I64) => Ok(()),
            (from, to) => Err(format!("gives f32 or i64 for f32, not {to} for {from}")),
        },
        Op::NonMaxSuppression { .. } => match (inputs[0].dtype, inputs[1].dtype, output.dtype) {
            (DType::F32, DType::F32, DType::I64) => Ok(()),
            (_, _, to) => Err(format!("gives i64 for f32, not {to}")),
        },
        Op::Cast { to } => match (inputs[0].dtype, output.dtype) {
            (DType::I64, DType::F32) | (DType::F32, DType::I64) if output.dtype == *to => Ok(()),
            (from, to) => Err(format!("casts between f32 and i64, not {from} to {to}")),
        },
        Op::Compare { .. } => match (inputs[0].dtype, inputs[1].dtype) {
            (DType::F32, DType::F32) | (DType::I64, DType::I64) if output.dtype == DType::F32 => Ok(()),
            (a, b) => Err(format!("compares f32 or i64, giving f32, not {a} and {b}")),
        },
        Op::Pad { .. } | Op::Resize(_) | Op::Pool(super::op::Pool { function: PoolFn::Max, .. }) => {
            real_or_quantized(inputs[0], output)?;
            same_affine()
        }
        Op::Pool(pool) => {
            // As for means: 2²³ bytes sum to less than 2³¹.
            let [kh, kw] = pool.window.kernel;
            if output.dtype == DType::U8 && kh.checked_mul(kw).is_none_or(|n| n > 1 << 23) {
                return Err("sums more than 2^23 bytes, which could overflow".into());
            }
            real_or_quantized(inputs[0], output)
        }
        Op::Binary { function } if output.dtype == DType::U8 => {
            if !matches!(function, BinaryFn::Add | BinaryFn::Sub | BinaryFn::Mul) {
                return Err("is not defined on u8".into());
            }
            inputs.iter().chain([&output]).try_for_each(|v| affine(v))
        }
        Op::Reduce { function, axes, .. } if inputs[0].dtype == DType::U8 => {
            if *function != ReduceFn::Mean {
                return Err("is not defined on u8".into());
            }
            // 2²³ bytes sum to less than 2³¹. Of what is open, the graph of a run is asked.
            let count = axes.iter().try_fold(1usize, |n, &a| n.checked_mul(inputs[0].shape[a].fixed().unwrap_or(1)));
            if count.is_none_or(|n| n > 1 << 23) {
                return Err("sums more than 2^23 bytes, which could overflow".into());
            }
            affine(inputs[0])?;
            real_or_affine(output)
        }
        Op::Softmax { .. } if inputs[0].dtype == DType::U8 => {
            affine(inputs[0])?;
            constant(inputs.get(1).copied(), DType::I32)?;
            real_or_affine(output)
        }
        Op::MatMul if inputs[0].dtype == DType::U8 => {
            // Of an open K, the graph of a run is asked.
            if inputs[0].shape.last().and_then(Dim::fixed).is_some_and(|k| k > MOST_PRODUCTS) {
                return Err("sums so many products that they could overflow".into());
            }
            affine(inputs[0])?;
            affine(inputs[1])?;
            real_or_affine(output)
        }
        Op::Softmax { .. } if inputs.len() != 1 => Err("has a table, but works on f32".into()),
        Op::Binary { .. }
        | Op::Reduce { .. }
        | Op::Softmax { .. }
        | Op::LogSoftmax { .. }
        | Op::Recurrent(_)
        | Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::Gemm
        | Op::MatMul
        | Op::Where
        | Op::LayerNorm { .. }
        | Op::Unary { .. } => all(DType::F32),
        Op::Quantize { .. } => {
            if inputs[0].dtype != DType::F32 {
                return Err(format!("works on f32, but '{}' is {}", inputs[0].name, inputs[0].dtype));
            }
            affine(output)
        }
        Op::Dequantize => {
            affine(inputs[0])?;
            if output.dtype == DType::F32 { Ok(()) } else { Err("its output is not f32".into()) }
        }
        Op::Table => {
            affine(inputs[0])?;
            constant(inputs.get(1).copied(), DType::U8)?;
            affine(output)
        }
        Op::QConv(c) => {
            affine(inputs[0])?;
            pad_value(c.pad_value, inputs[0])?;
            packed(inputs, output, c.epilogue.as_ref())
        }
        Op::QConvTranspose(c) => {
            affine(inputs[0])?;
            pad_value(c.pad_value, inputs[0])?;
            packed(inputs, output, c.epilogue.as_ref())
        }
        Op::QGemm(g) => {
            affine(inputs[0])?;
            packed(inputs, output, g.epilogue.as_ref())
        }
        Op::ChooseQparams { .. } => all(DType::F32),
        Op::DynamicQuantize => match (inputs[0].dtype, inputs[1].dtype, output.dtype, output.quant) {
            (DType::F32, DType::F32, DType::U8, None) => Ok(()),
            _ => Err("quantizes f32 by f32 to u8 without affine parameters of its own".into()),
        },
        Op::DynamicGemm { .. } => {
            if inputs[0].dtype != DType::U8 || inputs[0].quant.is_some() || inputs[4].dtype != DType::F32 {
                return Err("works on u8 without affine parameters of its own, but by f32".into());
            }
            constant(inputs.get(5).copied(), DType::F32)?;
            constant(inputs.get(6).copied(), DType::F32)?;
            packed(inputs, output, None)
        }
        Op::WeightOnlyGemm => {
            constant(inputs.get(1).copied(), DType::U8)?;
            match inputs.iter().enumerate().find(|(i, v)| *i != 1 && v.dtype != DType::F32) {
                Some((_, v)) => Err(format!("works on f32, but '{}' is {}", v.name, v.dtype)),
                None if output.dtype != DType::F32 => Err("its output is not f32".into()),
                None => Ok(()),
            }
        }
        Op::Embedding => {
            constant(inputs.first().copied(), DType::U8)?;
            constant(inputs.get(1).copied(), DType::F32)?;
            match (inputs[2].dtype, output.dtype) {
                (DType::I64, DType::F32) => Ok(()),
                _ => Err("picks by i64, and its output is f32".into()),
            }
        }
    }
}

fn pad_value(pad: u8, x: &Value) -> Result<(), String> {
    match x.quant {
        Some(q) if q.zero_point != pad => Err(format!("pads with {pad}, but the zero point of '{}' is {}", x.name, q.zero_point)),
        _ => Ok(()),
    }
}

fn packed(inputs: &[&Value], output: &Value, epilogue: Option<&Epilogue>) -> Result<(), String> {
    for (operand, dtype) in [(1, DType::I8), (2, DType::I32), (3, DType::F32)] {
        constant(inputs.get(operand).copied(), dtype)?;
    }
    let Some(e) = epilogue else {
        return if output.dtype == DType::F32 { Ok(()) } else { Err("has no epilogue, so its output is f32".into()) };
    };
    affine(output)?;
    if e.lo > e.hi || e.zero_point > e.hi {
        return Err(format!("its epilogue clamps to {} ..= {} around zero point {}", e.lo, e.hi, e.zero_point));
    }
    if let Some(r) = e.residual {
        affine(inputs[4])?;
        if !(r.multiplier.is_finite() && r.multiplier > 0.0) {
            return Err("its residual's multiplier is not a positive number".into());
        }
    }
    if e.hard_swish {
        if e.residual.is_some() || e.table {
            return Err("its epilogue has HardSwish beside a residual or a table".into());
        }
        constant(inputs.get(4).copied(), DType::F32)?;
    }
    if e.table { constant(inputs.last().copied(), DType::U8) } else { Ok(()) }
}

fn affine(value: &Value) -> Result<(), String> {
    if value.dtype == DType::U8 && value.quant.is_some() {
        return Ok(());
    }
    Err(format!("'{}' ({}) should be u8 with affine parameters", value.name, value.dtype))
}

fn real_or_affine(value: &Value) -> Result<(), String> {
    if value.dtype == DType::F32 { Ok(()) } else { affine(value) }
}

fn real_or_quantized(x: &Value, output: &Value) -> Result<(), String> {
    if x.dtype != output.dtype {
        return Err(format!("'{}' is {}, but the output is {}", x.name, x.dtype, output.dtype));
    }
    real_or_affine(x)?;
    real_or_affine(output)
}

fn constant(value: Option<&Value>, dtype: DType) -> Result<(), String> {
    match value {
        Some(v) if v.dtype == dtype && v.constant.is_some() => Ok(()),
        Some(v) => Err(format!("'{}' should be a constant of {dtype}", v.name)),
        None => Err(format!("lacks a constant of {dtype}")),
    }
}
