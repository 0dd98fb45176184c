//! Results of a run: lent by the session, or a caller's own.

use quaver_core::exec::Executor;
use quaver_core::graph::Graph;
use quaver_core::tensor::TensorView;

use crate::Tensor;
use crate::model::Port;

/// The results of a run where they lie, in the model's order, until the session runs again.
#[derive(Debug, Clone, Copy)]
pub struct OutputViews<'a> {
    pub(super) ports: &'a [Port],
    pub(super) graph: &'a Graph,
    pub(super) executor: &'a Executor,
}

impl<'a> OutputViews<'a> {
    /// The output of that name.
    pub fn get(&self, name: &str) -> Option<TensorView<'a>> {
        self.at(self.ports.iter().position(|port| port.name == name)?)
    }

    /// The first output: the only one of most models.
    pub fn first(&self) -> Option<TensorView<'a>> {
        self.at(0)
    }

    /// Names and tensors, in the model's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, TensorView<'a>)> {
        let views = *self;
        self.ports.iter().enumerate().filter_map(move |(i, port)| Some((port.name.as_str(), views.at(i)?)))
    }

    /// Number of outputs.
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// Whether the model has no outputs.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// Copies of all.
    pub fn to_owned(&self) -> Outputs {
        Outputs { tensors: self.iter().map(|(name, view)| (name.to_owned(), Tensor::copy_of(view))).collect() }
    }

    fn at(&self, index: usize) -> Option<TensorView<'a>> {
        self.executor.output(self.graph, index)
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
