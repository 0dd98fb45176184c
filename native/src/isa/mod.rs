//! Instruction sets: a token for each, and their vectors as [`quaver_core::kernel::simd::Simd`]. All intrinsics are here.

pub mod avx2;
pub mod avx512vnni;
pub mod avxvnni;
pub mod peak;
mod ymm;

use quaver_core::kernel::epilogue::Rows;
use quaver_core::kernel::gemm::Gemm;
use quaver_core::kernel::simd::{Kernel, Simd};

use crate::amx::Amx;
use crate::cpu::Isa;
use peak::Peak;

/// What is to be done with each instruction set.
pub trait Visitor {
    /// Called with its name, and its token where the processor has it.
    fn visit<S: Simd + Peak>(&mut self, name: &'static str, isa: Option<S>);
}

/// Shows a visitor all instruction sets, ascending. Tests and benchmarks iterate this list.
pub fn each(visitor: &mut impl Visitor) {
    visitor.visit("avx2", avx2::Avx2::detect());
    visitor.visit("avx2reduced", avx2::Avx2Reduced::detect());
    visitor.visit("avxvnni", avxvnni::AvxVnni::detect());
    visitor.visit("avx512vnni", avx512vnni::Avx512Vnni::detect());
}

/// The token of an instruction set that the processor has.
#[derive(Debug, Clone, Copy)]
pub enum Token {
    /// AVX2.
    Avx2(avx2::Avx2),
    /// AVX2, for activations of 7 bits.
    Avx2Reduced(avx2::Avx2Reduced),
    /// AVX-VNNI.
    AvxVnni(avxvnni::AvxVnni),
    /// AVX-512 VNNI.
    Avx512Vnni(avx512vnni::Avx512Vnni),
    /// AMX, and AVX-512 VNNI for all that is no product of tiles.
    Amx(Amx),
}

impl Token {
    /// The token that a kernel needs, where the processor has it; there is none for the definition.
    pub fn detect(kernel: &crate::dispatch::kernel::Kernel) -> Option<Self> {
        match kernel.isa {
            Isa::Scalar => None,
            Isa::Avx2 if kernel.reduced => avx2::Avx2Reduced::detect().map(Self::Avx2Reduced),
            Isa::Avx2 => avx2::Avx2::detect().map(Self::Avx2),
            Isa::AvxVnni => avxvnni::AvxVnni::detect().map(Self::AvxVnni),
            Isa::Avx512Vnni => avx512vnni::Avx512Vnni::detect().map(Self::Avx512Vnni),
            Isa::Amx => Amx::detect().map(Self::Amx),
        }
    }

    /// Runs a kernel with the instruction set enabled.
    #[inline]
    pub fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Self::Avx2(isa) => isa.vectorize(kernel),
            Self::Avx2Reduced(isa) => isa.vectorize(kernel),
            Self::AvxVnni(isa) => isa.vectorize(kernel),
            Self::Avx512Vnni(isa) => isa.vectorize(kernel),
            Self::Amx(isa) => isa.vectors().vectorize(kernel),
        }
    }

    /// Runs a matrix product; tiles gather what does not lie in their form into `scratch`, and ask for weights that are needed `after` it.
    #[inline]
    pub fn gemm<R: Rows>(self, gemm: Gemm<'_, R>, after: &[[i8; 64]], scratch: &mut [u8]) {
        match self {
            Self::Amx(isa) => isa.gemm(gemm, after, scratch),
            _ => self.vectorize(gemm),
        }
    }
}
