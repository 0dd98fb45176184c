//! How operations are computed, without an instruction set: kernel bodies, generic over the vector vocabulary
//! [`simd::Simd`]. Their results are those of [`mod@crate::reference`], byte for byte.
//!
//! | module | what it holds |
//! |---|---|
//! | [`simd`] | the vocabulary, and the interface between a body and an instruction set |
//! | [`epilogue`] | requantization, residual, HardSwish, limits and table of what sums become |
//! | `bounds` | what is known of sums, which makes an epilogue less work |
//! | `hard_swish` | HardSwish between a sum's scaling and its rounding |
//! | [`real`] | what sums become where the result is real |
//! | [`addend`] | the rows of a residual that are added to a tile |
//! | [`bind`] | from a node to its kernel |
//! | [`conv`] | where a convolution finds its activations |
//! | [`conv_f32`], [`product_f32`] | convolutions and matrix products that are real |
//! | [`narrow`] | windows over few channels, and the order of their weights |
//! | [`gemm`] | the tile of rows × channels over packed weights: every convolution but depthwise, and matrix products |
//! | [`matmul`] | products of two activations: the right one is packed as weights are |
//! | [`depthwise`] | depthwise convolutions: quads of vertical taps against lanes of channels |
//! | [`split`] | work whose output can be cut into ranges, for threads: the kernels below |
//! | [`edge`] | loads, stores and copies where a slice ends |
//! | [`elementwise`] | functions of one or two elements, tables |
//! | [`layout`] | joining, cutting, shuffling, transposing |
//! | [`pool`] | pools of u8 |
//! | [`quantize`] | between f32 and u8, also with the move from planes to pixels |
//! | [`reduce`] | global average pooling |
//! | [`resize`] | images of bytes at other extents |
//! | [`softmax`] | softmax along the last axis |
//! | [`soft`] | the vocabulary on plain arrays: its executable definition |
//! | [`tile`] | its innermost loop, and what that reads |
//! | `whole` | its tiles of full height, from the bias to bytes in registers |
//! | `gemv` | the same for a row or two: many channels at once |
//! | `staged` | the same where operands are widened first |
//! | `paired` | the same where two products are added in 16 bits |
//! | `brief` | that for short sums, from the bias to bytes in registers |
//! | [`pairing`] | orders of weights in which that loses nothing |
//! | `sums` | sums in memory, and what they may lack |
//! | `groups` | from sums in memory to bytes, where nothing is left over |

#![allow(
    clippy::needless_range_loop,
    clippy::manual_memcpy,
    reason = "iterators and copies over arrays of vectors are not reliably inlined; loops over constants stay in registers"
)]

pub mod addend;
pub mod bind;
mod bounds;
mod brief;
pub mod conv;
pub mod conv_f32;
pub mod depthwise;
pub mod edge;
pub mod elementwise;
pub mod epilogue;
pub mod gemm;
mod gemv;
mod groups;
mod hard_swish;
pub mod layout;
pub mod matmul;
pub mod narrow;
pub mod normalize;
mod paired;
pub mod pairing;
pub mod pool;
pub mod product_f32;
pub mod quantize;
pub mod real;
pub mod recurrent;
pub mod reduce;
pub mod resize;
pub mod simd;
pub mod soft;
pub mod softmax;
pub mod split;
mod staged;
mod sums;
pub mod tile;
mod whole;
