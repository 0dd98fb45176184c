//! Components: one instance a request, which nothing survives.
//!
//! | module | what it holds |
//! |---|---|
//! | `engine` | wasmtime with memory for instances set aside, and the clock by which guests are stopped |
//! | `cache` | compiled components in files |
//! | `app` | a component, and a request to it |
//! | `state` | what belongs to one instance: its limits, and what it may do |
//! | `lend` | this machine's kernels for guests, by `quaver:inference` |
//! | `read` | bodies to guests, and to lent kernels, from where they lie |
//! | `nn` | the same by wasi-nn |

mod app;
mod cache;
mod engine;
mod lend;
mod nn;
mod read;
mod state;

pub use app::{App, Fault};
pub use engine::Guests;
pub use nn::{Named, named};
