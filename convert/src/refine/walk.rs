//! A run of the quantized network on several samples at once, node by node, by the definition.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::{Constants, Graph, Network, Sizes, ValueId};
use quaver_core::reference::Reference;
use quaver_core::tensor::{AlignedBytes, DType, TensorView, TensorViewMut, byte_count};

use crate::calibrate::Sample;
use crate::calibrate::burn_exec::RunError;

/// A value of one sample.
#[derive(Debug)]
struct Held {
    dtype: DType,
    shape: Vec<usize>,
    bytes: AlignedBytes,
}

/// The state of a run: for each sample, the values that are still needed.
#[derive(Debug)]
pub(super) struct Walk {
    graphs: Vec<Graph>,
    values: Vec<Vec<Option<Held>>>,
    /// The last node that reads a value.
    last: Vec<usize>,
}

impl Walk {
    /// Before the first node.
    pub(super) fn new(network: &Network, samples: &[Sample]) -> Result<Self, RunError> {
        let graph = &network.graph;
        let mut walk = Self { graphs: Vec::new(), values: Vec::new(), last: vec![0; graph.values.len()] };
        for (i, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|v| walk.last[v.index()] = i);
        }
        for sample in samples {
            let mut sizes = Sizes::default();
            let mut values: Vec<Option<Held>> = graph.values.iter().map(|_| None).collect();
            for (&id, tensor) in graph.inputs.iter().zip(sample) {
                let value = graph.value(id);
                sizes.learn(&value.shape, &tensor.shape);
                let bytes = match value.dtype {
                    DType::I64 => AlignedBytes::copy_of(bytemuck::cast_slice(&tensor.whole())),
                    _ => AlignedBytes::copy_of(bytemuck::cast_slice(&tensor.data)),
                };
                values[id.index()] = bytes.map(|bytes| Held { dtype: value.dtype, shape: tensor.shape.clone(), bytes });
            }
            let fixed = graph.fixed(&sizes).map_err(|source| RunError::Sizes { sizes: sizes.to_string(), source })?;
            walk.graphs.push(fixed);
            walk.values.push(values);
        }
        Ok(walk)
    }

    /// Number of samples.
    pub(super) fn samples(&self) -> usize {
        self.values.len()
    }

    /// Shape and bytes of a u8 value of a sample.
    pub(super) fn bytes(&self, sample: usize, id: ValueId) -> Option<(&[usize], &[u8])> {
        self.values[sample][id.index()].as_ref().filter(|v| v.dtype == DType::U8).map(|v| (v.shape.as_slice(), &v.bytes[..]))
    }

    /// The shape that a value has for a sample.
    pub(super) fn shape(&self, sample: usize, id: ValueId) -> Vec<usize> {
        self.graphs[sample].value(id).shape.iter().filter_map(|d| d.fixed()).collect()
    }

    /// Computes a node for every sample, and drops what nothing reads any more.
    pub(super) fn step(&mut self, network: &Network, node: usize) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(self.values.len()).max(1);
        let share = self.values.len().div_ceil(threads);
        let last = &self.last;
        std::thread::scope(|scope| {
            for (values, graphs) in self.values.chunks_mut(share).zip(self.graphs.chunks(share)) {
                scope.spawn(move || {
                    for (values, graph) in values.iter_mut().zip(graphs) {
                        compute(network, graph, node, values);
                        for v in network.graph.nodes[node].inputs.iter().filter(|v| last.get(v.index()) == Some(&node)) {
                            values[v.index()] = None;
                        }
                    }
                });
            }
        });
    }
}

/// Computes one node of one sample. `graph` has the sample's shapes, `network` the constants, which may have been exchanged.
fn compute(network: &Network, graph: &Graph, node: usize, values: &mut [Option<Held>]) {
    let entry = &network.graph.nodes[node];
    let shapes: Vec<Vec<usize>> = entry
        .inputs
        .iter()
        .map(|&id| match values.get(id.index()).and_then(Option::as_ref) {
            Some(held) => held.shape.clone(),
            None => network.graph.value(id).shape.iter().filter_map(|d| d.fixed()).collect(),
        })
        .collect();
    let mut operands = Vec::with_capacity(shapes.len());
    for (&id, shape) in entry.inputs.iter().zip(&shapes) {
        let value = network.graph.value(id);
        let bytes: &[u8] = match (values.get(id.index()).and_then(Option::as_ref), value.constant) {
            (Some(held), _) => &held.bytes,
            (None, Some(constant)) => network.bytes_of(constant),
            (None, None) => return,
        };
        let count = byte_count(value.dtype, shape).unwrap_or_default();
        let Some(view) = bytes.get(..count).and_then(|bytes| TensorView::new(value.dtype, shape, bytes)) else { return };
        operands.push(Operand::new(view, value.quant));
    }
    let id = entry.outputs[0];
    let value = graph.value(id);
    let shape: Vec<usize> = value.shape.iter().filter_map(|d| d.fixed()).collect();
    let Some(mut bytes) = byte_count(value.dtype, &shape).and_then(AlignedBytes::zeroed) else { return };
    let count = byte_count(value.dtype, &shape).unwrap_or_default();
    if let Some(view) = TensorViewMut::new(value.dtype, &shape, &mut bytes[..count]) {
        Reference.compute(&graph.nodes[node].op, &operands, &mut OutputMut { view, quant: value.quant });
    }
    values[id.index()] = Some(Held { dtype: value.dtype, shape, bytes });
}
