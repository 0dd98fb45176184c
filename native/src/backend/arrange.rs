//! What the backend asks of the plan: how many samples run at once, values that are written where and as they are read, and pools
//! that are computed along with what is in front of them.

use quaver_core::graph::{Dim, Graph, Node, Op, ValueId};
use quaver_core::kernel::bind::window_is_usual;
use quaver_core::plan::Plan;
use quaver_core::plan::arrange::{Pass, Storage, samples_are_apart};
use quaver_core::tensor::DType;
use quaver_pool::strips::Strips;

use super::{Bindings, Bound, State, work};
use crate::dispatch::kernel::Kind;
use crate::dispatch::query::Query;

/// Bytes of a node's activations that a core keeps in its cache beside weights.
const AT_HAND: usize = 1 << 20;

/// Bytes of a result that are too many to be still near when a pool reads them.
const FAR: usize = 256 << 10;
/// Bytes of weights that stay near while strips pass by.
const WEIGHTS_AT_HAND: usize = 512 << 10;
/// Lines of a pool's result that are enough for a thread: the rows in front of its first line are computed twice.
const LINES: usize = 8;

/// Passes in which a batch runs: so many samples at once that the activations of a node stay in cache. The first nodes of a
/// network have the largest images and run for few samples, later ones for more, as the weights that they read are then read
/// for more samples. One pass where samples cannot run by themselves.
pub(super) fn passes(graph: &Graph, batch: usize, threads: usize) -> Vec<Pass> {
    let whole = vec![Pass { nodes: 0..graph.nodes.len(), batch }];
    if batch == 1 || !samples_are_apart(graph) {
        return whole;
    }
    let at_hand = AT_HAND.saturating_mul(threads);
    let mut passes: Vec<Pass> = Vec::new();
    // From the last node to the first: a pass is of no more samples than the one behind it.
    let mut most = batch;
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let bytes = activations(graph, node);
        while most > 1 && bytes.saturating_mul(most) > at_hand {
            most = largest_divisor_below(most);
        }
        match passes.last_mut() {
            Some(pass) if pass.batch == most => pass.nodes.start = index,
            _ => passes.push(Pass { nodes: index..index + 1, batch: most }),
        }
    }
    passes.reverse();
    if passes.is_empty() { whole } else { passes }
}

/// Bytes of a node's operands and result, for one sample, but for constants.
fn activations(graph: &Graph, node: &Node) -> usize {
    let values = node.inputs.iter().chain(&node.outputs).map(|&id| graph.value(id)).filter(|value| value.constant.is_none());
    let bytes = values.map(|value| {
        let elements = value.shape.iter().map(|d| d.at(1)).try_fold(1usize, |n, d| n.checked_mul(d?));
        elements.and_then(|n| n.checked_mul(value.dtype.size())).unwrap_or(usize::MAX)
    });
    bytes.fold(0, usize::saturating_add)
}

/// The largest number below `n` that divides it, but for those that only large primes lead to; 1 for 1.
fn largest_divisor_below(n: usize) -> usize {
    const LARGE: usize = 1 << 16;
    let smallest = (2..LARGE).take_while(|d| d * d <= n).find(|d| n.is_multiple_of(*d));
    n / smallest.unwrap_or(n)
}

/// For each node whether it is a convolution with a large result that only a max pool reads, which is better computed along with it:
/// then what lies between them is never written to memory.
pub(super) fn pools(graph: &Graph, plan: &Plan, threads: usize) -> Vec<Option<Strips>> {
    let uses = uses(graph);
    let pooled = |(index, node): (usize, &Node)| {
        let (Op::QConv(_), id) = (&node.op, node.outputs[0]) else { return None };
        let &[reader] = &uses.readers[id.index()][..] else { return None };
        let reader = graph.nodes.get(reader)?;
        let Op::Pool(window) = &reader.op else { return None };
        let shapes = &plan.pass_of(index).shapes;
        let (&[images, h, w, c], &[_, oh, ow, _]) = (&shapes[id.index()][..], &shapes[reader.outputs[0].index()][..]) else { return None };
        let strips = Strips::new(window, [h, w, c], [oh, ow])?;
        let enough = window.window.kernel[0] <= window.window.strides[0] || images * oh >= LINES * threads;
        let weights: usize = shapes[node.inputs[1].index()].iter().product();
        let joins = graph.value(id).dtype == DType::U8 && !has_residual(&node.op) && window_is_usual(&reader.op);
        (joins && enough && h * w * c > FAR && weights <= WEIGHTS_AT_HAND).then_some(strips)
    };
    graph.nodes.iter().enumerate().map(pooled).collect()
}

impl Bindings {
    /// Decides which values are written as their readers want them, and tells both; says so for the plan.
    pub(super) fn store(&mut self, graph: &Graph, plan: &Plan) -> Vec<Option<Storage>> {
        let uses = uses(graph);
        let mut stored = vec![None; graph.values.len()];
        for index in 0..self.nodes.len() {
            let id = graph.nodes[index].outputs[0];
            if let [reader] = uses.readers[id.index()][..] {
                let nodes = (index, reader);
                stored[id.index()] = self.fill_frames(graph, plan, nodes, id).or_else(|| self.join_pool(graph, nodes));
            }
        }
        for (index, node) in graph.nodes.iter().enumerate() {
            self.fill_concat(graph, &uses, (index, node), &mut stored);
        }
        stored
    }

    /// Operands of a concatenation of channels that nothing else reads are written into it by the products they come from.
    fn fill_concat(&mut self, graph: &Graph, uses: &Uses, (index, node): (usize, &Node), stored: &mut [Option<Storage>]) {
        let value = node.outputs[0];
        let Some((last, _)) = graph.value(value).shape.split_last() else { return };
        let (Op::Concat { axis }, &Dim::Fixed(width)) = (&node.op, last) else { return };
        if axis + 1 != graph.value(value).shape.len() || self.nodes[index].choice.kernel.kind != Kind::Concat {
            return;
        }
        let mut start = 0;
        for &id in &node.inputs {
            let Some(&Dim::Fixed(columns)) = graph.value(id).shape.last() else { return };
            let writer = uses.writers[id.index()];
            let writer = writer.filter(|&writer| uses.readers[id.index()] == [index] && !has_residual(&graph.nodes[writer].op));
            if let Some(State::Packed(packed)) = writer.map(|writer| &mut self.nodes[writer].state) {
                packed.write_within(width, start);
                stored[id.index()] = Some(Storage::Within { value, start });
            }
            start += columns;
        }
    }

    /// A convolution computes the pool behind it along, where it is such a one.
    fn join_pool(&mut self, graph: &Graph, (writer, reader): (usize, usize)) -> Option<Storage> {
        let takes = self.nodes.get(reader)?.choice.kernel.kind == Kind::Pool;
        let Bound { state: State::Packed(packed), pooled: Some(strips), .. } = &mut self.nodes[writer] else { return None };
        if !takes {
            return None;
        }
        packed.pool(*strips);
        Some(Storage::Pooled(graph.nodes[reader].outputs[0]))
    }

    /// A quantization that only a convolution reads, which would copy the images into frames, writes them there.
    fn fill_frames(&mut self, graph: &Graph, plan: &Plan, (writer, reader): (usize, usize), id: ValueId) -> Option<Storage> {
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
        let images = graph.value(id).shape[0].clone();
        Some(Storage::As([images].into_iter().chain(frame.extents().map(Dim::Fixed)).collect()))
    }
}

/// Whether a tensor is added to a node's result.
fn has_residual(op: &Op) -> bool {
    let epilogue = match op {
        Op::QConv(conv) => conv.epilogue,
        Op::QConvTranspose(conv) => conv.epilogue,
        Op::QGemm(gemm) => gemm.epilogue,
        _ => None,
    };
    epilogue.is_some_and(|epilogue| epilogue.residual.is_some())
}

/// Who uses each value.
struct Uses {
    /// The node that computes it.
    writers: Vec<Option<usize>>,
    /// Nodes that read it, as often as they do; outputs of the graph are read by a node that isn't there.
    readers: Vec<Vec<usize>>,
}

fn uses(graph: &Graph) -> Uses {
    let count = graph.values.len();
    let mut uses = Uses { writers: vec![None; count], readers: vec![Vec::new(); count] };
    for (index, node) in graph.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|id| uses.readers[id.index()].push(index));
        node.outputs.iter().for_each(|id| uses.writers[id.index()] = Some(index));
    }
    graph.outputs.iter().for_each(|id| uses.readers[id.index()].push(graph.nodes.len()));
    uses
}
