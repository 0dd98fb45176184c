//! Kernels without a network around them: instruction sets against the definition of the vocabulary, and bodies against
//! plain loops.
//!
//! An instruction set that the processor lacks is skipped, which is printed; `QUAVER_REQUIRE_ISA`, names separated by
//! commas, makes that a failure.

mod gemm;
mod simd;

use std::env;

/// The token, if it is there; a panic, if it has to be.
fn available<S>(name: &str, isa: Option<S>) -> Option<S> {
    if isa.is_none() {
        let required = env::var("QUAVER_REQUIRE_ISA").unwrap_or_default();
        assert!(!required.split(',').any(|required| required == name), "{name} is required, and the processor lacks it");
        println!("skipped: the processor lacks {name}");
    }
    isa
}
