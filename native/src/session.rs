//! A session: one caller's runs of a model.
//!
//! | module | what it holds |
//! |---|---|
//! | [`inputs`] | what a caller gives, against what the model takes |
//! | [`outputs`] | results |
//! | [`measure`] | time of each node: profiling |
//! | [`tuning`] | time of each kernel that could run a node |

mod inputs;
mod measure;
mod outputs;
mod tuning;

use std::borrow::Cow;
use std::sync::Arc;

use quaver_core::exec::{Executor, Observer, recycle};
use quaver_core::graph::{Graph, Sizes, ValueId};
use quaver_core::plan::Plan;
use quaver_core::tensor::TensorView;

use crate::backend::{Bindings, Native, Net};
use crate::dispatch::explain::{Explained, explain};
use crate::dispatch::peaks::Peaks;
use crate::dispatch::tune::Tuning;
use crate::pool::Pool;
use crate::{Error, Isa, Model, SessionOptions, Tensor, cpu};
use inputs::{in_order, sizes};
pub use outputs::{OutputViews, Outputs};

/// Runs a [`Model`]. A session belongs to one thread at a time and keeps the memory of its runs; sessions share the model.
#[derive(Debug)]
pub struct Session {
    model: Model,
    options: SessionOptions,
    isas: &'static [Isa],
    tuning: Option<Tuning>,
    pool: Arc<Pool>,
    /// The one used last at the end.
    ready: Vec<Ready>,
    /// Room for the inputs of a run; empty between runs.
    room: Vec<TensorView<'static>>,
}

/// Sizes of inputs whose memory a session keeps.
const KEPT: usize = 4;

/// What runs inputs of some sizes.
#[derive(Debug)]
struct Ready {
    /// Extents of the inputs.
    shapes: Vec<Vec<usize>>,
    /// Whether an observer wants to see all values.
    observed: bool,
    /// The graph at these sizes, where it isn't the model's own.
    sized: Option<Box<Graph>>,
    executor: Executor,
    backend: Native,
}

impl Ready {
    fn graph<'a>(&'a self, model: &'a Model) -> &'a Graph {
        self.sized.as_deref().unwrap_or(model.graph())
    }

    fn is_for(&self, inputs: &[TensorView<'_>], observed: bool) -> bool {
        self.observed == observed && self.shapes.iter().map(Vec::as_slice).eq(inputs.iter().map(TensorView::shape))
    }
}

impl Session {
    /// A session of `model`. Memory for activations is allocated at the first run of each size of inputs; that of the last four
    /// sizes is kept.
    ///
    /// # Errors
    /// [`Error::Threads`] for no threads; [`Error::UnknownIsa`] or [`Error::UnavailableIsa`] where the options or the
    /// environment variable `QUAVER_ISA` ask for what isn't there; [`Error::Tuning`] for a side file that can't be used.
    pub fn new(model: &Model, options: SessionOptions) -> Result<Self, Error> {
        if options.threads == 0 {
            return Err(Error::Threads { threads: 0 });
        }
        let isas = cpu::isas(options.isa)?;
        let nodes = model.graph().nodes.len();
        let tuning = options.tuning.as_ref().map(|path| Tuning::read(path, model.name(), nodes)).transpose()?;
        let pool = Arc::new(Pool::new(options.threads).map_err(|source| Error::Spawn { threads: options.threads, source })?);
        Ok(Self { model: model.clone(), options, isas, tuning, pool, ready: Vec::new(), room: Vec::new() })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The name of the instruction set that runs use.
    pub fn isa(&self) -> &'static str {
        self.isas.last().map_or(Isa::Scalar.name(), |isa| isa.name())
    }

    /// Threads that runs use, the caller's included.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Runs the model on named inputs, in any order, and lends its results until the next run. The batch size, and what
    /// else the model leaves open, is that of the inputs' shapes. After the first run of such sizes, a run allocates nothing.
    ///
    /// # Errors
    /// [`Error`], naming the input, where one is unknown, missing, given twice, or of another type, shape or batch size;
    /// [`Error::Sizes`] where the model's operations can't take inputs of these sizes; [`Error::Plan`] and [`Error::Run`] where the batch needs more memory than allowed or available.
    pub fn infer(&mut self, inputs: &[(&str, TensorView<'_>)]) -> Result<OutputViews<'_>, Error> {
        self.start(inputs, None, false)
    }

    /// As [`Session::infer`], of and with tensors that the caller owns.
    ///
    /// # Errors
    /// Those of [`Session::infer`].
    pub fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Outputs, Error> {
        Ok(self.infer(&views(inputs))?.to_owned())
    }

    /// As [`Session::run`], and calls `observer` after each node with the node's index, its result's [`ValueId`], and the
    /// result itself. So that it sees every result whole, nothing is fused, and all samples run at once.
    ///
    /// # Errors
    /// Those of [`Session::infer`].
    pub fn run_observed(
        &mut self,
        inputs: &[(&str, Tensor)],
        observer: &mut dyn FnMut(usize, ValueId, TensorView<'_>),
    ) -> Result<Outputs, Error> {
        Ok(self.start(&views(inputs), Some(observer), true)?.to_owned())
    }

    /// Which kernel runs each node at those sizes (a number is the batch size), why, and how long it should take on this machine.
    ///
    /// # Errors
    /// [`Error::Sizes`] where the model can't run at such sizes, or needs more of them; [`Error::Plan`] where the batch is empty or
    /// needs more memory than allowed.
    pub fn explain(&self, sizes: impl Into<Sizes>) -> Result<Vec<Explained>, Error> {
        let how = (self.isas, self.threads(), self.tuning.as_ref());
        explain(&self.model, (&sizes.into(), self.options.max_memory), how, Peaks::measured())
    }

    /// `observed`: every value lies as it is, for all samples.
    fn start(
        &mut self,
        inputs: &[(&str, TensorView<'_>)],
        observer: Option<Observer<'_>>,
        observed: bool,
    ) -> Result<OutputViews<'_>, Error> {
        let mut ordered = recycle(std::mem::take(&mut self.room));
        let ran = self.start_in_order(inputs, &mut ordered, observer, observed);
        self.room = recycle(ordered);
        ran?;
        let ready = self.ready.last().expect("`start_in_order` leaves one");
        Ok(OutputViews { ports: self.model.outputs(), graph: ready.graph(&self.model), executor: &ready.executor })
    }

    /// Runs, and leaves what ran at the end. `ordered` is room for views.
    fn start_in_order<'a>(
        &mut self,
        inputs: &[(&str, TensorView<'a>)],
        ordered: &mut Vec<TensorView<'a>>,
        observer: Option<Observer<'_>>,
        observed: bool,
    ) -> Result<(), Error> {
        in_order(self.model.inputs(), inputs, ordered)?;
        self.prepare(ordered, observed)?;
        let Ready { sized, executor, backend, .. } = self.ready.last_mut().expect("`prepare` leaves one");
        let graph = sized.as_deref().unwrap_or(self.model.graph());
        Ok(executor.run(graph, self.model.constants(), backend, ordered, observer)?)
    }

    /// Puts what runs such inputs at the end, making it where there is none.
    fn prepare(&mut self, inputs: &[TensorView<'_>], observed: bool) -> Result<(), Error> {
        if let Some(at) = self.ready.iter().position(|ready| ready.is_for(inputs, observed)) {
            self.ready[at..].rotate_left(1);
            return Ok(());
        }
        let sizes = sizes(self.model.inputs(), inputs)?;
        let (isas, pool, tuning) = (self.isas, &self.pool, self.tuning.as_ref());
        let graph = self.model.sized(&sizes)?;
        let (net, how) = (Net { graph: &graph, constants: self.model.constants() }, (sizes.batch(), self.options.max_memory));
        let (plan, bindings) = if observed {
            let plan = Plan::new(&graph, how.0, how.1)?;
            let bindings = Bindings::new(isas, pool.threads(), net, &plan, tuning);
            (plan, bindings)
        } else {
            Bindings::planned(isas, pool.threads(), net, how, tuning)?
        };
        let backend = Native::new(pool, &self.model, bindings);
        if self.ready.len() == KEPT {
            self.ready.remove(0);
        }
        let executor = Executor::new(plan, backend.scratch())?;
        let shapes = inputs.iter().map(|view| view.shape().to_vec()).collect();
        let sized = if let Cow::Owned(graph) = graph { Some(Box::new(graph)) } else { None };
        self.ready.push(Ready { shapes, observed, sized, executor, backend });
        Ok(())
    }
}

/// Borrowed forms.
fn views<'a>(inputs: &'a [(&str, Tensor)]) -> Vec<(&'a str, TensorView<'a>)> {
    inputs.iter().map(|(name, tensor)| (*name, tensor.view())).collect()
}
