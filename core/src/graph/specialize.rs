//! Numbers for the extents that a graph leaves open. What plans, binds and runs a graph knows only the batch size as a symbol.

use std::borrow::Cow;
use std::fmt;

use super::check::{GraphError, check};
use super::extent::BATCH;
use super::op::{Cut, Op, Resize};
use super::shape::infer;
use super::{Dim, Graph};

/// Numbers of the symbols of a graph's inputs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Sizes(Vec<(String, usize)>);

impl Sizes {
    /// That of the symbol, where it is known.
    pub fn get(&self, name: &str) -> Option<usize> {
        self.0.iter().find(|(n, _)| n == name).map(|&(_, size)| size)
    }

    /// Says the number of a symbol; `false` where it has another one.
    pub fn set(&mut self, name: &str, size: usize) -> bool {
        match self.get(name) {
            Some(known) => known == size,
            None => {
                self.0.push((name.to_owned(), size));
                true
            }
        }
    }

    /// The batch size; 1 where nothing says it.
    pub fn batch(&self) -> usize {
        self.get(BATCH).unwrap_or(1)
    }

    /// Names and numbers, in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.0.iter().map(|(name, size)| (name.as_str(), *size))
    }

    /// Learns the sizes from the extents of an input declared as `shape`; `false` where they don't fit that, or what is known.
    pub fn learn(&mut self, shape: &[Dim], extents: &[usize]) -> bool {
        shape.len() == extents.len()
            && shape.iter().zip(extents).all(|(dim, &extent)| match dim {
                Dim::Fixed(n) => *n == extent,
                Dim::Batch { times } => *times > 0 && extent > 0 && extent % times == 0 && self.set(BATCH, extent / times),
                Dim::Open(open) => extent > 0 && open.name().is_some_and(|name| self.set(name, extent)),
            })
    }

    fn at(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(|size| i64::try_from(size).ok())
    }
}

/// A batch size.
impl From<usize> for Sizes {
    fn from(batch: usize) -> Self {
        Self(vec![(BATCH.to_owned(), batch)])
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, size)) in self.0.iter().enumerate() {
            write!(f, "{}{name}={size}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Graph {
    /// Whether extents depend on more than the batch size, or an operation has to know that, so that only [`Graph::specialized`] can
    /// run.
    pub fn is_open(&self) -> bool {
        let open = |dim: &Dim| dim.is_open();
        // What is taken of a dimension has to be known as well.
        let cut = |cut: &Cut| cut.start.fixed().is_none() || cut.len.fixed().is_none();
        self.values.iter().any(|value| value.shape.iter().any(open))
            || self.nodes.iter().any(|node| match &node.op {
                Op::Slice { cuts } => cuts.iter().any(cut),
                Op::Reduce { axes, .. } => axes.iter().any(|&axis| self.value(node.inputs[0]).shape[axis].fixed().is_none()),
                op => op.extents().into_iter().any(open),
            })
    }

    /// This graph where nothing is open but the batch size, else [`Graph::specialized`].
    ///
    /// # Errors
    /// Those of [`Graph::specialized`].
    pub fn sized(&self, sizes: &Sizes) -> Result<Cow<'_, Graph>, GraphError> {
        if self.is_open() { self.specialized(sizes).map(Cow::Owned) } else { Ok(Cow::Borrowed(self)) }
    }

    /// The graph for inputs of those sizes, in which at most the batch size is left open. Values and nodes keep their indices.
    ///
    /// # Errors
    /// [`GraphError`], naming the node that can't have operands of such sizes.
    pub fn specialized(&self, sizes: &Sizes) -> Result<Graph, GraphError> {
        match self.with(&|name| sizes.at(name).filter(|_| name != BATCH)) {
            Ok(graph) if !graph.is_open() => Ok(graph),
            // Extents depend on the batch size in other ways than as multiples of it.
            _ => self.fixed(sizes),
        }
    }

    /// The graph for inputs of those sizes, in which nothing is left open.
    ///
    /// # Errors
    /// Those of [`Graph::specialized`].
    pub fn fixed(&self, sizes: &Sizes) -> Result<Graph, GraphError> {
        self.with(&|name| sizes.at(name))
    }

    fn with(&self, size: &dyn Fn(&str) -> Option<i64>) -> Result<Graph, GraphError> {
        let mut graph = self.clone();
        for id in &self.inputs {
            let shape = &mut graph.values[id.index()].shape;
            if !shape.iter_mut().all(|dim| set(dim, size)) {
                return Err(GraphError::BadValue { value: self.value(*id).name.clone(), what: "an extent is not known" });
            }
        }
        for index in 0..graph.nodes.len() {
            let Graph { values, nodes, .. } = &mut graph;
            let node = &mut nodes[index];
            let (op, name) = (node.op.name(), || if node.name.is_empty() { format!("#{index}") } else { node.name.clone() });
            let error = |what: &str| GraphError::Type { node: name(), op, what: what.to_owned() };
            if !node.op.extents_mut().into_iter().all(|dim| set(dim, size)) {
                return Err(error("an extent is not known, or is negative for inputs of this size"));
            }
            let shapes: Vec<&[Dim]> = node.inputs.iter().map(|id| &values[id.index()].shape[..]).collect();
            if let Op::Resize(Resize { shape, scales, .. }) = &mut node.op {
                for ((scale, to), from) in scales.iter_mut().zip(shape).zip(shapes[0]) {
                    if let (true, Some(to), Some(from)) = (*scale == 0.0, to.fixed(), from.fixed()) {
                        *scale = to as f32 / from as f32;
                    }
                }
            }
            let shape = infer(&node.op, &shapes).map_err(|source| GraphError::Shape { node: name(), op, source })?;
            values[node.outputs[0].index()].shape = shape;
        }
        check(&graph).map(|()| graph)
    }
}

/// Puts numbers into an extent; `false` where it would be negative.
fn set(dim: &mut Dim, size: &dyn Fn(&str) -> Option<i64>) -> bool {
    let known = match dim {
        Dim::Fixed(_) => return true,
        Dim::Batch { .. } => dim.extent().and_then(|extent| extent.with(size)),
        Dim::Open(extent) => extent.with(size),
    };
    match known.and_then(Dim::of) {
        Some(known) => {
            *dim = known;
            true
        }
        None => false,
    }
}
