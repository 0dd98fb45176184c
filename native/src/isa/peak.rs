//! The dot product of each instruction set in registers only: what a matrix kernel would reach if nothing but its products
//! cost anything. Benchmarks and profiles measure it beside a kernel, since the clock of a machine is not known.
//!
//! Written as assembly: a compiler would see that the products are those of the round before.

use core::arch::asm;

use super::avx2::{Avx2, Avx2Reduced};
use super::avx512vnni::Avx512Vnni;
use super::avxvnni::AvxVnni;

/// An instruction set whose dot product can be timed.
pub trait Peak {
    /// Computes at least `products` products, and returns how many.
    fn peak(self, products: u64) -> u64;
}

/// A loop over `$each` (a list of lines) for each accumulator.
macro_rules! peak {
    ($isa:ty, $lanes:literal, [$($acc:literal)*], $line:ident, [$($register:tt)*]) => {
        impl Peak for $isa {
            fn peak(self, products: u64) -> u64 {
                let round = [$($acc),*].len() as u64 * $lanes * 4;
                let rounds = products.div_ceil(round).max(1);
                // SAFETY: `self` proves the feature. Only the registers named are changed, no memory is touched.
                unsafe {
                    asm!(
                        "2:",
                        $($line!($acc),)*
                        "dec {rounds}",
                        "jnz 2b",
                        "vzeroupper",
                        rounds = inout(reg) rounds => _,
                        $(out($register) _,)*
                        options(nomem, nostack)
                    );
                }
                rounds * round
            }
        }
    };
}

macro_rules! pairs {
    ($acc:literal) => {
        concat!("vpmaddubsw ymm12, ymm10, ymm11\nvpmaddwd ymm12, ymm12, ymm15\nvpaddd ymm", $acc, ", ymm", $acc, ", ymm12")
    };
}

macro_rules! vnni {
    ($acc:literal) => {
        concat!("{{vex}} vpdpbusd ymm", $acc, ", ymm14, ymm15")
    };
}

macro_rules! vnni512 {
    ($acc:literal) => {
        concat!("vpdpbusd zmm", $acc, ", zmm30, zmm31")
    };
}

peak!(Avx2, 8, [0 1 2 3 4 5 6 7], pairs, ["ymm0" "ymm1" "ymm2" "ymm3" "ymm4" "ymm5" "ymm6" "ymm7" "ymm12"]);
peak!(Avx2Reduced, 8, [0 1 2 3 4 5 6 7], pairs, ["ymm0" "ymm1" "ymm2" "ymm3" "ymm4" "ymm5" "ymm6" "ymm7" "ymm12"]);
peak!(
    AvxVnni, 8, [0 1 2 3 4 5 6 7 8 9 10 11], vnni,
    ["ymm0" "ymm1" "ymm2" "ymm3" "ymm4" "ymm5" "ymm6" "ymm7" "ymm8" "ymm9" "ymm10" "ymm11"]
);
peak!(
    Avx512Vnni, 16, [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23], vnni512,
    [
        "zmm0" "zmm1" "zmm2" "zmm3" "zmm4" "zmm5" "zmm6" "zmm7" "zmm8" "zmm9" "zmm10" "zmm11" "zmm12" "zmm13" "zmm14" "zmm15"
        "zmm16" "zmm17" "zmm18" "zmm19" "zmm20" "zmm21" "zmm22" "zmm23"
    ]
);
