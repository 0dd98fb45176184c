//! Quaver as a WebAssembly module.
//!
//! * [`class`] which instructions sessions use
//! * [`session`] a model and its runs: safe Rust that knows no host
//! * [`abi`] functions of integers, for hosts of every language (without feature `js`)
//! * `js` classes for JavaScript, through wasm-bindgen (with feature `js`)
//!
//! One thread, no I/O: the host brings the file's bytes and takes the results' bytes. Everything that a host passes is
//! checked, so a wrong call is an error and never undefined behaviour.

#[cfg(not(feature = "js"))]
pub mod abi;
mod backend;
pub mod class;
mod isa;
#[cfg(feature = "js")]
pub mod js;
pub mod session;
