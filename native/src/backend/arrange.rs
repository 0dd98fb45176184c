//! What the backend asks of the plan: how many samples run at once, and values that are written where and as they are read.

use quaver_core::graph::{Dim, Graph, ValueId};
use quaver_core::plan::Plan;
use quaver_core::plan::arrange::{Pass, Storage};

use super::{Bindings, State, work};
use crate::dispatch::kernel::Kind;
use crate::dispatch::query::Query;

/// Passes in which a batch runs.
pub(super) fn passes(_: &Graph, _: usize, _: usize) -> Vec<Pass> {
    Vec::new()
}

impl Bindings {
    /// Decides which values are written as their readers want them, and tells both; says so for the plan.
    pub(super) fn store(&mut self, graph: &Graph, plan: &Plan) -> Vec<Option<Storage>> {
        let readers = readers(graph);
        let mut stored = vec![None; graph.values.len()];
        for index in 0..self.nodes.len() {
            let id = graph.nodes[index].outputs[0];
            if let [reader] = readers[id.index()][..] {
                stored[id.index()] = self.into_frames(graph, plan, (index, reader), id);
            }
        }
        stored
    }

    /// A quantization that only a convolution reads, which would copy the images into frames, writes them there.
    fn into_frames(&mut self, graph: &Graph, plan: &Plan, (writer, reader): (usize, usize), id: ValueId) -> Option<Storage> {
        let State::Packed(packed) = &self.nodes.get(reader)?.state else { return None };
        let frame = packed.frame().filter(|_| graph.nodes[reader].inputs[0] == id)?;
        let query = Query::in_pass(graph, plan, writer, self.threads);
        let applies = self.nodes[writer].choice.kernel.kind == Kind::Quantize && work::takes_frame(&query, frame);
        if !applies {
            return None;
        }
        self.nodes[writer].state = State::Framed(frame);
        if let State::Packed(packed) = &mut self.nodes[reader].state {
            packed.read_frames();
        }
        let images = graph.value(id).shape[0];
        Some(Storage::As([images].into_iter().chain(frame.extents().map(Dim::Fixed)).collect()))
    }
}

/// Who reads each value, a node as often as it does; outputs of the graph are read by a node that isn't there.
fn readers(graph: &Graph) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); graph.values.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|id| readers[id.index()].push(index));
    }
    graph.outputs.iter().for_each(|id| readers[id.index()].push(graph.nodes.len()));
    readers
}
