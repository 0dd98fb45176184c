//! Weights and biases of a quantized network, made better by what its layers really read.
//!
//! The quantized network is walked node by node on calibration samples. At each product, what lies before it has been
//! quantized and refined already, so its operand is the one that it will have: u8, rounded, with the errors of the layers
//! before. Two things are then done, each asked for by the qconfig mapping:
//!
//! | module | what |
//! |---|---|
//! | [`rounding`] | weights are rounded such that errors of one cancel those of others |
//! | [`bias`] | the bias takes up the mean error of each output channel |
//!
//! Nothing is random, and the order of all sums is fixed, so the same samples give the same file.

pub mod bias;
pub mod rounding;
mod rows;
mod walk;

use std::collections::BTreeMap;

use quaver_core::format::weights::PackedShape;
use quaver_core::graph::{Graph, Network, Op, ValueId};
use quaver_core::quant::Affine;
use quaver_core::tensor::Element;

use crate::calibrate::Sample;
use crate::calibrate::burn_exec::{FloatRunner, RunError};
use crate::quantize::qconfig::Rounding;
use rows::Rows;
use walk::Walk;

/// A product of the quantized network: a convolution or matrix product with packed weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    /// The node's name, in both networks.
    pub node: String,
    /// The layout of its weights.
    pub shape: PackedShape,
    /// The real weights, HWIO, a constant of the float network.
    pub weights: ValueId,
    /// The value of the float network that the product alone gives.
    pub output: ValueId,
    /// What is added to it before anything else happens, a value of the float network.
    pub residual: Option<ValueId>,
    /// Parameters of its operand.
    pub from: Affine,
    /// Scale of each padded channel's weights, s_w.
    pub scales: Vec<f64>,
    /// What to do, as the mapping says.
    pub passes: Passes,
}

/// What is done to a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passes {
    /// How its weights are rounded.
    pub rounding: Rounding,
    /// Whether its bias takes up mean errors.
    pub bias_correction: bool,
}

impl Passes {
    /// Whether there is nothing to do.
    pub fn is_none(self) -> bool {
        self.rounding == Rounding::Nearest && !self.bias_correction
    }
}

/// What the float network gives, by value.
type Reals = BTreeMap<ValueId, Real>;

/// Rows of results on which errors are looked at one by one.
const CHECKED: usize = 512;

/// Rows of operands from which weights are rounded, of all samples together.
const ROWS: usize = 3072;

/// Refines `quantized`, which came from `float`, on `samples`. `progress` is called with the number of products done.
///
/// # Errors
/// [`RunError`] where a sample doesn't fit.
pub fn refine(
    float: &Network,
    quantized: &mut Network,
    products: &[Product],
    samples: &[Sample],
    progress: &mut dyn FnMut(usize),
) -> Result<(), RunError> {
    if samples.is_empty() || products.iter().all(|p| p.passes.is_none()) {
        return Ok(());
    }
    let reals = if products.iter().any(|p| p.passes.bias_correction) { reals(float, products, samples)? } else { Reals::new() };
    let by_node: BTreeMap<&str, &Product> = products.iter().map(|p| (p.node.as_str(), p)).collect();
    let mut walk = Walk::new(quantized, samples)?;
    let mut done = 0;
    for node in 0..quantized.graph.nodes.len() {
        let product = by_node.get(quantized.graph.nodes[node].name.as_str()).filter(|_| is_product(&quantized.graph, node));
        if let Some(product) = product {
            if !product.passes.is_none() {
                let step = reals.get(&product.output).map_or(usize::MAX, |r| r.step);
                let rows = Rows::gather(quantized, &walk, node, product, (ROWS, step));
                if product.passes.rounding == Rounding::Feedback {
                    rounding::round(float, quantized, node, product, &rows);
                }
                if product.passes.bias_correction {
                    bias::correct(quantized, &walk, node, product, &rows, &reals);
                }
            }
            done += 1;
            progress(done);
        }
        walk.step(quantized, node);
    }
    quantized.compact();
    Ok(())
}

/// Gives operand `operand` of a node other elements: a constant of its own, of the same name and shape.
fn replace<T: Element>(network: &mut Network, node: usize, operand: usize, data: &[T]) {
    let old = network.graph.nodes[node].inputs[operand];
    let value = network.graph.value(old);
    let (name, shape) = (value.name.clone(), value.shape.iter().filter_map(|d| d.fixed()).collect::<Vec<_>>());
    network.graph.nodes[node].inputs[operand] = network.constant(name, &shape, data);
}

fn is_product(graph: &Graph, node: usize) -> bool {
    matches!(graph.nodes[node].op, Op::QConv(_) | Op::QConvTranspose(_) | Op::QGemm(_))
}

/// What the float network gives.
#[derive(Debug, Default)]
struct Real {
    /// Channels, the last dimension.
    channels: usize,
    /// Every `step`th row, of all samples one after the other.
    rows: Vec<f32>,
    step: usize,
    seen: usize,
    /// Rows up to the end of each sample.
    ends: Vec<usize>,
}

/// What the float network gives for the values that corrections compare with.
fn reals(float: &Network, products: &[Product], samples: &[Sample]) -> Result<Reals, RunError> {
    let wanted = products.iter().flat_map(|p| p.residual.into_iter().chain([p.output]));
    let mut reals: Reals = wanted.map(|id| (id, Real::default())).collect();
    let runner = FloatRunner::new(float)?;
    for sample in samples {
        runner.run(sample, &mut |id, data, shape| {
            let Some(real) = reals.get_mut(&id) else { return };
            let channels = shape.last().copied().unwrap_or(1).max(1);
            if real.seen == 0 {
                real.step = (data.len() / channels * samples.len()).div_ceil(CHECKED).max(1);
            }
            real.channels = channels;
            for row in data.chunks_exact(channels) {
                if real.seen.is_multiple_of(real.step) {
                    real.rows.extend_from_slice(row);
                }
                real.seen += 1;
            }
            real.ends.push(real.rows.len() / channels);
        })?;
    }
    Ok(reals)
}
