//! This machine's kernels for guests, by `quaver:inference`.
//!
//! Models that guests hand over are checked as any file is, and kept by their digest, so that all instances that have the same model
//! share it. A guest gets at a model only by its digest or its bytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quaver_core::graph::Sizes;
use quaver_core::tensor::{DType, TensorView, byte_count};
use quaver_protocol::description::{Port, datatype};
use sha2::{Digest as _, Sha256};
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Resource, WasmList};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::DynInputStream;

use super::read::next;
use super::state::{Lent, State};
use crate::body::Unread;
use crate::native::{Digest, Model, Pool, RunError, Tensor};

mod bindings {
    #![allow(missing_docs, reason = "generated from the interface, where the documentation is")]
    wasmtime::component::bindgen!({
        world: "borrower",
        path: "../wit",
        with: { "wasi:io/streams.input-stream": wasmtime_wasi::p2::DynInputStream },
    });
}

use bindings::quaver::inference::native::{self, ElementType, Refusal, TensorDesc};

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

/// The interface as its file names it.
const NATIVE: &str = "quaver:inference/native@0.2.0";

/// A tensor that a guest gives, whose elements stay in its memory.
#[derive(ComponentType, Lift)]
#[component(record)]
struct Given {
    element: ElementType,
    shape: Vec<u32>,
    data: WasmList<u8>,
}

/// Makes the interface known to components.
pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut native = linker.instance(NATIVE)?;
    native.func_wrap("find", |mut store: StoreContextMut<'_, State>, (digest,): (Vec<u8>,)| {
        let Some(lent) = &mut store.data_mut().lent else { return Ok((Err(Refusal::Absent),)) };
        Ok((lent.lender.find(&digest).ok_or(Refusal::Unknown).and_then(|model| lent.handle(model)),))
    })?;
    native.func_wrap_async("load", |mut store: StoreContextMut<'_, State>, (file,): (Vec<u8>,)| {
        Box::new(async move {
            let Some(lent) = &mut store.data_mut().lent else { return Ok((Err(Refusal::Absent),)) };
            let lender = Arc::clone(&lent.lender);
            let loaded = tokio::task::spawn_blocking(move || lender.load(&file)).await?;
            Ok((loaded.and_then(|model| lent.handle(model)),))
        })
    })?;
    native.func_wrap_async("infer", |store: StoreContextMut<'_, State>, (model, inputs): (u32, Vec<Given>)| {
        Box::new(async move { Ok((infer(store, model, &inputs).await,)) })
    })?;
    native.func_wrap_async("infer-from", |mut store: StoreContextMut<'_, State>, (model, inputs, elements): AskedFrom| {
        Box::new(async move { Ok((infer_from(store.data_mut(), model, &inputs, &elements).await?,)) })
    })
}

/// The model, its inputs' types and extents, and what gives their elements.
type AskedFrom = (u32, Vec<TensorDesc>, Resource<DynInputStream>);
type Outputs = Result<Vec<native::Tensor>, Refusal>;

/// Runs a model on what lies in the guest's memory.
async fn infer(store: StoreContextMut<'_, State>, model: u32, inputs: &[Given]) -> Result<Vec<native::Tensor>, Refusal> {
    let (model, pool) = store.data().lent(model)?;
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|input| extents(&input.shape)).collect();
    let pairs = ports(&model, inputs.len())?.iter().zip(inputs.iter().zip(&shapes));
    let inputs = pairs.map(|(port, (input, shape))| fits(port, dtype(input.element), shape, input.data.as_le_slice(&store)));
    let inputs = inputs.collect::<Result<Vec<_>, _>>().map_err(Refusal::Invalid)?;
    results(pool.infer_borrowed(&model, &inputs).await)
}

/// Runs a model on what a stream gives next.
async fn infer_from(state: &mut State, model: u32, inputs: &[TensorDesc], stream: &Resource<DynInputStream>) -> wasmtime::Result<Outputs> {
    let asked = state.lent(model).and_then(|(model, pool)| Ok((layouts(&model, inputs)?, model, pool)));
    let (layouts, model, pool) = match asked {
        Ok(asked) => asked,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let stream = state.ctx().table.get_mut(stream)?;
    let mut tensors = Vec::with_capacity(layouts.len());
    for (port, (dtype, shape, size)) in model.description.inputs.iter().zip(layouts) {
        match next(stream, size, pool.buffers()).await.map(|bytes| Tensor::new(dtype, shape, bytes)) {
            Ok(Some(tensor)) => tensors.push(tensor),
            Ok(None) | Err(Unread::Memory) => return Ok(Err(Refusal::Busy)),
            Err(_) => return Ok(Err(Refusal::Invalid(format!("the body ends before the end of input '{}'", port.name)))),
        }
    }
    Ok(results(pool.infer(&model, tensors).await))
}

/// Types, extents and bytes of inputs that fit their model.
fn layouts(model: &Model, inputs: &[TensorDesc]) -> Result<Vec<(DType, Vec<usize>, usize)>, Refusal> {
    let layout = |(port, input): (&Port, &TensorDesc)| {
        let (dtype, shape) = (dtype(input.element), extents(&input.shape));
        let size = expected(port, dtype, &shape)?;
        Ok((dtype, shape, size))
    };
    ports(model, inputs.len())?.iter().zip(inputs).map(layout).collect::<Result<_, _>>().map_err(Refusal::Invalid)
}

/// The model's inputs, if they are as many.
fn ports(model: &Model, given: usize) -> Result<&[Port], Refusal> {
    let ports = &model.description.inputs;
    let wrong = || Refusal::Invalid(format!("the model takes {} inputs, not {given}", ports.len()));
    (ports.len() == given).then_some(ports.as_slice()).ok_or_else(wrong)
}

fn extents(shape: &[u32]) -> Vec<usize> {
    shape.iter().map(|&extent| extent as usize).collect()
}

fn results(ran: Result<Vec<Tensor>, RunError>) -> Outputs {
    match ran {
        Ok(outputs) => Ok(outputs.into_iter().map(given).collect()),
        Err(error) if error.status() == 503 => Err(Refusal::Busy),
        Err(error) => Err(Refusal::Invalid(error.to_string())),
    }
}

impl State {
    /// The model of that handle, and what runs it.
    fn lent(&self, model: u32) -> Result<(Arc<Model>, Arc<Pool>), Refusal> {
        let lent = self.lent.as_ref().ok_or(Refusal::Absent)?;
        let model = lent.models.get(model as usize).ok_or(Refusal::Unknown)?;
        Ok((Arc::clone(model), Arc::clone(&lent.pool)))
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

/// A tensor for `port`, or what is wrong with it.
pub(super) fn tensor(port: &Port, dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Tensor, String> {
    fits(port, dtype, &shape, &bytes)?;
    Tensor::new(dtype, shape, bytes.into()).ok_or_else(|| format!("there is no memory for input '{}'", port.name))
}

/// Elements for `port`, at any address, or what is wrong with them.
fn fits<'a>(port: &Port, dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> Result<TensorView<'a>, String> {
    expected(port, dtype, shape)?;
    TensorView::new(dtype, shape, bytes).ok_or_else(|| format!("input '{}' of shape {shape:?} has {} bytes", port.name, bytes.len()))
}

/// Bytes of elements for `port`, or what is wrong with their type and extents.
fn expected(port: &Port, dtype: DType, shape: &[usize]) -> Result<usize, String> {
    let fits = dtype == port.dtype && Sizes::default().learn(&port.shape, shape);
    let bytes = byte_count(dtype, shape).filter(|_| fits);
    bytes.ok_or_else(|| format!("input '{}' should be {}, but is {}{shape:?}", port.name, port.expected(), datatype(dtype)))
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
