//! A test on every instruction set.

use quaver::isa::peak::Peak;
use quaver::isa::{Visitor, each};
use quaver_core::kernel::simd::Simd;
use quaver_core::kernel::soft::Soft;

use super::skip;

/// What is tested on an instruction set of that name.
pub trait Test {
    fn on<S: Simd>(&mut self, name: &str, isa: S);
}

/// Runs a test on each instruction set that the processor has.
pub fn on_isas(test: &mut impl Test) {
    struct Each<'a, T>(&'a mut T);

    impl<T: Test> Visitor for Each<'_, T> {
        fn visit<S: Simd + Peak>(&mut self, name: &'static str, isa: Option<S>) {
            match isa {
                Some(isa) => self.0.on(name, isa),
                None => skip(name),
            }
        }
    }

    each(&mut Each(test));
}

/// Runs a test on each instruction set that the processor has, and on arrays.
pub fn everywhere(test: &mut impl Test) {
    test.on("soft", Soft::<0>);
    on_isas(test);
}

/// Runs a test on arrays, with each tile that an instruction set has, and with compact kernels where such have it.
pub fn on_tiles(test: &mut impl Test) {
    test.on("soft, 14 rows", Soft::<0>);
    test.on("soft, 6 rows", Soft::<1>);
    test.on("soft, 4 rows", Soft::<2>);
    test.on("soft, 6 rows of halves", Soft::<3, true>);
    test.on("soft, 4 rows of halves", Soft::<4, true>);
    test.on("soft, staged halves", Soft::<5, true>);
}
