//! The Open Inference Protocol (that of KServe, Triton and others) over Quaver's models, and photos in, classes out.
//!
//! | module | what it holds |
//! |---|---|
//! | [`route`](mod@route) | which request is for what |
//! | [`description`] | what a model takes and gives, and its metadata as JSON |
//! | [`inference`] | a request's body to inputs, outputs to an answer |
//! | [`data`] | elements in JSON |
//! | [`photo`] | JPEG and PNG to an input |
//! | [`classes`] | scores to the most probable classes |
//! | [`answer`] | what goes back |
//! | [`error`] | what can be wrong with a request |
//!
//! No I/O and no inference: who serves reads bytes, runs the model and writes bytes. A component and a native server say the same of
//! the same request, byte for byte, as both are made of this.

#![forbid(unsafe_code)]

pub mod answer;
pub mod classes;
pub mod data;
pub mod description;
pub mod error;
pub mod inference;
pub mod photo;
pub mod route;

pub use answer::Answer;
pub use description::Description;
pub use error::ProtocolError;
pub use inference::{Asked, Head, Inference, Input, Reply};
pub use route::{Route, route};
