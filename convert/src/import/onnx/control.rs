//! If, Loop and Scan: the branch that is taken, and the steps one after the other.
//!
//! Where a condition is known at import, as it is where exporters wrote a shape's or a setting's alternatives down, only the branch
//! that is taken is there; else both are, and a choice between their results. A loop's number of steps has to be known. Names of a
//! graph within are those of the model, which ONNX wants to be different from all others; steps share them.

use super::attrs::Attrs;
use super::ops::compose::{int, whole};
use super::ops::{Ctx, Outputs};
use super::proto::{GraphProto, NodeProto};
use super::value::{Sym, Val};
use super::{ImportError, Importer, NodeError, invalid, node_name, tensor, unsupported};

/// Most steps of a loop.
const MOST: i64 = 4096;

impl<'a> Importer<'a> {
    pub(super) fn control(&mut self, node: &'a NodeProto, name: &str) -> Outputs {
        let graph = |name: &str| node.attribute.iter().find(|a| a.name == name).and_then(|a| a.g.as_ref());
        let operand = |importer: &Self, i: usize| node.input.get(i).and_then(|n| importer.values.get(n.as_str()).cloned());
        let operands: Vec<Val> = (0..node.input.len()).map(|i| operand(self, i).unwrap_or(Val::Unknown)).collect();
        let attrs = Attrs::new(node);
        let ctx = Ctx { node, name, inputs: &[], attrs: &attrs };
        match node.op_type.as_str() {
            "If" => {
                let (Some(then), Some(otherwise)) = (graph("then_branch"), graph("else_branch")) else {
                    return invalid("a branch is missing");
                };
                match operands.first().map(|condition| (condition, truth(condition))) {
                    Some((_, Some(condition))) => self.body(if condition { then } else { otherwise }, &[]),
                    Some((condition, None)) => self.chosen(&ctx, condition, [then, otherwise]),
                    None => invalid("its condition is missing"),
                }
            }
            "Loop" => match graph("body") {
                Some(body) => self.unrolled(&ctx, body, &operands),
                None => invalid("body is missing"),
            },
            _ => match graph("body") {
                Some(body) => self.scan(&ctx, body, &operands),
                None => invalid("body is missing"),
            },
        }
    }

    /// The results of a graph within, whose inputs are bound to values.
    fn body(&mut self, graph: &'a GraphProto, inputs: &[Val]) -> Outputs {
        if graph.input.len() != inputs.len() {
            return invalid(format!("its graph takes {} values instead of {}", graph.input.len(), inputs.len()));
        }
        for constant in &graph.initializer {
            let value = tensor::decode(constant, self.folder)?;
            self.define(&constant.name, value);
        }
        for (input, value) in graph.input.iter().zip(inputs) {
            self.define(&input.name, value.clone());
        }
        for (i, node) in graph.node.iter().enumerate() {
            self.step(node, &node_name(node, i))?;
        }
        let mut outputs = Vec::with_capacity(graph.output.len());
        for output in &graph.output {
            match self.values.get(output.name.as_str()) {
                Some(value) => outputs.push(value.clone()),
                None => return invalid(format!("its graph does not compute '{}'", output.name)),
            }
        }
        Ok(outputs)
    }

    /// The results of that branch which a run will choose: both are computed.
    fn chosen(&mut self, ctx: &Ctx<'_>, condition: &Val, branches: [&'a GraphProto; 2]) -> Outputs {
        let remedy = "; if it depends on an input that is always the same, say so by --input-value NAME=NUMBER";
        let known = self.unsupported.len();
        let [then, otherwise] = branches.map(|branch| self.body(branch, &[]));
        let (then, otherwise) = match (then, otherwise) {
            (Ok(then), Ok(otherwise)) if self.unsupported.len() == known => (then, otherwise),
            (Err(NodeError::Other(error)), _) | (_, Err(NodeError::Other(error)))
                if !matches!(error, ImportError::Node { .. } | ImportError::Graph(_)) =>
            {
                return Err(NodeError::Other(error));
            }
            _ => {
                self.unsupported.truncate(known);
                return unsupported(format!("its condition is not known at import, and not both branches can be computed{remedy}"));
            }
        };
        // One number, of whatever rank; of several samples it may be one each.
        let one = self.extents(condition).iter().all(|extent| extent.fixed() == Some(1));
        let condition = if one { &self.call(ctx, "Squeeze", &[condition], &[])? } else { condition };
        let mut outputs = Vec::with_capacity(then.len());
        for (a, b) in then.iter().zip(&otherwise) {
            let chosen = self.call(ctx, "Where", &[condition, a, b], &[])?;
            if self.extents(a) != self.extents(b) || self.extents(&chosen) != self.extents(a) {
                return unsupported(format!("its condition is not known at import, and its branches' results differ in shape{remedy}"));
            }
            outputs.push(chosen);
        }
        Ok(outputs)
    }

    fn unrolled(&mut self, ctx: &Ctx<'_>, body: &'a GraphProto, operands: &[Val]) -> Outputs {
        let steps = match operands.first() {
            Some(Val::Ints { data, .. }) => data.first().and_then(Sym::num),
            Some(Val::Unknown) | None => Some(i64::MAX),
            _ => None,
        };
        let Some(steps) = steps else { return unsupported("its number of steps is not known at import") };
        let mut state = operands.get(2..).unwrap_or_default().to_vec();
        let collected = (body.output.len()).checked_sub(1 + state.len());
        let Some(collected) = collected else { return invalid("its body has too few results") };
        let mut kept = vec![Vec::new(); collected];
        let mut condition = match operands.get(1) {
            Some(Val::Unknown) | None => Some(true),
            Some(value) => truth(value),
        };
        for step in 0..steps {
            match condition {
                Some(true) => {}
                Some(false) => break,
                None => return unsupported("its condition is not known at import"),
            }
            if step == MOST {
                return unsupported(format!("it takes more than {MOST} steps"));
            }
            let first = [Val::Ints { shape: Vec::new(), data: vec![Sym::Num(step)] }, scalar_truth()];
            let results = self.body(body, &[&first[..], &state].concat())?;
            condition = truth(&results[0]);
            state = results[1..][..state.len()].to_vec();
            for (kept, result) in kept.iter_mut().zip(&results[1 + state.len()..]) {
                kept.push(result.clone());
            }
        }
        let joined = kept.iter().map(|parts| self.joined(ctx, parts, 0)).collect::<Result<Vec<_>, _>>()?;
        Ok([state, joined].concat())
    }

    fn scan(&mut self, ctx: &Ctx<'_>, body: &'a GraphProto, operands: &[Val]) -> Outputs {
        if self.opset < 9 {
            return unsupported("before opset 9 it has other operands");
        }
        let count = ctx.attrs.int("num_scan_inputs")?.and_then(|n| usize::try_from(n).ok()).filter(|&n| (1..=operands.len()).contains(&n));
        let Some(count) = count else { return invalid("num_scan_inputs is missing or out of range") };
        let mut state = operands[..operands.len() - count].to_vec();
        let inputs = &operands[state.len()..];
        let Some(collected) = body.output.len().checked_sub(state.len()) else { return invalid("its body has too few results") };
        let list = |name, n: usize| Ok::<_, NodeError>(ctx.attrs.ints(name)?.unwrap_or_else(|| vec![0; n]));
        let (in_axes, backwards) = (list("scan_input_axes", count)?, list("scan_input_directions", count)?);
        let (out_axes, reversed) = (list("scan_output_axes", collected)?, list("scan_output_directions", collected)?);
        let lengths = [in_axes.len(), backwards.len(), out_axes.len(), reversed.len()];
        if lengths != [count, count, collected, collected] {
            return invalid("its axes or directions are not as many as its operands or results");
        }
        let dims = self.extents(&inputs[0]);
        let steps = Self::fixed_extent(&dims, usize::try_from(in_axes[0]).unwrap_or(dims.len()))?;
        if steps as i64 > MOST {
            return unsupported(format!("it takes more than {MOST} steps"));
        }
        let mut kept = vec![Vec::new(); collected];
        for step in 0..steps {
            let mut bound = state.clone();
            for ((x, &axis), &back) in inputs.iter().zip(&in_axes).zip(&backwards) {
                let at = if back == 0 { step } else { steps - 1 - step };
                let at = Val::Ints { shape: Vec::new(), data: vec![Sym::Num(at as i64)] };
                bound.push(self.call(ctx, "Gather", &[x, &at], &[int("axis", axis)])?);
            }
            let results = self.body(body, &bound)?;
            state = results[..state.len()].to_vec();
            for (kept, result) in kept.iter_mut().zip(&results[state.len()..]) {
                kept.push(result.clone());
            }
        }
        let mut outputs = state;
        for (i, parts) in kept.iter_mut().enumerate() {
            if reversed[i] != 0 {
                parts.reverse();
            }
            outputs.push(self.joined(ctx, parts, out_axes[i])?);
        }
        Ok(outputs)
    }

    /// Results of steps along a dimension of their own.
    fn joined(&mut self, ctx: &Ctx<'_>, parts: &[Val], axis: i64) -> Result<Val, NodeError> {
        if parts.is_empty() {
            return unsupported("it takes no step, so that a result of it has no elements");
        }
        if parts.iter().any(|part| matches!(part, Val::Unknown)) {
            return Ok(Val::Unknown);
        }
        let axes = whole([axis]);
        let parts = parts.iter().map(|part| self.call(ctx, "Unsqueeze", &[part, &axes], &[])).collect::<Result<Vec<_>, _>>()?;
        self.call(ctx, "Concat", &parts.iter().collect::<Vec<_>>(), &[int("axis", axis)])
    }
}

/// Whether a value that is known is not 0.
fn truth(value: &Val) -> Option<bool> {
    match value {
        Val::Ints { data, .. } => data.first()?.num().map(|n| n != 0),
        Val::Floats { data, .. } => data.first().map(|&x| x != 0.0),
        _ => None,
    }
}

fn scalar_truth() -> Val {
    Val::Ints { shape: Vec::new(), data: vec![Sym::Num(1)] }
}
