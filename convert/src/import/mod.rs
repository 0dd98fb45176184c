//! Float models in: ONNX files and modules of burn become a [`Network`](quaver_core::graph::Network) of f32 operations.

#[cfg(feature = "burn")]
pub mod burn;
pub mod error;
pub mod onnx;

use std::collections::BTreeMap;

use quaver_core::graph::Dim;

pub use error::{ImportError, Unsupported};

/// What the importer can't read from the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Shapes of inputs whose extents the model leaves open.
    pub input_shapes: BTreeMap<String, Vec<Dim>>,
    /// Keep a batch size that the model fixes at 1, instead of making it a variable.
    pub fixed_batch: bool,
}
