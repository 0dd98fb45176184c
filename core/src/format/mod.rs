//! The `.qvr` file: reading, validating, writing.
//!
#![doc = include_str!("../../FORMAT.md")]
//!
//! # This module
//!
//! [`QvrModel::open`] reads bytes that lie in memory, [`write()`](write()) makes them from a network; there is no other way to either.
//!
//! * [`weights`] the packed layout · [`error`] what can be wrong
//! * `header` length, JSON, limits · `check` the one validator · `write` the writer

mod check;
pub mod error;
mod header;
#[cfg(test)]
mod tests;
pub mod weights;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

pub use error::FormatError;
pub use write::write;

use crate::graph::{ConstantId, Constants, Graph};
use crate::tensor::{ALIGNMENT, DType};

/// Version of the format that is written, and the only one that is read.
pub const VERSION: &str = "1";
/// Largest header in bytes.
pub const MAX_HEADER: usize = 16 << 20;
/// Most nodes of a graph.
pub const MAX_NODES: usize = 1 << 16;
/// Most values of a graph.
pub const MAX_VALUES: usize = 1 << 18;
/// Most inputs, and most outputs, of a graph.
pub const MAX_PORTS: usize = 1 << 10;

/// Metadata: JSON, an object from the name of each node that stayed float to the reason.
pub const METADATA_DECISIONS: &str = "quaver.skipped";
/// Metadata: JSON, how activations' ranges were found.
pub const METADATA_CALIBRATION: &str = "quaver.calibration";
/// Metadata: JSON, an array of the names of the classes.
pub const METADATA_LABELS: &str = "quaver.labels";
/// Metadata: JSON, how an image becomes the input.
pub const METADATA_PREPROCESSING: &str = "quaver.preprocessing";
/// Metadata: JSON, an object from the name of each value whose channels the converter divided to the numbers that it divided by.
pub const METADATA_EQUALIZED: &str = "quaver.equalized";
/// Every key under `quaver.` that a caller may write.
pub const METADATA_KEYS: [&str; 5] =
    [METADATA_DECISIONS, METADATA_CALIBRATION, METADATA_LABELS, METADATA_PREPROCESSING, METADATA_EQUALIZED];

/// Free strings that a file carries: those of [`METADATA_KEYS`], and any key that doesn't begin with `quaver.`.
pub type Metadata = BTreeMap<String, String>;

const NAMESPACE: &str = "quaver.";
const KEY_FORMAT: &str = "quaver.format";
const KEY_PRODUCER: &str = "quaver.producer";
const KEY_GRAPH: &str = "quaver.graph";
const FILLER: &str = "__pad__.";
const RESERVED: &str = "__";

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name in the file.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<usize>,
    /// Its bytes, counted from the file's first; they start at a multiple of 64.
    pub range: Range<usize>,
}

/// A `.qvr` file whose every promise has been checked.
///
/// `B` holds the file's bytes: a map, [`AlignedBytes`](crate::tensor::AlignedBytes), an `Arc` of either. They must stay
/// where they are when `B` is moved. Nothing but the elements of tensors is read from them after [`QvrModel::open`].
#[derive(Clone)]
pub struct QvrModel<B> {
    bytes: B,
    graph: Graph,
    metadata: Metadata,
    producer: String,
    tensors: Vec<TensorEntry>,
}

impl<B: AsRef<[u8]>> QvrModel<B> {
    /// Reads and validates a file. Costs time and memory in proportion to its header; of the tensors' data only biases,
    /// multipliers, tables and u8 constants are read.
    ///
    /// # Errors
    /// [`FormatError`], where anything is not as `FORMAT.md` says.
    pub fn open(bytes: B) -> Result<Self, FormatError> {
        let file = bytes.as_ref();
        let (header, data_start) = header::Header::read(file)?;
        if file.as_ptr().align_offset(ALIGNMENT) != 0 {
            return Err(FormatError::Misaligned);
        }
        let check::Strings { graph, metadata, producer } = check::strings(header.metadata)?;
        let tensors = check::tensors(header.tensors, file, data_start)?;
        check::limits(&graph)?;
        check::structure(&graph, &tensors)?;
        check::meaning(&graph, &View { file, tensors: &tensors })?;
        Ok(Self { graph, metadata, producer, tensors, bytes })
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The free metadata; without what the format itself needs.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// What wrote the file.
    pub fn producer(&self) -> &str {
        &self.producer
    }

    /// The tensors in the file's order, which is that of [`ConstantId`]; without fillers.
    pub fn tensors(&self) -> &[TensorEntry] {
        &self.tensors
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// Bytes of the file.
    pub fn file_size(&self) -> usize {
        self.bytes.as_ref().len()
    }
}

impl<B: AsRef<[u8]>> fmt::Debug for QvrModel<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The whole graph and all bytes would bury the message that this stands in.
        let mut out = f.debug_struct("QvrModel");
        out.field("name", &self.graph.name).field("nodes", &self.graph.nodes.len());
        out.field("tensors", &self.tensors.len()).field("file_size", &self.file_size()).finish_non_exhaustive()
    }
}

impl<B: AsRef<[u8]>> Constants for QvrModel<B> {
    fn bytes_of(&self, id: ConstantId) -> &[u8] {
        View { file: self.bytes.as_ref(), tensors: &self.tensors }.get(id)
    }
}

/// The constants of a file that is being checked.
struct View<'a> {
    file: &'a [u8],
    tensors: &'a [TensorEntry],
}

impl<'a> View<'a> {
    fn get(&self, id: ConstantId) -> &'a [u8] {
        self.tensors.get(id.index()).and_then(|t| self.file.get(t.range.clone())).unwrap_or_default()
    }
}

impl Constants for View<'_> {
    fn bytes_of(&self, id: ConstantId) -> &[u8] {
        self.get(id)
    }
}
