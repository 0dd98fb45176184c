//! A session: one caller's runs of a model.

use std::sync::Arc;

use quaver_core::exec::{Executor, Observer};
use quaver_core::graph::dim::display;
use quaver_core::graph::{Dim, ValueId};
use quaver_core::plan::Plan;
use quaver_core::tensor::TensorView;

use crate::backend::Native;
use crate::dispatch::tune::Tuning;
use crate::model::Port;
use crate::pool::Pool;
use crate::{Error, Isa, Model, SessionOptions, Tensor, cpu};

/// Runs a [`Model`]. A session belongs to one thread at a time and keeps the memory of its runs; sessions share the model.
#[derive(Debug)]
pub struct Session {
    model: Model,
    options: SessionOptions,
    isas: &'static [Isa],
    tuning: Option<Tuning>,
    pool: Arc<Pool>,
    /// By batch size, the one used last at the end.
    executors: Vec<(Executor, Native)>,
}

/// Batch sizes whose memory a session keeps.
const KEPT: usize = 4;

impl Session {
    /// A session of `model`. Memory for activations is allocated at the first run of each batch size; that of the last four
    /// batch sizes is kept.
    ///
    /// # Errors
    /// [`Error::Threads`] for no threads; [`Error::UnknownIsa`] or [`Error::UnavailableIsa`] where the environment variable
    /// `QUAVER_ISA` asks for what isn't there.
    pub fn new(model: &Model, options: SessionOptions) -> Result<Self, Error> {
        if options.threads == 0 {
            return Err(Error::Threads { threads: 0 });
        }
        let isas = cpu::isas(options.isa)?;
        let nodes = model.graph().nodes.len();
        let tuning = options.tuning.as_ref().map(|path| Tuning::read(path, model.name(), nodes)).transpose()?;
        let pool = Arc::new(Pool::new(options.threads).map_err(|source| Error::Spawn { threads: options.threads, source })?);
        Ok(Self { model: model.clone(), options, isas, tuning, pool, executors: Vec::new() })
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

    /// Runs the model on named inputs, in any order. The batch size is that of their shapes, where the model leaves it open.
    ///
    /// # Errors
    /// [`Error`], naming the input, where one is unknown, missing, given twice, or of another type, shape or batch size;
    /// [`Error::Plan`] and [`Error::Run`] where the batch needs more memory than allowed or available.
    pub fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Outputs, Error> {
        self.start(inputs, None)
    }

    /// As [`Session::run`], and calls `observer` after each node with the node's index, its result's [`ValueId`], and the
    /// result itself.
    ///
    /// # Errors
    /// Those of [`Session::run`].
    pub fn run_observed(
        &mut self,
        inputs: &[(&str, Tensor)],
        observer: &mut dyn FnMut(usize, ValueId, TensorView<'_>),
    ) -> Result<Outputs, Error> {
        self.start(inputs, Some(observer))
    }

    fn start(&mut self, inputs: &[(&str, Tensor)], observer: Option<Observer<'_>>) -> Result<Outputs, Error> {
        let ordered = in_order(self.model.inputs(), inputs)?;
        let batch = batch_size(self.model.inputs(), &ordered)?;
        let views: Vec<TensorView<'_>> = ordered.iter().filter_map(|t| t.view()).collect();
        self.prepare(batch)?;
        let (Some((executor, backend)), graph) = (self.executors.last_mut(), self.model.graph()) else {
            unreachable!("`prepare` leaves the batch's executor at the end")
        };
        executor.run(graph, self.model.constants(), backend, &views, observer)?;
        let tensors = (0..graph.outputs.len()).filter_map(|i| executor.output(graph, i)).map(Tensor::copy_of);
        Ok(Outputs { tensors: self.model.outputs().iter().map(|p| p.name.clone()).zip(tensors).collect() })
    }

    /// Puts the executor of that batch size at the end, making it where there is none.
    fn prepare(&mut self, batch: usize) -> Result<(), Error> {
        if let Some(at) = self.executors.iter().position(|(e, _)| e.plan().batch == batch) {
            self.executors[at..].rotate_left(1);
            return Ok(());
        }
        let plan = Plan::new(self.model.graph(), batch, self.options.max_memory)?;
        if self.executors.len() == KEPT {
            self.executors.remove(0);
        }
        let backend = Native::new(self.isas, &self.pool, self.model.graph(), &plan, self.tuning.as_ref());
        self.executors.push((Executor::new(plan, backend.scratch())?, backend));
        Ok(())
    }
}

/// The results of a run, in the model's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    tensors: Vec<(String, Tensor)>,
}

impl Outputs {
    /// The output of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }

    /// The first output: the only one of most models.
    pub fn first(&self) -> Option<&Tensor> {
        self.tensors.first().map(|(_, t)| t)
    }

    /// Names and tensors, in the model's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(n, t)| (n.as_str(), t))
    }

    /// Number of outputs.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether the model has no outputs.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}

impl IntoIterator for Outputs {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<(String, Tensor)>;
    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}

/// The given tensors in the order of `ports`, each with the port's type.
fn in_order<'a>(ports: &[Port], given: &'a [(&str, Tensor)]) -> Result<Vec<&'a Tensor>, Error> {
    let mut found: Vec<Option<&Tensor>> = vec![None; ports.len()];
    for (name, tensor) in given {
        let Some(index) = ports.iter().position(|p| p.name == *name) else {
            let known = ports.iter().map(|p| format!("'{}'", p.name)).collect::<Vec<_>>();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Error::UnknownInput { name: (*name).to_owned(), known });
        };
        if found[index].replace(tensor).is_some() {
            return Err(Error::DuplicateInput { name: (*name).to_owned() });
        }
    }
    let checked = ports.iter().zip(found).map(|(port, tensor)| match tensor {
        None => Err(Error::MissingInput { name: port.name.clone(), expected: format!("{}{}", port.dtype, display(&port.shape)) }),
        Some(t) if t.dtype() != port.dtype => Err(Error::InputType { name: port.name.clone(), expected: port.dtype, got: t.dtype() }),
        Some(t) => Ok(t),
    });
    checked.collect()
}

/// The batch size that the shapes of `tensors` say; 1 where no input depends on it.
fn batch_size(ports: &[Port], tensors: &[&Tensor]) -> Result<usize, Error> {
    let mut batch: Option<(usize, &str)> = None;
    for (port, tensor) in ports.iter().zip(tensors) {
        let refuse = || Error::InputShape { name: port.name.clone(), expected: display(&port.shape), got: tensor.shape().to_vec() };
        if port.shape.len() != tensor.shape().len() {
            return Err(refuse());
        }
        let mut own = None;
        for (dim, &extent) in port.shape.iter().zip(tensor.shape()) {
            match *dim {
                Dim::Fixed(n) if n == extent => {}
                Dim::Batch { times } if times > 0 && extent > 0 && extent % times == 0 => {
                    if *own.get_or_insert(extent / times) != extent / times {
                        return Err(refuse());
                    }
                }
                _ => return Err(refuse()),
            }
        }
        match (own, batch) {
            (Some(got), Some((expected, other))) if got != expected => {
                return Err(Error::Batch { name: port.name.clone(), got, other: other.to_owned(), expected });
            }
            (Some(got), None) => batch = Some((got, &port.name)),
            _ => {}
        }
    }
    Ok(batch.map_or(1, |(n, _)| n))
}
