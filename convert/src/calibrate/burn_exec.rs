//! Runs the float graph on burn tensors, node by node; every value passes by an observer.
//!
//! Convolutions, matrix products, arithmetic, pools, means and common activations are burn's. What burn has no exact form
//! of (see [`on_burn`]) is computed by the definition in `quaver_core::reference`.

use std::collections::HashMap;

use burn_backend::ops::{ConvOptions, ConvTransposeOptions};
use burn_backend::tensor::FloatTensor;
use burn_backend::{Backend, Shape, TensorData, try_read_sync};
use burn_flex::Flex;
use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::check::GraphError;
use quaver_core::graph::op::{BinaryFn, Pool, PoolFn, ReduceFn, UnaryFn};
use quaver_core::graph::{Dim, Graph, Network, Node, Op, Sizes, ValueId};
use quaver_core::reference::Reference;
use quaver_core::tensor::{DType, TensorView, TensorViewMut, element_count};
use thiserror::Error;

/// An owned tensor, row-major. Whole numbers are here as real ones, which are exact up to 2²⁴.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Extents.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: Vec<f32>,
}

impl HostTensor {
    /// The elements as whole numbers.
    pub fn whole(&self) -> Vec<i64> {
        self.data.iter().map(|&x| x as i64).collect()
    }
}

/// A run of which every value is kept.
#[derive(Debug, Clone)]
pub struct Record {
    /// The graph with this run's extents.
    graph: Graph,
    values: Vec<Option<HostTensor>>,
}

impl Record {
    /// A value that is no constant.
    pub fn value(&self, id: ValueId) -> Option<&HostTensor> {
        self.values[id.index()].as_ref()
    }

    /// Another graph of the same inputs, with this run's extents.
    ///
    /// # Errors
    /// [`RunError::Sizes`].
    pub fn sized(&self, other: &Graph) -> Result<Graph, RunError> {
        let mut sizes = Sizes::default();
        for (theirs, own) in other.inputs.iter().zip(&self.graph.inputs) {
            if let Some(tensor) = self.value(*own) {
                sizes.learn(&other.value(*theirs).shape, &tensor.shape);
            }
        }
        other.fixed(&sizes).map_err(|source| RunError::Sizes { sizes: sizes.to_string(), source })
    }
}

/// Called with a value, its elements and its shape.
pub type Observe<'a> = &'a mut dyn FnMut(ValueId, &[f32], &[usize]);

/// Why a float run failed.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum RunError {
    /// An input's number or shape.
    #[error("input '{name}' should have shape {expected}, not {got}")]
    Input {
        /// The input.
        name: String,
        /// The network's shape.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A graph that is not float. What stands between a Quantize and a Dequantize may be u8.
    #[error("value '{value}' is {dtype}; only float networks run on burn")]
    NotFloat {
        /// The value.
        value: String,
        /// Its type.
        dtype: DType,
    },
    /// Inputs of such sizes.
    #[error("the network can't run at {sizes}: {source}")]
    Sizes {
        /// Names and numbers.
        sizes: String,
        /// What doesn't fit.
        source: GraphError,
    },
    /// The device.
    #[error("burn failed on node '{node}': {what}")]
    Device {
        /// The node.
        node: String,
        /// What it said.
        what: String,
    },
}

/// A float network, prepared to run on a burn backend.
#[derive(Debug)]
pub struct FloatRunner<B: Backend = Flex> {
    network: Network,
    device: B::Device,
    /// Weights in burn's layout: OIHW, or IOHW for transposed convolutions.
    weights: HashMap<ValueId, FloatTensor<B>>,
    /// For each node, the values that nothing reads afterwards.
    dead: Vec<Vec<ValueId>>,
}

impl FloatRunner<Flex> {
    /// Prepares `network` for burn's CPU device.
    ///
    /// # Errors
    /// [`RunError::NotFloat`].
    pub fn new(network: &Network) -> Result<Self, RunError> {
        Self::on(network, Default::default())
    }
}

impl<B: Backend> FloatRunner<B> {
    /// Prepares `network` for `device`.
    ///
    /// # Errors
    /// [`RunError::NotFloat`].
    pub fn on(network: &Network, device: B::Device) -> Result<Self, RunError> {
        let graph = &network.graph;
        let activations = graph.nodes.iter().flat_map(|n| n.inputs.iter().chain(&n.outputs)).chain(&graph.inputs);
        let rounded = |id: ValueId| graph.value(id).dtype == DType::U8 && graph.value(id).quant.is_some();
        let known = |id: ValueId| matches!(graph.value(id).dtype, DType::F32 | DType::I64) || rounded(id);
        if let Some(&id) = activations.into_iter().find(|&&id| !known(id)) {
            let value = graph.value(id);
            return Err(RunError::NotFloat { value: value.name.clone(), dtype: value.dtype });
        }
        let mut runner = Self { network: network.clone(), device, weights: HashMap::new(), dead: last_uses(network) };
        for node in &graph.nodes {
            if let Some((id, tensor)) = runner.prepare(node) {
                runner.weights.insert(id, tensor);
            }
        }
        Ok(runner)
    }

    /// Runs the network and keeps every value.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn record(&self, inputs: &[HostTensor]) -> Result<Record, RunError> {
        let mut record = Record { graph: self.sized(inputs)?, values: vec![None; self.network.graph.values.len()] };
        for (&id, input) in record.graph.inputs.iter().zip(inputs) {
            record.values[id.index()] = Some(input.clone());
        }
        for node in &record.graph.nodes {
            let operands = node.inputs.iter().map(|&id| self.host(&record.values, id)).collect();
            record.values[node.outputs[0].index()] = Some(self.step(&record.graph, node, operands, None)?);
        }
        Ok(record)
    }

    /// The outputs that a recorded run has where value `id` is another: what follows from it is computed anew.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn rerun(&self, record: &Record, id: ValueId, tensor: HostTensor) -> Result<Vec<HostTensor>, RunError> {
        let mut changed: Vec<Option<HostTensor>> = vec![None; record.values.len()];
        changed[id.index()] = Some(tensor);
        for (node, dead) in record.graph.nodes.iter().zip(&self.dead) {
            if node.outputs[0] != id && node.inputs.iter().any(|v| changed[v.index()].is_some()) {
                let operand = |v: &ValueId| changed[v.index()].clone().unwrap_or_else(|| self.host(&record.values, *v));
                changed[node.outputs[0].index()] = Some(self.step(&record.graph, node, node.inputs.iter().map(operand).collect(), None)?);
            }
            dead.iter().for_each(|v| changed[v.index()] = None);
        }
        let output = |v: &ValueId| changed[v.index()].take().unwrap_or_else(|| self.host(&record.values, *v));
        Ok(record.graph.outputs.iter().map(output).collect())
    }

    /// The result of convolution or product `node` in a recorded run with another first operand and other weights.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn with_weights(&self, record: &Record, node: usize, x: HostTensor, weights: Vec<f32>) -> Result<HostTensor, RunError> {
        let node = &record.graph.nodes[node];
        let mut operands: Vec<HostTensor> = node.inputs.iter().map(|&id| self.host(&record.values, id)).collect();
        operands[0] = x;
        operands[1].data = weights;
        let arranged = self.arranged(node, operands[1].clone());
        self.step(&record.graph, node, operands, arranged)
    }

    /// Runs the network. `observe` is called with every real input and every node's real output. Returns the outputs, in order;
    /// u8 ones as the numbers that the bytes are.
    ///
    /// # Errors
    /// [`RunError`] where an input doesn't fit or the device fails.
    pub fn run(&self, inputs: &[HostTensor], observe: Observe<'_>) -> Result<Vec<HostTensor>, RunError> {
        let graph = &self.sized(inputs)?;
        let mut values: Vec<Option<HostTensor>> = vec![None; graph.values.len()];
        for (&id, input) in graph.inputs.iter().zip(inputs) {
            if graph.value(id).dtype == DType::F32 {
                observe(id, &input.data, &input.shape);
            }
            values[id.index()] = Some(input.clone());
        }
        for (node, dead) in graph.nodes.iter().zip(&self.dead) {
            let operands: Vec<HostTensor> = node.inputs.iter().map(|&id| self.host(&values, id)).collect();
            let result = self.step(graph, node, operands, None)?;
            if graph.value(node.outputs[0]).dtype == DType::F32 {
                observe(node.outputs[0], &result.data, &result.shape);
            }
            values[node.outputs[0].index()] = Some(result);
            for id in dead {
                values[id.index()] = None;
            }
        }
        Ok(graph.outputs.iter().map(|&id| self.host(&values, id)).collect())
    }

    /// The graph for inputs of such shapes.
    fn sized(&self, inputs: &[HostTensor]) -> Result<Graph, RunError> {
        let graph = &self.network.graph;
        let mut sizes = Sizes::default();
        for (i, &id) in graph.inputs.iter().enumerate() {
            let value = graph.value(id);
            let fits = |t: &HostTensor| element_count(&t.shape) == Some(t.data.len()) && !t.data.is_empty();
            if !inputs.get(i).is_some_and(|t| fits(t) && sizes.learn(&value.shape, &t.shape)) {
                return Err(RunError::Input {
                    name: value.name.clone(),
                    expected: quaver_core::graph::dim::display(&value.shape),
                    got: inputs.get(i).map_or("nothing".to_owned(), |t| format!("{:?}", t.shape)),
                });
            }
        }
        graph.fixed(&sizes).map_err(|source| RunError::Sizes { sizes: sizes.to_string(), source })
    }

    fn host(&self, values: &[Option<HostTensor>], id: ValueId) -> HostTensor {
        if let Some(tensor) = &values[id.index()] {
            return tensor.clone();
        }
        let value = self.network.graph.value(id);
        let shape = value.shape.iter().filter_map(|d| d.fixed()).collect();
        let whole = || self.network.elements::<i64>(id).unwrap_or_default().iter().map(|&n| n as f32).collect();
        HostTensor { shape, data: self.network.elements::<f32>(id).map_or_else(whole, <[f32]>::to_vec) }
    }

    /// One node of the graph with this run's extents. `weights` stand for those that were prepared.
    fn step(&self, graph: &Graph, node: &Node, operands: Vec<HostTensor>, weights: Option<FloatTensor<B>>) -> Result<HostTensor, RunError> {
        let output = graph.value(node.outputs[0]);
        match (&node.op, output.quant, graph.value(node.inputs[0]).quant) {
            (Op::Quantize { .. }, Some(affine), _) => Ok(mapped(operands, |x| f32::from(affine.quantize(x)))),
            (Op::Dequantize, _, Some(affine)) => Ok(mapped(operands, |x| affine.dequantize(x as u8))),
            _ => self.node(node, &output.shape, operands, weights),
        }
    }

    /// Constant weights of a convolution in burn's layout.
    fn prepare(&self, node: &Node) -> Option<(ValueId, FloatTensor<B>)> {
        let id = *node.inputs.get(1)?;
        self.network.graph.value(id).constant?;
        Some((id, self.arranged(node, self.host(&vec![None; self.network.graph.values.len()], id))?))
    }

    /// Weights, HWIO, in burn's layout; `None` where the node is no convolution.
    fn arranged(&self, node: &Node, weights: HostTensor) -> Option<FloatTensor<B>> {
        match &node.op {
            Op::Conv(_) => Some(B::float_permute(self.upload(weights), &[3, 2, 0, 1])),
            Op::ConvTranspose(c) => {
                // HWIO per group → [I, O/groups, H, W] with the groups' inputs one after the other.
                let &[kh, kw, ic, oc] = &weights.shape[..] else { return None };
                let w = B::float_reshape(self.upload(weights), Shape::from(vec![kh, kw, ic, c.groups, oc / c.groups]));
                let w = B::float_permute(w, &[3, 2, 4, 0, 1]);
                Some(B::float_reshape(w, Shape::from(vec![ic * c.groups, oc / c.groups, kh, kw])))
            }
            _ => None,
        }
    }

    /// The weights of a convolution: those given, or prepared, or the operand.
    fn filter(&self, node: &Node, given: Option<FloatTensor<B>>, operands: &mut Vec<HostTensor>) -> Option<FloatTensor<B>> {
        let operand = operands.remove(0);
        given.or_else(|| self.weights.get(&node.inputs[1]).cloned()).or_else(|| self.arranged(node, operand))
    }

    fn upload(&self, tensor: HostTensor) -> FloatTensor<B> {
        B::float_from_data(TensorData::new(tensor.data, tensor.shape), &self.device)
    }

    fn node(
        &self,
        node: &Node,
        shape: &[Dim],
        mut operands: Vec<HostTensor>,
        weights: Option<FloatTensor<B>>,
    ) -> Result<HostTensor, RunError> {
        let failed = |what: String| RunError::Device { node: node.name.clone(), what };
        let shape: Vec<usize> = shape.iter().filter_map(Dim::fixed).collect();
        let op = &node.op;
        let types: Vec<DType> = node.inputs.iter().chain(&node.outputs).map(|&id| self.network.graph.value(id).dtype).collect();
        if !on_burn(op, &operands) || types.contains(&DType::I64) {
            return Ok(reference(op, &operands, &types, shape));
        }
        let x = self.upload(operands.remove(0));
        let y = match op {
            Op::Conv(c) => {
                let w =
                    self.filter(node, weights, &mut operands).ok_or_else(|| failed("its weights have no four dimensions".to_owned()))?;
                let bias = (node.inputs.len() > 2).then(|| operands.pop()).flatten().map(|b| self.upload(b));
                let pads = [0, 1].map(|d| (c.window.pads_begin[d], c.window.pads_end[d]));
                let options = ConvOptions { stride: c.window.strides, padding: pads, dilation: c.window.dilations, groups: c.groups };
                from_nchw::<B>(B::conv2d(to_nchw::<B>(x), w, bias, options))
            }
            Op::ConvTranspose(c) => {
                let w =
                    self.filter(node, weights, &mut operands).ok_or_else(|| failed("its weights have no four dimensions".to_owned()))?;
                let bias = (node.inputs.len() > 2).then(|| operands.pop()).flatten().map(|b| self.upload(b));
                let window = c.window;
                let options = ConvTransposeOptions::new(window.strides, window.pads_begin, c.output_padding, window.dilations, c.groups);
                from_nchw::<B>(B::conv_transpose2d(to_nchw::<B>(x), w, bias, options))
            }
            Op::Gemm => {
                let (k, n) = (operands[0].shape[0], operands[0].shape[1]);
                let rows = shape.iter().product::<usize>() / n.max(1);
                let x = B::float_reshape(x, Shape::from(vec![rows, k]));
                let w = self.upload(operands.remove(0));
                let y = B::float_matmul(x, w);
                match operands.pop() {
                    Some(bias) => B::float_add(y, self.upload(HostTensor { shape: vec![1, n], data: bias.data })),
                    None => y,
                }
            }
            Op::Binary { function } => {
                let b = self.upload(operands.remove(0));
                match function {
                    BinaryFn::Add => B::float_add(x, b),
                    BinaryFn::Sub => B::float_sub(x, b),
                    BinaryFn::Mul => B::float_mul(x, b),
                    _ => B::float_div(x, b),
                }
            }
            Op::Unary { function } => match function {
                UnaryFn::Relu => B::relu(x),
                UnaryFn::Sigmoid => B::sigmoid(x),
                UnaryFn::Tanh => B::float_tanh(x),
                UnaryFn::Exp => B::float_exp(x),
                UnaryFn::Sqrt => B::float_sqrt(x),
                UnaryFn::Erf => B::float_erf(x),
                UnaryFn::Gelu => B::gelu(x),
                UnaryFn::Clip { lo, hi } => B::float_clamp(x, (*lo).into(), (*hi).into()),
                _ => B::float_mul(x.clone(), B::sigmoid(x)),
            },
            Op::Pool(p) => {
                let (w, x) = (p.window, to_nchw::<B>(x));
                from_nchw::<B>(match p.function {
                    PoolFn::Max => B::max_pool2d(x, w.kernel, w.strides, w.pads_begin, w.dilations, false),
                    PoolFn::Average => B::avg_pool2d(x, w.kernel, w.strides, w.pads_begin, p.count_include_pad, false),
                })
            }
            Op::Reduce { axes, .. } => axes.iter().fold(x, |x, &axis| B::float_mean_dim(x, axis)),
            Op::Transpose { perm } => B::float_permute(x, perm),
            _ => x,
        };
        let data = try_read_sync(B::float_into_data(y)).ok_or_else(|| failed("its result cannot be read back".to_owned()))?;
        let data = data.map_err(|e| failed(format!("{e:?}")))?;
        let data = data.try_into_vec::<f32>().map_err(|e| failed(format!("{e:?}")))?;
        if element_count(&shape) != Some(data.len()) {
            return Err(failed(format!("{} elements for shape {shape:?}", data.len())));
        }
        Ok(HostTensor { shape, data })
    }
}

/// Whether a node runs on burn; the others have no exact form there, or only move data.
pub fn on_burn(op: &Op, operands: &[HostTensor]) -> bool {
    use UnaryFn as F;
    match op {
        Op::Conv(_) | Op::Gemm | Op::Transpose { .. } => true,
        Op::ConvTranspose(c) => c.window.pads_begin == c.window.pads_end,
        Op::Binary { function } => {
            matches!(function, BinaryFn::Add | BinaryFn::Sub | BinaryFn::Mul | BinaryFn::Div)
                && operands[0].shape.len() == operands[1].shape.len()
        }
        Op::Unary { function } => {
            matches!(function, F::Relu | F::Sigmoid | F::Tanh | F::Exp | F::Sqrt | F::Erf | F::Gelu | F::Clip { .. } | F::Silu)
        }
        Op::Pool(Pool { function, window, ceil_mode, .. }) => {
            let plain = *function == PoolFn::Max || window.dilations == [1, 1];
            window.pads_begin == window.pads_end && !ceil_mode && plain
        }
        Op::Reduce { function: ReduceFn::Mean, .. } => true,
        _ => false,
    }
}

fn to_nchw<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_permute(x, &[0, 3, 1, 2])
}

fn from_nchw<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_permute(x, &[0, 2, 3, 1])
}

/// The first operand, each element mapped.
fn mapped(operands: Vec<HostTensor>, f: impl Fn(f32) -> f32) -> HostTensor {
    let mut tensor = operands.into_iter().next().unwrap_or(HostTensor { shape: vec![0], data: Vec::new() });
    tensor.data.iter_mut().for_each(|x| *x = f(*x));
    tensor
}

/// The definition, on operands and a result of such types.
fn reference(op: &Op, operands: &[HostTensor], types: &[DType], shape: Vec<usize>) -> HostTensor {
    let whole: Vec<Vec<i64>> =
        operands.iter().zip(types).map(|(t, dtype)| if *dtype == DType::I64 { t.whole() } else { Vec::new() }).collect();
    let mut inputs = Vec::with_capacity(operands.len());
    for ((t, whole), dtype) in operands.iter().zip(&whole).zip(types) {
        let view = if *dtype == DType::I64 { TensorView::from_slice(&t.shape, whole) } else { TensorView::from_slice(&t.shape, &t.data) };
        inputs.extend(view.map(|view| Operand::new(view, None)));
    }
    let count = element_count(&shape).unwrap_or_default();
    let (mut data, mut numbers) = (vec![0f32; count], Vec::new());
    let is_whole = types.last() == Some(&DType::I64);
    if is_whole {
        numbers = vec![0i64; count];
    }
    let bytes = if is_whole { bytemuck::cast_slice_mut(&mut numbers) } else { bytemuck::cast_slice_mut(&mut data) };
    let dtype = if is_whole { DType::I64 } else { DType::F32 };
    if let Some(view) = TensorViewMut::new(dtype, &shape, bytes).filter(|_| inputs.len() == operands.len()) {
        Reference.compute(op, &inputs, &mut OutputMut { view, quant: None });
    }
    if is_whole {
        data = numbers.into_iter().map(|n| n as f32).collect();
    }
    HostTensor { shape, data }
}

fn last_uses(network: &Network) -> Vec<Vec<ValueId>> {
    let graph = &network.graph;
    let consumers = graph.consumers();
    let last = |id: &ValueId, node: usize| consumers[id.index()].last() == Some(&node);
    let mut dead = Vec::with_capacity(graph.nodes.len());
    for (i, node) in graph.nodes.iter().enumerate() {
        dead.push(node.inputs.iter().filter(|id| last(id, i) && !graph.outputs.contains(id)).copied().collect());
    }
    dead
}

#[cfg(test)]
mod tests;
