//! The executor: walks a plan over a [`Backend`].
//!
//! It owns the arena and nothing else; graph, constants and backend are lent to each run, so that many executors can
//! share one model. A run allocates nothing.

use std::ops::Range;

use thiserror::Error;

use crate::backend::{Backend, Operand, OutputMut, SLACK};
use crate::graph::{Constants, Graph, Value, ValueId};
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

/// Called after each node with its index, the value and its elements: under a plan with several passes, once in each run of the
/// pass with its samples; and where the plan lets something else stand for the value, with that.
pub type Observer<'a> = &'a mut dyn FnMut(usize, ValueId, TensorView<'_>);

/// The state of runs at one batch size.
#[derive(Debug)]
pub struct Executor {
    plan: Plan,
    arena: AlignedBytes,
    scratch: AlignedBytes,
    /// For each pass, the first sample it is at; a 0 behind them, where all samples start.
    starts: Vec<usize>,
    /// Room for the operands of one node; empty between nodes.
    operands: Vec<Operand<'static>>,
}

impl Executor {
    /// Allocates the arena of `plan`, and `scratch` bytes for the backend.
    ///
    /// # Errors
    /// [`ExecError::Memory`].
    pub fn new(plan: Plan, scratch: usize) -> Result<Self, ExecError> {
        let allocate = |bytes| AlignedBytes::zeroed(bytes).ok_or(ExecError::Memory { bytes });
        let starts = vec![0; plan.passes.len() + 1];
        Ok(Self { arena: allocate(plan.arena_len)?, scratch: allocate(scratch)?, starts, operands: Vec::new(), plan })
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
        // Allocates in the first run only.
        self.operands.reserve(graph.nodes.iter().map(|node| node.inputs.len()).max().unwrap_or(0));
        let run = Run { graph, constants, backend, inputs };
        self.passes(&run, self.plan.passes.len(), 0..self.plan.batch, &mut observer);
        for (id, range) in &self.plan.copies {
            let source = match &self.plan.locations[id.index()] {
                Location::Input(i) => inputs[*i].bytes(),
                Location::Constant(c) => constants.bytes_of(*c),
                Location::Arena(_) | Location::Unused => continue,
            };
            self.arena[range.clone()].copy_from_slice(source);
        }
        Ok(())
    }

    /// Runs the first `passes` passes for `samples`.
    fn passes(&mut self, run: &Run<'_>, passes: usize, samples: Range<usize>, observer: &mut Option<Observer<'_>>) {
        let Some(pass) = passes.checked_sub(1) else { return };
        let (nodes, batch) = (self.plan.passes[pass].nodes.clone(), self.plan.passes[pass].batch);
        for start in samples.step_by(batch) {
            self.starts[pass] = start;
            self.passes(run, pass, start..start + batch, observer);
            self.nodes(run, pass, nodes.clone(), observer);
        }
    }

    /// Runs nodes of pass number `pass`.
    fn nodes(&mut self, run: &Run<'_>, pass: usize, nodes: Range<usize>, observer: &mut Option<Observer<'_>>) {
        let mut next = self.plan.steps.partition_point(|&step| step < nodes.start);
        for index in nodes {
            let node = &run.graph.nodes[index];
            let state = State { plan: &self.plan, starts: &self.starts, pass };
            if self.plan.steps.get(next) == Some(&index) {
                state.step(run, (&mut self.arena, &mut self.scratch, &mut self.operands), index);
                next += 1;
            }
            if let Some(observe) = observer {
                for &id in &node.outputs {
                    observe(index, id, state.view(run, (&self.arena, &[], usize::MAX), id).0);
                }
            }
        }
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

/// What is lent to a run.
struct Run<'a> {
    graph: &'a Graph,
    constants: &'a dyn Constants,
    backend: &'a dyn Backend,
    inputs: &'a [TensorView<'a>],
}

/// Where a run is.
#[derive(Clone, Copy)]
struct State<'a> {
    plan: &'a Plan,
    starts: &'a [usize],
    pass: usize,
}

impl<'a> State<'a> {
    /// Runs a node.
    fn step(self, run: &Run<'_>, (arena, scratch, room): (&mut [u8], &mut [u8], &mut Vec<Operand<'static>>), index: usize) {
        let node = &run.graph.nodes[index];
        let output = node.outputs[0];
        let Location::Arena(place) = &self.plan.locations[output.index()] else {
            unreachable!("a node's output is in the arena: the plan put it there")
        };
        let value = run.graph.value(output);
        let range = self.part(value.dtype, output, place.start);
        let (before, rest) = arena.split_at_mut(range.start);
        let (bytes, behind) = rest.split_at_mut(range.len());
        let parts: Parts<'_> = (before, behind, range.end);
        let operand = |&id: &ValueId| match self.columns_in(run.graph, id, output) {
            Some(columns) => Operand { in_place: Some(columns), ..Operand::new(TensorView::empty(value.dtype), value.quant) },
            None => {
                let (view, with_slack) = self.view(run, parts, id);
                let Value { quant, constant, .. } = *run.graph.value(id);
                Operand { view, quant, constant, with_slack, in_place: None }
            }
        };
        let view = TensorViewMut::new(value.dtype, self.shape(output), bytes).expect("the plan sized this range");
        let mut result = OutputMut { view, quant: value.quant };
        let mut operands = recycle(std::mem::take(room));
        operands.extend(node.inputs.iter().map(operand));
        run.backend.run(index, &node.op, &operands, &mut result, scratch);
        *room = recycle(operands);
    }

    /// A value's elements, of the samples that the pass is at, and their bytes with the slack behind them.
    fn view<'b>(self, run: &Run<'b>, (before, behind, behind_start): Parts<'b>, id: ValueId) -> (TensorView<'b>, &'b [u8])
    where
        'a: 'b,
    {
        let dtype = run.graph.value(id).dtype;
        // Every value in the arena has its slack before the next one starts.
        let (bytes, with_slack) = match &self.plan.locations[id.index()] {
            Location::Input(i) => {
                let bytes = &run.inputs[*i].bytes()[self.part(dtype, id, 0)];
                (bytes, bytes)
            }
            Location::Constant(c) => (run.constants.bytes_of(*c), run.constants.bytes_of(*c)),
            Location::Arena(place) => {
                let range = self.part(dtype, id, place.start);
                let (part, from) = if range.end <= before.len() { (before, 0) } else { (behind, behind_start) };
                let (start, end) = (range.start - from, range.end - from);
                (&part[start..end], &part[start..end + SLACK])
            }
            Location::Unused => (&[][..], &[][..]),
        };
        let view = TensorView::new(dtype, self.shape(id), bytes);
        (view.expect("the plan and the file's check sized this value"), with_slack)
    }

    /// Extents of what stands for a value in this pass.
    fn shape(self, id: ValueId) -> &'a [usize] {
        &self.plan.passes[self.pass].stored[id.index()]
    }

    /// The bytes of the samples that the pass is at, of a value whose place starts at `place`.
    fn part(self, dtype: DType, id: ValueId, place: usize) -> Range<usize> {
        let pass = &self.plan.passes[self.pass];
        let len = pass.stored[id.index()].iter().product::<usize>() * dtype.size();
        let kept_from = match self.plan.locations[id.index()] {
            Location::Arena(_) => self.starts[self.plan.homes[id.index()]],
            _ => 0,
        };
        let start = place + (self.starts[self.pass] - kept_from) * (len / pass.batch);
        start..start + len
    }

    /// How many columns of `output` a value is that has been written into it.
    fn columns_in(self, graph: &Graph, id: ValueId, output: ValueId) -> Option<usize> {
        let shares = self.plan.arrangement.is_within(id, output);
        shares.then(|| graph.value(id).shape.last().and_then(|d| d.fixed()).unwrap_or_default())
    }
}

/// An empty vector with the memory of `vec`, for elements that borrow from elsewhere. That nothing is allocated rests on how
/// the standard library collects a vector's own iterator; were it otherwise, a test would count it.
pub fn recycle<T, U>(mut vec: Vec<T>) -> Vec<U> {
    vec.clear();
    vec.into_iter().map(|_| unreachable!("it is empty")).collect()
}

#[cfg(test)]
mod tests {
    // Without the trait `Constants`, whose method would hide the one that adds a constant.
    use super::{ExecError, Executor};
    use crate::graph::op::{BinaryFn, ReduceFn, UnaryFn};
    use crate::graph::{Dim, Network, Op, ValueId};
    use crate::plan::Plan;
    use crate::quant::Affine;
    use crate::reference::Reference;
    use crate::tensor::{DType, TensorView};

    /// y = mean over rows of (|x| + bias), r = the same in one dimension; x and the bias are outputs too.
    fn network() -> Network {
        let mut net = Network::new("small");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 2.into(), 3.into()]);
        let bias = net.constant("bias", &[3], &[10.0f32, 20.0, 30.0]);
        let a = net.push(Op::Unary { function: UnaryFn::Abs }, &[x], "abs", "a").expect("valid");
        let s = net.push(Op::Binary { function: BinaryFn::Add }, &[a, bias], "add", "s").expect("valid");
        let mean = Op::Reduce { function: ReduceFn::Mean, axes: vec![1], keep_dims: false };
        let y = net.push(mean, &[s], "mean", "y").expect("valid");
        let r = net.push(Op::Reshape { shape: vec![Dim::Batch { times: 3 }] }, &[y], "flat", "r").expect("valid");
        [y, r, x, bias].into_iter().for_each(|id| net.output(id));
        net
    }

    fn executor(net: &Network, batch: usize) -> Executor {
        crate::graph::check::check(&net.graph).expect("valid");
        Executor::new(Plan::new(&net.graph, batch, usize::MAX).expect("fits"), 0).expect("memory")
    }

    #[test]
    fn a_network_runs_at_every_batch_size() {
        let net = network();
        for batch in [1, 3] {
            let mut executor = executor(&net, batch);
            let shape = [batch, 2, 3];
            // Twice, on other data, so that nothing may be left from the first run.
            for sign in [1.0, -2.0] {
                let x: Vec<f32> = (0..batch * 6).map(|i| i as f32 * sign).collect();
                let input = TensorView::from_slice(&shape, &x).expect("sized");
                let mut seen = Vec::new();
                let mut observe = |node: usize, id: ValueId, view: TensorView<'_>| {
                    seen.push((
                        node,
                        net.graph.value(id).name.clone(),
                        view.shape().to_vec(),
                        view.as_slice::<f32>().expect("f32").to_vec(),
                    ));
                };
                executor.run(&net.graph, &net, &Reference, &[input], Some(&mut observe)).expect("runs");

                let abs: Vec<f32> = x.iter().map(|v| v.abs()).collect();
                let sum: Vec<f32> = abs.iter().enumerate().map(|(i, v)| v + [10.0, 20.0, 30.0][i % 3]).collect();
                let mean: Vec<f32> = (0..batch * 3).map(|i| i / 3 * 6 + i % 3).map(|i| (sum[i] + sum[i + 3]) / 2.0).collect();
                let expected = [
                    (0, "a".to_owned(), shape.to_vec(), abs),
                    (1, "s".to_owned(), shape.to_vec(), sum),
                    (2, "y".to_owned(), vec![batch, 3], mean.clone()),
                    (3, "r".to_owned(), vec![batch * 3], mean.clone()),
                ];
                assert_eq!(seen, expected);
                let outputs: Vec<&[usize]> = (0..4).map(|i| executor.output(&net.graph, i).expect("an output").shape()).collect();
                assert_eq!(outputs, [&[batch, 3][..], &[batch * 3], &shape, &[3]]);
                let output = |i| executor.output(&net.graph, i).and_then(|view| view.as_slice::<f32>()).expect("f32").to_vec();
                assert_eq!([output(0), output(1), output(2), output(3)], [mean.clone(), mean, x, vec![10.0, 20.0, 30.0]]);
                assert!(executor.output(&net.graph, 4).is_none());
            }
        }
    }

    #[test]
    fn many_operands_are_gathered_too() {
        let mut net = Network::new("join");
        let x = net.input("x", DType::U8, vec![1.into(), 1.into()]);
        let operands: Vec<ValueId> = (0..20).map(|i| if i == 7 { x } else { net.constant("", &[1, 1], &[i as u8]) }).collect();
        let y = net.push(Op::Concat { axis: 1 }, &operands, "join", "y").expect("valid");
        net.output(y);
        let mut executor = executor(&net, 1);
        let input = TensorView::new(DType::U8, &[1, 1], &[99]).expect("sized");
        executor.run(&net.graph, &net, &Reference, &[input], None).expect("runs");
        let expected: Vec<u8> = (0..20).map(|i| if i == 7 { 99 } else { i }).collect();
        assert_eq!(executor.output(&net.graph, 0).expect("an output").bytes(), expected);
    }

    #[test]
    fn operands_carry_their_affine_parameters() {
        let (qx, qy) = (Affine { scale: 0.5, zero_point: 100, q_max: 255 }, Affine { scale: 2.0, zero_point: 3, q_max: 127 });
        let mut net = Network::new("mean");
        let x = net.input("x", DType::U8, vec![Dim::BATCH, 2.into()]);
        net.graph.values[x.index()].quant = Some(qx);
        let mean = Op::Reduce { function: ReduceFn::Mean, axes: vec![1], keep_dims: true };
        let y = net.push_typed(mean, &[x], "mean", "y", DType::U8, Some(qy)).expect("valid");
        net.output(y);
        let mut executor = executor(&net, 2);
        let input = TensorView::new(DType::U8, &[2, 2], &[110, 114, 255, 255]).expect("sized");
        executor.run(&net.graph, &net, &Reference, &[input], None).expect("runs");
        // (5 + 7)/2 = 6 is 3 steps of 2; 77.5 is 38.75 steps.
        assert_eq!(executor.output(&net.graph, 0).expect("an output").bytes(), [6, 42]);
    }

    #[test]
    fn wrong_inputs_are_typed_errors() {
        let net = network();
        let mut executor = executor(&net, 1);
        let mut run = |inputs: &[TensorView<'_>]| executor.run(&net.graph, &net, &Reference, inputs, None);
        let (floats, bytes) = ([0.0f32; 12], [0u8; 6]);
        let good = TensorView::from_slice(&[1, 2, 3], &floats[..6]).expect("sized");
        assert_eq!(run(&[]), Err(ExecError::InputCount { expected: 1, got: 0 }));
        assert_eq!(run(&[good, good]), Err(ExecError::InputCount { expected: 1, got: 2 }));
        let input = |got: &str| Err(ExecError::Input { name: "x".into(), expected: "f32[1, 2, 3]".into(), got: got.into() });
        assert_eq!(run(&[TensorView::from_slice(&[2, 2, 3], &floats).expect("sized")]), input("f32[2, 2, 3]"));
        assert_eq!(run(&[TensorView::from_slice(&[6], &floats[..6]).expect("sized")]), input("f32[6]"));
        assert_eq!(run(&[TensorView::from_slice(&[1, 2, 3], &bytes).expect("sized")]), input("u8[1, 2, 3]"));
        assert_eq!(run(&[good]), Ok(()));
    }
}
