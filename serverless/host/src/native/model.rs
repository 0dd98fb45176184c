//! A model, its sessions, and what may share a batch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quaver::{Session, SessionOptions};
use quaver_core::graph::Dim;
use quaver_core::plan::arrange::samples_are_apart;
use quaver_core::tensor::{AlignedBytes, DType, TensorView};
use quaver_protocol::Description;
use sha2::Sha256;

use super::pace::Pace;
use crate::body::Buffers;

/// SHA-256 of a file.
pub type Digest = [u8; 32];

/// Elements and their extents.
#[derive(Debug)]
pub struct Tensor {
    /// The elements' type.
    pub dtype: DType,
    /// The extents.
    pub shape: Vec<usize>,
    /// The elements, at an address that is good for every type.
    pub bytes: Bytes,
}

/// The largest alignment of an element, that of i64.
const ALIGNMENT: usize = 8;

impl Tensor {
    /// Of elements that are taken over where they lie well, and copied otherwise; `None` where there is no memory for that.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Bytes) -> Option<Self> {
        match lies_well(&bytes) {
            true => Some(Self { dtype, shape, bytes }),
            false => Self::copy_of(dtype, shape, &bytes),
        }
    }

    /// A copy of elements at any address; `None` where there is no memory for it.
    pub fn copy_of(dtype: DType, shape: Vec<usize>, bytes: &[u8]) -> Option<Self> {
        Some(Self { dtype, shape, bytes: Bytes::from_owner(AlignedBytes::copy_of(bytes)?) })
    }

    /// A copy in memory that other tensors had; `None` where there is none.
    pub(super) fn pooled(view: TensorView<'_>, buffers: &Arc<Buffers>) -> Option<Self> {
        let mut bytes = buffers.take(view.bytes().len(), 0)?;
        bytes.extend(view.bytes())?;
        Some(Self { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: bytes.freeze() })
    }

    /// The elements; `None` where they don't fit the extents.
    pub fn view(&self) -> Option<TensorView<'_>> {
        TensorView::new(self.dtype, &self.shape, &self.bytes)
    }
}

/// Whether their address is good for elements of every type.
pub(super) fn lies_well(bytes: &[u8]) -> bool {
    bytes.as_ptr().align_offset(ALIGNMENT) == 0
}

/// A model that is served.
#[derive(Debug)]
pub struct Model {
    /// What it takes and gives.
    pub description: Description,
    /// Of its file.
    pub digest: Digest,
    model: quaver::Model,
    /// Those that no thread uses now.
    sessions: Mutex<Vec<Session>>,
    /// Whether requests may share a run: samples are rows of every input and output, and none changes another's result.
    pub(super) shares: bool,
    pace: Mutex<Pace>,
}

impl Model {
    /// Reads a file's bytes, which are copied: so whatever happens to the file, the model stays what it is.
    pub fn new(name: &str, file: &[u8]) -> Result<Self, quaver::Error> {
        let model = quaver::Model::from_bytes(file)?;
        let description = Description::new(name, model.graph(), model.metadata());
        let mut ports = description.inputs.iter().chain(&description.outputs);
        let rows = ports.all(|port| port.shape.first() == Some(&Dim::BATCH));
        let shares = rows && samples_are_apart(model.graph());
        let digest = <Sha256 as sha2::Digest>::digest(file).into();
        Ok(Self { description, digest, model, sessions: Mutex::default(), shares, pace: Mutex::default() })
    }

    /// Bytes of its file.
    pub fn size(&self) -> usize {
        self.model.file_size()
    }

    /// A session for one run, of one thread.
    pub(super) fn session(&self) -> Result<Session, quaver::Error> {
        let idle = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| Session::new(&self.model, SessionOptions::default()), Ok)
    }

    /// How fast runs are.
    pub(super) fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session back; there are never more than threads.
    pub(super) fn give_back(&self, session: Session) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }
}
