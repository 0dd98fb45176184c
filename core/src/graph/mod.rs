//! The graph: values, and nodes that compute them, in an order in which they can run.
//!
//! One structure serves the whole way: the importer fills it with f32 operations, the passes of `quaver-convert` map
//! graph to graph, the quantizer puts integer operations in, and the `.qvr` file holds it. So every stage can be printed,
//! checked and run by the same code.
//!
//! * [`op`] the operations · [`dim`] and [`extent`] extents, numbers or symbolic · [`shape`] shape and type inference
//! * [`check`] structural validation · [`network`] a graph with its constants · [`print`](mod@print) a listing for people

pub mod check;
pub mod dim;
pub mod extent;
pub mod largest;
pub mod network;
pub mod op;
pub mod print;
mod read;
pub mod recurrent;
pub mod shape;
pub mod specialize;

pub use dim::Dim;
pub use network::Network;
pub use op::Op;
pub use specialize::Sizes;

use serde::Serialize;

use crate::quant::Affine;
use crate::tensor::DType;

/// Index of a value in [`Graph::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ValueId(pub u32);

impl ValueId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Index of a constant's data, see [`Constants`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ConstantId(pub u32);

impl ConstantId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A tensor that flows through the graph: an input, a constant, or a node's output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Value {
    /// The name that the float model gave it; may be empty for a value that only the converter knows.
    #[serde(rename = "n", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Element type.
    #[serde(rename = "t")]
    pub dtype: DType,
    /// Extents.
    #[serde(rename = "d")]
    pub shape: Vec<Dim>,
    /// Affine parameters of a quantized activation (always u8).
    #[serde(rename = "q", skip_serializing_if = "Option::is_none")]
    pub quant: Option<Affine>,
    /// Where a constant's elements are.
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    pub constant: Option<ConstantId>,
}

/// One operation applied to values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// The name that the float model gave it.
    #[serde(rename = "n", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The operation.
    #[serde(rename = "o")]
    pub op: Op,
    /// Operands, in the order that the operation's documentation gives.
    #[serde(rename = "i")]
    pub inputs: Vec<ValueId>,
    /// Results.
    #[serde(rename = "y")]
    pub outputs: Vec<ValueId>,
}

/// A network: nodes are in an order in which every operand exists before it is used.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// Every value.
    pub values: Vec<Value>,
    /// Every node, in order of execution.
    pub nodes: Vec<Node>,
    /// What a caller gives.
    pub inputs: Vec<ValueId>,
    /// What a caller gets.
    pub outputs: Vec<ValueId>,
}

impl Graph {
    /// The value `id`, which must be of this graph.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The first value of that name.
    pub fn value_named(&self, name: &str) -> Option<ValueId> {
        self.values.iter().position(|v| v.name == name).map(|i| ValueId(i as u32))
    }

    /// For each value, the index of the node that computes it.
    pub fn producers(&self) -> Vec<Option<usize>> {
        let mut producers = vec![None; self.values.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for output in &node.outputs {
                producers[output.index()] = Some(index);
            }
        }
        producers
    }

    /// For each value, the indices of the nodes that read it, ascending; a node that reads it twice stands twice.
    pub fn consumers(&self) -> Vec<Vec<usize>> {
        let mut consumers = vec![Vec::new(); self.values.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for input in &node.inputs {
                consumers[input.index()].push(index);
            }
        }
        consumers
    }
}

/// Where the elements of a graph's constants are: a pool in memory, or a mapped file.
pub trait Constants {
    /// The bytes of constant `id`, 64-byte aligned; empty if there is no such constant.
    fn bytes_of(&self, id: ConstantId) -> &[u8];
}
