//! Writes the quantized network: integer operations for the groups that became some, f32 ones for the rest, and the
//! changes of type between them.

use std::collections::HashMap;

use quaver_core::arith::{exp, table};
use quaver_core::format::weights::PackedShape;
use quaver_core::graph::op::{BinaryFn, Epilogue, QConv, QConvTranspose, QGemm, Residual, UnaryFn, Window};
use quaver_core::graph::{Graph, Network, Node, Op, ValueId};
use quaver_core::quant::Affine;
use quaver_core::tensor::DType;

use super::QuantizeError;
use super::affine::Classes;
use super::fusion::{Group, Groups, Step, apply_all};
use super::given::Given;
use super::qconfig::{ActivationScheme, NodeConfig, Scheme};
use super::regions::{Kind, Regions};
use super::weights::{self, QuantizedWeights};
use crate::refine::{Passes, Product};

/// Everything that was decided about a float network.
pub(super) struct Plan<'a> {
    pub network: &'a Network,
    pub configs: &'a [NodeConfig],
    pub regions: &'a Regions,
    pub groups: &'a Groups,
    pub classes: &'a Classes,
    /// The calibrated range of a value.
    pub range: &'a dyn Fn(usize) -> Option<(f32, f32)>,
    /// What the model says, where it says it.
    pub given: Option<&'a Given>,
    pub q_max: u8,
}

/// The forms in which a value of the float network exists in the quantized one.
#[derive(Debug, Clone, Copy, Default)]
struct Forms {
    real: Option<ValueId>,
    integer: Option<ValueId>,
}

pub(super) struct Emitter<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) out: Network,
    forms: Vec<Forms>,
    /// The parameters that a run chooses for a value, and the value as u8 under them: of rows, and of the whole.
    pub(super) chosen: HashMap<(ValueId, ActivationScheme), [ValueId; 2]>,
    products: Vec<Product>,
}

/// Emits the quantized network, and what its products came from.
pub(super) fn emit(plan: &Plan<'_>) -> Result<(Network, Vec<Product>), QuantizeError> {
    let graph = &plan.network.graph;
    let forms = vec![Forms::default(); graph.values.len()];
    let out = Network::new(graph.name.clone());
    let mut emitter = Emitter { plan, out, forms, chosen: HashMap::new(), products: Vec::new() };
    for &id in &graph.inputs {
        let value = graph.value(id);
        let integer = emitter.is_integer(id);
        let new = emitter.out.input(value.name.clone(), if integer { DType::U8 } else { value.dtype }, value.shape.clone());
        if integer {
            emitter.out.graph.values[new.index()].quant = Some(emitter.affine(id)?);
            emitter.forms[id.index()].integer = Some(new);
        } else {
            emitter.forms[id.index()].real = Some(new);
            emitter.round(id)?;
        }
    }
    for (i, node) in graph.nodes.iter().enumerate() {
        let Some(group) = &plan.groups.groups[i] else { continue };
        if plan.regions.quantized[i] {
            emitter.quantized(i, node, group)?;
        } else {
            emitter.float(i, node)?;
        }
    }
    for &id in &graph.outputs {
        let new = if emitter.is_integer(id) { emitter.integer(id)? } else { emitter.real(id)? };
        emitter.out.graph.values[new.index()].name = graph.value(id).name.clone();
        emitter.out.output(new);
    }
    emitter.out.compact();
    Ok((emitter.out, emitter.products))
}

impl<'a> Emitter<'a> {
    pub(super) fn graph(&self) -> &'a Graph {
        &self.plan.network.graph
    }

    pub(super) fn name(&self, id: ValueId) -> &'a str {
        &self.graph().value(id).name
    }

    /// The name of a value's u8 form: its own, but for graph inputs and outputs, whose real form has it.
    fn integer_name(&self, id: ValueId) -> String {
        let graph = self.graph();
        let name = self.name(id);
        if graph.outputs.contains(&id) || self.forms[id.index()].real.is_some() { format!("{name}:u8") } else { name.to_owned() }
    }

    fn affine(&self, id: ValueId) -> Result<Affine, QuantizeError> {
        let missing = || QuantizeError::NoRange { value: self.name(id).to_owned() };
        self.plan.classes.affine(id.index(), self.plan.q_max).ok_or_else(missing)
    }

    /// Whether an input or output is u8 in the model.
    fn is_integer(&self, id: ValueId) -> bool {
        self.plan.given.is_some_and(|g| g.integer[id.index()])
    }

    /// Rounds a real value where the model says so: nothing reads it as it was.
    fn round(&mut self, id: ValueId) -> Result<(), QuantizeError> {
        if self.plan.given.is_some_and(|g| g.affine[id.index()].is_some()) {
            self.integer(id)?;
            self.forms[id.index()].real = None;
        }
        Ok(())
    }

    /// The value as u8 with its class's parameters.
    fn integer(&mut self, id: ValueId) -> Result<ValueId, QuantizeError> {
        if let Some(integer) = self.forms[id.index()].integer {
            return Ok(integer);
        }
        let affine = self.affine(id)?;
        let real = self.real(id)?;
        let name = format!("{}:u8", self.name(id));
        let new = self.out.push_typed(
            Op::Quantize { channels_last: false },
            &[real],
            &format!("{}/quantize", self.name(id)),
            &name,
            DType::U8,
            Some(affine),
        )?;
        self.forms[id.index()].integer = Some(new);
        Ok(new)
    }

    /// The value as f32 (or as the constant that it is).
    pub(super) fn real(&mut self, id: ValueId) -> Result<ValueId, QuantizeError> {
        if let Some(real) = self.forms[id.index()].real {
            return Ok(real);
        }
        let new = match (self.forms[id.index()].integer, self.graph().value(id).constant) {
            (Some(integer), _) => {
                let name = if self.graph().outputs.contains(&id) { self.name(id) } else { "" };
                self.out.push(Op::Dequantize, &[integer], &format!("{}/dequantize", self.name(id)), name)?
            }
            (None, Some(_)) => self.copy_constant(id),
            (None, None) => return Err(QuantizeError::NoRange { value: self.name(id).to_owned() }),
        };
        self.forms[id.index()].real = Some(new);
        Ok(new)
    }

    fn copy_constant(&mut self, id: ValueId) -> ValueId {
        let network = self.plan.network;
        let shape: Vec<usize> = self.graph().value(id).shape.iter().filter_map(|d| d.fixed()).collect();
        let name = self.name(id);
        match network.elements::<f32>(id) {
            Some(data) => self.out.constant(name, &shape, data),
            None => self.out.constant(name, &shape, network.elements::<i64>(id).unwrap_or_default()),
        }
    }

    fn float(&mut self, i: usize, node: &Node) -> Result<(), QuantizeError> {
        let (op, inputs) = match self.plan.regions.schemes[i] {
            Scheme::Dynamic => self.dynamic(i, node)?,
            Scheme::WeightOnly => self.weight_only(i, node)?,
            _ => (node.op.clone(), node.inputs.iter().map(|&id| self.real(id)).collect::<Result<Vec<_>, _>>()?),
        };
        let output = node.outputs[0];
        if let Op::Quantize { .. } = node.op {
            // Where two parts of the model read a value differently rounded.
            let affine = self.affine(output)?;
            return self.finish(Op::Quantize { channels_last: false }, &inputs, node, output, Some(affine));
        }
        let rounded = self.plan.given.is_some_and(|g| g.affine[output.index()].is_some());
        let name = if rounded && self.graph().outputs.contains(&output) { "" } else { self.name(output) };
        let new = self.out.push(op, &inputs, &node.name, name)?;
        self.forms[output.index()].real = Some(new);
        self.round(output)
    }

    fn quantized(&mut self, i: usize, node: &Node, group: &Group) -> Result<(), QuantizeError> {
        match self.plan.regions.kinds[i] {
            Kind::Heavy => self.heavy(i, node, group),
            Kind::Product => self.product(node, group),
            Kind::Mean => self.keep(node, group, self.plan.regions.is_u8[node.outputs[0].index()]),
            Kind::Move => match node.op {
                Op::Concat { .. } => self.concat(node, group),
                _ => self.move_bytes(node, group),
            },
            Kind::Light | Kind::Never(_) => match &node.op {
                Op::Softmax { .. } => self.softmax(node, group),
                _ if group.table.is_some() => self.table(node, group),
                Op::Binary { function } => self.binary(node, group, *function),
                _ => self.keep(node, group, true),
            },
        }
    }

    fn finish(&mut self, op: Op, inputs: &[ValueId], node: &Node, output: ValueId, affine: Option<Affine>) -> Result<(), QuantizeError> {
        let dtype = if affine.is_some() { DType::U8 } else { DType::F32 };
        let name = if affine.is_some() { self.integer_name(output) } else { self.name(output).to_owned() };
        let new = self.out.push_typed(op, inputs, &node.name, &name, dtype, affine)?;
        let forms = &mut self.forms[output.index()];
        if affine.is_some() {
            forms.integer = Some(new);
        } else {
            forms.real = Some(new);
        }
        Ok(())
    }

    /// A product of two activations, of which one may be constant.
    fn product(&mut self, node: &Node, group: &Group) -> Result<(), QuantizeError> {
        let mut inputs = Vec::with_capacity(2);
        for (side, &id) in node.inputs.iter().enumerate() {
            inputs.push(match self.plan.network.elements::<f32>(id) {
                Some(data) => {
                    let most = data.iter().fold(0f32, |most, x| most.max(x.abs()));
                    self.quantized_constant(id, (side == 1).then(|| Affine::centred(most, self.plan.q_max)))
                }
                None => self.integer(id)?,
            });
        }
        let affine = if self.plan.regions.is_u8[group.output.index()] { Some(self.affine(group.output)?) } else { None };
        self.finish(Op::MatMul, &inputs, node, group.output, affine)
    }

    /// The operation as it is, on u8; its output u8 or (means) f32.
    fn keep(&mut self, node: &Node, group: &Group, to_u8: bool) -> Result<(), QuantizeError> {
        let x = self.integer(node.inputs[0])?;
        let affine = if to_u8 { Some(self.affine(group.output)?) } else { None };
        self.finish(node.op.clone(), &[x], node, group.output, affine)
    }

    /// Bytes as they are. Only the model itself can ask for other parameters behind than before; they are changed first.
    fn move_bytes(&mut self, node: &Node, group: &Group) -> Result<(), QuantizeError> {
        let (own, affine) = (self.affine(node.inputs[0])?, self.affine(group.output)?);
        let mut x = self.integer(node.inputs[0])?;
        if own != affine {
            x = self.requantize(x, own, affine, &node.name)?;
        }
        self.finish(node.op.clone(), &[x], node, group.output, Some(affine))
    }

    fn concat(&mut self, node: &Node, group: &Group) -> Result<(), QuantizeError> {
        let affine = self.affine(group.output)?;
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &id in &node.inputs {
            if self.graph().value(id).constant.is_some() {
                inputs.push(self.quantized_constant(id, Some(affine)));
                continue;
            }
            let x = self.integer(id)?;
            let own = self.affine(id)?;
            inputs.push(if own == affine { x } else { self.requantize(x, own, affine, &node.name)? });
        }
        self.finish(node.op.clone(), &inputs, node, group.output, Some(affine))
    }

    fn requantize(&mut self, x: ValueId, from: Affine, to: Affine, name: &str) -> Result<ValueId, QuantizeError> {
        let table = self.out.constant(format!("{name}.requantize"), &[256], &table::build_requantize(from, to));
        Ok(self.out.push_typed(Op::Table, &[x, table], &format!("{name}/requantize"), "", DType::U8, Some(to))?)
    }

    /// A function of one value, with all that follows it.
    fn table(&mut self, node: &Node, group: &Group) -> Result<(), QuantizeError> {
        let Some((steps, x)) = &group.table else { return Ok(()) };
        let (from, to) = (self.affine(*x)?, self.affine(group.output)?);
        let bytes = table::build(|x| apply_all(steps, x), from, to);
        let x = self.integer(*x)?;
        let table = self.out.constant(format!("{}.table", node.name), &[256], &bytes);
        self.finish(Op::Table, &[x, table], node, group.output, Some(to))
    }

    fn softmax(&mut self, node: &Node, group: &Group) -> Result<(), QuantizeError> {
        let (from, to) = (self.affine(node.inputs[0])?, self.affine(group.output)?);
        let x = self.integer(node.inputs[0])?;
        let exponentials = self.out.constant(format!("{}.exponentials", node.name), &[256], &exp::build(from.scale));
        self.finish(node.op.clone(), &[x, exponentials], node, group.output, Some(to))
    }

    fn binary(&mut self, node: &Node, group: &Group, function: BinaryFn) -> Result<(), QuantizeError> {
        let graph = self.graph();
        let constant = node.inputs.iter().position(|&id| graph.value(id).constant.is_some());
        if let Some(side) = constant {
            let data = self.plan.network.elements::<f32>(node.inputs[side]).unwrap_or_default();
            let x = node.inputs[1 - side];
            if let Some((scale, shift)) = self.per_channel(node, function, side, data) {
                return self.depthwise(node, group, x, &scale, &shift);
            }
        }
        let affine = self.affine(group.output)?;
        let mut inputs = Vec::with_capacity(2);
        for &id in &node.inputs {
            let is_constant = graph.value(id).constant.is_some();
            inputs.push(if is_constant { self.quantized_constant(id, None) } else { self.integer(id)? });
        }
        let (lo, hi) = limits(group, affine);
        if (lo, hi) == (0, affine.q_max) {
            return self.finish(node.op.clone(), &inputs, node, group.output, Some(affine));
        }
        let sum = self.out.push_typed(node.op.clone(), &inputs, &node.name, "", DType::U8, Some(affine))?;
        let bytes: Vec<u8> = (0..=255u8).map(|q| q.clamp(lo, hi)).collect();
        let table = self.out.constant(format!("{}.clamp", node.name), &[256], &bytes);
        self.finish(Op::Table, &[sum, table], node, group.output, Some(affine))
    }

    /// `x·scale + shift` with one pair a channel, where the node is that on an image.
    fn per_channel(&self, node: &Node, function: BinaryFn, side: usize, data: &[f32]) -> Option<(Vec<f32>, Vec<f32>)> {
        let graph = self.graph();
        let x = graph.value(node.inputs[1 - side]);
        let c = graph.value(node.inputs[side]);
        let channels = x.shape.last()?.fixed()?;
        let row = c.shape.len() <= 4 && c.shape.last()?.fixed()? == channels && data.len() == channels;
        if !row || x.shape.len() != 4 || channels < 2 {
            return None;
        }
        let all = |v: f32| vec![v; channels];
        match (function, side) {
            (BinaryFn::Mul, _) => Some((data.to_vec(), all(0.0))),
            (BinaryFn::Add, _) => Some((all(1.0), data.to_vec())),
            (BinaryFn::Sub, 1) => Some((all(1.0), data.iter().map(|v| -v).collect())),
            (BinaryFn::Sub, 0) => Some((all(-1.0), data.to_vec())),
            _ => None,
        }
    }

    /// A per-channel scale and shift as a depthwise 1×1 convolution: one scale a channel makes it exact to the last bit
    /// of the output's rounding, which a u8 constant would not be.
    fn depthwise(&mut self, node: &Node, group: &Group, x: ValueId, scale: &[f32], shift: &[f32]) -> Result<(), QuantizeError> {
        let channels = scale.len();
        let from = self.affine(x)?;
        let to = self.affine(group.output)?;
        let shape = PackedShape::conv([1, 1], channels, channels, channels).ok_or_else(|| self.too_long(node, channels))?;
        let scales = weights::symmetric(scale, channels, super::WeightScheme::PerChannel);
        let w = weights::quantize(shape, scale, Some(shift), from.scale, from.zero_point, scales).map_err(|e| self.too_long(node, e.k))?;
        let (lo, hi) = limits(group, to);
        let epilogue = Some(Epilogue { zero_point: to.zero_point, lo, hi, residual: None, hard_swish: None, table: false });
        let op = Op::QConv(QConv { window: Window::unit(), groups: channels, channels, pad_value: from.zero_point, epilogue });
        let x = self.integer(x)?;
        let mut inputs = vec![x];
        inputs.extend(self.weight_constants(node, &shape, &w, f64::from(to.scale)));
        self.finish(op, &inputs, node, group.output, Some(to))
    }

    pub(super) fn too_long(&self, node: &Node, k: usize) -> QuantizeError {
        QuantizeError::TooLong { node: node.name.clone(), k }
    }

    fn heavy(&mut self, i: usize, node: &Node, group: &Group) -> Result<(), QuantizeError> {
        let graph = self.graph();
        let network = self.plan.network;
        let x = node.inputs[0];
        let from = self.affine(x)?;
        let channels_of = |id: ValueId| graph.value(id).shape.last().and_then(|d| d.fixed()).unwrap_or_default();
        let (ic, oc) = (channels_of(x), channels_of(node.outputs[0]));
        let shape = match &node.op {
            Op::Conv(c) => PackedShape::conv(c.window.kernel, ic, oc, c.groups),
            Op::ConvTranspose(c) => PackedShape::grouped(c.window.kernel, ic, oc, c.groups),
            _ => PackedShape::grouped([1, 1], ic, oc, 1),
        };
        let shape = shape.ok_or_else(|| self.too_long(node, ic))?;
        let hwio = network.elements::<f32>(node.inputs[1]).unwrap_or_default();
        if let Some(bad) = hwio.iter().find(|w| !w.is_finite()) {
            return Err(QuantizeError::BadWeight { node: node.name.clone(), value: *bad });
        }
        let bias = node.inputs.get(2).and_then(|&b| network.elements::<f32>(b));
        let scales = match self.plan.given.and_then(|g| g.weight_scales(node)) {
            Some(scales) => scales,
            None => weights::symmetric(hwio, oc, self.plan.configs[i].weights),
        };
        let w = weights::quantize(shape, hwio, bias, from.scale, from.zero_point, scales).map_err(|e| self.too_long(node, e.k))?;

        let output_affine = if self.plan.regions.is_u8[node.outputs[0].index()] { Some(self.affine(group.output)?) } else { None };
        // Its rounding in front of a function is one that the model asks for, where the model is quantized already.
        let swished = is_hard_swish(group) && self.plan.given.is_none();
        let table = group.table.as_ref().filter(|_| !swished);
        // What the accumulator is requantized to: the output, or what the fused table is applied to.
        let target = match (table, output_affine) {
            (Some((_, before)), Some(_)) if self.plan.given.is_some() => Some(self.affine(*before)?),
            (Some((steps, before)), Some(after)) => {
                let (min, max) =
                    (self.plan.range)(before.index()).ok_or_else(|| QuantizeError::NoRange { value: self.name(*before).to_owned() })?;
                let (min, max) = trim(steps, min, max, after.scale);
                Some(Affine::from_range(min, max, self.plan.q_max))
            }
            (_, affine) => affine,
        };
        let residual = match (group.residual, target) {
            (Some(r), Some(target)) => {
                let affine = self.affine(r)?;
                let multiplier = (f64::from(affine.scale) / f64::from(target.scale)) as f32;
                Some((self.integer(r)?, Residual { zero_point: affine.zero_point, multiplier }))
            }
            _ => None,
        };
        let epilogue = target.map(|t| {
            let (lo, hi) = limits(group, t);
            let residual = residual.map(|(_, r)| r);
            let hard_swish = swished.then(|| (f64::from(t.scale) / 6.0) as f32);
            Epilogue { zero_point: t.zero_point, lo, hi, residual, hard_swish, table: table.is_some() }
        });
        let pad_value = from.zero_point;
        let op = match &node.op {
            Op::Conv(c) => Op::QConv(QConv { window: c.window, groups: c.groups, channels: oc, pad_value, epilogue }),
            Op::ConvTranspose(c) => Op::QConvTranspose(QConvTranspose {
                window: c.window,
                groups: c.groups,
                channels: oc,
                output_padding: c.output_padding,
                pad_value,
                epilogue,
            }),
            _ => Op::QGemm(QGemm { channels: oc, epilogue }),
        };
        let mut inputs = vec![self.integer(x)?];
        inputs.extend(self.weight_constants(node, &shape, &w, target.map_or(1.0, |t| f64::from(t.scale))));
        inputs.extend(residual.map(|(r, _)| r));
        if let (Some((steps, _)), Some(before), Some(after)) = (table, target, output_affine) {
            let bytes = table::build(|x| apply_all(steps, x), before, after);
            inputs.push(self.out.constant(format!("{}.table", node.name), &[256], &bytes));
        }
        let config = &self.plan.configs[i];
        self.products.push(Product {
            node: node.name.clone(),
            shape,
            weights: node.inputs[1],
            output: node.outputs[0],
            residual: group.residual,
            from,
            scales: w.scales.iter().map(|s| s / f64::from(from.scale)).collect(),
            passes: Passes { rounding: config.rounding, bias_correction: config.bias_correction },
        });
        self.finish(op, &inputs, node, group.output, output_affine)
    }

    /// Weights, bias and multipliers as constants, in the operands' order.
    fn weight_constants(&mut self, node: &Node, shape: &PackedShape, w: &QuantizedWeights, target_scale: f64) -> [ValueId; 3] {
        let multipliers: Vec<f32> = w.scales.iter().map(|s| (s / target_scale) as f32).collect();
        let name = &node.name;
        [
            self.out.constant(format!("{name}.weight"), &shape.weights(), &w.packed),
            self.out.constant(format!("{name}.bias"), &[w.bias.len()], &w.bias),
            self.out.constant(format!("{name}.multiplier"), &[multipliers.len()], &multipliers),
        ]
    }

    /// A constant operand as u8, with its own parameters unless others are asked for.
    fn quantized_constant(&mut self, id: ValueId, affine: Option<Affine>) -> ValueId {
        let data = self.plan.network.elements::<f32>(id).unwrap_or_default();
        let (min, max) = data.iter().fold((0f32, 0f32), |(lo, hi), &x| (lo.min(x), hi.max(x)));
        let affine = affine.unwrap_or_else(|| Affine::from_range(min, max, self.plan.q_max));
        let bytes: Vec<u8> = data.iter().map(|&x| affine.quantize(x)).collect();
        let shape: Vec<usize> = self.graph().value(id).shape.iter().filter_map(|d| d.fixed()).collect();
        let new = self.out.constant(self.name(id), &shape, &bytes);
        self.out.graph.values[new.index()].quant = Some(affine);
        new
    }
}

/// Whether all that is behind a product is HardSwish, which epilogues compute themselves.
fn is_hard_swish(group: &Group) -> bool {
    let Group { residual: None, clamp: None, table: Some((steps, _)), .. } = group else { return false };
    steps[..] == [Step::Unary(UnaryFn::HardSwish)]
}

/// Lower and upper clamp of a group in the integers of `target`.
fn limits(group: &Group, target: Affine) -> (u8, u8) {
    let (lo, hi) = group.clamp.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
    (target.quantize(lo), target.quantize(hi))
}

/// Cuts off the ends of a range on which what follows stays within a quarter of a step of its value at the end: those inputs
/// clamp to the same output, and the integers are spent on inputs that matter (hard-swish below −3, sigmoid beyond ±6).
fn trim(steps: &[Step], min: f32, max: f32, step: f32) -> (f32, f32) {
    const POINTS: usize = 1024;
    let (lo, hi) = (f64::from(min), f64::from(max));
    let at = |i: usize| lo + (hi - lo) * i as f64 / POINTS as f64;
    let flat = |a: f64, b: f64| (apply_all(steps, a) - apply_all(steps, b)).abs() <= f64::from(step) / 4.0;
    let first = (0..POINTS).take_while(|&i| flat(lo, at(i + 1))).count();
    let last = (first..POINTS).rev().take_while(|&i| flat(hi, at(i))).count();
    (at(first) as f32, at(POINTS - last) as f32)
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::Dim;
    use quaver_core::graph::op::{Conv, QConv};

    use super::*;
    use crate::quantize::qconfig::QConfigMapping;
    use crate::quantize::quantize;

    /// What the first convolution of convolution → `function` → convolution becomes; depthwise or not.
    fn behind_a_convolution(function: UnaryFn, depthwise: bool) -> (Epilogue, Affine, usize) {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 4.into(), 4.into(), 2.into()]);
        let groups = if depthwise { 2 } else { 1 };
        let w = net.constant("w", &[1, 1, 2 / groups, 2], &[0.5f32, -0.75, 0.25, 1.0][..4 / groups]);
        let v = net.push(Op::Conv(Conv { window: Window::unit(), groups }), &[x, w], "first", "first").expect("fits");
        let v = net.push(Op::Unary { function }, &[v], "function", "function").expect("fits");
        let w = net.constant("w", &[1, 1, 2, 2], &[0.5f32, -0.75, 0.25, 1.0]);
        let y = net.push(Op::Conv(Conv { window: Window::unit(), groups: 1 }), &[v, w], "last", "last").expect("fits");
        net.output(y);
        let quantized = quantize(&net, &QConfigMapping::default(), &|_| Some((-2.0, 4.0))).expect("it has all ranges");
        let node = quantized.network.graph.nodes.iter().find(|n| n.name == "first").expect("there");
        let Op::QConv(QConv { epilogue: Some(epilogue), .. }) = node.op else { panic!("not in integers: {node:?}") };
        (epilogue, quantized.network.graph.value(node.outputs[0]).quant.expect("u8"), node.inputs.len())
    }

    #[test]
    fn hard_swish_behind_a_product_is_no_table() {
        for depthwise in [false, true] {
            let (epilogue, to, operands) = behind_a_convolution(UnaryFn::HardSwish, depthwise);
            let slope = Some((f64::from(to.scale) / 6.0) as f32);
            let expected = Epilogue { zero_point: to.zero_point, lo: 0, hi: to.q_max, residual: None, hard_swish: slope, table: false };
            assert_eq!((epilogue, operands), (expected, 4));
            let (epilogue, _, operands) = behind_a_convolution(UnaryFn::Silu, depthwise);
            assert_eq!((epilogue.hard_swish, epilogue.table, operands), (None, true, 5));
        }
    }

    #[test]
    fn flat_ends_are_cut_off() {
        let (lo, hi) = trim(&[Step::Unary(UnaryFn::HardSwish)], -20.0, 5.0, 0.02);
        assert!((-3.1..-2.9).contains(&lo) && hi == 5.0, "{lo} {hi}");
        let (lo, hi) = trim(&[Step::Unary(UnaryFn::Sigmoid)], -30.0, 30.0, 1.0 / 255.0);
        assert!((-7.5..-6.0).contains(&lo) && (6.0..7.5).contains(&hi), "{lo} {hi}");
        assert_eq!(trim(&[Step::Unary(UnaryFn::Tanh)], -0.5, 0.25, 0.001), (-0.5, 0.25));
    }
}
