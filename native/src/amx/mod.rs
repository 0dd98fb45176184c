//! AMX: matrix products on tiles. All of its instructions are here.
//!
//! | module | what it holds |
//! |---|---|
//! | [`machine`] | what tiles can do, as a trait |
//! | [`hardware`] | the processor's tiles |
//! | [`soft`] | tiles in software, for tests |
//! | [`driver`] | the kernel: blocking over tiles, what is gathered for them, and the way out of their sums |
//! | [`plan`] | how rows, K and channels are cut for tiles and caches, and when tiles pay |
//! | [`staging`] | pixels that lie badly for tiles, copied for a call |
//!
//! Everything but matrix products runs on AVX-512 VNNI, which every processor with AMX has.

pub mod driver;
pub mod hardware;
pub mod machine;
mod plan;
pub mod soft;
mod staging;

use quaver_core::kernel::epilogue::Rows;
use quaver_core::kernel::gemm::Gemm;
use quaver_core::kernel::simd::Simd;

use crate::cpu;
use crate::isa::avx512vnni::Avx512Vnni;
use crate::isa::peak::Peak;
use driver::{OnTiles, Product};
use hardware::Hardware;
use machine::{BYTES, Extents as TileExtents, ROWS, TileMachine};

pub use plan::{Extents, pays, scratch, takes, unit};

/// Name of the kernel.
pub const GEMM: &str = "gemm_u8s8u8_32x32c64__amx";

/// Proof that the processor has AMX-TILE, AMX-INT8 and AVX-512 VNNI, and that this process may use tiles.
#[derive(Debug, Clone, Copy)]
pub struct Amx {
    vectors: Avx512Vnni,
}

impl Amx {
    /// The token, where the processor has the instructions and the operating system gives the permission.
    pub fn detect() -> Option<Self> {
        let vectors = Avx512Vnni::detect()?;
        cpu::amx::permitted().then_some(Self { vectors })
    }

    /// The vectors for everything that is not a product of tiles.
    pub fn vectors(self) -> Avx512Vnni {
        self.vectors
    }

    /// Computes a part of a matrix product, with at least [`scratch`] bytes of any contents. Weights that are needed `after` it are
    /// asked for meanwhile.
    pub fn gemm<R: Rows>(self, gemm: Gemm<'_, R>, after: &[[i8; 64]], scratch: &mut [u8]) {
        self.vectors.vectorize(OnTiles::<R, Hardware>(Product { gemm, after, proof: self, scratch }));
    }
}

impl Peak for Amx {
    fn peak(self, products: u64) -> u64 {
        Hardware::configure(self, TileExtents::new(ROWS, BYTES / 4, 0)).peak(products)
    }
}
