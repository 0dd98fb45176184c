//! Models on this machine's kernels.
//!
//! | module | what it holds |
//! |---|---|
//! | `model` | a model, its sessions, and what may share a batch |
//! | `pool` | the threads that run all models, and the requests that wait for them |
//! | `pace` | whether batches pay |
//! | `batch` | several requests to one run, and its results back to each |

mod batch;
mod model;
mod pace;
mod pool;

pub use model::{Digest, Model, Tensor};
pub use pool::{Pool, RunError};
