//! The one test binary: a module for each promise.

mod format;
mod onnx_nodes;
mod same_bytes;
