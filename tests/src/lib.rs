//! The harness of the whole-system tests in `tests/all` and `tests/wasm`.
//!
//! * [`hosts`] who runs a model: native, wasmtime, Node, Chromium
//! * [`guest`] the WebAssembly module in wasmtime, by itself
//! * [`chromium`] pages with the npm package

pub mod chromium;
pub mod guest;
pub mod hosts;
