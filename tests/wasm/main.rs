//! Whole operations in WebAssembly: the random networks of `native/tests/operations`, run by wasmtime with each class of
//! instructions at several batch sizes, and some of them by Chromium, against the definition. Results have the same bytes.

#[path = "../../native/tests/operations/build.rs"]
mod build;
#[path = "../../native/tests/common/mod.rs"]
mod common;
#[path = "../../native/tests/operations/elements.rs"]
mod elements;
#[path = "../../native/tests/operations/moves.rs"]
mod moves;
mod network;
#[path = "../../native/tests/operations/products.rs"]
mod products;

use quaver_tests::guest::{Build, Guest};

#[test]
fn classes_are_those_of_the_engine() {
    if network::is_skipped() {
        return;
    }
    for (build, classes) in [(Build::Base, "scalar,simd128"), (Build::Sat, "scalar,simd128,sat"), (Build::Deterministic, "scalar,sdot")] {
        assert_eq!(Guest::new(build, "").and_then(|mut guest| guest.classes()).as_deref(), Ok(classes), "{build:?}");
    }
    let refused = Guest::new(Build::Sat, "usdot").err().unwrap_or_default();
    assert!(refused.ends_with("class 'usdot' is not to be had here, sat is"), "{refused}");
}

/// It would be slow without a word; so it says what to load.
#[test]
fn a_build_for_other_engines_refuses() {
    if network::is_skipped() {
        return;
    }
    let mut guest = Guest::new(Build::Relaxed, "").expect("it can be asked");
    match guest.classes().as_deref() {
        Ok("scalar") => {
            let refused = guest.open(&[]).expect_err("no class runs it");
            assert!(refused.ends_with("load the build 'sat', or 'base'"), "{refused}");
        }
        // The processor's instructions are such that nothing is lost.
        classes => assert!(matches!(classes, Ok("scalar,sdot" | "scalar,usdot")), "{classes:?}"),
    }
}
