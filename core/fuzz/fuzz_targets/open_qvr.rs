//! Bytes → a model or an error, never a panic: `cargo +nightly fuzz run open_qvr`, from `core`.
//!
//! Put `.qvr` files into `fuzz/corpus/open_qvr` to start from; `-max_len=65536` keeps them whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use quaver_core::format::QvrModel;
use quaver_core::plan::Plan;
use quaver_core::tensor::AlignedBytes;

fuzz_target!(|data: &[u8]| {
    let Some(bytes) = AlignedBytes::copy_of(data) else { return };
    if let Ok(model) = QvrModel::open(bytes) {
        // Planning trusts what the validator let through; running is `tests/all/format.rs`'s, as its time has no bound.
        let _ = Plan::new(model.graph(), 1, 64 << 20);
    }
});
