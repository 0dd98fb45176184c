//! Builds the ONNX graph of a recording: names, constants, and nodes as the operations of [`super::ops`] ask for them.

use std::collections::{BTreeMap, HashMap, HashSet};

use burn::tensor::TensorData;
use burn_capture::TensorId;
use burn_ir::{OperationIr, ScalarIr, TensorIr};

use super::assembly::Assembly;
use super::record::Recording;
use super::{BurnError, ops};
use crate::import::onnx::proto::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType,
    tensor_proto::DataType, tensor_shape_proto::Dimension, tensor_shape_proto::dimension, type_proto,
};
use crate::import::{ImportError, Unsupported};

/// Why an operation has no counterpart, and what to do about it; empty if it reads the result of one that has none.
pub(super) type Refused = String;

/// An ONNX graph under construction.
pub(super) struct Builder<'r> {
    pub(super) graph: GraphProto,
    values: &'r BTreeMap<TensorId, TensorData>,
    /// Where constants come from, in the module's words.
    labels: HashMap<TensorId, String>,
    /// What is in the graph already.
    names: HashMap<TensorId, String>,
    pub(super) assemblies: HashMap<TensorId, Assembly>,
    taken: HashSet<String>,
    numbered: HashMap<String, usize>,
    /// Whether the elements of parameters are left out.
    outline: bool,
    /// The node that is being built.
    node: String,
    unsupported: Vec<Unsupported>,
}

/// The recording as an ONNX graph whose extents are numbers. An `outline` lacks the elements of parameters.
///
/// # Errors
/// [`ImportError::Unsupported`] with all operations that have no counterpart.
pub(super) fn build(recording: &Recording, name: &str, ports: [&[String]; 2], outline: bool) -> Result<GraphProto, BurnError> {
    let [inputs, outputs] = ports;
    let mut builder = Builder {
        graph: GraphProto { name: name.to_owned(), ..GraphProto::default() },
        values: &recording.captured.values,
        labels: recording.paths.clone(),
        names: HashMap::new(),
        assemblies: HashMap::new(),
        taken: inputs.iter().chain(outputs).cloned().collect(),
        numbered: HashMap::new(),
        outline,
        node: String::new(),
        unsupported: Vec::new(),
    };
    for (port, name) in recording.inputs.iter().zip(inputs) {
        builder.graph.input.push(info(name, port.kind, &port.dims));
        builder.names.extend(port.id.map(|id| (id, name.clone())));
    }
    for operation in &recording.captured.graph.operations {
        builder.operation(operation);
    }
    for (id, name) in recording.outputs.iter().zip(outputs) {
        builder.output(*id, name);
    }
    if !builder.unsupported.is_empty() {
        return Err(ImportError::Unsupported(builder.unsupported).into());
    }
    Ok(builder.graph)
}

impl Builder<'_> {
    fn operation(&mut self, operation: &OperationIr) {
        if matches!(operation, OperationIr::Init(_) | OperationIr::Drop(_)) {
            return;
        }
        let op = name_of(operation);
        self.node = self.node_name(operation, &op);
        if let Err(what) = ops::operation(self, operation) {
            self.refuse(op, what);
            // Its readers are not to blame.
            for out in operation.outputs() {
                self.names.insert(out.id, String::new());
            }
        }
    }

    fn refuse(&mut self, op: String, what: Refused) {
        // What follows from something refused needs no message of its own.
        if !what.is_empty() {
            self.unsupported.push(Unsupported { node: self.node.clone(), op, what });
        }
    }

    fn output(&mut self, id: TensorId, name: &str) {
        self.node = name.to_owned();
        match self.by_id(id) {
            Ok(value) => {
                let mut node = plain("Identity", &[value]);
                (node.name, node.output) = (format!("{name}/output"), vec![name.to_owned()]);
                self.graph.node.push(node);
                self.graph.output.push(ValueInfoProto { name: name.to_owned(), r#type: None });
            }
            Err(what) => self.refuse("Output".to_owned(), what),
        }
    }

    /// The place in the module of the parameters that an operation reads; otherwise the operation's own name. What is made of
    /// parameters alone keeps their place.
    fn node_name(&mut self, operation: &OperationIr, op: &str) -> String {
        let op = op.to_lowercase();
        let inputs: Vec<&TensorIr> = operation.inputs().collect();
        let Some(label) = inputs.iter().find_map(|t| self.labels.get(&t.id)).cloned() else { return self.unique(&op) };
        if inputs.iter().all(|t| self.is_constant(t)) {
            self.labels.extend(operation.outputs().map(|out| (out.id, label.clone())));
            return self.unique(&format!("{label}/{op}"));
        }
        // Of `encoder.0.weight`, the weight is the parameter.
        self.unique(label.rsplit_once('.').map_or(&op, |(module, _)| module))
    }

    /// The name itself, or one with a number behind it.
    fn unique(&mut self, name: &str) -> String {
        let mut candidate = name.to_owned();
        while !self.taken.insert(candidate.clone()) {
            let number = self.numbered.entry(name.to_owned()).or_insert(1);
            *number += 1;
            candidate = format!("{name}_{number}");
        }
        candidate
    }

    /// The name of a tensor that exists already.
    pub(super) fn input(&mut self, tensor: &TensorIr) -> Result<String, Refused> {
        self.by_id(tensor.id)
    }

    /// Whether a tensor is the same in every run; inputs have elements here too, those of the example.
    pub(super) fn is_constant(&self, tensor: &TensorIr) -> bool {
        let name = self.names.get(&tensor.id);
        let given = name.is_some_and(|name| self.graph.input.iter().any(|input| input.name == *name));
        self.labels.contains_key(&tensor.id) || (self.values.contains_key(&tensor.id) && !given)
    }

    fn by_id(&mut self, id: TensorId) -> Result<String, Refused> {
        match self.names.get(&id) {
            Some(name) if name.is_empty() => return Err(Refused::new()),
            Some(name) => return Ok(name.clone()),
            None => {}
        }
        if let Some(assembly) = self.assemblies.remove(&id) {
            let name = assembly.assemble(self)?;
            self.names.insert(id, name.clone());
            return Ok(name);
        }
        let Some(data) = self.values.get(&id) else {
            return Err(
                "it reads a result that quaver doesn't have, such as the indices of a pool; use the operation without it".to_owned()
            );
        };
        let label = self.labels.get(&id).cloned();
        let outline = self.outline && label.is_some();
        let name = self.unique(&label.unwrap_or_else(|| "constant".to_owned()));
        let initializer = constant(&name, data, outline)?;
        self.graph.initializer.push(initializer);
        self.names.insert(id, name.clone());
        Ok(name)
    }

    /// A node within the operation, of which another one reads the result.
    pub(super) fn helper(&mut self, op: &str, inputs: &[String], attributes: Vec<AttributeProto>) -> String {
        let name = self.unique(&format!("{}/{}", self.node, op.to_lowercase()));
        let mut node = plain(op, inputs);
        (node.name, node.output, node.attribute) = (name.clone(), vec![name.clone()], attributes);
        self.graph.node.push(node);
        name
    }

    /// The node that gives the operation's result. Some operations give real numbers for whole ones, which is made good here; where
    /// they don't, the importer leaves the cast out.
    pub(super) fn result(&mut self, op: &str, inputs: &[String], attributes: Vec<AttributeProto>, out: &TensorIr) {
        if out.dtype.is_float() || out.dtype.is_bool() || op == "Cast" {
            return self.results(op, inputs, attributes, &[Some(out)]);
        }
        let value = self.helper(op, inputs, attributes);
        self.results("Cast", &[value], vec![int("to", DataType::Int64 as i32)], &[Some(out)]);
    }

    /// As [`Builder::result`], of several results, of which some may be left out.
    pub(super) fn results(&mut self, op: &str, inputs: &[String], attribute: Vec<AttributeProto>, outs: &[Option<&TensorIr>]) {
        let mut node = plain(op, inputs);
        (node.name, node.attribute) = (self.node.clone(), attribute);
        for (i, out) in outs.iter().enumerate() {
            node.output.push(match out {
                Some(out) => {
                    let name = if i == 0 { self.node.clone() } else { self.unique(&format!("{}/{i}", self.node)) };
                    self.names.insert(out.id, name.clone());
                    name
                }
                None => String::new(),
            });
        }
        self.graph.node.push(node);
    }

    /// A result that is another value.
    pub(super) fn same(&mut self, value: String, out: &TensorIr) {
        self.names.insert(out.id, value);
    }

    /// Whole numbers in a row.
    pub(super) fn ints(&mut self, what: &str, numbers: impl IntoIterator<Item = i64>) -> String {
        let numbers: Vec<i64> = numbers.into_iter().collect();
        self.whole(what, &[numbers.len()], &numbers)
    }

    /// Whole numbers of some shape.
    pub(super) fn whole(&mut self, what: &str, shape: &[usize], numbers: &[i64]) -> String {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.initializer(what, DataType::Int64, shape, bytes)
    }

    /// Real numbers of some shape.
    pub(super) fn real(&mut self, what: &str, shape: &[usize], numbers: &[f32]) -> String {
        let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.initializer(what, DataType::Float, shape, bytes)
    }

    /// The extents of a tensor.
    pub(super) fn extents(&mut self, tensor: &TensorIr) -> String {
        let extents: Vec<i64> = tensor.shape.iter().map(|&d| d as i64).collect();
        self.ints("shape", extents)
    }

    /// One number, of the kind of a tensor that it meets.
    pub(super) fn scalar(&mut self, number: ScalarIr, beside: &TensorIr) -> String {
        match beside.dtype.is_float() || beside.dtype.is_bool() {
            true => self.real("scalar", &[], &[finite(number.elem::<f64>())]),
            false => self.whole("scalar", &[], &[number.elem::<i64>()]),
        }
    }

    fn initializer(&mut self, what: &str, kind: DataType, shape: &[usize], raw_data: Vec<u8>) -> String {
        let name = self.unique(&format!("{}/{what}", self.node));
        let dims = shape.iter().map(|&d| d as i64).collect();
        self.graph.initializer.push(TensorProto { name: name.clone(), dims, data_type: kind as i32, raw_data, ..TensorProto::default() });
        name
    }
}

/// −∞, with which masks fill, as the smallest number: calibration takes finite ones.
pub(super) fn finite(number: f64) -> f32 {
    (number as f32).clamp(f32::MIN, f32::MAX)
}

/// A node without a name.
pub(super) fn plain(op: &str, inputs: &[String]) -> NodeProto {
    NodeProto { op_type: op.to_owned(), input: inputs.to_vec(), ..NodeProto::default() }
}

/// An attribute that is a whole number.
pub(super) fn int(name: &str, i: impl TryInto<i64>) -> AttributeProto {
    let i = i.try_into().unwrap_or(i64::MAX);
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i, ..AttributeProto::default() }
}

/// An attribute that is a real number.
pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Float as i32, f, ..AttributeProto::default() }
}

/// An attribute of whole numbers.
pub(super) fn ints(name: &str, numbers: impl IntoIterator<Item = usize>) -> AttributeProto {
    let ints = numbers.into_iter().map(|n| n as i64).collect();
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Ints as i32, ints, ..AttributeProto::default() }
}

/// An attribute that is a word.
pub(super) fn word(name: &str, word: &str) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::String as i32, s: word.into(), ..AttributeProto::default() }
}

/// The name of a burn operation, such as `Conv2d`.
fn name_of(operation: &OperationIr) -> String {
    if let OperationIr::Custom(custom) = operation {
        return custom.id.clone();
    }
    // `Module(Conv2d(Conv2dOpIr { …`: the last name before the structure's.
    let text = format!("{operation:?}");
    let head = text.split(" {").next().unwrap_or_default();
    let words: Vec<&str> = head.split(['(', ',', ' ', ')']).filter(|word| !word.is_empty()).collect();
    words.iter().rev().nth(1).or(words.last()).map_or_else(String::new, |&word| word.to_owned())
}

fn info(name: &str, kind: DataType, dims: &[usize]) -> ValueInfoProto {
    let dim = |&d: &usize| Dimension { value: Some(dimension::Value::DimValue(d as i64)), ..Dimension::default() };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: kind as i32, shape };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() });
    ValueInfoProto { name: name.to_owned(), r#type }
}

/// Real numbers of any width become f32, whole ones i64.
fn constant(name: &str, data: &TensorData, outline: bool) -> Result<TensorProto, Refused> {
    let (dtype, bytes) = (data.dtype(), |bytes: &dyn Fn() -> Vec<u8>| if outline { Vec::new() } else { bytes() });
    let (kind, raw_data) = if dtype.is_float() {
        (DataType::Float, bytes(&|| data.iter::<f32>().flat_map(f32::to_le_bytes).collect()))
    } else if dtype.is_int() || dtype.is_uint() {
        (DataType::Int64, bytes(&|| data.iter::<i64>().flat_map(i64::to_le_bytes).collect()))
    } else if dtype.is_bool() {
        (DataType::Bool, bytes(&|| data.iter::<bool>().map(u8::from).collect()))
    } else {
        return Err(format!("the tensor '{name}' is {dtype:?}; dequantize the module before it is captured"));
    };
    let dims = data.shape().iter().map(|&d| d as i64).collect();
    Ok(TensorProto { name: name.to_owned(), dims, data_type: kind as i32, raw_data, ..TensorProto::default() })
}
