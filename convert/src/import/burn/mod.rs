//! Modules of [burn](https://burn.dev), as they are in memory.
//!
//! [`capture`] runs a forward pass on burn's capture device, which records operations instead of computing them, and gives the
//! float graph that an ONNX file of the same network would give. Everything behind it is the same: [`simplify`], [`convert`],
//! and what they are made of.
//!
//! ```
//! use burn::nn::{Linear, LinearConfig, Relu};
//! use burn::tensor::{Device, Tensor};
//! use quaver_convert::burn::{CaptureOptions, capture};
//! use quaver_convert::calibrate::data::Samples;
//! use quaver_convert::quantize::qconfig::QConfigMapping;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #[derive(burn::module::Module, Debug)]
//! struct Net {
//!     hidden: Linear,
//!     classes: Linear,
//! }
//!
//! let device = Device::flex();
//! let net = Net { hidden: LinearConfig::new(16, 32).init(&device), classes: LinearConfig::new(32, 4).init(&device) };
//! let example = Tensor::<2>::zeros([1, 16], &device);
//! let forward = |net: &Net, x| net.classes.forward(Relu::new().forward(net.hidden.forward(x)));
//!
//! let network = capture(&net, example, forward, &CaptureOptions::default())?;
//! assert_eq!(network.graph.value(network.graph.inputs[0]).shape.len(), 2);
//!
//! let float = quaver_convert::simplify::simplify(network)?;
//! let samples = Samples::random(8, &float.graph);
//! let converted = quaver_convert::convert(&float, &samples, &QConfigMapping::default(), &mut |_| {})?;
//! std::fs::write(std::env::temp_dir().join("net.qvr"), converted.to_qvr(&Default::default())?)?;
//! # Ok(())
//! # }
//! ```
//!
//! **Precision.** Parameters of f16 and bf16 become f32, and so does what is computed. Casts between widths are left out.
//!
//! **Masks** that fill with −∞ fill with the smallest f32 instead, since ranges are made of finite numbers: a softmax gives the same
//! shares, but for rows of which everything is masked.
//!
//! **What a forward pass decides by itself**, branches and the number of rounds of a loop, is recorded as it went. It can look at the
//! shapes of what it computes, and not at elements. Recurrent layers are recorded step by step, so that the length of a sequence is
//! fixed.
//!
//! [`simplify`]: crate::simplify
//! [`convert`]: crate::convert

mod assembly;
mod batch;
mod error;
mod graph;
mod ops;
mod record;
mod tensors;

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::module::Module;
use quaver_core::graph::Network;

pub use error::BurnError;
pub use tensors::{Port, Tensors};

use super::onnx::proto::{GraphProto, ModelProto, OperatorSetIdProto};
use super::{ImportOptions, onnx};
use record::{Recording, record};

/// The operator set that operations are written in.
const OPSET: i64 = 20;

/// Which extents of the inputs are the batch size, which a network in quaver may leave open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Batch {
    /// The first extent of every input. The forward pass runs at the example's batch size and at 2, 3 and 5, which have to differ by
    /// multiples of the batch size alone ([`BurnError::NoFormula`] if they don't). One that does something else at sizes that are
    /// not tried is not noticed.
    #[default]
    Open,
    /// As [`Batch::Open`], of these inputs by name; the others are the same for all samples.
    OpenOf(Vec<String>),
    /// None: the network takes inputs of the example's shapes.
    Fixed,
}

/// What [`capture`] can't know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaptureOptions {
    /// The network's name, `model` if empty.
    pub name: String,
    /// Names of the inputs; `x`, or `x0`, `x1` and so on, if empty.
    pub inputs: Vec<String>,
    /// Names of the outputs; `y`, or `y0`, `y1` and so on, if empty.
    pub outputs: Vec<String>,
    /// The batch size.
    pub batch: Batch,
}

/// The float graph of `forward(module, inputs)`, as [`onnx::open`] gives it for a file.
///
/// `inputs` are examples: their shapes count, their elements don't. `forward` is called several times, with a copy of the module
/// and of the inputs on burn's capture device; it has to make tensors of its own on the device of what it is given. Nodes and
/// constants are named after the module's fields, such as `encoder.layers.0.linear`.
///
/// # Errors
/// [`BurnError`]; operations that are not supported are listed all at once.
///
/// # Panics
/// If `forward` panics at the example's shapes.
pub fn capture<M: Module, I: Tensors, O: Tensors>(
    module: &M,
    inputs: I,
    forward: impl Fn(&M, I) -> O,
    options: &CaptureOptions,
) -> Result<Network, BurnError> {
    let mut ports = Vec::new();
    inputs.ports(&mut ports);
    let names = named(&options.inputs, "x", ports.len(), "inputs")?;
    let chosen = chosen(&options.batch, &names, &ports)?;
    let recording = record(module, inputs.clone(), &forward)?;
    let outputs = named(&options.outputs, "y", recording.outputs.len(), "outputs")?;
    if let Some(name) =
        names.iter().chain(&outputs).enumerate().find(|(i, name)| names.iter().chain(&outputs).skip(i + 1).any(|n| n == *name))
    {
        return Err(BurnError::Ports(format!("the name '{}' is given twice; inputs and outputs need names of their own", name.1)));
    }
    let build = |recording: &Recording, outline| graph::build(recording, &options.name, [&names, &outputs], outline);
    let example = build(&recording, chosen.contains(&true))?;
    drop(recording);
    let graph = match chosen.contains(&true) {
        false => example,
        true => {
            let at = |batch: usize, outline: bool| -> Result<GraphProto, BurnError> {
                let inputs = inputs.clone().with_batch(batch, &mut chosen.iter().copied());
                // What it would have said is in the error.
                let recording = catch_unwind(AssertUnwindSafe(|| record(module, inputs, &forward)))
                    .map_err(|panic| BurnError::Batch { batch, what: message(&*panic) })??;
                build(&recording, outline)
            };
            let [first, second, third] = batch::SIZES;
            batch::open([at(first, false)?, at(second, true)?, at(third, true)?], &chosen)?
        }
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: OPSET }];
    let model = ModelProto { graph: Some(graph), opset_import, ..ModelProto::default() };
    let imported = onnx::import(&model, None, &ImportOptions { fixed_batch: true, ..ImportOptions::default() });
    imported.map_err(if chosen.contains(&true) { BurnError::Open } else { BurnError::Import })
}

/// The names given, or numbered ones.
fn named(given: &[String], default: &str, count: usize, what: &str) -> Result<Vec<String>, BurnError> {
    match (given.len(), count) {
        (0, 1) => Ok(vec![default.to_owned()]),
        (0, _) => Ok((0..count).map(|i| format!("{default}{i}")).collect()),
        (names, _) if names == count => Ok(given.to_vec()),
        (names, _) => Err(BurnError::Ports(format!("there are {count} {what}, but {names} names for them: {}", given.join(", ")))),
    }
}

/// Which inputs have the batch size as first extent.
fn chosen(batch: &Batch, names: &[String], ports: &[Port]) -> Result<Vec<bool>, BurnError> {
    let chosen: Vec<bool> = match batch {
        Batch::Fixed => vec![false; ports.len()],
        Batch::Open => vec![true; ports.len()],
        Batch::OpenOf(open) => {
            if let Some(unknown) = open.iter().find(|name| !names.contains(name)) {
                return Err(BurnError::Ports(format!("there is no input '{unknown}'; the inputs are {}", names.join(", "))));
            }
            names.iter().map(|name| open.contains(name)).collect()
        }
    };
    let mut batches =
        ports.iter().zip(names).zip(&chosen).filter(|(_, chosen)| **chosen).map(|((port, name), _)| (port.dims.first(), name));
    let Some((first, name)) = batches.next() else { return Ok(chosen) };
    match batches.chain([(first, name)]).find(|(extent, _)| *extent != first || extent.is_none_or(|&n| n == 0)) {
        None => Ok(chosen),
        Some((_, other)) => Err(BurnError::Ports(format!(
            "inputs '{name}' and '{other}' should begin with the same batch size; name those that have one with `Batch::OpenOf`, or keep the example's shapes with `Batch::Fixed`"
        ))),
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
