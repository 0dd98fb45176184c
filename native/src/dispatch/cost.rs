//! Predicted time: a roofline, so what is slower of arithmetic and memory, and a constant for each node.

use std::time::Duration;

use super::kernel::{Kernel, Kind};
use super::peaks::Peaks;
use super::query::Query;
use crate::amx;
use crate::cpu::Isa;

/// What calling a kernel costs.
const CALL: f64 = 0.5e-6;
/// What it costs to share a node among threads.
const FORK_JOIN: f64 = 1e-6;
/// Work, as time of one thread, below which sharing doesn't pay.
const SHARED: f64 = 2e-6;
/// Bytes per second of the definition, which handles element by element.
const DEFINITION_BYTES: f64 = 3e9;

/// The time of a node.
pub fn predict(query: &Query<'_>, kernel: &Kernel, peaks: &Peaks) -> Duration {
    let (share, bytes) = match kernel.kind {
        Kind::Reference => (1.0, DEFINITION_BYTES),
        // Three or four taps of a quad count, and the epilogue weighs as much as the sums.
        Kind::Depthwise => (0.25, peaks.bytes()),
        _ => (efficiency(query), peaks.bytes()),
    };
    let isa = if kernel.kind == Kind::Reference { Isa::Scalar } else { kernel.isa };
    let products = match query.product().filter(|_| isa == Isa::Amx) {
        // The peak says little about tiles: what comes before and after takes as long.
        Some(product) => amx::takes(product.extents()).as_secs_f64(),
        None => query.macs() as f64 / (peaks.macs(isa) * share),
    };
    let work = products.max(query.bytes() as f64 / bytes);
    let alone = query.threads <= 1 || work < SHARED || kernel.kind == Kind::Reference;
    Duration::from_secs_f64(CALL + if alone { work } else { FORK_JOIN + work / query.threads as f64 })
}

/// Share of the peak that a product reaches: its epilogue costs as much as some steps of K.
fn efficiency(query: &Query<'_>) -> f64 {
    const EPILOGUE: f64 = 48.0;
    query.product().map_or(1.0, |p| {
        // A block of 16 channels is computed whole.
        let filled = p.n as f64 / p.n.next_multiple_of(16) as f64;
        filled * p.k as f64 / (p.k as f64 + EPILOGUE)
    })
}
