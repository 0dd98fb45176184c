//! One line a node, for people.

use std::fmt::Write;

use super::dim::display;
use super::{Graph, ValueId};

/// The graph as text: inputs, then `output dtype[shape] = Op(operands)  # name`, then outputs.
pub fn listing(graph: &Graph) -> String {
    let mut text = String::new();
    let full = |id: ValueId| {
        let v = graph.value(id);
        let quant = v.quant.map(|q| format!(" s={} z={}", q.scale, q.zero_point)).unwrap_or_default();
        format!("{} {}{}{quant}", label(graph, id), v.dtype, display(&v.shape))
    };
    for &id in &graph.inputs {
        let _ = writeln!(text, "input {}", full(id));
    }
    for node in &graph.nodes {
        let outputs: Vec<String> = node.outputs.iter().map(|&id| full(id)).collect();
        let inputs: Vec<String> = node.inputs.iter().map(|&id| label(graph, id)).collect();
        let _ = writeln!(text, "{} = {}({})  # {}", outputs.join(", "), node.op.name(), inputs.join(", "), node.name);
    }
    for &id in &graph.outputs {
        let _ = writeln!(text, "output {}", label(graph, id));
    }
    text
}

/// A value's name, or `%index` where it has none.
pub fn label(graph: &Graph, id: ValueId) -> String {
    let name = &graph.value(id).name;
    if name.is_empty() { format!("%{}", id.0) } else { name.clone() }
}
