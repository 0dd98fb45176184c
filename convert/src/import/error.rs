//! Why a model cannot be imported.

use std::fmt;

use quaver_core::graph::check::GraphError;
use thiserror::Error;

/// A node that has no counterpart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// The node.
    pub node: String,
    /// Its operation.
    pub op: String,
    /// What about it.
    pub what: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}': {}", self.op, self.node, self.what)
    }
}

/// Why a model cannot be imported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file.
    #[error("cannot read '{path}': {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Bytes that are no ONNX model.
    #[error("this is not an ONNX model, or it is damaged: {0}")]
    Parse(String),
    /// A version of the operator set.
    #[error(
        "the model uses opset {got}; 7 to 28 can be read (export it again with another opset, or convert it with onnx.version_converter)"
    )]
    Opset {
        /// The version.
        got: i64,
    },
    /// Nodes without a counterpart, all of them.
    #[error("{} node(s) of the model are not supported:\n  {}", .0.len(), list(.0))]
    Unsupported(Vec<Unsupported>),
    /// A node whose operands or attributes are wrong.
    #[error("node '{node}' ({op}): {what}")]
    Node {
        /// The node.
        node: String,
        /// Its operation.
        op: String,
        /// What is wrong.
        what: String,
    },
    /// A tensor whose data is wrong.
    #[error("tensor '{tensor}': {what}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        what: String,
    },
    /// A name that nothing defines.
    #[error("'{name}' is used by {user}, but nothing in the model defines it")]
    Missing {
        /// The name.
        name: String,
        /// Who uses it.
        user: String,
    },
    /// A name that is defined twice.
    #[error("'{name}' is defined twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Nodes that depend on each other.
    #[error("the nodes {0} depend on each other in a circle")]
    Cycle(String),
    /// What can't be done with extents that the model leaves open.
    #[error("{source}; input '{input}' has shape {shape}: say what its open extents are, e.g. --input-shape {input}={example}")]
    OpenShape {
        /// The input.
        input: String,
        /// Its shape in the model.
        shape: String,
        /// A shape that would do.
        example: String,
        /// What can't be done while they are open.
        #[source]
        source: Box<ImportError>,
    },
    /// A value given for an input that doesn't exist or can't have it.
    #[error("the value given for '{input}' doesn't fit: {what}")]
    InputValue {
        /// The input.
        input: String,
        /// Why.
        what: String,
    },
    /// A shape given for an input that doesn't exist or has another rank.
    #[error("the shape given for '{input}' doesn't fit: {what}")]
    InputShape {
        /// The input.
        input: String,
        /// Why.
        what: String,
    },
    /// Operations that don't fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

fn list(all: &[Unsupported]) -> String {
    all.iter().map(Unsupported::to_string).collect::<Vec<_>>().join("\n  ")
}
