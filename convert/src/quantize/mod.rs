//! From a calibrated float network to an integer one.
//!
//! | module | step |
//! |---|---|
//! | [`qconfig`] | what the user asked for, node by node |
//! | [`given`] | parameters that the model brings, in place of calibrated ones |
//! | [`regions`] | which nodes become integer operations, and why others don't |
//! | `masks` | which sums and products 8 bits would spoil |
//! | [`fusion`] | what goes into an epilogue |
//! | [`affine`] | scale and zero point of every u8 value |
//! | [`weights`] | integers for weights and biases |
//! | `emit` | the network |
//! | `packed` | its operations with packed weights, and their epilogues |
//! | [`phases`] | the same bytes by less work, where a file is written |
//! | `dynamic` | its products whose activations are real, or quantized by each run; its embeddings |

pub mod affine;
mod dynamic;
mod emit;
mod entry;
pub mod fusion;
pub mod given;
mod grid;
mod masks;
mod packed;
pub mod phases;
pub mod qconfig;
pub mod regions;
pub mod weights;

use quaver_core::graph::Network;
use quaver_core::graph::check::GraphError;
use serde::Serialize;
use thiserror::Error;

use given::Given;
use qconfig::{QConfigError, QConfigMapping, Scheme, WeightScheme};
use regions::Kind;

use crate::refine::Product;

/// Why a network cannot be quantized.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// Calibration saw nothing of a value.
    #[error("calibration gave no range for '{value}'; calibrate the same network that is quantized")]
    NoRange {
        /// The value.
        value: String,
    },
    /// An accumulator that could overflow.
    #[error(
        "node '{node}' sums {k} products, whose 8-bit form could overflow 32 bits; keep it in float with a qconfig entry ([names.\"{node}\"] scheme = \"float\")"
    )]
    TooLong {
        /// The node.
        node: String,
        /// Number of products.
        k: usize,
    },
    /// Fewer integers than the model's own parameters use.
    #[error("reduce_range needs parameters of its own, but the model brings parameters for 8 bits; convert the float model instead")]
    ReducedRange,
    /// A weight that is no number.
    #[error("node '{node}' has a weight of {value}; the float model is damaged")]
    BadWeight {
        /// The node.
        node: String,
        /// The weight.
        value: f32,
    },
    /// The mapping.
    #[error(transparent)]
    QConfig(#[from] QConfigError),
    /// A graph that doesn't fit together: a bug of the converter, told with the node.
    #[error("the quantized network is not valid: {0}")]
    Graph(#[from] GraphError),
}

/// What became of one node of the simplified float network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// The node's name.
    pub node: String,
    /// Its operation.
    pub op: String,
    /// How its arithmetic is done.
    pub scheme: Scheme,
    /// Scales of its weights, where it has some and is quantized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightScheme>,
    /// The node into whose epilogue it was fused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fused_into: Option<String>,
    /// Why it stays float.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The value that holds its result.
    pub output: String,
}

/// A quantized network and how it came about.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// The network, ready to be written.
    pub network: Network,
    /// One entry a node of the float network, in its order.
    pub decisions: Vec<Decision>,
    /// What can be refined: the products, where their parameters are not the model's own.
    pub products: Vec<Product>,
}

/// Quantizes `network`. `range` gives the calibrated (min, max) of a value, by its index; it is not asked where the model
/// brings its own parameters ([`given::brings_parameters`]), which then hold.
///
/// # Errors
/// [`QuantizeError`].
pub fn quantize(
    network: &Network,
    mapping: &QConfigMapping,
    range: &dyn Fn(usize) -> Option<(f32, f32)>,
) -> Result<Quantized, QuantizeError> {
    let given = Given::read(network);
    let network = given.as_ref().map_or(network, |given| &given.network);
    let graph = &network.graph;
    mapping.check(graph)?;
    if given.is_some() && mapping.global.reduce_range {
        return Err(QuantizeError::ReducedRange);
    }
    let configs: Vec<_> = graph.nodes.iter().map(|n| mapping.of(n)).collect();
    let regions = given.as_ref().map_or_else(|| regions::decide(graph, &configs, range), |given| given.regions(&configs));
    let groups = fusion::fuse(network, &regions, given.as_ref());
    let classes = match &given {
        Some(given) => affine::Classes::given(&given.affine),
        None => affine::Classes::new(graph, &regions, &groups, range),
    };
    let q_max = if mapping.global.reduce_range { 127 } else { 255 };
    let plan = emit::Plan {
        network,
        configs: &configs,
        regions: &regions,
        groups: &groups,
        classes: &classes,
        range,
        given: given.as_ref(),
        q_max,
    };
    let (mut quantized, products) = emit::emit(&plan)?;
    entry::merge_transposes(&mut quantized);
    quaver_core::graph::check::check(&quantized.graph)?;

    let mut decisions = Vec::with_capacity(graph.nodes.len());
    for (i, node) in graph.nodes.iter().enumerate() {
        let scheme = regions.schemes[i];
        let weights = match scheme {
            Scheme::Static => regions.kinds[i] == Kind::Heavy,
            Scheme::Dynamic => true,
            Scheme::WeightOnly | Scheme::Float => false,
        };
        let fused_into = if groups.groups[i].is_none() { host(graph, &groups, i) } else { None };
        decisions.push(Decision {
            node: node.name.clone(),
            op: node.op.name().to_owned(),
            scheme,
            weights: weights.then_some(configs[i].weights),
            fused_into,
            reason: regions.reasons[i].clone().filter(|_| scheme == Scheme::Float),
            output: graph.value(node.outputs[0]).name.clone(),
        });
    }
    let products = if given.is_some() { Vec::new() } else { products };
    Ok(Quantized { network: quantized, decisions, products })
}

/// The node whose group holds node `i`: the first ahead of it, along its operands, that starts a group.
fn host(graph: &quaver_core::graph::Graph, groups: &fusion::Groups, i: usize) -> Option<String> {
    let producers = graph.producers();
    let mut at = i;
    loop {
        // An absorbed addition has two producers; the later one absorbed it.
        at = graph.nodes[at].inputs.iter().filter_map(|v| producers[v.index()]).max()?;
        if groups.groups[at].is_some() {
            return Some(graph.nodes[at].name.clone());
        }
    }
}
