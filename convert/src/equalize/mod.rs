//! Equalization: scales of channels move between layers, so that one scale for all channels of a value loses little.
//!
//! Two forms, by what computes the value:
//! * **Across layers** (Nagel et al. 2019): a convolution or matrix product, or a layer normalization, whose result nothing but
//!   products reads, directly or through what commutes with a positive factor (Relu, pools, what moves data). Its weights take
//!   up the division, so it costs nothing. HardSwish, with numbers behind it, is no multiple of itself, but is part of an epilogue
//!   that multiplies each channel by a number of its own behind it.
//! * **In front** (SmoothQuant, Xiao et al. 2023): what stays real, as the normalizations of transformers do, also where others
//!   read it. The products' common operand is divided by a multiplication of its own before it is quantized.
//!
//! A Clip has limits that would differ from channel to channel, and other activations are no multiples of themselves, so nothing
//! moves through them. Biases need not be absorbed, as integers of activations have a zero point.
//!
//! The network's results are the same up to float rounding. Values that are divided get other names, since they are other values.

mod factors;
pub mod scaled;

use quaver_core::graph::op::{BinaryFn, PadMode, ReduceFn, UnaryFn};
use quaver_core::graph::{Graph, Network, Node, Op, ValueId};

use crate::calibrate::Sample;
use crate::calibrate::burn_exec::RunError;
use crate::calibrate::channels::Channels;
use crate::quantize::fusion::{Step, Swish};
use crate::quantize::qconfig::{Equalization, NodeConfig, Scheme, WeightScheme};
use crate::quantize::regions::{self, Kind, Regions};
use factors::{Factors, Reader};

/// Least gain for which weights are changed.
const LEAST_DB: f64 = 0.25;

/// Least gain that is worth a multiplication of its own.
const LEAST_DB_IN_FRONT: f64 = 2.0;

/// One value whose channels were scaled.
#[derive(Debug, Clone, PartialEq)]
pub struct Equalized {
    /// The value, by its name in the float network.
    pub value: String,
    /// Whether a multiplication was added, since the producer could not take up the factors.
    pub in_front: bool,
    /// By how many decibels the noise of its readers should get less.
    pub gain_db: f64,
    /// Values that hold their channels divided, by their names in the network that is quantized.
    pub divided: Vec<String>,
    /// What each channel was divided by.
    pub factors: Vec<f32>,
}

/// What is put behind the name of a value whose channels are divided.
const SUFFIX: &str = ":equalized";

/// Equalizes `network` by what its channels look like on `samples`.
///
/// # Errors
/// [`RunError`] where a sample doesn't fit.
pub fn equalize(network: &Network, configs: &[NodeConfig], samples: &[Sample]) -> Result<(Network, Vec<Equalized>), RunError> {
    // Before calibration: which sums would lose an operand, is not known yet.
    let regions = regions::decide(&network.graph, configs, &|_| None);
    let places = places(network, configs, &regions);
    if places.is_empty() {
        return Ok((network.clone(), Vec::new()));
    }
    let channels = Channels::observe(network, samples, &|id| places.iter().any(|p| p.value == id))?;
    let mut out = network.clone();
    let mut done = Vec::new();
    for place in &places {
        // Weights as they are by now: a product may read one equalized value and make another.
        let readers: Option<Vec<Reader<'_>>> = place.readers.iter().map(|&r| reader(&out, r)).collect();
        let Some(factors) = readers.and_then(|readers| factors::search(channels.of(place.value), &readers)) else { continue };
        let in_front = place.taker == Taker::Front;
        let least = if in_front { LEAST_DB_IN_FRONT } else { LEAST_DB };
        if factors.gain_db < least {
            continue;
        }
        let name = network.graph.value(place.value).name.clone();
        let divided = apply(&mut out, place, &factors);
        let Factors { divide, gain_db } = factors;
        done.push(Equalized { value: name, in_front, gain_db, divided, factors: divide });
    }
    sort(&mut out, network.graph.nodes.len());
    out.compact();
    Ok((out, done))
}

/// Moves the nodes from `first` on, which were added behind all others, to where their results are needed.
fn sort(network: &mut Network, first: usize) {
    let nodes = &mut network.graph.nodes;
    let added = nodes.split_off(first);
    for node in added {
        let reader = nodes.iter().position(|n| n.inputs.contains(&node.outputs[0])).unwrap_or(nodes.len());
        nodes.insert(reader, node);
    }
}

/// Where factors can move.
#[derive(Debug)]
struct Place {
    /// What the products read.
    value: ValueId,
    /// The products.
    readers: Vec<usize>,
    /// Who takes up the division.
    taker: Taker,
    /// Values from the producer's to `value`, which are divided.
    divided: Vec<ValueId>,
}

/// Who takes up a division.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taker {
    /// The constants of a node.
    Node(usize),
    /// A multiplication behind this value, which its producer's epilogue does.
    Epilogue(ValueId),
    /// A multiplication in front of the products.
    Front,
}

fn places(network: &Network, configs: &[NodeConfig], regions: &Regions) -> Vec<Place> {
    let graph = &network.graph;
    let (consumers, producers) = (graph.consumers(), graph.producers());
    let is_reader = |&c: &usize| {
        regions.quantized[c]
            && regions.kinds[c] == Kind::Heavy
            && configs[c].equalization != Equalization::None
            && reader(network, c).is_some()
    };
    let mut places = Vec::new();
    for node in &graph.nodes {
        let value = node.outputs[0];
        let readers: Vec<usize> = consumers[value.index()].iter().copied().filter(is_reader).collect();
        if readers.is_empty() || readers.iter().any(|&r| graph.nodes[r].inputs[0] != value || graph.nodes[r].inputs[1..].contains(&value)) {
            continue;
        }
        let alone = readers.len() == consumers[value.index()].len() && !graph.outputs.contains(&value);
        let way = if alone { back(network, configs, regions, &consumers, &producers, value) } else { None };
        // From product to product it gains little, and may lose a decibel, but where each channel's weights have a scale of their own.
        let own_scales = |&r: &usize| matches!(&graph.nodes[r].op, Op::Conv(c) if c.groups > 1);
        let smooth = |&(taker, _): &(Taker, Vec<ValueId>)| match taker {
            Taker::Node(p) if !matches!(graph.nodes[p].op, Op::LayerNorm { .. }) => {
                readers.iter().all(|r| own_scales(r) || configs[*r].equalization == Equalization::All)
            }
            _ => true,
        };
        if let Some((taker, divided)) = way.filter(smooth) {
            places.push(Place { value, readers, taker, divided });
        } else if !regions.is_u8[value.index()]
            && producers[value.index()].is_some_and(|p| regions.kinds[p] != Kind::Move)
            && graph.value(value).shape.len() >= 2
        {
            places.push(Place { value, readers, taker: Taker::Front, divided: Vec::new() });
        }
    }
    places
}

/// The way from a value back to what can take up factors, through what commutes with them.
fn back(
    network: &Network,
    configs: &[NodeConfig],
    regions: &Regions,
    consumers: &[Vec<usize>],
    producers: &[Option<usize>],
    value: ValueId,
) -> Option<(Taker, Vec<ValueId>)> {
    let graph = &network.graph;
    let mut divided = vec![value];
    let mut at = producers[value.index()]?;
    loop {
        let node = &graph.nodes[at];
        if takes_up(network, node) {
            let own_scales = configs[at].weights == WeightScheme::PerChannel || configs[at].scheme == Scheme::Float;
            return own_scales.then_some((Taker::Node(at), divided));
        }
        if !commutes(graph, node) {
            let behind = node.outputs[0];
            return is_swish(network, regions, consumers, producers, at).then_some((Taker::Epilogue(behind), divided));
        }
        let before = node.inputs[0];
        if consumers[before.index()].len() != 1 || graph.outputs.contains(&before) {
            return None;
        }
        divided.push(before);
        at = producers[before.index()]?;
    }
}

/// Whether a node ends what will be [`Swish`] in the epilogue of a convolution or matrix product.
fn is_swish(network: &Network, regions: &Regions, consumers: &[Vec<usize>], producers: &[Option<usize>], mut at: usize) -> bool {
    let mut steps = Vec::new();
    loop {
        let Some((step, x)) = Step::of(network, at).filter(|_| regions.quantized[at]) else { return false };
        let begins = step == Step::Unary(UnaryFn::HardSwish);
        steps.insert(0, step);
        let alone = consumers[x.index()].len() == 1 && !network.graph.outputs.contains(&x) && regions.is_u8[x.index()];
        let Some(producer) = producers[x.index()].filter(|_| alone) else { return false };
        if begins {
            return regions.kinds[producer] == Kind::Heavy && regions.quantized[producer] && Swish::of(&steps).is_some();
        }
        at = producer;
    }
}

/// Whether the node's constants can divide each channel of its result.
fn takes_up(network: &Network, node: &Node) -> bool {
    let constant = |v: &ValueId| network.elements::<f32>(*v).is_some();
    match node.op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm => node.inputs[1..].iter().all(constant),
        Op::LayerNorm { .. } => node.inputs.len() == 3 && node.inputs[1..].iter().all(constant),
        _ => false,
    }
}

/// Whether a node of one operand gives multiples, channel by channel, for multiples of its operand; channels stay last.
fn commutes(graph: &Graph, node: &Node) -> bool {
    let Some(last) = graph.value(node.inputs[0]).shape.len().checked_sub(1) else { return false };
    match &node.op {
        Op::Unary { function: UnaryFn::Relu | UnaryFn::LeakyRelu { .. } } | Op::Pool(_) | Op::Resize(_) => true,
        Op::Reduce { function: ReduceFn::Mean, axes, .. } => !axes.contains(&last),
        Op::Transpose { perm } => perm.last() == Some(&last),
        Op::Pad { mode: PadMode::Constant(x), before, after } => *x == 0.0 && before[last] == 0 && after[last] == 0,
        _ => false,
    }
}

/// The weights of a product by input channel; `None` for those of several channels a group.
fn reader(network: &Network, node: usize) -> Option<Reader<'_>> {
    let graph = &network.graph;
    let node = &graph.nodes[node];
    let weights = network.elements::<f32>(*node.inputs.get(1)?)?;
    let outputs = graph.value(node.outputs[0]).shape.last()?.fixed()?;
    let inputs = graph.value(node.inputs[0]).shape.last()?.fixed()?;
    match &node.op {
        Op::Conv(c) if c.groups > 1 => (c.groups == inputs && outputs == inputs).then_some(Reader { weights, outputs: 0 }),
        Op::ConvTranspose(c) if c.groups > 1 => None,
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm => Some(Reader { weights, outputs }),
        _ => None,
    }
}

/// Gives the names that values with divided channels have from now on.
fn apply(network: &mut Network, place: &Place, factors: &Factors) -> Vec<String> {
    let inverse: Vec<f32> = factors.divide.iter().map(|s| 1.0 / s).collect();
    for &reader in &place.readers {
        let node = &network.graph.nodes[reader];
        let outputs = match &node.op {
            Op::Conv(c) if c.groups > 1 => 1,
            _ => network.graph.value(node.outputs[0]).shape.last().and_then(|d| d.fixed()).unwrap_or(1),
        };
        scale(network, reader, 1, outputs, &factors.divide);
    }
    let mut divided = place.divided.clone();
    match place.taker {
        Taker::Node(producer) => {
            for operand in 1..network.graph.nodes[producer].inputs.len() {
                scale(network, producer, operand, 1, &inverse);
            }
        }
        Taker::Epilogue(value) => {
            // It is the last of them, and what is divided is a value of its own, of that name.
            divided.retain(|&id| id != value);
            let consumers = network.graph.consumers().swap_remove(value.index());
            let name = network.graph.value(value).name.clone();
            if let Some(new) = multiply(network, value, &inverse, (&name, &name)) {
                consumers.iter().for_each(|&c| replace(&mut network.graph.nodes[c].inputs, value, new));
                divided.push(new);
            }
        }
        Taker::Front => {
            let name = network.graph.nodes[place.readers[0]].name.clone();
            if let Some(new) = multiply(network, place.value, &inverse, (&name, &format!("{name}{SUFFIX}"))) {
                place.readers.iter().for_each(|&r| replace(&mut network.graph.nodes[r].inputs, place.value, new));
            }
        }
    }
    let mut named = Vec::new();
    for id in divided {
        let name = &mut network.graph.values[id.index()].name;
        if !name.is_empty() {
            name.push_str(SUFFIX);
            named.push(name.clone());
        }
    }
    named
}

fn replace(inputs: &mut [ValueId], old: ValueId, new: ValueId) {
    inputs.iter_mut().filter(|id| **id == old).for_each(|id| *id = new);
}

/// Multiplies a constant operand by a factor for each channel; `inner` elements in a row have one channel.
fn scale(network: &mut Network, node: usize, operand: usize, inner: usize, factors: &[f32]) {
    let id = network.graph.nodes[node].inputs[operand];
    let Some(data) = network.elements::<f32>(id) else { return };
    let scaled: Vec<f32> = data.iter().enumerate().map(|(i, w)| w * factors[i / inner % factors.len()]).collect();
    let value = network.graph.value(id);
    let (name, shape) = (value.name.clone(), value.shape.iter().filter_map(|d| d.fixed()).collect::<Vec<_>>());
    network.graph.nodes[node].inputs[operand] = network.constant(name, &shape, &scaled);
}

/// A value's channels times a factor each; the names of the node that it is for, and of the result.
fn multiply(network: &mut Network, value: ValueId, factors: &[f32], (node, name): (&str, &str)) -> Option<ValueId> {
    let constant = network.constant(format!("{node}.equalization"), &[factors.len()], factors);
    network.push(Op::Binary { function: BinaryFn::Mul }, &[value, constant], &format!("{node}/equalize"), name).ok()
}

#[cfg(test)]
mod tests;
