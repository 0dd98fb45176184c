//! Predicted time: a roofline, so what is slower of arithmetic and memory, and a constant for each node.

use std::time::Duration;

use super::kernel::Kind;
use super::query::Query;

/// What a machine can do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Multiply-accumulates per second of one thread, by the dot product of an instruction set.
    pub macs: f64,
    /// Bytes per second of one thread, read or written.
    pub bytes: f64,
}

/// What calling a kernel costs.
const CALL: f64 = 0.5e-6;
/// Share of the peak that the definition reaches, which is not written for speed.
const DEFINITION: f64 = 0.02;

/// The time of a node on one thread.
pub fn predict(query: &Query<'_>, kind: Kind, peaks: &Peaks) -> Duration {
    let share = match kind {
        Kind::Reference => DEFINITION,
        // Three or four taps of a quad count, and the epilogue weighs as much as the sums.
        Kind::Depthwise => 0.25,
        _ => efficiency(query),
    };
    let macs = query.macs() as f64 / (peaks.macs * share);
    let bytes = query.bytes() as f64 / peaks.bytes;
    Duration::from_secs_f64(CALL + macs.max(bytes))
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
