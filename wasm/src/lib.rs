//! Quaver as a WebAssembly module.
//!
//! * [`class`] which instructions sessions use
//! * [`session`] a model and its runs: safe Rust that knows no host
//! * [`image`] from pixels to an input
//! * [`error`] what can go wrong in all of these
//! * `abi` functions of integers, for hosts of every language
//! * `js` (a feature, instead of `abi`) the same for JavaScript, through wasm-bindgen: what the npm package in `npm` calls
//! * [`threads`] what a host's threads do for a session
//!
//! No I/O: the host brings the file's bytes and takes the results' bytes. Everything that a host passes is
//! checked, so a wrong call is an error and never undefined behaviour.

#[cfg(not(feature = "js"))]
pub mod abi;
mod backend;
pub mod class;
pub mod error;
pub mod image;
mod isa;
#[cfg(feature = "js")]
pub mod js;
#[cfg(not(feature = "js"))]
mod map;
pub mod session;
pub mod threads;
