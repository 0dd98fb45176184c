//! Kernels without a network around them, on every instruction set that the processor has and on arrays.
//!
//! The vocabulary is compared with its definition, the matrix kernel with a plain loop, all else with the reference; each by
//! equality, on odd shapes and the full range of values, within guards.
//!
//! An instruction set that the processor lacks is skipped, which is printed; `QUAVER_REQUIRE_ISA`, names separated by
//! commas, makes that a failure.

mod check;
#[path = "../common/mod.rs"]
mod common;
mod depthwise;
mod elementwise;
mod gemm;
mod isas;
mod layout;
mod pool;
mod quantize;
mod reduce;
mod resize;
mod simd;
mod softmax;
mod tensor;
