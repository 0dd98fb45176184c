//! Instruction sets: a token for each, and their vectors as [`quaver_core::kernel::simd::Simd`]. All intrinsics are here.

pub mod avx512vnni;
