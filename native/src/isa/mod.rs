//! Instruction sets: a token for each, and their vectors as [`quaver_core::kernel::simd::Simd`]. All intrinsics are here.

use quaver_core::kernel::simd::Simd;

pub mod avx2;
pub mod avx512vnni;
pub mod avxvnni;
pub mod peak;
mod ymm;

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
