//! Instruction sets: a token for each, and their vectors as [`quaver_core::kernel::simd::Simd`]. All intrinsics are here.

pub mod avx512vnni;

use quaver_core::kernel::simd::{Kernel, Simd};

use crate::cpu::Isa;

/// The token of an instruction set that the processor has.
#[derive(Debug, Clone, Copy)]
pub enum Token {
    /// AVX-512 VNNI.
    Avx512Vnni(avx512vnni::Avx512Vnni),
}

impl Token {
    /// The token of `isa`, where the processor has it; there is none for [`Isa::Scalar`].
    pub fn detect(isa: Isa) -> Option<Self> {
        match isa {
            Isa::Avx512Vnni => avx512vnni::Avx512Vnni::detect().map(Self::Avx512Vnni),
            _ => None,
        }
    }

    /// Runs a kernel with the instruction set enabled.
    #[inline]
    pub fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Self::Avx512Vnni(isa) => isa.vectorize(kernel),
        }
    }
}
