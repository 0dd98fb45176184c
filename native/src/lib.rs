//! Quaver for servers: open a `.qvr` file, run it.
//!
//! ```no_run
//! use quaver::{Model, Session, SessionOptions, Tensor};
//!
//! # fn main() -> Result<(), quaver::Error> {
//! let model = Model::open("net.qvr")?; // mapped and validated; weights are used where they lie
//! let mut session = Session::new(&model, SessionOptions::default())?;
//! let image = Tensor::from_vec([1, 3, 224, 224], vec![0f32; 3 * 224 * 224])?;
//! let outputs = session.run(&[("image", image)])?;
//! let scores = outputs.get("scores").and_then(|t| t.as_slice::<f32>());
//! # Ok(())
//! # }
//! ```
//!
//! A [`Model`] is shared: clone it into as many threads as there are, and give each its own [`Session`]. Results don't
//! depend on the machine, on the number of threads, or on what else is in the batch: every backend computes the bytes that
//! `quaver_core::reference` defines.
//!
//! | module | what it holds |
//! |---|---|
//! | `model` | [`Model::open`]: the map and its validation, inputs and outputs |
//! | `session` | [`Session::run`], and [`Session::infer`] without copies; plans by batch size; [`Session::explain`], [`Session::profile`], [`Session::tune`] |
//! | `tensor` | [`Tensor`]: owned elements with a shape |
//! | `options` | [`SessionOptions`] |
//! | `cpu` | [`Isa`], the environment variable `QUAVER_ISA` |
//! | [`dispatch`] | which kernel runs a node, and why |
//! | `backend` | from an operation to its kernel |
//! | `isa`, `amx` | instructions |
//! | `profile` | [`Profile`]: where the time of runs goes |
//! | `error` | [`Error`] |
//!
//! `unsafe` occurs in the mapping in `model`, and where instructions are: `isa` and `amx`. Threads are `quaver_pool`'s.

#[doc(hidden)]
pub mod amx;
mod backend;
mod cpu;
pub mod dispatch;
mod error;
#[doc(hidden)]
pub mod isa;
mod model;
mod options;
mod profile;
mod session;
mod tensor;

#[doc(hidden)]
pub use quaver_pool as pool;

pub use cpu::Isa;
pub use dispatch::explain::Explained;
pub use dispatch::peaks::Peaks;
pub use dispatch::tune::{Change, Tuning};
pub use error::Error;
pub use model::{Model, Port};
pub use options::SessionOptions;
pub use profile::{NodeSummary, NodeTime, Profile};
pub use session::{OutputViews, Outputs, Session};
pub use tensor::{Tensor, TensorElement};

pub use quaver_core::graph::{Dim, Sizes};
pub use quaver_core::tensor::{DType, TensorView};
