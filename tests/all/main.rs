//! The one test binary: a module for each promise.

mod demo;
mod format;
mod npm;
mod onnx_nodes;
mod same_bytes;
