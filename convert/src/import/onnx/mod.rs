//! ONNX files, opset 7 to 28.
//!
//! Every supported node becomes f32 operations of the core graph, and quantization a Quantize and a Dequantize between
//! them, with the model's parameters. Windowed operations are wrapped in transposes between
//! ONNX's NCHW and NHWC, which simplification cancels; 1-D ones become 2-D ones of height 1. The ONNX name of a tensor is on
//! the value that equals it.

mod attrs;
mod batch;
mod control;
mod materialise;
mod ops;
pub mod proto;
mod shapes;
mod tensor;
#[cfg(test)]
mod testing;
mod value;

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use prost::Message;
use quaver_core::graph::dim::display;
use quaver_core::graph::{Dim, Network, Op, ValueId};
use quaver_core::tensor::DType;

use super::{ImportError, ImportOptions, Unsupported};
use proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto, tensor_proto::DataType, tensor_shape_proto::dimension, type_proto};
use value::Val;

/// Operator sets that can be read.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// Reads an ONNX file.
///
/// # Errors
/// [`ImportError`]; nodes that are not supported are listed all at once.
pub fn open(path: &Path, options: &ImportOptions) -> Result<Network, ImportError> {
    let bytes = std::fs::read(path).map_err(|source| ImportError::Io { path: path.display().to_string(), source })?;
    let folder = path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    parse(&bytes, folder, options)
}

/// Reads an ONNX model from memory; `folder` is where external data may lie.
///
/// # Errors
/// [`ImportError`]; nodes that are not supported are listed all at once.
pub fn parse(bytes: &[u8], folder: Option<&Path>, options: &ImportOptions) -> Result<Network, ImportError> {
    import(&ModelProto::decode(bytes).map_err(|e| ImportError::Parse(e.to_string()))?, folder, options)
}

/// As [`parse`], of the model's message.
pub(super) fn import(model: &ModelProto, folder: Option<&Path>, options: &ImportOptions) -> Result<Network, ImportError> {
    let graph = model.graph.as_ref().ok_or_else(|| ImportError::Parse("it has no graph".to_owned()))?;
    let standard = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let opset = model.opset_import.iter().find(|o| standard(&o.domain)).map_or(1, |o| o.version);
    if !OPSETS.contains(&opset) {
        return Err(ImportError::Opset { got: opset });
    }
    check_types(graph)?;
    let order = sort(graph)?;
    let plain = || {
        let importer = Importer::new(graph, folder, opset, options, false)?;
        let open = importer.open_input();
        importer.run(&order).map_err(|error| match (open, &error) {
            (Some([input, shape, example]), ImportError::Node { .. } | ImportError::Graph(_)) => {
                ImportError::OpenShape { input, shape, example, source: Box::new(error) }
            }
            _ => error,
        })
    };
    if options.fixed_batch || !promotable(graph, options) {
        return plain();
    }
    // A model exported at batch 1 runs at any batch, if each of its nodes treats samples alike.
    match Importer::new(graph, folder, opset, options, true)?.run(&order) {
        Ok(network) if batch::samples_are_apart(&network.graph) => Ok(network),
        // What can't be done for any batch may be done for one; what can't be done for either, is said of this one.
        _ => plain(),
    }
}

/// Operation types that can be imported.
pub fn supported_operations() -> &'static [&'static str] {
    ops::SUPPORTED
}

/// Operation types without an importer, all of them at once.
fn check_types(graph: &GraphProto) -> Result<(), ImportError> {
    let known = |op: &str| ops::SUPPORTED.contains(&op) || ops::MICROSOFT.contains(&op);
    let foreign = |n: &NodeProto| match n.domain.as_str() {
        "" | "ai.onnx" => false,
        "com.microsoft" => !ops::MICROSOFT.contains(&n.op_type.as_str()),
        _ => true,
    };
    let unsupported: Vec<Unsupported> = graph
        .node
        .iter()
        .enumerate()
        .filter(|(_, n)| foreign(n) || !known(&n.op_type))
        .map(|(i, n)| {
            let what = if foreign(n) {
                format!("this operation of domain '{}' is not supported", n.domain)
            } else {
                "this operation is not supported".to_owned()
            };
            Unsupported { node: node_name(n, i), op: n.op_type.clone(), what }
        })
        .collect();
    if unsupported.is_empty() { Ok(()) } else { Err(ImportError::Unsupported(unsupported)) }
}

fn node_name(node: &NodeProto, index: usize) -> String {
    if node.name.is_empty() { format!("{}_{index}", node.op_type) } else { node.name.clone() }
}

/// The nodes in an order in which every operand is there; their own, where it is one.
fn sort(graph: &GraphProto) -> Result<Vec<usize>, ImportError> {
    let mut defined: HashSet<&str> = graph.input.iter().map(|v| v.name.as_str()).collect();
    for t in &graph.initializer {
        defined.insert(&t.name);
    }
    let mut producers: HashMap<&str, usize> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if defined.contains(output.as_str()) || producers.insert(output, i).is_some() {
                return Err(ImportError::Duplicate { name: output.clone() });
            }
        }
    }
    let mut waiting = vec![0usize; graph.node.len()];
    let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for input in operands(node).into_iter().filter(|n| !n.is_empty() && !defined.contains(n)) {
            if !producers.contains_key(input) {
                let user = format!("node '{}' ({})", node_name(node, i), node.op_type);
                return Err(ImportError::Missing { name: input.to_owned(), user });
            }
            waiting[i] += 1;
            readers.entry(input).or_default().push(i);
        }
    }
    let mut ready: std::collections::BTreeSet<usize> = (0..waiting.len()).filter(|&i| waiting[i] == 0).collect();
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(i) = ready.pop_first() {
        order.push(i);
        for output in &graph.node[i].output {
            for &reader in readers.get(output.as_str()).into_iter().flatten() {
                waiting[reader] -= 1;
                if waiting[reader] == 0 {
                    ready.insert(reader);
                }
            }
        }
    }
    if order.len() < graph.node.len() {
        let stuck: Vec<String> = (0..waiting.len()).filter(|&i| waiting[i] > 0).take(8).map(|i| node_name(&graph.node[i], i)).collect();
        return Err(ImportError::Cycle(stuck.join(", ")));
    }
    Ok(order)
}

/// The names that a node reads, be it within the graphs that it holds.
fn operands(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).collect();
    for graph in node.attribute.iter().filter_map(|a| a.g.as_ref()) {
        let mut own: HashSet<&str> = graph.input.iter().map(|v| v.name.as_str()).collect();
        own.extend(graph.initializer.iter().map(|t| t.name.as_str()));
        own.extend(graph.node.iter().flat_map(|n| &n.output).map(String::as_str));
        let read = graph.node.iter().flat_map(operands).chain(graph.output.iter().map(|v| v.name.as_str()));
        names.extend(read.filter(|name| !own.contains(name)));
    }
    names
}

fn real_inputs(graph: &GraphProto) -> impl Iterator<Item = &ValueInfoProto> {
    graph.input.iter().filter(|v| !graph.initializer.iter().any(|t| t.name == v.name))
}

fn dims_of(value: &ValueInfoProto) -> Option<(i32, Vec<Option<&dimension::Value>>)> {
    let type_proto::Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    Some((tensor.elem_type, tensor.shape.as_ref()?.dim.iter().map(|d| d.value.as_ref()).collect()))
}

/// Whether some input's first extent is fixed at 1, so that it could be the batch.
fn promotable(graph: &GraphProto, options: &ImportOptions) -> bool {
    real_inputs(graph).any(|v| {
        let fixed = dims_of(v).is_some_and(|(_, d)| matches!(d.first(), Some(Some(dimension::Value::DimValue(1)))));
        fixed && !options.input_shapes.contains_key(&v.name)
    })
}

/// Element types of a graph's constants, and of what is cast or is a constant in another shape.
fn kinds(graph: &GraphProto) -> HashMap<&str, i32> {
    let mut kinds: HashMap<&str, i32> = graph.initializer.iter().map(|t| (t.name.as_str(), t.data_type)).collect();
    for node in &graph.node {
        let operand = || node.input.first().and_then(|name| kinds.get(name.as_str())).copied();
        let kind = match node.op_type.as_str() {
            "Constant" => node.attribute.iter().find_map(|a| a.t.as_ref()).map(|tensor| tensor.data_type),
            "Cast" => node.attribute.iter().find(|a| a.name == "to").and_then(|a| i32::try_from(a.i).ok()),
            "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" => operand(),
            _ => None,
        };
        if let (Some(kind), Some(name)) = (kind, node.output.first()) {
            kinds.insert(name, kind);
        }
    }
    kinds
}

/// The state of an import.
struct Importer<'a> {
    graph: &'a GraphProto,
    folder: Option<&'a Path>,
    opset: i64,
    net: Network,
    values: HashMap<&'a str, Val>,
    /// Constants that are in the network already.
    materialised: HashMap<String, ValueId>,
    /// Element types of constants, by name.
    kinds: HashMap<&'a str, i32>,
    /// 8-bit values that are signed in the model, and 128 more here.
    signed: HashSet<ValueId>,
    unsupported: Vec<Unsupported>,
    /// Whether a batch of 1 is made a variable.
    promote: bool,
    /// Elements that large tensors of one number may still have.
    unfolded: Cell<usize>,
    /// What open extents are called here, by what they are called there.
    symbols: HashMap<&'a str, String>,
    /// What those are called that have no name there.
    unnamed: Vec<String>,
}

/// Why a node could not be imported.
enum NodeError {
    /// It has no counterpart.
    Unsupported(String),
    /// It is wrong.
    Invalid(String),
    /// Something else.
    Other(ImportError),
}

impl From<String> for NodeError {
    fn from(what: String) -> Self {
        NodeError::Invalid(what)
    }
}

impl From<ImportError> for NodeError {
    fn from(error: ImportError) -> Self {
        NodeError::Other(error)
    }
}

impl From<quaver_core::graph::check::GraphError> for NodeError {
    fn from(error: quaver_core::graph::check::GraphError) -> Self {
        NodeError::Other(ImportError::Graph(error))
    }
}

fn unsupported<T>(what: impl Into<String>) -> Result<T, NodeError> {
    Err(NodeError::Unsupported(what.into()))
}

fn invalid<T>(what: impl Into<String>) -> Result<T, NodeError> {
    Err(NodeError::Invalid(what.into()))
}

impl<'a> Importer<'a> {
    fn new(
        graph: &'a GraphProto,
        folder: Option<&'a Path>,
        opset: i64,
        options: &ImportOptions,
        promote: bool,
    ) -> Result<Self, ImportError> {
        let name = if graph.name.is_empty() { "model" } else { &graph.name };
        let mut importer = Self {
            graph,
            folder,
            opset,
            net: Network::new(name),
            values: HashMap::new(),
            materialised: HashMap::new(),
            kinds: kinds(graph),
            signed: HashSet::new(),
            unsupported: Vec::new(),
            promote,
            unfolded: Cell::new(shapes::UNFOLDED),
            symbols: HashMap::new(),
            unnamed: Vec::new(),
        };
        for tensor in &graph.initializer {
            let value = tensor::decode(tensor, folder)?;
            if importer.values.insert(&tensor.name, value).is_some() {
                return Err(ImportError::Duplicate { name: tensor.name.clone() });
            }
        }
        let foreign = |name: &str| {
            let names: Vec<&str> = real_inputs(graph).map(|v| v.name.as_str()).collect();
            (!names.contains(&name)).then(|| format!("the model's inputs are {}", names.join(", ")))
        };
        for name in options.input_shapes.keys() {
            if let Some(what) = foreign(name) {
                return Err(ImportError::InputShape { input: name.clone(), what });
            }
        }
        for name in options.input_values.keys() {
            if let Some(what) = foreign(name) {
                return Err(ImportError::InputValue { input: name.clone(), what });
            }
        }
        for value in real_inputs(graph) {
            importer.input(value, options)?;
        }
        Ok(importer)
    }

    fn input(&mut self, value: &'a ValueInfoProto, options: &ImportOptions) -> Result<(), ImportError> {
        let fail = |what: String| ImportError::Tensor { tensor: value.name.clone(), what };
        let (kind, dims) = dims_of(value).ok_or_else(|| fail("this input has no tensor type or no shape".to_owned()))?;
        let dtype = match DataType::try_from(kind) {
            Ok(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16) => DType::F32,
            Ok(DataType::Int64 | DataType::Int32) => DType::I64,
            // Truth values come in as the numbers 1 and 0.
            Ok(DataType::Bool) => DType::I64,
            Ok(DataType::Uint8) => DType::U8,
            _ => return Err(fail("inputs of this type are not supported".to_owned())),
        };
        let shape = match options.input_shapes.get(&value.name) {
            Some(given) if given.len() != dims.len() => {
                let what = format!("{} has rank {}, but the model's input has rank {}", display(given), given.len(), dims.len());
                return Err(ImportError::InputShape { input: value.name.clone(), what });
            }
            Some(given) => given.clone(),
            None => self.input_dims(value, &dims),
        };
        if shape.iter().any(|d| d.fixed() == Some(0)) {
            return Err(fail(format!("this input has shape {}, which holds nothing", display(&shape))));
        }
        let val = match options.input_values.get(&value.name) {
            Some(&number) => {
                Val::filled(dtype, &shape, number).map_err(|what| ImportError::InputValue { input: value.name.clone(), what })?
            }
            None => Val::Tensor(self.net.input(&value.name, dtype, shape)),
        };
        if self.values.insert(&value.name, val).is_some() {
            return Err(ImportError::Duplicate { name: value.name.clone() });
        }
        Ok(())
    }

    /// Extents of an input. An open one is named as in the model, where that is a name, else after its place.
    fn input_dims(&mut self, value: &'a ValueInfoProto, dims: &[Option<&'a dimension::Value>]) -> Vec<Dim> {
        let mut shape = Vec::with_capacity(dims.len());
        for (axis, dim) in dims.iter().enumerate() {
            shape.push(match dim {
                Some(dimension::Value::DimValue(1)) if axis == 0 && self.promote => Dim::BATCH,
                Some(dimension::Value::DimValue(n)) if *n >= 0 => Dim::Fixed(usize::try_from(*n).unwrap_or(usize::MAX)),
                Some(dimension::Value::DimParam(name)) if !name.is_empty() && name != "?" => {
                    let symbol = self.symbol(axis, dims.len(), name);
                    Dim::symbol(self.symbols.entry(name).or_insert(symbol))
                }
                _ => {
                    let symbol = self.symbol(axis, dims.len(), &format!("{}_{axis}", value.name));
                    self.unnamed.push(symbol.clone());
                    Dim::symbol(&symbol)
                }
            });
        }
        shape
    }

    /// A name for an extent that has none yet: N for the first one of the first input.
    fn symbol(&self, axis: usize, rank: usize, given: &str) -> String {
        let free = |name: &str| !self.symbols.values().chain(&self.unnamed).any(|taken| taken == name);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let usual = match (axis, rank) {
            (0, _) => "N",
            (1, 2 | 3) => "L",
            (2, 4) => "H",
            (3, 4) => "W",
            _ => "",
        };
        let given = if given.starts_with(|c: char| c.is_ascii_alphabetic()) && given.chars().all(is_name) { given } else { "" };
        let first = [if axis == 0 { usual } else { given }, given, usual].into_iter().find(|name| !name.is_empty() && free(name));
        let more = || (1..).map(|i| format!("D{i}")).find(|name| free(name)).unwrap_or_default();
        first.map_or_else(more, str::to_owned)
    }

    /// An input with open extents besides the batch, its shape, and one that would do.
    fn open_input(&self) -> Option<[String; 3]> {
        let mut inputs = self.net.graph.inputs.iter().map(|&id| self.net.graph.value(id));
        let value = inputs.find(|value| value.shape.iter().any(Dim::is_open))?;
        let example: Vec<String> = value.shape.iter().map(|d| if d.is_open() { "224".to_owned() } else { d.to_string() }).collect();
        Some([value.name.clone(), display(&value.shape), example.join(",")])
    }

    fn run(mut self, order: &[usize]) -> Result<Network, ImportError> {
        for &index in order {
            let node = &self.graph.node[index];
            self.step(node, &node_name(node, index))?;
        }
        if !self.unsupported.is_empty() {
            return Err(ImportError::Unsupported(self.unsupported));
        }
        if self.graph.output.is_empty() {
            return Err(ImportError::Parse("it has no outputs".to_owned()));
        }
        for output in &self.graph.output {
            // Signed bytes are unsigned ones here, which a caller would not know.
            if dims_of(output).is_some_and(|(kind, _)| kind == DataType::Int8 as i32) {
                let what = "outputs of int8 are not supported; let the model end with DequantizeLinear, or with uint8".to_owned();
                return Err(ImportError::Tensor { tensor: output.name.clone(), what });
            }
            self.output(&output.name)?;
        }
        self.net.compact();
        quaver_core::graph::check::check(&self.net.graph)?;
        Ok(self.net)
    }

    /// Imports a node; its results are known by their names afterwards.
    fn step(&mut self, node: &'a NodeProto, name: &str) -> Result<(), ImportError> {
        let known = node.input.iter().all(|i| !matches!(self.values.get(i.as_str()), Some(Val::Unknown)));
        let outputs = match node.op_type.as_str() {
            _ if !known => Ok(vec![Val::Unknown; node.output.len()]),
            "If" | "Loop" | "Scan" => self.control(node, name),
            _ => self.node(node, name),
        };
        let outputs = match outputs {
            Ok(outputs) => outputs,
            Err(NodeError::Unsupported(what)) => {
                self.unsupported.push(Unsupported { node: name.to_owned(), op: node.op_type.clone(), what });
                vec![Val::Unknown; node.output.len()]
            }
            Err(NodeError::Invalid(what)) => {
                return Err(ImportError::Node { node: name.to_owned(), op: node.op_type.clone(), what });
            }
            Err(NodeError::Other(error)) => return Err(error),
        };
        for (output, value) in node.output.iter().zip(outputs) {
            self.define(output, value);
        }
        Ok(())
    }

    /// What a name stands for from now on; within a loop it may have stood for something else.
    fn define(&mut self, name: &'a str, value: Val) {
        if self.values.insert(name, value).is_some() {
            self.materialised.remove(name);
        }
    }

    /// Makes the tensor `name` an output of that name.
    fn output(&mut self, name: &str) -> Result<(), ImportError> {
        let missing = || ImportError::Missing { name: name.to_owned(), user: "the model's outputs".to_owned() };
        let value = self.values.get(name).cloned().ok_or_else(missing)?;
        let id = self.materialise(&value, name).ok_or_else(|| ImportError::Tensor {
            tensor: name.to_owned(),
            what: "this output is no tensor, or one of many numbers that depend on the inputs' extents alone".to_owned(),
        })?;
        let net = &mut self.net;
        let taken = net.graph.inputs.contains(&id) || net.graph.outputs.contains(&id);
        let id = if taken && net.graph.value(id).name != name {
            let shape = net.graph.value(id).shape.clone();
            net.push(Op::Reshape { shape }, &[id], &format!("{name}/copy"), name)?
        } else {
            id
        };
        net.graph.values[id.index()].name = name.to_owned();
        net.output(id);
        Ok(())
    }

    fn dims(&self, id: ValueId) -> Vec<Dim> {
        self.net.graph.value(id).shape.clone()
    }
}
