//! Kernels that multiply, without a network around them, on every instruction set that the processor has and on arrays.
//!
//! The matrix kernel is compared with a plain loop, the depthwise one with the reference; both by equality, on odd shapes and the
//! full range of values, within guards. What of an instruction set that the processor lacks: see `kernels`.

#[path = "../common/mod.rs"]
mod common;
mod depthwise;
mod gemm;
