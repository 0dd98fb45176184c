//! The one validator: everything that `FORMAT.md` promises is checked here, once, so that nothing behind it checks again.

use super::header::{self, TensorInfo};
use super::weights::{K_BLOCK, PackedShape};
use super::{
    FILLER, FormatError, KEY_FORMAT, KEY_GRAPH, KEY_PRODUCER, MAX_NODES, MAX_PORTS, MAX_VALUES, METADATA_KEYS, Metadata, NAMESPACE,
    RESERVED, TensorEntry, VERSION,
};
use crate::arith::exp;
use crate::graph::op::{Epilogue, PadMode, UnaryFn};
use crate::graph::{Constants, Dim, Graph, Node, Op, Value, ValueId, check};
use crate::json;
use crate::quant::Affine;
use crate::tensor::{ALIGNMENT, DType, Element, byte_count};

type Result<T> = std::result::Result<T, FormatError>;

/// The metadata, sorted by what it is for.
pub(super) struct Strings {
    pub(super) graph: Graph,
    pub(super) metadata: Metadata,
    pub(super) producer: String,
}

/// Reads the version before all else, so that a later version is called by its name.
pub(super) fn strings(found: Option<header::Strings>) -> Result<Strings> {
    let mut metadata = Metadata::new();
    let [mut version, mut producer, mut graph] = [None, None, None];
    // One by one: a map that is collected sorts, and one that things are taken from balances itself, which is code of its own.
    for (key, value) in found.ok_or(FormatError::MissingKey { key: header::METADATA })?.0 {
        match key.as_str() {
            KEY_FORMAT => version = Some(value),
            KEY_PRODUCER => producer = Some(value),
            KEY_GRAPH => graph = Some(value),
            _ => _ = metadata.insert(key, value),
        }
    }
    let version = version.ok_or(FormatError::MissingKey { key: KEY_FORMAT })?;
    if version != VERSION {
        return Err(FormatError::Version { found: version });
    }
    let producer = producer.ok_or(FormatError::MissingKey { key: KEY_PRODUCER })?;
    let graph = graph.ok_or(FormatError::MissingKey { key: KEY_GRAPH })?;
    keys(&metadata)?;
    let graph = json::from_str(&graph).map_err(|e| FormatError::GraphJson { message: e.to_string() })?;
    Ok(Strings { graph, metadata, producer })
}

/// Refuses keys in Quaver's name space that are not a caller's.
pub(super) fn keys(metadata: &Metadata) -> Result<()> {
    match metadata.keys().find(|k| k.starts_with(NAMESPACE) && !METADATA_KEYS.contains(&k.as_str())) {
        Some(key) => Err(FormatError::UnknownKey { key: key.clone() }),
        None => Ok(()),
    }
}

/// Checks the tensors' places and returns those that are no fillers.
pub(super) fn tensors(found: Vec<(String, TensorInfo)>, file: &[u8], data_start: usize) -> Result<Vec<TensorEntry>> {
    let data = file.get(data_start..).unwrap_or_default();
    let mut entries = Vec::with_capacity(found.len());
    let mut fillers = 0;
    let mut expected = 0;
    for (tensor, info) in found {
        let [begin, end] = info.data_offsets;
        let Some(dtype) = header::dtype_named(&info.dtype) else {
            return Err(FormatError::TensorType { tensor, dtype: info.dtype });
        };
        if begin != expected || end < begin {
            return Err(FormatError::TensorOffsets { tensor, begin, end, expected });
        }
        let Some(bytes) = data.get(begin..end) else {
            return Err(FormatError::TensorOutside { tensor, end, len: data.len() });
        };
        if byte_count(dtype, &info.shape) != Some(bytes.len()) {
            return Err(FormatError::TensorLength { tensor, dtype, shape: info.shape, bytes: bytes.len() });
        }
        expected = end;
        if tensor.starts_with(FILLER) {
            filler(&tensor, fillers, dtype, &info.shape, begin, bytes)?;
            fillers += 1;
            continue;
        }
        if tensor.starts_with(RESERVED) {
            return Err(FormatError::ReservedName { tensor });
        }
        aligned(begin, || format!("tensor '{tensor}'"))?;
        entries.push(TensorEntry { name: tensor, dtype, shape: info.shape, range: data_start + begin..data_start + end });
    }
    aligned(expected, || "the end".to_owned())?;
    if expected != data.len() {
        return Err(FormatError::TrailingBytes { expected: data_start + expected, got: file.len() });
    }
    Ok(entries)
}

fn aligned(at: usize, what: impl Fn() -> String) -> Result<()> {
    if at.is_multiple_of(ALIGNMENT) { Ok(()) } else { Err(FormatError::Alignment { what: what(), at }) }
}

fn filler(tensor: &str, index: usize, dtype: DType, shape: &[usize], begin: usize, bytes: &[u8]) -> Result<()> {
    let refuse = |what| Err(FormatError::Filler { tensor: tensor.to_owned(), what });
    if tensor.strip_prefix(FILLER) != Some(index.to_string().as_str()) {
        return refuse("is not numbered in the file's order");
    }
    if dtype != DType::U8 || shape != [bytes.len()] {
        return refuse("is not a row of U8");
    }
    if bytes.len() >= ALIGNMENT || bytes.is_empty() || !(begin + bytes.len()).is_multiple_of(ALIGNMENT) {
        return refuse("does not end at the next multiple of 64");
    }
    if bytes.iter().any(|&b| b != 0) {
        return refuse("holds bytes other than 0");
    }
    Ok(())
}

/// Bounds what planning takes, which is quadratic in the number of values at worst.
pub(super) fn limits(graph: &Graph) -> Result<()> {
    for (what, count, limit) in [
        ("nodes", graph.nodes.len(), MAX_NODES),
        ("values", graph.values.len(), MAX_VALUES),
        ("inputs", graph.inputs.len(), MAX_PORTS),
        ("outputs", graph.outputs.len(), MAX_PORTS),
    ] {
        if count > limit {
            return Err(FormatError::TooMany { what, count, limit });
        }
    }
    Ok(())
}

/// Checks the graph, the names of its inputs and outputs, and that constants and tensors belong together one to one.
pub(super) fn structure(graph: &Graph, tensors: &[TensorEntry]) -> Result<()> {
    check::check(graph)?;
    port_names(graph, "input", &graph.inputs)?;
    port_names(graph, "output", &graph.outputs)?;
    let mut used = vec![false; tensors.len()];
    for value in &graph.values {
        let Some(id) = value.constant else { continue };
        let (Some(tensor), Some(slot)) = (tensors.get(id.index()), used.get_mut(id.index())) else {
            return Err(FormatError::ConstantMissing { value: value.name.clone(), index: id.0, count: tensors.len() });
        };
        *slot = true;
        let same = value.dtype == tensor.dtype && value.shape.iter().map(|d| d.fixed()).eq(tensor.shape.iter().map(|&d| Some(d)));
        if !same {
            return Err(FormatError::ConstantType {
                value: value.name.clone(),
                expected: format!("{}{}", value.dtype, crate::graph::dim::display(&value.shape)),
                got: format!("{}{:?}", tensor.dtype, tensor.shape),
            });
        }
    }
    match used.iter().position(|u| !u) {
        Some(i) => Err(FormatError::UnusedTensor { tensor: tensors[i].name.clone() }),
        None => Ok(()),
    }
}

fn port_names(graph: &Graph, role: &'static str, ids: &[ValueId]) -> Result<()> {
    let names = || ids.iter().map(|&id| graph.value(id).name.as_str());
    match names().find(|name| name.is_empty()).or_else(|| header::repeated(names().collect())) {
        Some(name) => Err(FormatError::PortName { role, name: name.to_owned() }),
        None => Ok(()),
    }
}

/// Checks what kernels rely on beyond types and shapes: no i32 overflows, and no byte is above its value's `q_max`.
///
/// The graph has passed [`structure`].
pub(super) fn meaning(graph: &Graph, constants: &dyn Constants) -> Result<()> {
    for &id in &graph.inputs {
        let value = graph.value(id);
        if let Some(Affine { q_max, .. }) = value.quant
            && q_max < u8::MAX
        {
            // A caller may give any byte.
            return Err(FormatError::ByteRange { value: value.name.clone(), found: u8::MAX, q_max });
        }
    }
    for value in &graph.values {
        if let (Some(affine), Some(id)) = (value.quant, value.constant) {
            byte_range(value, affine, constants.bytes_of(id).iter().copied().max())?;
        }
    }
    graph.nodes.iter().enumerate().try_for_each(|(index, node)| NodeCheck { graph, constants, node, index }.run())
}

fn byte_range(value: &Value, affine: Affine, largest: Option<u8>) -> Result<()> {
    match largest {
        Some(found) if found > affine.q_max => Err(FormatError::ByteRange { value: value.name.clone(), found, q_max: affine.q_max }),
        _ => Ok(()),
    }
}

/// One node of a graph whose structure is known to be right.
struct NodeCheck<'a> {
    graph: &'a Graph,
    constants: &'a dyn Constants,
    node: &'a Node,
    index: usize,
}

impl NodeCheck<'_> {
    fn run(&self) -> Result<()> {
        match &self.node.op {
            Op::Pad { mode: PadMode::Constant(c), .. } => self.finite(&[*c]),
            Op::Unary { function } => self.finite(&parameters(*function)),
            Op::Softmax { .. } => self.exponentials(),
            Op::Table => self.table(1),
            Op::QConv(c) => {
                let shape = self.channels(3).and_then(|x| PackedShape::conv(c.window.kernel, x, c.channels, c.groups));
                self.accumulator(shape, c.epilogue.as_ref())
            }
            Op::QConvTranspose(c) => {
                let shape = self.channels(3).and_then(|x| PackedShape::grouped(c.window.kernel, x, c.channels, c.groups));
                self.accumulator(shape, c.epilogue.as_ref())
            }
            Op::QGemm(g) => self.accumulator(self.rows(g.channels), g.epilogue.as_ref()),
            Op::DynamicGemm { channels } => self.accumulator(self.rows(*channels), None),
            _ => Ok(()),
        }
    }

    fn name(&self) -> String {
        if self.node.name.is_empty() { format!("#{}", self.index) } else { self.node.name.clone() }
    }

    fn operand(&self, index: usize) -> Option<&Value> {
        self.node.inputs.get(index).map(|&id| self.graph.value(id))
    }

    fn channels(&self, axis: usize) -> Option<usize> {
        self.operand(0)?.shape.get(axis).and_then(Dim::fixed)
    }

    /// The weights of a product of rows.
    fn rows(&self, channels: usize) -> Option<PackedShape> {
        let last = self.operand(0)?.shape.len().saturating_sub(1);
        PackedShape::grouped([1, 1], self.channels(last)?, channels, 1)
    }

    /// The elements of a constant operand; nothing where it is none of that type.
    fn elements<T: Element>(&self, index: usize) -> &[T] {
        let value = self.operand(index).filter(|v| v.dtype == T::DTYPE);
        value.and_then(|v| v.constant).and_then(|id| bytemuck::try_cast_slice(self.constants.bytes_of(id)).ok()).unwrap_or_default()
    }

    fn finite(&self, numbers: &[f32]) -> Result<()> {
        if numbers.iter().all(|n| n.is_finite()) { Ok(()) } else { Err(FormatError::NotFinite { node: self.name() }) }
    }

    /// Bytes of the table at operand `index` against the output's affine parameters.
    fn table(&self, index: usize) -> Result<()> {
        let output = self.graph.value(self.node.outputs[0]);
        output.quant.map_or(Ok(()), |affine| byte_range(output, affine, self.elements::<u8>(index).iter().copied().max()))
    }

    fn exponentials(&self) -> Result<()> {
        let table = self.elements::<i32>(1);
        let Some(&first) = table.first() else { return Ok(()) };
        match table.iter().find(|e| !(0..=1 << exp::BITS).contains(*e)) {
            None if first > 0 => Ok(()),
            wrong => Err(FormatError::Exponentials { node: self.name(), entry: *wrong.unwrap_or(&first) }),
        }
    }

    /// |bias| + K·255·128 fits i32, so every partial sum in every order does; multipliers are numbers.
    fn accumulator(&self, shape: Option<PackedShape>, epilogue: Option<&Epilogue>) -> Result<()> {
        let k = shape.map_or(usize::MAX, |s| if s.depthwise { s.taps } else { s.k_blocks() * K_BLOCK });
        let bias = self.elements::<i32>(2).iter().map(|b| b.unsigned_abs()).max().unwrap_or(0);
        let largest = k.checked_mul(255 * 128).and_then(|products| products.checked_add(bias as usize));
        if largest.is_none_or(|n| n > i32::MAX as usize) {
            return Err(FormatError::Overflow { node: self.name(), k, bias });
        }
        let multipliers = self.elements::<f32>(3);
        if let Some(position) = multipliers.iter().position(|m| !(m.is_finite() && *m >= 0.0)) {
            return Err(FormatError::Multiplier { node: self.name(), position, value: fault(multipliers[position]).to_owned() });
        }
        if epilogue.is_some_and(|e| e.hard_swish) {
            let parameters = self.elements::<f32>(4);
            let slopes = parameters.len() / 2;
            let is_wrong = |(i, x): (usize, &f32)| !x.is_finite() || (i < slopes && *x <= 0.0);
            if let Some(position) = parameters.iter().enumerate().position(is_wrong) {
                return Err(FormatError::HardSwish { node: self.name(), position, value: fault(parameters[position]).to_owned() });
            }
        }
        match epilogue {
            Some(e) if e.table => self.table(self.node.inputs.len() - 1),
            Some(e) => {
                let output = self.graph.value(self.node.outputs[0]);
                output.quant.map_or(Ok(()), |affine| byte_range(output, affine, Some(e.hi)))
            }
            None => Ok(()),
        }
    }
}

/// What is wrong with a multiplier or a parameter of HardSwish: in words, as digits of floats are much code.
fn fault(multiplier: f32) -> &'static str {
    match multiplier {
        m if m.is_nan() => "NaN",
        m if m.is_infinite() => "infinite",
        0.0 => "zero",
        _ => "negative",
    }
}

fn parameters(function: UnaryFn) -> [f32; 2] {
    match function {
        UnaryFn::LeakyRelu { alpha } | UnaryFn::Elu { alpha } | UnaryFn::Celu { alpha } | UnaryFn::ThresholdedRelu { alpha } => {
            [alpha, 0.0]
        }
        UnaryFn::Clip { lo, hi } => [lo, hi],
        UnaryFn::HardSigmoid { alpha, beta } => [alpha, beta],
        UnaryFn::Selu { alpha, gamma } => [alpha, gamma],
        UnaryFn::Shrink { bias, lambda } => [bias, lambda],
        _ => [0.0; 2],
    }
}
