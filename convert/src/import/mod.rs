//! Float models in: ONNX files and modules of burn become a [`Network`](quaver_core::graph::Network) of f32 operations.

#[cfg(feature = "burn")]
pub mod burn;
pub mod error;
pub mod onnx;

use std::collections::BTreeMap;

use quaver_core::graph::Dim;

pub use error::{ImportError, Unsupported};

/// What the importer can't read from the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImportOptions {
    /// Shapes of inputs whose extents the model leaves open.
    pub input_shapes: BTreeMap<String, Vec<Dim>>,
    /// Inputs that become constants, of which each element is this number: a sampling rate, say, or a flag that chooses a branch.
    pub input_values: BTreeMap<String, f64>,
    /// Keep a batch size that the model fixes at 1, instead of making it a variable.
    pub fixed_batch: bool,
}
