//! How operations are computed, without an instruction set: kernel bodies, generic over the vector vocabulary
//! [`simd::Simd`]. Their results are those of [`mod@crate::reference`], byte for byte.
//!
//! | module | what it holds |
//! |---|---|
//! | [`simd`] | the vocabulary, and the interface between a body and an instruction set |
//! | [`epilogue`] | requantization, residual, limits and table of what sums become |
//! | [`soft`] | the vocabulary on plain arrays: its executable definition |
//! | [`gemm`] | the tile of rows × channels over packed weights: every convolution but depthwise, and matrix products |
//! | `staged` | the same where operands are widened first |

pub mod epilogue;
pub mod gemm;
pub mod simd;
pub mod soft;
mod staged;
