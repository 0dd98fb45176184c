//! Kernels whose output is cut into ranges, on the threads of a pool.

use quaver_core::kernel::split::{Part, Split};

use crate::Pool;

/// Runs a kernel; `to` is its whole output.
pub fn run<W: Split>(pool: &Pool, work: W, to: &mut [u8], compute: impl Fn(Part<'_, W>) + Sync) {
    let (unit, parts) = (work.unit_bytes().max(1), pool.parts(to.len()));
    pool.run_slices(to, parts, unit * work.grain(), &|range, to| compute(Part::new(work, range.start / unit..range.end / unit, to)));
}
