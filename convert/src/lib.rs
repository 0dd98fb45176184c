//! Quaver's converter: a float network in, a calibrated and quantized `.qvr` file out.
//!
//! Each stage maps a [`Network`](quaver_core::graph::Network) to a `Network` that can be printed, checked and run:
//!
//! | module | stage |
//! |---|---|
//! | [`import`] | ONNX, or a module of burn (feature `burn`), to the float graph |
//! | [`simplify`] | constants, BatchNorm, activations, layout |
//! | [`calibrate`] | the float graph on burn; observers watch its edges |
//! | [`quantize`] | ranges and the qconfig mapping to integers |
//! | [`equalize`] | scales of channels moved between layers, before calibration |
//! | [`refine`] | weights and biases made better by what the quantized layers read |
//! | [`layers`] | how well each layer agrees by itself |
//! | [`report`] | what was quantized, what was not and why, and what it cost |
//! | [`pipeline`] | the stages in one call |
//! | [`weigh`] | what the outputs lose by each layer |
//! | [`search`] | conversions until a target is met |
//! | [`agreement`] | SQNR, cosine, top-1 of two tensors |

#![forbid(unsafe_code)]

pub mod agreement;
mod by_node;
pub mod calibrate;
pub mod equalize;
pub mod import;
pub mod layers;
pub mod pipeline;
pub mod quantize;
pub mod refine;
pub mod report;
pub mod search;
pub mod simplify;
pub mod weigh;

#[cfg(feature = "burn")]
pub use import::burn;
pub use pipeline::{ConvertError, Converted, brings_parameters, convert, convert_as_given, is_dynamic, load, load_bytes};
