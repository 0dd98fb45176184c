//! A run of the quantized network on several samples at once, node by node, by the definition.

use quaver_core::graph::{Graph, Network, Sizes, ValueId};
use quaver_core::tensor::DType;

use crate::by_node::{Held, compute};
use crate::calibrate::Sample;
use crate::calibrate::burn_exec::RunError;

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
                sizes.learn(&graph.value(id).shape, &tensor.shape);
                values[id.index()] = Held::new(graph.value(id), tensor);
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

    /// Computes a node for every sample, and drops what nothing reads any more. Constants may have been exchanged since the start.
    pub(super) fn step(&mut self, network: &Network, node: usize) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(self.values.len()).max(1);
        let share = self.values.len().div_ceil(threads);
        let entry = &network.graph.nodes[node];
        let last = &self.last;
        std::thread::scope(|scope| {
            for (values, graphs) in self.values.chunks_mut(share).zip(self.graphs.chunks(share)) {
                scope.spawn(move || {
                    for (values, graph) in values.iter_mut().zip(graphs) {
                        let result = compute((&network.graph, network), graph, node, &|v| values.get(v).and_then(Option::as_ref));
                        values[entry.outputs[0].index()] = result;
                        for v in entry.inputs.iter().filter(|v| last.get(v.index()) == Some(&node)) {
                            values[v.index()] = None;
                        }
                    }
                });
            }
        });
    }
}
