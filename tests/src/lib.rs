//! The harness of the whole-system tests in `tests/all`.
//!
//! * [`hosts`] who runs a model: native, wasmtime, Node

pub mod hosts;
