//! A model and the state of its runs.
//!
//! Inputs are set one by one, then the model runs, then outputs are read: the steps that the interface consists of. The
//! batch size, and what else a model leaves open, follows from the inputs' shapes.

use std::borrow::Cow;

use quaver_core::exec::{ExecError, Executor};
use quaver_core::format::{FormatError, Metadata, QvrModel};
use quaver_core::graph::check::GraphError;
use quaver_core::graph::dim::display;
use quaver_core::graph::{Dim, Graph, Sizes, Value, ValueId};
use quaver_core::plan::{Plan, PlanError};
use quaver_core::tensor::{AlignedBytes, DType, TensorView, byte_count};
use serde::Serialize;
use thiserror::Error;

use crate::backend::Bindings;
use crate::class::{Class, ClassError};

/// Why a model can't be opened or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The bytes are no valid `.qvr` file.
    #[error("these bytes are not a valid .qvr file: {0}")]
    Model(FormatError),
    /// A value of the model has no place among this machine's addresses.
    #[error("the model is too large for 32-bit addresses: {0}")]
    Addresses(GraphError),
    /// There is no class of instructions to run it with.
    #[error(transparent)]
    Class(#[from] ClassError),
    /// There is no input or output of that index.
    #[error("the model has {count} {what}s, so there is no {what} {index}")]
    Index {
        /// `input` or `output`.
        what: &'static str,
        /// The index given.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// An input's shape.
    #[error("input '{name}' should have shape {expected} (N is the batch size; names are numbers from 1 on), but has {got:?}")]
    Shape {
        /// The input.
        name: String,
        /// The shape that it takes.
        expected: String,
        /// The shape given.
        got: Vec<usize>,
    },
    /// The number of an input's bytes.
    #[error("input '{name}' of type {dtype} and shape {shape:?} should have {expected} bytes, but {got} were given")]
    Bytes {
        /// The input.
        name: String,
        /// Its type.
        dtype: DType,
        /// The shape given.
        shape: Vec<usize>,
        /// Bytes of that shape.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// An input was not set.
    #[error("input '{name}' ({expected}) is not set")]
    Missing {
        /// The input.
        name: String,
        /// Its type and shape.
        expected: String,
    },
    /// Inputs that disagree about the batch size or another extent that the model leaves open.
    #[error("input '{name}' has {symbol}={got}, but an input before it has {expected}; in one run they are the same (N is the batch size)")]
    Extent {
        /// The input.
        name: String,
        /// The extent's name.
        symbol: String,
        /// Its number.
        got: usize,
        /// That of an input before it.
        expected: usize,
    },
    /// The model can't run on inputs of such sizes.
    #[error("the model can't run at {sizes}: {source}; try other sizes (often multiples of 8 or 32)")]
    Sizes {
        /// Names and numbers.
        sizes: String,
        /// What doesn't fit.
        source: GraphError,
    },
    /// The batch is too large.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The run can't start.
    #[error(transparent)]
    Run(#[from] ExecError),
    /// Memory for bytes from the host.
    #[error("{bytes} bytes cannot be allocated; use a smaller model or batch")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// An output is read before a run.
    #[error("the model has not run since an input was set; run it, then read its outputs")]
    NotRun,
}

impl SessionError {
    /// Most bytes that addresses of 32 bits have room for.
    const ADDRESSES: u32 = u32::MAX;

    /// What the error is about, for programs: `model`, `input`, `memory`, `state`, or what is `unsupported` by the engine.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Class(error) => error.kind(),
            Self::Model(_) => "model",
            Self::Index { .. } | Self::Shape { .. } | Self::Bytes { .. } | Self::Missing { .. } | Self::Extent { .. } => "input",
            Self::Addresses(_) | Self::Plan(PlanError::TooLarge { .. }) | Self::Run(ExecError::Memory { .. }) | Self::Memory { .. } => {
                "memory"
            }
            Self::Plan(_) | Self::Run(_) | Self::Sizes { .. } => "input",
            Self::NotRun => "state",
        }
    }
}

impl SessionError {
    /// What is known of the error, for programs.
    pub fn about(&self) -> About {
        let port = |name: &str, expected: String, got: String| About {
            name: Some(name.to_owned()),
            expected: Some(expected),
            got: Some(got),
            ..About::default()
        };
        match self {
            Self::Shape { name, expected, got } => port(name, expected.clone(), brackets(got)),
            Self::Bytes { name, expected, got, .. } => port(name, format!("{expected} bytes"), format!("{got} bytes")),
            Self::Missing { name, expected } => port(name, expected.clone(), "nothing".to_owned()),
            Self::Extent { name, symbol, got, expected } => port(name, format!("{symbol}={expected}"), format!("{symbol}={got}")),
            Self::Addresses(_) => About { limit: Some(Self::ADDRESSES.to_string()), ..About::default() },
            Self::Plan(PlanError::TooLarge { needed, limit, .. }) => {
                About { needed: Some(needed.to_string()), limit: Some(limit.to_string()), ..About::default() }
            }
            Self::Run(ExecError::Memory { bytes }) | Self::Memory { bytes } => {
                About { needed: Some(bytes.to_string()), ..About::default() }
            }
            _ => About::default(),
        }
    }
}

/// What is known of an error; in JSON without what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// The input that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the input should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub got: Option<String>,
    /// Bytes that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed: Option<String>,
    /// Bytes that there may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

/// As `quaver_core::graph::dim::display` writes the shape that was expected.
fn brackets(shape: &[usize]) -> String {
    format!("[{}]", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

/// A model with the inputs that are set and the memory of its last batch size.
#[derive(Debug)]
pub struct Session {
    model: QvrModel<AlignedBytes>,
    inputs: Vec<Option<Input>>,
    class: Class,
    ready: Option<Ready>,
    ran: bool,
}

/// What runs inputs of some sizes.
#[derive(Debug)]
struct Ready {
    sizes: Sizes,
    /// The graph at these sizes, where it isn't the model's own.
    sized: Option<Box<Graph>>,
    executor: Executor,
    bindings: Bindings,
}

#[derive(Debug)]
struct Input {
    shape: Vec<usize>,
    // Aligned, as kernels read elements from it.
    bytes: AlignedBytes,
}

impl Session {
    /// Most bytes of activations: as many as one allocation may have where addresses have 32 bits.
    pub const MAX_MEMORY: usize = i32::MAX as usize;

    /// Opens the bytes of a `.qvr` file, to be run with the class that [`Class::current`] is now. Nothing is allocated for runs yet,
    /// but what one sample needs is counted, unless
    /// that depends on more than their number.
    ///
    /// # Errors
    /// [`SessionError::Class`]; [`SessionError::Model`]; [`SessionError::Addresses`]; [`SessionError::Plan`] where one sample would need more than
    /// [`Session::MAX_MEMORY`], or more than the file leaves of 32-bit addresses.
    pub fn open(file: AlignedBytes) -> Result<Self, SessionError> {
        let class = Class::current()?;
        let left = (u32::MAX as usize).saturating_sub(file.len());
        let model = QvrModel::open(file).map_err(|error| match error {
            FormatError::Graph(error) if error.is_about_addresses() => SessionError::Addresses(error),
            error => SessionError::Model(error),
        })?;
        if !model.graph().is_open() {
            Plan::new(model.graph(), 1, Self::MAX_MEMORY.min(left))?;
        }
        let inputs = model.graph().inputs.iter().map(|_| None).collect();
        Ok(Self { model, inputs, class, ready: None, ran: false })
    }

    /// The model's name, inputs and outputs as JSON:
    /// `{"name":…,"producer":…,"inputs":[{"name":…,"dtype":"f32","dims":["N",3,224,224]}],"outputs":[…],"metadata":{…}}`.
    /// An extent is a number, or a string such as `"N"` or `"2N"`, N being the batch size, or a name of another
    /// extent that the caller chooses.
    pub fn describe(&self) -> String {
        let graph = self.model.graph();
        let ports = |ids: &[ValueId]| ids.iter().map(|&id| Port::of(graph.value(id))).collect();
        let described = Description {
            name: &graph.name,
            producer: self.model.producer(),
            inputs: ports(&graph.inputs),
            outputs: ports(&graph.outputs),
            metadata: self.model.metadata(),
        };
        // Writing numbers and strings into memory can't fail.
        serde_json::to_string(&described).unwrap_or_default()
    }

    /// Sets the input `index` to little-endian elements, row-major, of extents `shape`. It stays set for later runs.
    ///
    /// # Errors
    /// Those of [`Session::fill_input`].
    pub fn set_input(&mut self, index: usize, bytes: &[u8], shape: Vec<usize>) -> Result<(), SessionError> {
        self.fill_input(index, bytes.len(), shape, |to| to.copy_from_slice(bytes))
    }

    /// As [`Session::set_input`], for elements of `len` bytes that `fill` writes where they belong.
    ///
    /// # Errors
    /// [`SessionError`], naming the input, where there is none, or the shape or the number of bytes is wrong.
    pub fn fill_input(&mut self, index: usize, len: usize, shape: Vec<usize>, fill: impl FnOnce(&mut [u8])) -> Result<(), SessionError> {
        let value = self.input_value(index)?;
        own_sizes(value, &shape)?;
        let expected = byte_count(value.dtype, &shape).ok_or(SessionError::Memory { bytes: usize::MAX })?;
        if expected != len {
            return Err(SessionError::Bytes { name: value.name.clone(), dtype: value.dtype, shape, expected, got: len });
        }
        fill(self.input_mut(index, shape)?);
        Ok(())
    }

    /// The bytes of the input `index`, to be written in place, once it is set to extents `shape`. Where it had these before, it
    /// keeps its place and its elements; otherwise they are zeros.
    ///
    /// # Errors
    /// [`SessionError`], naming the input, where there is none, the shape is wrong, or there is no memory.
    pub fn input_mut(&mut self, index: usize, shape: Vec<usize>) -> Result<&mut [u8], SessionError> {
        let value = self.input_value(index)?;
        own_sizes(value, &shape)?;
        let len = byte_count(value.dtype, &shape).ok_or(SessionError::Memory { bytes: usize::MAX })?;
        self.ran = false;
        let slot = &mut self.inputs[index];
        // What doesn't fit goes first, so that both need never fit at once.
        let kept = slot.take().filter(|input| input.shape == shape);
        let input = match kept {
            Some(input) => input,
            None => Input { shape, bytes: AlignedBytes::zeroed(len).ok_or(SessionError::Memory { bytes: len })? },
        };
        Ok(&mut slot.insert(input).bytes)
    }

    fn input_value(&self, index: usize) -> Result<&Value, SessionError> {
        let graph = self.model.graph();
        let missing = SessionError::Index { what: "input", index, count: graph.inputs.len() };
        graph.inputs.get(index).map(|&id| graph.value(id)).ok_or(missing)
    }

    /// The model.
    pub fn model(&self) -> &QvrModel<AlignedBytes> {
        &self.model
    }

    /// Plans a run on inputs of the extents that are set, and takes its memory, so that [`Session::run`] has only to compute.
    ///
    /// # Errors
    /// Those of [`Session::run`].
    pub fn prepare(&mut self) -> Result<(), SessionError> {
        let sizes = self.sizes()?;
        if self.ready.as_ref().is_some_and(|ready| ready.sizes == sizes) {
            return Ok(());
        }
        // The old arena goes first, so that both need never fit at once.
        self.ready = None;
        let graph = self.model.graph();
        let sized = graph.sized(&sizes).map_err(|source| SessionError::Sizes { sizes: sizes.to_string(), source })?;
        let plan = Plan::new(&sized, sizes.batch(), Self::MAX_MEMORY)?;
        let bindings = Bindings::new(self.class, &sized, &self.model, &plan);
        let sized = if let Cow::Owned(graph) = sized { Some(Box::new(graph)) } else { None };
        self.ready = Some(Ready { sizes, sized, executor: Executor::new(plan, bindings.scratch())?, bindings });
        Ok(())
    }

    /// Runs the model on the inputs that are set.
    ///
    /// # Errors
    /// [`SessionError`], where an input is missing, they disagree about an extent, or the run needs more memory than there is.
    pub fn run(&mut self) -> Result<(), SessionError> {
        self.prepare()?;
        let graph = self.model.graph();
        let mut views = Vec::with_capacity(self.inputs.len());
        for (&id, input) in graph.inputs.iter().zip(&self.inputs) {
            views.extend(input.as_ref().and_then(|input| TensorView::new(graph.value(id).dtype, &input.shape, &input.bytes)));
        }
        let ready = self.ready.as_mut().ok_or(SessionError::NotRun)?;
        let graph = ready.sized.as_deref().unwrap_or(graph);
        ready.executor.run(graph, &self.model, &ready.bindings, &views, None)?;
        self.ran = true;
        Ok(())
    }

    /// What the inputs say of all that the model leaves open.
    fn sizes(&self) -> Result<Sizes, SessionError> {
        let graph = self.model.graph();
        let mut sizes = Sizes::default();
        for (&id, input) in graph.inputs.iter().zip(&self.inputs) {
            let value = graph.value(id);
            let missing =
                || SessionError::Missing { name: value.name.clone(), expected: format!("{}{}", value.dtype, display(&value.shape)) };
            for (symbol, got) in own_sizes(value, &input.as_ref().ok_or_else(missing)?.shape)?.iter() {
                if let Some(expected) = sizes.get(symbol).filter(|&known| known != got) {
                    return Err(SessionError::Extent { name: value.name.clone(), symbol: symbol.to_owned(), got, expected });
                }
                sizes.set(symbol, got);
            }
        }
        Ok(sizes)
    }

    /// The output `index` of the last run.
    ///
    /// # Errors
    /// [`SessionError::Index`]; [`SessionError::NotRun`].
    pub fn output(&self, index: usize) -> Result<TensorView<'_>, SessionError> {
        let graph = self.model.graph();
        if index >= graph.outputs.len() {
            return Err(SessionError::Index { what: "output", index, count: graph.outputs.len() });
        }
        let ready = self.ready.as_ref().filter(|_| self.ran).ok_or(SessionError::NotRun)?;
        ready.executor.output(ready.sized.as_deref().unwrap_or(graph), index).ok_or(SessionError::NotRun)
    }

    /// The extents of the output `index`, each of 32 bits: a larger one would need more than [`Session::MAX_MEMORY`].
    ///
    /// # Errors
    /// Those of [`Session::output`].
    pub fn output_dims(&self, index: usize) -> Result<Vec<u32>, SessionError> {
        Ok(self.output(index)?.shape().iter().map(|&extent| extent as u32).collect())
    }
}

/// What [`Session::describe`] writes.
#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    producer: &'a str,
    inputs: Vec<Port<'a>>,
    outputs: Vec<Port<'a>>,
    metadata: &'a Metadata,
}

#[derive(Serialize)]
struct Port<'a> {
    name: &'a str,
    dtype: &'static str,
    dims: Vec<Extent>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Extent {
    Number(usize),
    Open(String),
}

impl<'a> Port<'a> {
    fn of(value: &'a Value) -> Self {
        let extent = |dim: &Dim| dim.fixed().map_or_else(|| Extent::Open(dim.to_string()), Extent::Number);
        Self { name: &value.name, dtype: value.dtype.name(), dims: value.shape.iter().map(extent).collect() }
    }
}

/// What `shape` says of what `value` leaves open.
fn own_sizes(value: &Value, shape: &[usize]) -> Result<Sizes, SessionError> {
    let mut sizes = Sizes::default();
    if sizes.learn(&value.shape, shape) {
        return Ok(sizes);
    }
    Err(SessionError::Shape { name: value.name.clone(), expected: display(&value.shape), got: shape.to_vec() })
}

#[cfg(test)]
pub(crate) mod tests {
    use quaver_core::graph::op::{BinaryFn, UnaryFn};
    use quaver_core::graph::{Network, Op};
    use serde_json::json;

    use super::*;

    /// The file of y[N,2] = x[N,2] + c[2], c = (10, 20); x is an output too.
    pub(crate) fn file() -> AlignedBytes {
        let mut net = Network::new("add");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 2.into()]);
        let c = net.constant("c", &[2], &[10.0f32, 20.0]);
        let y = net.push(Op::Binary { function: BinaryFn::Add }, &[x, c], "add", "y").expect("valid");
        net.output(y);
        net.output(x);
        let bytes = quaver_core::format::write(&net, &Metadata::new()).expect("valid");
        AlignedBytes::copy_of(&bytes).expect("memory")
    }

    pub(crate) fn bytes(values: &[f32]) -> AlignedBytes {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        AlignedBytes::copy_of(&bytes).expect("memory")
    }

    #[test]
    fn runs_at_batch_sizes_one_after_another() {
        let mut session = Session::open(file()).expect("valid");
        for (x, y) in [(vec![1.0, 2.0], vec![11.0, 22.0]), (vec![1.0, 2.0, 3.0, 4.0], vec![11.0, 22.0, 13.0, 24.0])] {
            session.set_input(0, &bytes(&x), vec![x.len() / 2, 2]).expect("fits");
            assert!(matches!(session.output(0), Err(SessionError::NotRun)));
            session.run().expect("runs");
            let output = session.output(0).expect("ran");
            assert_eq!((output.shape(), output.as_slice::<f32>()), ([y.len() / 2, 2].as_slice(), Some(y.as_slice())));
            assert_eq!(session.output(1).expect("ran").as_slice::<f32>(), Some(x.as_slice()));
        }
        assert!(matches!(session.output(2), Err(SessionError::Index { count: 2, .. })));
    }

    #[test]
    fn a_model_that_needs_too_much_is_refused_before_it_runs() {
        let mut net = Network::new("large");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 30_000.into(), 30_000.into()]);
        let y = net.push(Op::Unary { function: UnaryFn::Abs }, &[x], "abs", "y").expect("valid");
        net.output(y);
        let file = quaver_core::format::write(&net, &Metadata::new()).expect("valid");
        let refused = Session::open(AlignedBytes::copy_of(&file).expect("memory")).expect_err("3.6 GB a value");
        assert_eq!(refused.kind(), "memory");
        assert_eq!(refused.about().limit, Some(Session::MAX_MEMORY.to_string()));
    }

    #[test]
    fn describes_itself() {
        let session = Session::open(file()).expect("valid");
        let value: serde_json::Value = serde_json::from_str(&session.describe()).expect("JSON");
        assert_eq!(value["inputs"], json!([{ "name": "x", "dtype": "f32", "dims": ["N", 2] }]));
        assert_eq!(value["outputs"][0]["name"], "y");
    }

    #[test]
    fn wrong_inputs_are_refused_by_name() {
        let mut session = Session::open(file()).expect("valid");
        let mut refusal = |values: &[f32], shape: Vec<usize>| session.set_input(0, &bytes(values), shape).expect_err("wrong");
        for shape in [vec![2], vec![1, 3], vec![0, 2]] {
            let refused = refusal(&[1.0, 2.0], shape);
            assert!(matches!(&refused, SessionError::Shape { name, .. } if name == "x"), "{refused}");
        }
        assert!(matches!(refusal(&[1.0], vec![1, 2]), SessionError::Bytes { expected: 8, got: 4, .. }));
        assert!(matches!(session.run(), Err(SessionError::Missing { .. })));
        assert!(matches!(session.set_input(1, &bytes(&[]), vec![]), Err(SessionError::Index { index: 1, .. })));
        assert!(matches!(Session::open(bytes(&[0.0])), Err(SessionError::Model(_))));
    }
}
