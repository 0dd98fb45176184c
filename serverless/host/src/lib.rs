//! `quaver serve`: `.qvr` files and `wasi:http` components over HTTP, in one process.
//!
//! | module | what it holds |
//! |---|---|
//! | [`options`] | what is served, and every limit |
//! | [`server`] | connections, and an end that loses nothing |
//! | `service` | from a request to who answers it |
//! | `body` | bodies of requests, in memory that is used again |
//! | `catalog` | what is served now, and its replacement when files change |
//! | `admission` | how many requests run and wait at once |
//! | `native` | models on this machine's kernels: threads, batches |
//! | `guest` | components: their engine, limits, one instance a request, and what the host lends them |
//! | `metrics` | for Prometheus |
//! | [`error`] | why a server can't start |
//!
//! A request is read to its end before anything is computed for it, and an answer is whole before any of it is sent: so neither a slow
//! client nor a guest that fails midway holds or breaks anything but its own exchange.

pub mod error;
pub mod options;
pub mod server;

mod admission;
mod body;
mod catalog;
#[doc(hidden)]
pub mod guest;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod native;
mod service;

pub use error::ServeError;
pub use options::{Limits, Options, Source};
pub use server::Server;
