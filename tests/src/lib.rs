//! The harness of the whole-system tests in `tests/all` and `tests/wasm`.
//!
//! * [`hosts`] who runs a model: native, wasmtime, Node
//! * [`guest`] the WebAssembly module in wasmtime, by itself

pub mod guest;
pub mod hosts;
