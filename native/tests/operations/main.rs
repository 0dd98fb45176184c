//! Whole operations: random networks of one operation, run by a session on each instruction set with 1, 2 and 3 threads and
//! at several batch sizes, against a session that computes the definition. Results have the same bytes.
//!
//! Beyond kernels this tests what is around them: how a node is bound to its kernel, the padded copy of images, the parts of
//! an output for threads, and scratch memory. Operands lie in the caller's memory or in the arena, which differ in whether
//! bytes behind them may be read.
//!
//! The same operations are run by WebAssembly, in `tests/wasm`.
//!
//! | module | what it holds |
//! |---|---|
//! | `build` | makes a network of one operation |
//! | `network` | compares sessions on it |
//! | `products` | convolutions and matrix products with packed weights |
//! | `elements` | operations on elements and pixels of u8 |
//! | `moves` | operations that move elements |

mod build;
#[path = "../common/mod.rs"]
mod common;
mod elements;
mod moves;
mod network;
mod products;
