//! Classes of instructions: a token for each, and its vectors as [`quaver_core::kernel::simd::Simd`]. All intrinsics are here.
//!
//! | module | what it holds |
//! |---|---|
//! | `v128` | all but the dot product |
//! | `products` | the innermost loops of the matrix kernel |
//! | `simd128` | what every engine has |
//! | `probe` | what an engine makes of a relaxed dot product |
//! | `usdot`, `sdot` | the two ways that lose nothing |
//! | `either` | both in one body, for kernels of few products |
//! | `sat` | the third way, with feature `sat` |
//!
//! With feature `relaxed` there are `usdot` and `sdot`, as an engine has one of them. Engines that have neither load another
//! build, with `simd128`, and with feature `sat` both that and `sat`.
//!
//! Where the target is no WebAssembly there are none, and the vocabulary runs on arrays.

#[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
mod either;
#[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
mod probe;
#[cfg(target_arch = "wasm32")]
mod products;
#[cfg(all(target_arch = "wasm32", feature = "sat"))]
mod sat;
#[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
mod sdot;
#[cfg(target_arch = "wasm32")]
mod simd128;
#[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
mod usdot;
#[cfg(target_arch = "wasm32")]
mod v128;

#[cfg(all(target_arch = "wasm32", feature = "relaxed", feature = "sat"))]
compile_error!("a module has the kernels of one kind of engine: feature `relaxed` or `sat`");

use quaver_core::kernel::simd::{Kernel, Simd};

#[cfg(not(target_arch = "wasm32"))]
use quaver_core::kernel::soft::Soft;
#[cfg(target_arch = "wasm32")]
use simd128::Simd128;

/// What every kernel but products runs on.
#[cfg(target_arch = "wasm32")]
pub const PLAIN: Simd128 = Simd128::new();
/// What every kernel but products runs on.
#[cfg(not(target_arch = "wasm32"))]
pub const PLAIN: Soft<5, true> = Soft;

/// The token of a class.
#[derive(Debug, Clone, Copy)]
pub enum Token {
    /// Without a relaxed dot product.
    #[cfg(not(all(target_arch = "wasm32", feature = "relaxed")))]
    Plain,
    /// [`usdot`].
    #[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
    Usdot(usdot::Usdot),
    /// [`sdot`].
    #[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
    Sdot(sdot::Sdot),
    /// [`sat`].
    #[cfg(all(target_arch = "wasm32", feature = "sat"))]
    Sat(sat::Sat),
}

impl Token {
    /// That of what every engine has, where the build has kernels for it.
    pub fn simd128() -> Option<Self> {
        #[cfg(not(all(target_arch = "wasm32", feature = "relaxed")))]
        return Some(Self::Plain);
        #[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
        None
    }

    /// That of USDOT, where the engine is such.
    pub fn usdot() -> Option<Self> {
        #[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
        return usdot::Usdot::detect().map(Self::Usdot);
        #[cfg(not(all(target_arch = "wasm32", feature = "relaxed")))]
        None
    }

    /// That of SDOT, where the engine is such.
    pub fn sdot() -> Option<Self> {
        #[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
        return sdot::Sdot::detect().map(Self::Sdot);
        #[cfg(not(all(target_arch = "wasm32", feature = "relaxed")))]
        None
    }

    /// That of SAT, where there are relaxed instructions: for activations up to 127.
    pub fn sat() -> Option<Self> {
        #[cfg(all(target_arch = "wasm32", feature = "sat"))]
        return Some(Self::Sat(sat::Sat::new()));
        #[cfg(not(all(target_arch = "wasm32", feature = "sat")))]
        None
    }

    /// Runs a kernel with the class's instructions enabled.
    pub fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(not(all(target_arch = "wasm32", feature = "relaxed")))]
            Self::Plain => PLAIN.vectorize(kernel),
            #[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
            Self::Usdot(isa) => isa.vectorize(kernel),
            #[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
            Self::Sdot(isa) => isa.vectorize(kernel),
            #[cfg(all(target_arch = "wasm32", feature = "sat"))]
            Self::Sat(isa) => isa.vectorize(kernel),
        }
    }

    /// Runs a kernel of few products, as that of depthwise convolutions: not worth its size for each class.
    pub fn vectorize_few<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
            Self::Usdot(isa) => either::Either::from(isa).vectorize(kernel),
            #[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
            Self::Sdot(isa) => either::Either::from(isa).vectorize(kernel),
            #[cfg(not(all(target_arch = "wasm32", feature = "relaxed")))]
            _ => PLAIN.vectorize(kernel),
        }
    }

    /// What its dot products lessen activations by: [`Simd::OFFSET`].
    pub fn offset(self) -> u8 {
        match self {
            #[cfg(all(target_arch = "wasm32", feature = "relaxed"))]
            Self::Sdot(_) => sdot::Sdot::OFFSET,
            _ => 0,
        }
    }
}
