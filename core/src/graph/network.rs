//! A graph together with its constants in memory: what the converter builds and rewrites.

use std::sync::Arc;

use super::check::{GraphError, default_dtype};
use super::shape::infer;
use super::{ConstantId, Constants, Dim, Graph, Node, Op, Value, ValueId};
use crate::quant::Affine;
use crate::tensor::{AlignedBytes, DType, Element};

/// A graph and the elements of its constants. Cloning shares the elements.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// The graph.
    pub graph: Graph,
    constants: Vec<Arc<AlignedBytes>>,
}

impl Constants for Network {
    fn bytes_of(&self, id: ConstantId) -> &[u8] {
        self.constants.get(id.index()).map_or(&[], |bytes| bytes)
    }
}

impl Network {
    /// An empty network of that name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { graph: Graph { name: name.into(), ..Graph::default() }, constants: Vec::new() }
    }

    /// Adds an input.
    pub fn input(&mut self, name: impl Into<String>, dtype: DType, shape: Vec<Dim>) -> ValueId {
        let id = self.value(Value { name: name.into(), dtype, shape, quant: None, constant: None });
        self.graph.inputs.push(id);
        id
    }

    /// Adds a constant.
    ///
    /// # Panics
    /// If the number of elements is not that of `shape`: the caller made both.
    pub fn constant<T: Element>(&mut self, name: impl Into<String>, shape: &[usize], data: &[T]) -> ValueId {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "elements of a constant of shape {shape:?}");
        let bytes = AlignedBytes::copy_of(bytemuck::cast_slice(data)).expect("memory for a copy of what is in memory");
        let id = ConstantId(self.constants.len() as u32);
        self.constants.push(Arc::new(bytes));
        let shape = shape.iter().map(|&d| Dim::Fixed(d)).collect();
        self.value(Value { name: name.into(), dtype: T::DTYPE, shape, quant: None, constant: Some(id) })
    }

    /// Adds a node with one output, whose shape and type are inferred (f32 operations: f32; see [`default_dtype`]).
    ///
    /// # Errors
    /// [`GraphError`], naming the node, where the operands don't fit.
    pub fn push(&mut self, op: Op, inputs: &[ValueId], name: &str, output_name: &str) -> Result<ValueId, GraphError> {
        let dtype = default_dtype(&op, self.graph.value(inputs[0]).dtype);
        self.push_typed(op, inputs, name, output_name, dtype, None)
    }

    /// Adds a node with one output of the given type and affine parameters.
    ///
    /// # Errors
    /// [`GraphError`], naming the node, where the operands don't fit.
    pub fn push_typed(
        &mut self,
        op: Op,
        inputs: &[ValueId],
        name: &str,
        output_name: &str,
        dtype: DType,
        quant: Option<Affine>,
    ) -> Result<ValueId, GraphError> {
        let shapes: Vec<&[Dim]> = inputs.iter().map(|&i| self.graph.value(i).shape.as_slice()).collect();
        let shape = infer(&op, &shapes).map_err(|source| GraphError::Shape { node: name.to_owned(), op: op.name(), source })?;
        let output = self.value(Value { name: output_name.to_owned(), dtype, shape, quant, constant: None });
        self.graph.nodes.push(Node { name: name.to_owned(), op, inputs: inputs.to_vec(), outputs: vec![output] });
        Ok(output)
    }

    /// Marks a value as an output.
    pub fn output(&mut self, id: ValueId) {
        self.graph.outputs.push(id);
    }

    /// The elements of a constant; `None` if the value is no constant or of another type.
    pub fn elements<T: Element>(&self, id: ValueId) -> Option<&[T]> {
        let value = self.graph.value(id);
        let constant = value.constant.filter(|_| value.dtype == T::DTYPE)?;
        bytemuck::try_cast_slice(self.bytes_of(constant)).ok()
    }

    /// Drops values that nothing uses, and constants that no value names; nodes and the order of inputs stay.
    pub fn compact(&mut self) {
        let graph = &mut self.graph;
        let mut used = vec![false; graph.values.len()];
        let ends = graph.inputs.iter().chain(&graph.outputs);
        for id in ends.chain(graph.nodes.iter().flat_map(|n| n.inputs.iter().chain(&n.outputs))) {
            used[id.index()] = true;
        }
        let mut map = vec![ValueId(u32::MAX); graph.values.len()];
        let mut constants = Vec::new();
        let mut values = Vec::new();
        for (old, mut value) in std::mem::take(&mut graph.values).into_iter().enumerate().filter(|(i, _)| used[*i]) {
            if let Some(id) = &mut value.constant {
                constants.push(Arc::clone(&self.constants[id.index()]));
                *id = ConstantId(constants.len() as u32 - 1);
            }
            map[old] = ValueId(values.len() as u32);
            values.push(value);
        }
        graph.values = values;
        self.constants = constants;
        let rename = |id: &mut ValueId| *id = map[id.index()];
        graph.inputs.iter_mut().for_each(rename);
        graph.outputs.iter_mut().for_each(rename);
        graph.nodes.iter_mut().flat_map(|n| n.inputs.iter_mut().chain(n.outputs.iter_mut())).for_each(rename);
    }

    fn value(&mut self, value: Value) -> ValueId {
        self.graph.values.push(value);
        ValueId(self.graph.values.len() as u32 - 1)
    }
}
