//! What can be wrong with a `.qvr` file: one variant a cause.

use thiserror::Error;

use crate::graph::check::GraphError;
use crate::tensor::DType;

/// Why bytes are not a `.qvr` file, or a network can't become one.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Not even a header's length.
    #[error("{len} bytes are too few for a .qvr file; it may have been cut off")]
    TooShort {
        /// Bytes given.
        len: usize,
    },
    /// A header above the limit.
    #[error("a header of {len} bytes is above the limit of {limit}; this is no .qvr file, or its graph and metadata are too large")]
    HeaderTooLarge {
        /// Its length.
        len: u64,
        /// The limit.
        limit: usize,
    },
    /// A header that is longer than the file.
    #[error("a header of {len} bytes doesn't fit in {file} bytes; the file may have been cut off")]
    HeaderOutside {
        /// Its length.
        len: usize,
        /// The file's.
        file: usize,
    },
    /// Data that starts anywhere.
    #[error("tensor data starts at byte {start}, which is no multiple of 64; another program wrote this safetensors file")]
    HeaderAlignment {
        /// Where it starts.
        start: usize,
    },
    /// Bytes in memory that start anywhere.
    #[error("the file's bytes are not aligned to 64 in memory; copy them into AlignedBytes, or map the file")]
    Misaligned,
    /// Something around the header's JSON object.
    #[error("the header is not one JSON object followed by spaces; this is no safetensors file")]
    HeaderPadding,
    /// The header's JSON.
    #[error("the header can't be read: {message}")]
    HeaderJson {
        /// What the parser says.
        message: String,
    },
    /// A key that stands twice.
    #[error("'{key}' stands twice in the header")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// Metadata that must be there.
    #[error("the header has no '{key}'; this is a safetensors file, but no .qvr file")]
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// A key in Quaver's name space that this version doesn't know, or that is not the caller's to write.
    #[error("metadata '{key}' is not known in format version {}; keys that don't begin with 'quaver.' are free", super::VERSION)]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// Another version of the format.
    #[error(
        "the file has format version '{found}', but this build of Quaver reads '{}'; convert the model again or update Quaver",
        super::VERSION
    )]
    Version {
        /// What the file says.
        found: String,
    },
    /// A tensor of a type that Quaver has not.
    #[error("tensor '{tensor}' is of type {dtype}; a .qvr file holds F32, U8, I8, I32 and I64")]
    TensorType {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: String,
    },
    /// A hole, an overlap, or a wrong order.
    #[error("tensor '{tensor}' lies at {begin}..{end} of the data, but should start at {expected}")]
    TensorOffsets {
        /// The tensor.
        tensor: String,
        /// Its first byte.
        begin: usize,
        /// The byte behind it.
        end: usize,
        /// Where the one before ends.
        expected: usize,
    },
    /// A tensor that ends behind the file.
    #[error("tensor '{tensor}' ends at byte {end} of the data, which has {len}; the file may have been cut off")]
    TensorOutside {
        /// The tensor.
        tensor: String,
        /// The byte behind it.
        end: usize,
        /// Bytes of data.
        len: usize,
    },
    /// Bytes that don't fit the shape.
    #[error("tensor '{tensor}' has {bytes} bytes, which is not what {dtype}{shape:?} takes")]
    TensorLength {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// Its bytes.
        bytes: usize,
    },
    /// A tensor, or the end of the file, that is not at a multiple of 64.
    #[error("{what} is at byte {at} of the data, which is no multiple of 64, and no filler stands before it")]
    Alignment {
        /// The tensor, or the end.
        what: String,
        /// Where it is.
        at: usize,
    },
    /// A filler that is none.
    #[error("filler '{tensor}' {what}")]
    Filler {
        /// Its name.
        tensor: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A name that is not for tensors.
    #[error("tensor name '{tensor}' begins with '__', which is reserved")]
    ReservedName {
        /// The name.
        tensor: String,
    },
    /// Bytes behind the last tensor.
    #[error("the file has {got} bytes, but its tensors end at {expected}")]
    TrailingBytes {
        /// Where the last tensor ends.
        expected: usize,
        /// Bytes of the file.
        got: usize,
    },
    /// The graph's JSON.
    #[error("the graph can't be read: {message}")]
    GraphJson {
        /// What the parser says.
        message: String,
    },
    /// More of something than planning could cope with.
    #[error("the graph has {count} {what}, above the limit of {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The graph's structure.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An input or output that can't be told by its name.
    #[error("{role} '{name}' has no name of its own; every input and every output needs one")]
    PortName {
        /// `input` or `output`.
        role: &'static str,
        /// Its name.
        name: String,
    },
    /// A constant without a tensor.
    #[error("value '{value}' is constant {index}, but there are {count} tensors")]
    ConstantMissing {
        /// The value.
        value: String,
        /// The constant's index.
        index: u32,
        /// Number of constants.
        count: usize,
    },
    /// A constant that differs from its tensor.
    #[error("value '{value}' is {expected}, but its tensor is {got}")]
    ConstantType {
        /// The value.
        value: String,
        /// Type and shape in the graph.
        expected: String,
        /// Type and shape of the tensor.
        got: String,
    },
    /// A tensor that no value names.
    #[error("tensor '{tensor}' belongs to no value of the graph")]
    UnusedTensor {
        /// The tensor.
        tensor: String,
    },
    /// An attribute that is infinite or NaN.
    #[error("node '{node}' has an attribute that is not a finite number; give it a finite limit before writing the file")]
    NotFinite {
        /// The node.
        node: String,
    },
    /// Sums that might overflow i32.
    #[error(
        "node '{node}' sums {k} products of bytes and a bias of up to {bias}, which could overflow 32 bits; split it or keep it in float"
    )]
    Overflow {
        /// The node.
        node: String,
        /// Products in one sum.
        k: usize,
        /// Largest magnitude of its biases.
        bias: u32,
    },
    /// A multiplier that is none.
    #[error("node '{node}' has multiplier {value} at position {position}; multipliers are finite and not negative")]
    Multiplier {
        /// The node.
        node: String,
        /// Where in the tensor.
        position: usize,
        /// What it is: NaN, infinite or negative.
        value: String,
    },
    /// A slope or shift of HardSwish that is none.
    #[error("node '{node}' has {value} for HardSwish at position {position}; slopes are finite and positive, shifts behind them finite")]
    HardSwish {
        /// The node.
        node: String,
        /// Where in the tensor.
        position: usize,
        /// What it is: NaN, infinite, zero or negative.
        value: String,
    },
    /// A table of exponentials that is none.
    #[error("node '{node}' has {entry} in its table of exponentials; entries are 0 to 2^23, and the first is not 0")]
    Exponentials {
        /// The node.
        node: String,
        /// The entry.
        entry: i32,
    },
    /// Bytes above the largest that a value's affine parameters allow.
    #[error("value '{value}' may hold byte {found}, above the largest ({q_max}) that its affine parameters allow")]
    ByteRange {
        /// The value.
        value: String,
        /// The byte.
        found: u8,
        /// The largest allowed.
        q_max: u8,
    },
    /// No memory for the file's bytes.
    #[error("{bytes} bytes for the file cannot be allocated")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
}
