//! Quaver as a WebAssembly module.
//!
//! * [`class`] which instructions sessions use
//! * [`session`] a model and its runs: safe Rust that knows no host
//! * [`image`] from pixels to an input
//! * [`abi`] functions of integers, for hosts of every language; the npm package in `npm` is one of them
//! * `js` (a feature) classes through wasm-bindgen, for web programs in Rust that bind this crate into their module
//!
//! One thread, no I/O: the host brings the file's bytes and takes the results' bytes. Everything that a host passes is
//! checked, so a wrong call is an error and never undefined behaviour.

pub mod abi;
mod backend;
pub mod class;
pub mod image;
mod isa;
#[cfg(feature = "js")]
pub mod js;
mod map;
pub mod session;
