//! Kernels without a network around them, on every instruction set that the processor has and on arrays; those that multiply are
//! in `products`, as the two take long to compile.
//!
//! The vocabulary is compared with its definition, all else with the reference; each by equality, on odd shapes and the full range
//! of values, within guards.
//!
//! An instruction set that the processor lacks is skipped, which is printed; `QUAVER_REQUIRE_ISA`, names separated by
//! commas, makes that a failure.

mod check;
#[path = "../common/mod.rs"]
mod common;
mod elementwise;
mod layout;
mod pool;
mod quantize;
mod reduce;
mod resize;
mod simd;
mod softmax;
mod tensor;
