//! Which nodes go into the epilogue of a heavy node: a residual addition, an activation.

use quaver_core::graph::op::{BinaryFn, UnaryFn};
use quaver_core::graph::{Graph, Op, ValueId};

use super::given::Given;
use super::regions::{Kind, Regions};

/// A node together with what was fused behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// The value added before rounding.
    pub residual: Option<ValueId>,
    /// Limits of a fused Relu or Clip; they hold before the table, where there is one.
    pub clamp: Option<(f32, f32)>,
    /// A function applied by table, and the value it is applied to (whose range it needs).
    pub table: Option<(UnaryFn, ValueId)>,
    /// The value that the group computes.
    pub output: ValueId,
}

/// The groups of a graph.
#[derive(Debug)]
pub struct Groups {
    /// For each node that starts a group (quantized or not), the group.
    pub groups: Vec<Option<Group>>,
}

/// Fuses, in order of execution, what only the node itself feeds. Where the model brings parameters (`given`), no rounding that
/// it asks for is left out.
pub fn fuse(graph: &Graph, regions: &Regions, given: Option<&Given>) -> Groups {
    let unrounded = |v: ValueId| given.is_none_or(|g| g.unrounded[v.index()]);
    let as_one = |a: ValueId, b: ValueId| given.is_none_or(|g| g.affine[a.index()] == g.affine[b.index()]);
    let consumers = graph.consumers();
    let mut absorbed = vec![false; graph.nodes.len()];
    // The node index from which a value is there, once groups are formed.
    let mut ready: Vec<usize> = vec![usize::MAX; graph.values.len()];
    for input in &graph.inputs {
        ready[input.index()] = 0;
    }
    let mut groups = Vec::with_capacity(graph.nodes.len());
    for (i, node) in graph.nodes.iter().enumerate() {
        if absorbed[i] {
            groups.push(None);
            continue;
        }
        let mut group = Group { residual: None, clamp: None, table: None, output: node.outputs[0] };
        let heavy = regions.kinds[i] == Kind::Heavy;
        let only_consumer = |value: ValueId| match consumers[value.index()][..] {
            [c] if regions.quantized[c] && !graph.outputs.contains(&value) && regions.is_u8[value.index()] => Some(c),
            _ => None,
        };
        if regions.quantized[i]
            && heavy
            && let Some((c, residual)) = only_consumer(group.output).and_then(|c| Some((c, residual_of(graph, c, group.output)?)))
            && regions.is_u8[residual.index()]
            && unrounded(group.output)
            && ready[residual.index()] <= i
        {
            absorbed[c] = true;
            group.residual = Some(residual);
            group.output = graph.nodes[c].outputs[0];
        }
        if regions.quantized[i]
            && matches!(regions.kinds[i], Kind::Heavy | Kind::Light)
            && !matches!(node.op, Op::Unary { .. } | Op::Softmax { .. })
        {
            while let Some(c) = only_consumer(group.output) {
                let Op::Unary { function } = graph.nodes[c].op else { break };
                let limits = match function {
                    UnaryFn::Relu => Some((0.0, f32::INFINITY)),
                    UnaryFn::Clip { lo, hi } => Some((lo, hi)),
                    _ => None,
                };
                match limits {
                    _ if group.table.is_some() => break,
                    Some((lo, hi)) if as_one(group.output, graph.nodes[c].outputs[0]) => {
                        let (a, b) = group.clamp.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
                        group.clamp = Some((a.max(lo).min(hi), b.max(lo).min(hi)));
                    }
                    _ if heavy => group.table = Some((function, group.output)),
                    _ => break,
                }
                absorbed[c] = true;
                group.output = graph.nodes[c].outputs[0];
            }
        }
        ready[group.output.index()] = i + 1;
        for output in &node.outputs {
            ready[output.index()] = i + 1;
        }
        groups.push(Some(group));
    }
    Groups { groups }
}

/// The other operand, where node `c` adds a tensor of the same shape to `value`.
fn residual_of(graph: &Graph, c: usize, value: ValueId) -> Option<ValueId> {
    let node = &graph.nodes[c];
    if node.op != (Op::Binary { function: BinaryFn::Add }) {
        return None;
    }
    let other = if node.inputs[0] == value { node.inputs[1] } else { node.inputs[0] };
    let same = graph.value(other).shape == graph.value(value).shape;
    (other != value && same && graph.value(other).constant.is_none()).then_some(other)
}
