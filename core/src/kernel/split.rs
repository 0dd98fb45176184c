//! Work whose output can be cut into ranges: what a pool of threads needs to know about a kernel.
//!
//! A kernel of this kind is a small value that borrows its operands. Its constructor looks at a node's operands and output
//! and gives `None` where the kernel does not apply, so that the reference computes the node. Its output consists of units
//! of equal size, one behind the other, and any range of them can be computed by itself.

use std::ops::Range;

use super::simd::{Kernel, Simd};

/// Work whose output can be cut into ranges.
pub trait Split: Copy + Send + Sync {
    /// Number of units.
    fn units(&self) -> usize;

    /// Bytes of the output that a unit has.
    fn unit_bytes(&self) -> usize;

    /// A number of units whose multiples are good places to cut. Any place is a right one.
    fn grain(&self) -> usize {
        1
    }

    /// Computes `units` into `to`, which is their part of the output. `#[inline(always)]`, as [`Kernel::run`].
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, to: &mut [u8]);
}

/// A range of the units of some work, ready to run.
#[derive(Debug)]
pub struct Part<'a, W> {
    work: W,
    units: Range<usize>,
    to: &'a mut [u8],
}

impl<'a, W: Split> Part<'a, W> {
    /// All of it; `to` is the whole output.
    pub fn whole(work: W, to: &'a mut [u8]) -> Self {
        Self { work, units: 0..work.units(), to }
    }

    /// `units` of it; `to` is their part of the output.
    pub fn new(work: W, units: Range<usize>, to: &'a mut [u8]) -> Self {
        Self { work, units, to }
    }
}

impl<W: Split> Kernel for Part<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if !self.units.is_empty() {
            self.work.compute(s, self.units, self.to);
        }
    }
}
