//! This machine's kernels for guests, by wasi-nn: models that the server serves, by name, and `.qvr` files that guests load (encoding
//! `autodetect`). Inputs and outputs are named as in the model, or by their places, `0`, `1` and so on. The interface has no i8, and a
//! guest waits for a run without giving its thread to others.

use std::collections::BTreeMap;
use std::sync::Arc;

use quaver_core::tensor::DType;
use quaver_protocol::description::Port;
use wasmtime::component::Linker;
use wasmtime::format_err;
use wasmtime_wasi_nn::backend::{BackendError, BackendExecutionContext, BackendFromDir, BackendGraph, BackendInner, Id, NamedTensor};
use wasmtime_wasi_nn::wit::{ExecutionTarget, GraphEncoding, TensorType, WasiNnCtx};
use wasmtime_wasi_nn::{Backend, ExecutionContext, Graph, GraphRegistry, Registry, Tensor as NnTensor, wit};

use super::lend::tensor;
use super::state::State;
use crate::native::{Model, Pool, Tensor};

/// Models by the names that guests load them by.
pub struct Named(BTreeMap<String, Graph>);

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Those of models that are served.
pub fn named<'a>(models: impl Iterator<Item = &'a Arc<Model>>, pool: &Arc<Pool>) -> Named {
    Named(models.map(|model| (model.description.name.clone(), graph(Arc::clone(model), pool))).collect())
}

/// Makes wasi-nn known to components.
pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wit::add_to_linker(linker, State::nn)
}

/// The context of an instance.
pub fn context(pool: &Arc<Pool>, named: &Arc<Named>) -> WasiNnCtx {
    WasiNnCtx::new([Backend::from(Quaver(Arc::clone(pool)))], Registry::from(Shared(Arc::clone(named))))
}

struct Shared(Arc<Named>);

impl GraphRegistry for Shared {
    fn get(&self, name: &str) -> Option<&Graph> {
        self.0.0.get(name)
    }

    /// Models are shared by all instances, so none can be changed.
    fn get_mut(&mut self, _: &str) -> Option<&mut Graph> {
        None
    }
}

struct Quaver(Arc<Pool>);

impl BackendInner for Quaver {
    fn encoding(&self) -> GraphEncoding {
        GraphEncoding::Autodetect
    }

    fn load(&mut self, builders: &[&[u8]], _: ExecutionTarget) -> Result<Graph, BackendError> {
        let [file] = builders else { return Err(BackendError::InvalidNumberOfBuilders(1, builders.len())) };
        let model = Model::new("loaded", file).map_err(|error| format_err!("{error}"))?;
        Ok(graph(Arc::new(model), &self.0))
    }

    fn as_dir_loadable(&mut self) -> Option<&mut dyn BackendFromDir> {
        None
    }
}

fn graph(model: Arc<Model>, pool: &Arc<Pool>) -> Graph {
    let graph: Box<dyn BackendGraph> = Box::new(Served { model, pool: Arc::clone(pool) });
    Graph::from(graph)
}

struct Served {
    model: Arc<Model>,
    pool: Arc<Pool>,
}

impl BackendGraph for Served {
    fn init_execution_context(&self) -> Result<ExecutionContext, BackendError> {
        let context = Context {
            inputs: self.model.description.inputs.iter().map(|_| None).collect(),
            outputs: Vec::new(),
            model: Arc::clone(&self.model),
            pool: Arc::clone(&self.pool),
        };
        let context: Box<dyn BackendExecutionContext> = Box::new(context);
        Ok(ExecutionContext::from(context))
    }
}

/// Runs of one guest.
struct Context {
    model: Arc<Model>,
    pool: Arc<Pool>,
    inputs: Vec<Option<Tensor>>,
    outputs: Vec<Tensor>,
}

impl BackendExecutionContext for Context {
    fn set_input(&mut self, id: Id, given: &NnTensor) -> Result<(), BackendError> {
        let at = place(&self.model.description.inputs, &id)?;
        let dtype = match given.ty {
            TensorType::Fp32 => DType::F32,
            TensorType::U8 => DType::U8,
            TensorType::I32 => DType::I32,
            TensorType::I64 => DType::I64,
            other => return Err(BackendError::UnsupportedTensorType(format!("{other:?}"))),
        };
        let shape = given.dimensions.iter().map(|&extent| extent as usize).collect();
        let input = tensor(&self.model.description.inputs[at], dtype, shape, given.data.clone());
        self.inputs[at] = Some(input.map_err(|why| format_err!("{why}"))?);
        Ok(())
    }

    fn get_output(&mut self, id: Id) -> Result<NnTensor, BackendError> {
        let at = place(&self.model.description.outputs, &id)?;
        let output = self.outputs.get(at).ok_or_else(|| format_err!("the model has not run since an input was set"))?;
        given(output)
    }

    fn compute(&mut self, inputs: Option<Vec<NamedTensor>>) -> Result<Option<Vec<NamedTensor>>, BackendError> {
        let by_name = inputs.is_some();
        for NamedTensor { name, tensor } in inputs.into_iter().flatten() {
            self.set_input(Id::Name(name), &tensor)?;
        }
        let missing = || format_err!("an input is not set");
        let inputs = self.inputs.iter_mut().map(|input| input.take().ok_or_else(missing)).collect::<Result<Vec<_>, _>>()?;
        // The interface waits, so the thread's other tasks move to another one.
        let ran = tokio::task::block_in_place(|| self.pool.infer_here(&self.model, inputs));
        self.outputs = ran.map_err(|error| format_err!("{error}"))?;
        if !by_name {
            return Ok(None);
        }
        let outputs = self.model.description.outputs.iter().zip(&self.outputs);
        let named = |(port, output): (&Port, &Tensor)| Ok(NamedTensor { name: port.name.clone(), tensor: given(output)? });
        outputs.map(named).collect::<Result<_, BackendError>>().map(Some)
    }
}

/// The port's place.
fn place(ports: &[Port], id: &Id) -> Result<usize, BackendError> {
    let place = match id {
        Id::Index(index) => Some(*index as usize),
        Id::Name(name) => ports.iter().position(|port| port.name == *name).or_else(|| name.parse().ok()),
    };
    place.filter(|&at| at < ports.len()).ok_or_else(|| format_err!("the model has no such input or output: {id:?}").into())
}

fn given(tensor: &Tensor) -> Result<NnTensor, BackendError> {
    let ty = match tensor.dtype {
        DType::F32 => TensorType::Fp32,
        DType::U8 => TensorType::U8,
        DType::I32 => TensorType::I32,
        DType::I64 => TensorType::I64,
        DType::I8 => return Err(BackendError::UnsupportedTensorType("i8".to_owned())),
    };
    Ok(NnTensor::new(tensor.shape.iter().map(|&extent| extent as u32).collect(), ty, tensor.bytes.to_vec()))
}
