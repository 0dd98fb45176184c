//! Quantized models: QuantizeLinear and DequantizeLinear, operations on integers, and what moves integers.
//!
//! Everything becomes float operations between [`Op::Quantize`] and [`Op::Dequantize`], which carry the model's own parameters
//! to the quantizer. An s8 activation becomes a u8 one, 128 added to integers and zero point. Constants are dequantized here;
//! the quantizer finds their integers again. DynamicQuantizeLinear, whose parameters only a run would know, returns the
//! real numbers that came in, so that what follows works on these.

mod operations;

use quaver_core::graph::op::BinaryFn;
use quaver_core::graph::{Op, ValueId};
use quaver_core::quant::Affine;
use quaver_core::tensor::DType;

use super::{Ctx, Importer, NodeError, Outputs, Sym, Val, axis, invalid, unsupported};
use crate::import::onnx::proto::tensor_proto::DataType;

/// Operation types of ONNX Runtime's domain `com.microsoft` that can be imported.
#[rustfmt::skip]
pub(in crate::import::onnx) const MICROSOFT: &[&str] = &[
    "DequantizeLinear", "DynamicQuantizeLSTM", "QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearConcat",
    "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid", "QLinearSoftmax", "QuantizeLinear",
];

/// Operations that only move what they are given, or keep it within limits, so that they work on integers too.
#[rustfmt::skip]
const MOVES: &[&str] = &[
    "Clip", "Concat", "DepthToSpace", "Flatten", "GlobalMaxPool", "MaxPool", "Pad", "Reshape", "Slice", "SpaceToDepth", "Split",
    "Squeeze", "Transpose", "Unsqueeze",
];

impl Importer<'_> {
    /// Whether `op` moves integers with affine parameters.
    pub(super) fn moves_integers(&self, ctx: &Ctx<'_>) -> bool {
        MOVES.contains(&ctx.node.op_type.as_str()) && ctx.inputs.iter().flatten().any(|v| self.affine_of(v).is_some())
    }

    fn affine_of(&self, value: &Val) -> Option<Affine> {
        let Val::Tensor(id) = value else { return None };
        let value = self.net.graph.value(*id);
        value.quant.filter(|_| value.dtype == DType::U8)
    }

    /// A move of integers: of the real numbers that they stand for, which stay on their grid.
    pub(super) fn move_integers(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let mut affine = None;
        let mut signed = false;
        let mut inputs = ctx.inputs.to_vec();
        for input in inputs.iter_mut().flatten() {
            let Some(own) = self.affine_of(input) else { continue };
            let Val::Tensor(id) = *input else { continue };
            signed = self.signed.contains(&id);
            affine = affine.or(Some(own));
            *input = Val::Tensor(self.helper(ctx, "dequantize", Op::Dequantize, &[id])?);
        }
        let Some(affine) = affine else { return invalid("it has no operand with quantization parameters") };
        // What Pad fills with, and what Clip ends at, are such integers.
        let integers: &[usize] = match ctx.node.op_type.as_str() {
            "Pad" => &[2],
            "Clip" => &[1, 2],
            _ => &[],
        };
        for &i in integers {
            let Some(Some(Val::Ints { data, shape })) = inputs.get(i) else { continue };
            let real = |s: &Sym| s.num().and_then(|n| u8::try_from(n + shift(signed)).ok()).map(|q| affine.dequantize(q));
            let Some(real) = data.iter().map(real).collect() else {
                return invalid(format!("operand '{}' is not an 8-bit number", label(ctx, i)));
            };
            inputs[i] = Some(Val::floats(shape.clone(), real));
        }
        let mut node = ctx.node.clone();
        node.output.iter_mut().filter(|o| !o.is_empty()).for_each(|o| o.push_str(":real"));
        let reals = self.dispatch(&Ctx { node: &node, name: ctx.name, inputs: &inputs, attrs: ctx.attrs })?;
        let mut outputs = Vec::with_capacity(reals.len());
        for (i, real) in reals.into_iter().enumerate() {
            let Val::Tensor(id) = real else { return unsupported("its result is constant") };
            outputs.push(Val::Tensor(self.quantize(&format!("{}/quantize", ctx.name), ctx.out(i), id, (affine, signed))?));
        }
        Ok(outputs)
    }

    pub(super) fn quantize_linear(&mut self, ctx: &Ctx<'_>) -> Outputs {
        ctx.attrs.ignore("saturate");
        ctx.attrs.ignore("precision");
        if ctx.attrs.int("block_size")?.unwrap_or(0) != 0 {
            return unsupported("quantization by blocks is not supported; quantize per tensor, or weights per channel");
        }
        let signed = match ctx.attrs.int("output_dtype")?.unwrap_or(0) {
            0 | 2 => false,
            3 => true,
            _ => return unsupported("its output_dtype is neither uint8 nor int8; quantize to 8 bits"),
        };
        let channel = ctx.attrs.int("axis")?.unwrap_or(1);
        if let Some(Some(Val::Floats { shape, data })) = ctx.inputs.first() {
            let signed = self.is_signed(ctx, 2)?.unwrap_or(signed);
            let grid = self.grid(ctx, 1, 2, channel, shape)?;
            let (lo, hi) = if signed { (-128.0, 127.0) } else { (0.0, 255.0) };
            let whole = |(i, &x): (usize, &f32)| {
                let (scale, zero) = grid.at(i);
                let q = libm::rintf(x / scale) + zero as f32;
                Sym::Num(if q > lo { q.min(hi) as i64 } else { lo as i64 })
            };
            return Ok(vec![Val::Ints { shape: shape.clone(), data: data.iter().enumerate().map(whole).collect() }]);
        }
        let x = self.real(ctx, 0)?;
        let affine = self.affine(ctx, 1, 2, signed)?;
        Ok(vec![Val::Tensor(self.quantize(ctx.name, ctx.out(0), x, affine)?)])
    }

    pub(super) fn dequantize_linear(&mut self, ctx: &Ctx<'_>) -> Outputs {
        if ctx.attrs.int("block_size")?.unwrap_or(0) != 0 {
            return unsupported("quantization by blocks is not supported; quantize per tensor, or weights per channel");
        }
        ctx.attrs.ignore("output_dtype");
        let channel = ctx.attrs.int("axis")?.unwrap_or(1);
        Ok(vec![self.dequantized(ctx, [0, 1, 2], channel, ctx.out(0))?])
    }

    /// The real numbers in, a scale of 1 and a zero point of 0: see the module's documentation.
    pub(super) fn dynamic_quantize(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.real(ctx, 0)?;
        Ok(vec![Val::Tensor(x), Val::floats(Vec::new(), vec![1.0]), Val::Ints { shape: Vec::new(), data: vec![Sym::Num(0)] }])
    }

    fn quantize(&mut self, node: &str, name: &str, x: ValueId, (affine, signed): (Affine, bool)) -> Result<ValueId, NodeError> {
        let id = self.net.push_typed(Op::Quantize { channels_last: false }, &[x], node, name, DType::U8, Some(affine))?;
        if signed {
            self.signed.insert(id);
        }
        Ok(id)
    }

    /// Operand `x` as real numbers, by the scale and the zero point in operands `scale` and `zero`.
    fn dequantized(&mut self, ctx: &Ctx<'_>, [x, scale, zero]: [usize; 3], channel: i64, name: &str) -> Result<Val, NodeError> {
        match ctx.inputs.get(x).and_then(Option::as_ref) {
            Some(Val::Ints { shape, data }) => {
                let grid = self.grid(ctx, scale, zero, channel, shape)?;
                let real = |(i, s): (usize, &Sym)| {
                    let (scale, zero) = grid.at(i);
                    s.num().map(|q| (q - zero) as f32 * scale)
                };
                match data.iter().enumerate().map(real).collect() {
                    Some(data) => Ok(Val::floats(shape.clone(), data)),
                    None => unsupported(format!("operand '{}' depends on the inputs' extents", label(ctx, x))),
                }
            }
            Some(Val::Tensor(id)) => {
                let id = *id;
                if let Some((table, indices)) = self.picked(id) {
                    return self.dequantized_rows(ctx, [scale, zero], table, indices, name);
                }
                let affine = self.affine(ctx, scale, zero, self.signed.contains(&id))?;
                self.dequantize(ctx, x, affine, name).map(Val::Tensor)
            }
            Some(_) => invalid(format!("operand '{}' should be integers", label(ctx, x))),
            None => invalid(format!("operand {x} is missing")),
        }
    }

    /// The integers, and what picks rows of them, of a value that a Gather gives: an embedding.
    fn picked(&self, id: ValueId) -> Option<(ValueId, ValueId)> {
        let node = self.net.graph.nodes.iter().rev().find(|node| node.outputs[0] == id)?;
        let &[table, indices] = &node.inputs[..] else { return None };
        (node.op == Op::Gather { axis: 0 } && self.net.elements::<i64>(table).is_some()).then_some((table, indices))
    }

    /// Rows of a table of integers, dequantized before they are picked: the quantizer makes bytes of them again.
    fn dequantized_rows(
        &mut self,
        ctx: &Ctx<'_>,
        [scale, zero]: [usize; 2],
        table: ValueId,
        indices: ValueId,
        name: &str,
    ) -> Result<Val, NodeError> {
        let (_, scales) = self.floats(ctx, scale)?;
        let [scale] = *scales else { return unsupported("a table of embeddings has more than one scale; quantize it per tensor") };
        let zero = self.ints(ctx, zero)?.and_then(|zeros| zeros.first().copied()).unwrap_or(0);
        let shape: Vec<usize> = self.net.graph.value(table).shape.iter().filter_map(|d| d.fixed()).collect();
        let data: Vec<f32> =
            self.net.elements::<i64>(table).unwrap_or_default().iter().map(|q| q.saturating_sub(zero) as f32 * scale).collect();
        let table = self.net.constant("", &shape, &data);
        let node = format!("{}/embedding", ctx.name);
        Ok(Val::Tensor(self.net.push(Op::Gather { axis: 0 }, &[table, indices], &node, name)?))
    }

    /// Integer operand `x` as real numbers by parameters that may be others than it was made with.
    fn dequantize(&mut self, ctx: &Ctx<'_>, x: usize, (affine, signed): (Affine, bool), name: &str) -> Result<ValueId, NodeError> {
        let id = self.value(ctx, x)?;
        let label = format!("operand '{}'", label(ctx, x));
        let value = &mut self.net.graph.values[id.index()];
        if value.dtype != DType::U8 {
            return invalid(format!("{label} is {}, not an 8-bit integer", value.dtype));
        }
        // Only an input of the model has none yet.
        let own = *value.quant.get_or_insert(affine);
        if signed != self.signed.contains(&id) {
            return unsupported(format!("{label} and its zero point have different types"));
        }
        let last = own == affine;
        let y = self.net.push(Op::Dequantize, &[id], &format!("{}/dequantize", ctx.name), if last { name } else { "" })?;
        if last {
            return Ok(y);
        }
        let factor = affine.scale / own.scale;
        let offset = (f32::from(own.zero_point) - f32::from(affine.zero_point)) * affine.scale;
        let (factor, offset) = (self.net.constant("", &[], &[factor]), self.net.constant("", &[], &[offset]));
        let y = self.helper(ctx, "rescale", Op::Binary { function: BinaryFn::Mul }, &[y, factor])?;
        Ok(self.net.push(Op::Binary { function: BinaryFn::Add }, &[y, offset], &format!("{}/shift", ctx.name), name)?)
    }

    /// Whether operand `i`, a zero point, is s8 rather than u8; `None` where it is left out.
    fn is_signed(&self, ctx: &Ctx<'_>, i: usize) -> Result<Option<bool>, NodeError> {
        if !ctx.has(i) {
            return Ok(None);
        }
        let name = label(ctx, i);
        match self.kinds.get(name).and_then(|&kind| DataType::try_from(kind).ok()) {
            Some(DataType::Uint8) => Ok(Some(false)),
            Some(DataType::Int8) => Ok(Some(true)),
            Some(other) => unsupported(format!("zero point '{name}' is {other:?}; only 8 bits are supported: quantize to uint8 or int8")),
            None => unsupported(format!("zero point '{name}' is no constant of the model, so its type is not known; store it as one")),
        }
    }

    /// Parameters of an activation, of which there is one pair; `signed` holds where no zero point says it.
    fn affine(&self, ctx: &Ctx<'_>, scale: usize, zero: usize, signed: bool) -> Result<(Affine, bool), NodeError> {
        let (shape, scales) = self.floats(ctx, scale)?;
        let [scale] = *scales else {
            let name = label(ctx, scale);
            return unsupported(format!("scale '{name}' of an activation has shape {shape:?}; quantize activations per tensor"));
        };
        let signed = self.is_signed(ctx, zero)?.unwrap_or(signed);
        let zero = match self.ints(ctx, zero)?.as_deref() {
            None => 0,
            Some([zero]) => *zero,
            Some(several) => return invalid(format!("zero point '{}' has {} numbers instead of one", label(ctx, zero), several.len())),
        };
        let zero = u8::try_from(zero + shift(signed)).map_err(|_| format!("zero point {zero} is no 8-bit integer"))?;
        let affine = Affine { scale, zero_point: zero, q_max: 255 };
        if affine.is_valid() { Ok((affine, signed)) } else { bad_scale(scale) }
    }

    /// Parameters of a constant of that shape: one pair, or one a channel along `channel`.
    fn grid(&self, ctx: &Ctx<'_>, scale: usize, zero: usize, channel: i64, shape: &[usize]) -> Result<Grid, NodeError> {
        let (of, scales) = self.floats(ctx, scale)?;
        let name = label(ctx, scale);
        if let Some(&bad) = scales.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return bad_scale(bad);
        }
        let zeros = self.ints(ctx, zero)?.unwrap_or_else(|| vec![0; scales.len()]);
        if zeros.len() != scales.len() {
            return invalid(format!("there are {} scales '{name}', but {} zero points", scales.len(), zeros.len()));
        }
        let (channels, inner) = match scales.len() {
            1 => (1, 1),
            n => {
                let at = axis(channel, shape.len())?;
                if of.len() != 1 || shape[at] != n {
                    let what = format!("scales '{name}' of shape {of:?} don't fit axis {at} of a constant of shape {shape:?}");
                    return invalid(format!("{what}; give one scale, or one for each channel"));
                }
                (n, shape[at + 1..].iter().product())
            }
        };
        Ok(Grid { scales: scales.to_vec(), zeros, channels, inner })
    }
}

/// Scales and zero points of a constant's elements.
struct Grid {
    scales: Vec<f32>,
    zeros: Vec<i64>,
    channels: usize,
    /// Elements of a channel that lie side by side.
    inner: usize,
}

impl Grid {
    fn at(&self, element: usize) -> (f32, i64) {
        let channel = element / self.inner % self.channels;
        (self.scales[channel], self.zeros[channel])
    }
}

/// The name of operand `i`; none where the node has no such operand.
fn label<'c>(ctx: &Ctx<'c>, i: usize) -> &'c str {
    ctx.node.input.get(i).map_or("", String::as_str)
}

/// What an s8 integer is raised by.
fn shift(signed: bool) -> i64 {
    if signed { 128 } else { 0 }
}

fn bad_scale<T>(scale: f32) -> Result<T, NodeError> {
    invalid(format!("its scale is {scale}, but has to be a positive normal number; calibrate the model anew, or leave that tensor float"))
}

#[cfg(test)]
mod tests;
