//! This machine's kernels for guests, by `quaver:inference`.
//!
//! Models that guests hand over are checked as any file is, and kept by their digest, so that all instances that have the same model
//! share it. A guest gets at a model only by its digest or its bytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quaver_core::graph::Sizes;
use quaver_core::tensor::DType;
use quaver_protocol::description::{Port, datatype};
use sha2::{Digest as _, Sha256};
use wasmtime::component::{HasData, Linker};

use super::state::{Lent, State};
use crate::native::{Digest, Model, Tensor};

mod bindings {
    #![allow(missing_docs, reason = "generated from the interface, where the documentation is")]
    wasmtime::component::bindgen!({
        world: "borrower",
        path: "../wit",
        imports: { default: async | trappable },
    });
}

use bindings::quaver::inference::native::{self, ElementType, Refusal};

/// Most handles of one instance: of one model, of a few.
const HANDLES: usize = 16;

/// Models that guests handed over.
#[derive(Debug)]
pub struct Lender {
    /// The one used last at the end.
    models: Mutex<Vec<Arc<Model>>>,
    most_bytes: usize,
}

impl Lender {
    /// For models of so many bytes together.
    pub fn new(most_bytes: usize) -> Self {
        Self { models: Mutex::default(), most_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Model>>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, digest: &[u8]) -> Option<Arc<Model>> {
        let mut models = self.lock();
        let at = models.iter().position(|model| model.digest == digest)?;
        models[at..].rotate_left(1);
        models.last().cloned()
    }

    /// Opens a file, and lets go of models that were not used for longest where there are too many bytes.
    fn load(&self, file: &[u8]) -> Result<Arc<Model>, Refusal> {
        if file.len() > self.most_bytes {
            return Err(Refusal::Busy);
        }
        let digest: Digest = Sha256::digest(file).into();
        if let Some(model) = self.find(&digest) {
            return Ok(model);
        }
        let model = Arc::new(Model::new("lent", file).map_err(|error| Refusal::Invalid(error.to_string()))?);
        let mut models = self.lock();
        // Another instance may have brought the same one in the meantime.
        if let Some(model) = models.iter().find(|model| model.digest == digest) {
            return Ok(Arc::clone(model));
        }
        while models.iter().map(|model| model.size()).sum::<usize>() > self.most_bytes - file.len() {
            models.remove(0);
        }
        models.push(Arc::clone(&model));
        Ok(model)
    }
}

/// Makes the interface known to components.
pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    native::add_to_linker::<State, Borrowed>(linker, |state| state.lent.as_mut())
}

struct Borrowed;

impl HasData for Borrowed {
    type Data<'a> = Option<&'a mut Lent>;
}

impl native::Host for Option<&mut Lent> {
    async fn find(&mut self, digest: Vec<u8>) -> wasmtime::Result<Result<u32, Refusal>> {
        let Some(lent) = self else { return Ok(Err(Refusal::Absent)) };
        Ok(lent.lender.find(&digest).ok_or(Refusal::Unknown).and_then(|model| lent.handle(model)))
    }

    async fn load(&mut self, file: Vec<u8>) -> wasmtime::Result<Result<u32, Refusal>> {
        let Some(lent) = self else { return Ok(Err(Refusal::Absent)) };
        let lender = Arc::clone(&lent.lender);
        let loaded = tokio::task::spawn_blocking(move || lender.load(&file)).await?;
        Ok(loaded.and_then(|model| lent.handle(model)))
    }

    async fn infer(&mut self, model: u32, inputs: Vec<native::Tensor>) -> wasmtime::Result<Result<Vec<native::Tensor>, Refusal>> {
        let Some(lent) = self else { return Ok(Err(Refusal::Absent)) };
        let Some(model) = lent.models.get(model as usize) else { return Ok(Err(Refusal::Unknown)) };
        let inputs = match taken(model, inputs) {
            Ok(inputs) => inputs,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(match lent.pool.infer(model, inputs).await {
            Ok(outputs) => Ok(outputs.into_iter().map(given).collect()),
            Err(error) if error.status() == 503 => Err(Refusal::Busy),
            Err(error) => Err(Refusal::Invalid(error.to_string())),
        })
    }
}

impl Lent {
    fn handle(&mut self, model: Arc<Model>) -> Result<u32, Refusal> {
        if let Some(at) = self.models.iter().position(|known| known.digest == model.digest) {
            return Ok(at as u32);
        }
        if self.models.len() == HANDLES {
            return Err(Refusal::Invalid(format!("an instance can use {HANDLES} models")));
        }
        self.models.push(model);
        Ok(self.models.len() as u32 - 1)
    }
}

/// A guest's tensors as a run's inputs.
pub(super) fn taken(model: &Model, inputs: Vec<native::Tensor>) -> Result<Vec<Tensor>, Refusal> {
    let ports = &model.description.inputs;
    if inputs.len() != ports.len() {
        return Err(Refusal::Invalid(format!("the model takes {} inputs, not {}", ports.len(), inputs.len())));
    }
    let take = |(port, input): (&Port, native::Tensor)| {
        let shape: Vec<usize> = input.shape.iter().map(|&extent| extent as usize).collect();
        tensor(port, dtype(input.element), shape, input.data).map_err(Refusal::Invalid)
    };
    ports.iter().zip(inputs).map(take).collect()
}

/// A tensor for `port`, or what is wrong with it.
pub(super) fn tensor(port: &Port, dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Tensor, String> {
    if dtype != port.dtype || !Sizes::default().learn(&port.shape, &shape) {
        return Err(format!("input '{}' should be {}, but is {}{shape:?}", port.name, port.expected(), datatype(dtype)));
    }
    let tensor = Tensor::new(dtype, shape, bytes.into()).ok_or_else(|| format!("there is no memory for input '{}'", port.name))?;
    match tensor.view() {
        Some(_) => Ok(tensor),
        None => Err(format!("input '{}' of shape {:?} has {} bytes", port.name, tensor.shape, tensor.bytes.len())),
    }
}

fn given(tensor: Tensor) -> native::Tensor {
    let element = match tensor.dtype {
        DType::F32 => ElementType::Fp32,
        DType::U8 => ElementType::Uint8,
        DType::I8 => ElementType::Int8,
        DType::I32 => ElementType::Int32,
        DType::I64 => ElementType::Int64,
    };
    let shape = tensor.shape.iter().map(|&extent| extent as u32).collect();
    native::Tensor { element, shape, data: tensor.bytes.to_vec() }
}

fn dtype(element: ElementType) -> DType {
    match element {
        ElementType::Fp32 => DType::F32,
        ElementType::Uint8 => DType::U8,
        ElementType::Int8 => DType::I8,
        ElementType::Int32 => DType::I32,
        ElementType::Int64 => DType::I64,
    }
}
