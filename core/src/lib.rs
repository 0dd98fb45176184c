//! Quaver's core: what a quantized network *is*, without saying how fast it runs.
//!
//! | module | what it holds |
//! |---|---|
//! | [`tensor`] | element types, borrowed tensors |
//! | [`quant`] | affine parameters of u8 activations |
//! | [`arith`] | the arithmetic contract, `ARITHMETIC.md` |
//! | [`graph`] | operations, shape inference, validation |
//! | [`format`](mod@format) | the `.qvr` file, `FORMAT.md` |
//! | [`kernel`] | how operations are computed, generic over a vector vocabulary |
//! | [`plan`] | a place in one arena for every value |
//! | [`backend`] | the interface that kernels stand behind |
//! | [`mod@reference`] | the scalar backend: the definition of every result |
//! | [`exec`] | runs a plan over a backend |
//!
//! No I/O, no threads, no instruction set, no `unsafe`: those are the backends'.

#![forbid(unsafe_code)]

pub mod arith;
pub mod backend;
pub mod exec;
pub mod format;
pub mod graph;
pub mod json;
pub mod kernel;
pub mod plan;
pub mod quant;
pub mod reference;
pub mod tensor;
