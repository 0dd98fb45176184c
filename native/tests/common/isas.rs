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

/// Runs a test on arrays, with each tile.
pub fn on_tiles(test: &mut impl Test) {
    test.on("soft, tile 0", Soft::<0>);
    test.on("soft, tile 1", Soft::<1>);
    test.on("soft, tile 2", Soft::<2>);
    test.on("soft, tile 3", Soft::<3>);
    test.on("soft, tile 4", Soft::<4>);
    test.on("soft, tile 5", Soft::<5>);
    test.on("soft, tile 6", Soft::<6>);
    test.on("soft, compact", Soft::<4, true>);
    test.on("soft, compact, staged", Soft::<6, true>);
}
