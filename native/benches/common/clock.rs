//! The clock of benchmarks on a machine that is not quiet. It does not count what other programs do meanwhile, but it does not
//! make up for what they do to caches and clock rates: benchmarks interleave, and take the least or the median of many.

use rustix::time::{ClockId, clock_gettime};

/// Seconds that this thread has spent on a processor.
pub fn seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + 1e-9 * now.tv_nsec as f64
}
