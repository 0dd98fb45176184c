//! Writes the quantized network: integer operations for the groups that became some, f32 ones for the rest, and the
//! changes of type between them.

use std::collections::HashMap;

use quaver_core::arith::{exp, table};
use quaver_core::graph::op::BinaryFn;
use quaver_core::graph::{Graph, Network, Node, Op, ValueId};
use quaver_core::quant::Affine;
use quaver_core::tensor::DType;

use super::QuantizeError;
use super::affine::Classes;
use super::fusion::{Group, Groups, apply_all};
use super::given::Given;
use super::qconfig::{ActivationScheme, NodeConfig, Scheme};
use super::regions::{Kind, Regions};
use crate::refine::Product;

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
    pub(super) products: Vec<Product>,
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

    pub(super) fn affine(&self, id: ValueId) -> Result<Affine, QuantizeError> {
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
    pub(super) fn integer(&mut self, id: ValueId) -> Result<ValueId, QuantizeError> {
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

    pub(super) fn finish(
        &mut self,
        op: Op,
        inputs: &[ValueId],
        node: &Node,
        output: ValueId,
        affine: Option<Affine>,
    ) -> Result<(), QuantizeError> {
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

    pub(super) fn too_long(&self, node: &Node, k: usize) -> QuantizeError {
        QuantizeError::TooLong { node: node.name.clone(), k }
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

/// Lower and upper clamp of a group in the integers of `target`.
pub(super) fn limits(group: &Group, target: Affine) -> (u8, u8) {
    let (lo, hi) = group.clamp.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
    (target.quantize(lo), target.quantize(hi))
}
