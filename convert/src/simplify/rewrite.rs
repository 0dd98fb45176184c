//! The walk that most passes share: visit nodes in order, and keep or replace each.
//!
//! A pass looks backwards from a node at what produced its operands. To replace it, the pass pushes new nodes and returns
//! the value that takes the place of the old output; what is no longer needed becomes dead code and is dropped at the
//! end. Values live in one table throughout, so a value that isn't replaced keeps its index during the walk.

use quaver_core::graph::check::GraphError;
use quaver_core::graph::{Constants, Dim, Network, Node, Op, Value, ValueId};
use quaver_core::tensor::{DType, Element, byte_count};

use super::dead_code;

/// What a pass returns.
pub(super) type PassResult = Result<Network, GraphError>;

/// A network under reconstruction.
#[derive(Debug)]
pub(super) struct Rewriter {
    net: Network,
    map: Vec<ValueId>,
    producer: Vec<Option<usize>>,
    uses: Vec<usize>,
    is_output: Vec<bool>,
}

/// Walks `network`. `visit` gets each node with its operands as they are by now, and returns the value that replaces the
/// node's output, or `None` to keep the node.
///
/// # Errors
/// Those of `visit`.
pub(super) fn rewrite(
    mut network: Network,
    mut visit: impl FnMut(&mut Rewriter, &Node) -> Result<Option<ValueId>, GraphError>,
) -> PassResult {
    let nodes = std::mem::take(&mut network.graph.nodes);
    let mut r = Rewriter::new(network, &nodes);
    for mut node in nodes {
        for input in &mut node.inputs {
            *input = r.map[input.index()];
        }
        match visit(&mut r, &node)? {
            Some(value) if r.replace(&node, value) => {}
            _ => r.keep(node),
        }
    }
    let Rewriter { mut net, map, .. } = r;
    for output in &mut net.graph.outputs {
        *output = map[output.index()];
    }
    dead_code::remove(net)
}

impl Rewriter {
    fn new(net: Network, nodes: &[Node]) -> Self {
        let count = net.graph.values.len();
        let mut uses = vec![0; count];
        let mut is_output = vec![false; count];
        for input in nodes.iter().flat_map(|n| &n.inputs) {
            uses[input.index()] += 1;
        }
        for output in &net.graph.outputs {
            uses[output.index()] += 1;
            is_output[output.index()] = true;
        }
        let map = (0..count).map(|i| ValueId(i as u32)).collect();
        Self { net, map, producer: vec![None; count], uses, is_output }
    }

    /// The network so far.
    pub(super) fn net(&self) -> &Network {
        &self.net
    }

    /// A value.
    pub(super) fn value(&self, id: ValueId) -> &Value {
        self.net.graph.value(id)
    }

    /// A value's extents.
    pub(super) fn shape(&self, id: ValueId) -> &[Dim] {
        &self.net.graph.value(id).shape
    }

    /// The node that computes a value; `None` for inputs and constants.
    pub(super) fn producer(&self, id: ValueId) -> Option<&Node> {
        self.producer[id.index()].map(|index| &self.net.graph.nodes[index])
    }

    /// Whether one node alone reads this value, and the caller doesn't get it. May miss a case, never claims one.
    pub(super) fn used_once(&self, id: ValueId) -> bool {
        self.uses[id.index()] == 1 && !self.is_output[id.index()]
    }

    /// Adds a constant.
    pub(super) fn constant(&mut self, name: &str, shape: &[usize], data: &[f32]) -> ValueId {
        let id = Network::constant(&mut self.net, name, shape, data);
        self.sync();
        id
    }

    /// Adds a constant of any type, given by its bytes; `None` if they don't fit type or shape.
    pub(super) fn constant_bytes(&mut self, name: &str, dtype: DType, shape: &[usize], bytes: &[u8]) -> Option<ValueId> {
        let id = constant_bytes(&mut self.net, name, dtype, shape, bytes);
        self.sync();
        id
    }

    /// Adds a node that takes the names, type and affine parameters of `like`.
    pub(super) fn push(&mut self, op: Op, inputs: &[ValueId], like: &Node) -> Result<ValueId, GraphError> {
        let output = self.value(like.outputs[0]).clone();
        let id = self.net.push_typed(op, inputs, &like.name, &output.name, output.dtype, output.quant)?;
        for input in inputs {
            self.uses[input.index()] += 1;
        }
        self.sync();
        self.producer[id.index()] = Some(self.net.graph.nodes.len() - 1);
        Ok(id)
    }

    /// Takes the names of values that are only steps on the way to the one that has it.
    pub(super) fn unname(&mut self, ids: &[ValueId]) {
        ids.iter().for_each(|id| self.net.graph.values[id.index()].name.clear());
    }

    /// Adds a node of that name whose result is no tensor of the model.
    pub(super) fn push_between(&mut self, op: Op, inputs: &[ValueId], name: &str) -> Result<ValueId, GraphError> {
        let id = self.net.push(op, inputs, name, "")?;
        for input in inputs {
            self.uses[input.index()] += 1;
        }
        self.sync();
        self.producer[id.index()] = Some(self.net.graph.nodes.len() - 1);
        Ok(id)
    }

    fn sync(&mut self) {
        let count = self.net.graph.values.len();
        self.map.extend((self.map.len()..count).map(|i| ValueId(i as u32)));
        self.producer.resize(count, None);
        self.uses.resize(count, 0);
        self.is_output.resize(count, false);
    }

    fn keep(&mut self, node: Node) {
        self.producer[node.outputs[0].index()] = Some(self.net.graph.nodes.len());
        self.net.graph.nodes.push(node);
    }

    /// Lets `value` stand for the output of `node`; false where an output of the graph would lose its name.
    fn replace(&mut self, node: &Node, value: ValueId) -> bool {
        let old = node.outputs[0];
        let is_input = self.net.graph.inputs.contains(&value);
        let name = self.value(old).name.clone();
        if self.is_output[old.index()] {
            if is_input || self.is_output[value.index()] {
                return false;
            }
            self.is_output[value.index()] = true;
            self.net.graph.values[value.index()].name = name;
        } else if !is_input && self.value(value).name.is_empty() {
            self.net.graph.values[value.index()].name = name;
        }
        self.map[old.index()] = value;
        self.uses[value.index()] += self.uses[old.index()];
        for input in &node.inputs {
            self.uses[input.index()] = self.uses[input.index()].saturating_sub(1);
        }
        true
    }
}

/// Adds a constant given by its bytes to `net`; `None` if they don't fit type or shape.
pub(super) fn constant_bytes(net: &mut Network, name: &str, dtype: DType, shape: &[usize], bytes: &[u8]) -> Option<ValueId> {
    if byte_count(dtype, shape)? != bytes.len() {
        return None;
    }
    Some(match dtype {
        DType::F32 => typed::<f32>(net, name, shape, bytes),
        DType::U8 => typed::<u8>(net, name, shape, bytes),
        DType::I8 => typed::<i8>(net, name, shape, bytes),
        DType::I32 => typed::<i32>(net, name, shape, bytes),
        DType::I64 => typed::<i64>(net, name, shape, bytes),
    })
}

fn typed<T: Element>(net: &mut Network, name: &str, shape: &[usize], bytes: &[u8]) -> ValueId {
    let data: Vec<T> = bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect();
    Network::constant(net, name, shape, &data)
}

/// The bytes of a constant; `None` for another value.
pub(super) fn constant_data(net: &Network, id: ValueId) -> Option<&[u8]> {
    net.graph.value(id).constant.map(|c| Constants::bytes_of(net, c))
}

/// The number that every element of an f32 constant is.
pub(super) fn uniform(net: &Network, id: ValueId) -> Option<f32> {
    let data = net.elements::<f32>(id)?;
    let (&first, rest) = data.split_first()?;
    rest.iter().all(|&x| x == first).then_some(first)
}

/// A shape without a symbolic extent.
pub(super) fn fixed_shape(shape: &[Dim]) -> Option<Vec<usize>> {
    shape.iter().map(|d| d.fixed()).collect()
}
