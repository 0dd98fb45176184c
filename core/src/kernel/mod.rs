//! How operations are computed, without an instruction set: kernel bodies, generic over the vector vocabulary
//! [`simd::Simd`]. Their results are those of [`mod@crate::reference`], byte for byte.
//!
//! | module | what it holds |
//! |---|---|
//! | [`simd`] | the vocabulary, and the interface between a body and an instruction set |
//! | [`epilogue`] | requantization, residual, limits and table of what sums become |
//! | [`gemm`] | the tile of rows × channels over packed weights: every convolution but depthwise, and matrix products |
//! | [`depthwise`] | depthwise convolutions: quads of vertical taps against lanes of channels |

pub mod depthwise;
pub mod epilogue;
pub mod gemm;
pub mod simd;
