//! The executor: walks a plan over a [`Backend`].
//!
//! It owns the arena and nothing else; graph, constants and backend are lent to each run, so that many executors can
//! share one model.

use thiserror::Error;

use crate::backend::{Backend, Operand, OutputMut};
use crate::graph::{Constants, Graph, Node, ValueId};
use crate::plan::{Location, Plan, PlanError};
use crate::tensor::{AlignedBytes, DType, TensorView, TensorViewMut};

/// Why a run cannot start.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExecError {
    /// Number of inputs.
    #[error("the model takes {expected} inputs, but {got} were given")]
    InputCount {
        /// What it takes.
        expected: usize,
        /// What it was given.
        got: usize,
    },
    /// An input's type or shape.
    #[error("input '{name}' should be {expected}, but {got} was given")]
    Input {
        /// The input.
        name: String,
        /// Type and shape that the model takes.
        expected: String,
        /// Type and shape that were given.
        got: String,
    },
    /// The plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The arena cannot be had.
    #[error("{bytes} bytes for activations cannot be allocated; use a smaller batch")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
}

/// Called after each node with its index, the value and its elements.
pub type Observer<'a> = &'a mut dyn FnMut(usize, ValueId, TensorView<'_>);

/// The state of runs at one batch size.
#[derive(Debug)]
pub struct Executor {
    plan: Plan,
    arena: AlignedBytes,
}

/// Most operands that are gathered without a heap allocation.
const OPERANDS: usize = 16;

impl Executor {
    /// Allocates the arena of `plan`.
    ///
    /// # Errors
    /// [`ExecError::Memory`].
    pub fn new(plan: Plan) -> Result<Self, ExecError> {
        let arena = AlignedBytes::zeroed(plan.arena_len).ok_or(ExecError::Memory { bytes: plan.arena_len })?;
        Ok(Self { plan, arena })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs the graph that the plan was made for. Inputs come in the graph's order.
    ///
    /// # Errors
    /// [`ExecError`] where an input's number, type or shape is wrong; nothing has run then.
    pub fn run(
        &mut self,
        graph: &Graph,
        constants: &dyn Constants,
        backend: &dyn Backend,
        inputs: &[TensorView<'_>],
        mut observer: Option<Observer<'_>>,
    ) -> Result<(), ExecError> {
        check_inputs(graph, &self.plan, inputs)?;
        let mut next = 0;
        for (index, node) in graph.nodes.iter().enumerate() {
            if self.plan.steps.get(next) == Some(&index) {
                step(&self.plan, &mut self.arena, graph, constants, backend, inputs, node);
                next += 1;
            }
            if let Some(observe) = &mut observer {
                for &id in &node.outputs {
                    observe(index, id, view(&self.plan, graph, (&self.arena, &[], usize::MAX), constants, inputs, id));
                }
            }
        }
        for (id, range) in &self.plan.copies {
            let source = match &self.plan.locations[id.index()] {
                Location::Input(i) => inputs[*i].bytes(),
                Location::Constant(c) => constants.constant(*c),
                Location::Arena(_) | Location::Unused => continue,
            };
            self.arena[range.clone()].copy_from_slice(source);
        }
        Ok(())
    }

    /// The graph's output `index` after a run.
    pub fn output(&self, graph: &Graph, index: usize) -> Option<TensorView<'_>> {
        let id = graph.outputs.get(index)?;
        let range = self.plan.outputs.get(index)?.clone();
        TensorView::new(graph.value(*id).dtype, &self.plan.shapes[id.index()], &self.arena[range])
    }
}

fn check_inputs(graph: &Graph, plan: &Plan, inputs: &[TensorView<'_>]) -> Result<(), ExecError> {
    if inputs.len() != graph.inputs.len() {
        return Err(ExecError::InputCount { expected: graph.inputs.len(), got: inputs.len() });
    }
    for (&id, input) in graph.inputs.iter().zip(inputs) {
        let value = graph.value(id);
        let shape = &plan.shapes[id.index()];
        if value.dtype != input.dtype() || shape != input.shape() {
            return Err(ExecError::Input {
                name: value.name.clone(),
                expected: describe(value.dtype, shape),
                got: describe(input.dtype(), input.shape()),
            });
        }
    }
    Ok(())
}

fn describe(dtype: DType, shape: &[usize]) -> String {
    format!("{dtype}{shape:?}")
}

/// The arena as seen while one node runs: what lies before its output, what lies behind, and where that starts.
type Parts<'a> = (&'a [u8], &'a [u8], usize);

fn step(
    plan: &Plan,
    arena: &mut [u8],
    graph: &Graph,
    constants: &dyn Constants,
    backend: &dyn Backend,
    inputs: &[TensorView<'_>],
    node: &Node,
) {
    let output = node.outputs[0];
    let Location::Arena(range) = &plan.locations[output.index()] else {
        unreachable!("a node's output is in the arena: the plan put it there")
    };
    let (before, rest) = arena.split_at_mut(range.start);
    let (bytes, behind) = rest.split_at_mut(range.len());
    let parts: Parts<'_> = (before, behind, range.end);
    let operand = |id: ValueId| Operand {
        view: view(plan, graph, parts, constants, inputs, id),
        quant: graph.value(id).quant,
        constant: graph.value(id).constant,
    };
    let value = graph.value(output);
    let view = TensorViewMut::new(value.dtype, &plan.shapes[output.index()], bytes).expect("the plan sized this range");
    let mut result = OutputMut { view, quant: value.quant };
    if node.inputs.len() <= OPERANDS {
        let mut gathered = [const { None }; OPERANDS];
        for (slot, &id) in gathered.iter_mut().zip(&node.inputs) {
            *slot = Some(operand(id));
        }
        let first = gathered[0].expect("every operation has an operand");
        let gathered = gathered.map(|slot| slot.unwrap_or(first));
        backend.run(&node.op, &gathered[..node.inputs.len()], &mut result);
    } else {
        let gathered: Vec<Operand<'_>> = node.inputs.iter().map(|&id| operand(id)).collect();
        backend.run(&node.op, &gathered, &mut result);
    }
}

fn view<'a>(
    plan: &'a Plan,
    graph: &Graph,
    (before, behind, behind_start): Parts<'a>,
    constants: &'a dyn Constants,
    inputs: &[TensorView<'a>],
    id: ValueId,
) -> TensorView<'a> {
    let bytes = match &plan.locations[id.index()] {
        Location::Input(i) => inputs[*i].bytes(),
        Location::Constant(c) => constants.constant(*c),
        Location::Arena(range) if range.end <= before.len() => &before[range.clone()],
        Location::Arena(range) => &behind[range.start - behind_start..range.end - behind_start],
        Location::Unused => &[],
    };
    TensorView::new(graph.value(id).dtype, &plan.shapes[id.index()], bytes).expect("the plan and the file's check sized this value")
}
