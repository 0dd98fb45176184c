//! A model: a validated file, mapped or in memory, that sessions share.

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::Mmap;
use quaver_core::format::{FormatError, Metadata, QvrModel, TensorEntry};
use quaver_core::graph::{Constants, Dim, Graph, Sizes, ValueId};
use quaver_core::quant::Affine;
use quaver_core::tensor::{AlignedBytes, DType};

use crate::Error;

/// A network, ready to run. Cloning shares it; sessions in any number of threads can use it at once.
#[derive(Debug, Clone)]
pub struct Model {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: QvrModel<Bytes>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// An input or an output of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// Its name, unique among the inputs or the outputs.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents; some may be multiples of the batch size, or depend on other extents that inputs leave open.
    pub shape: Vec<Dim>,
    /// Affine parameters, where the elements are quantized.
    pub quant: Option<Affine>,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Owned(AlignedBytes),
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl Model {
    /// Opens a `.qvr` file by mapping it: processes share its memory, and nothing is copied. Where the system can, the whole file
    /// is brought into memory here, else each page of weights when it is first used.
    ///
    /// While the model lives, the file must not be changed in place. Replacing it (writing another and renaming that) is
    /// fine. If it is overwritten, results change; if it is cut short, the system ends the process (`SIGBUS`).
    ///
    /// # Errors
    /// [`Error::Open`] where the file can't be mapped, [`Error::File`] where it is not valid.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let failed = |source| Error::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        // SAFETY: `Mmap::map` demands that nobody changes the file while it is mapped, which no program can enforce; the
        // documentation above hands it to the caller. What depends on it is kept small: `QvrModel::open` copies the graph
        // and every offset out of the map, so that later changes alter elements of tensors and nothing else. All elements
        // are numbers of which every bit pattern is valid, and no kernel computes an address from one beyond an index
        // into a table of 256 entries by a byte.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        // All pages at once take less time than faults during the first run do. Where the system can't, those bring them.
        #[cfg(target_os = "linux")]
        let _ = map.advise(Advice::PopulateRead);
        Self::new(Bytes::Mapped(map)).map_err(|source| Error::File { path: path.to_owned(), source })
    }

    /// Opens the bytes of a `.qvr` file, which are copied.
    ///
    /// # Errors
    /// [`Error::Bytes`] where they are not valid, or there is no memory for the copy.
    pub fn from_bytes(bytes: impl AsRef<[u8]>) -> Result<Self, Error> {
        let bytes = bytes.as_ref();
        let copy = AlignedBytes::copy_of(bytes).ok_or(Error::Bytes(FormatError::Memory { bytes: bytes.len() }))?;
        Self::new(Bytes::Owned(copy)).map_err(Error::Bytes)
    }

    fn new(bytes: Bytes) -> Result<Self, FormatError> {
        let file = QvrModel::open(bytes)?;
        let inputs = ports(file.graph(), &file.graph().inputs);
        let outputs = ports(file.graph(), &file.graph().outputs);
        Ok(Self { shared: Arc::new(Shared { file, inputs, outputs }) })
    }

    /// What a run takes, in the model's order.
    pub fn inputs(&self) -> &[Port] {
        &self.shared.inputs
    }

    /// What a run gives, in the model's order.
    pub fn outputs(&self) -> &[Port] {
        &self.shared.outputs
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.graph().name
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        self.shared.file.graph()
    }

    /// The graph for inputs of those sizes.
    pub(crate) fn sized(&self, sizes: &Sizes) -> Result<Cow<'_, Graph>, Error> {
        self.graph().sized(sizes).map_err(|source| Error::Sizes { sizes: sizes.to_string(), source: Box::new(source) })
    }

    /// The elements of the graph's constants.
    pub fn constants(&self) -> &(dyn Constants + Send + Sync) {
        &self.shared.file
    }

    /// The file's free metadata.
    pub fn metadata(&self) -> &Metadata {
        self.shared.file.metadata()
    }

    /// What wrote the file.
    pub fn producer(&self) -> &str {
        self.shared.file.producer()
    }

    /// The tensors of the file, in its order.
    pub fn tensors(&self) -> &[TensorEntry] {
        self.shared.file.tensors()
    }

    /// Bytes of the file.
    pub fn file_size(&self) -> usize {
        self.shared.file.file_size()
    }
}

fn ports(graph: &Graph, ids: &[ValueId]) -> Vec<Port> {
    let port = |&id: &ValueId| {
        let value = graph.value(id);
        Port { name: value.name.clone(), dtype: value.dtype, shape: value.shape.clone(), quant: value.quant }
    };
    ids.iter().map(port).collect()
}
