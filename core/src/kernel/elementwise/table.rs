//! u8 → u8 through a table of 256 bytes.

use std::ops::Range;

use crate::backend::{Operand, OutputMut};
use crate::kernel::simd::Simd;
use crate::kernel::split::Split;

/// Bytes that are looked up where they were just copied to, and still are in the nearest cache.
const BLOCK: usize = 4096;

/// y = `table[x]`. A unit is an element.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    x: &'a [u8],
    table: &'a [u8; 256],
}

impl<'a> Table<'a> {
    /// Of [`crate::graph::Op::Table`]'s operands.
    pub fn new(inputs: &[Operand<'a>], output: &OutputMut<'_>) -> Option<Self> {
        let [x, table] = inputs else { return None };
        let table = table.view.bytes().try_into().ok()?;
        (x.view.bytes().len() == output.view.view().bytes().len()).then_some(Self { x: x.view.bytes(), table })
    }
}

impl Split for Table<'_> {
    fn units(&self) -> usize {
        self.x.len()
    }

    fn unit_bytes(&self) -> usize {
        1
    }

    fn grain(&self) -> usize {
        64
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, s: S, units: Range<usize>, to: &mut [u8]) {
        look_up(s, self.table, &self.x[units], to);
    }
}

/// Copies bytes through a table.
#[inline(always)]
pub(super) fn look_up<S: Simd>(s: S, table: &[u8; 256], mut from: &[u8], mut to: &mut [u8]) {
    while !to.is_empty() {
        let len = to.len().min(from.len()).min(BLOCK);
        let (block, rest) = to.split_at_mut(len);
        let (source, behind) = from.split_at(len);
        block.copy_from_slice(source);
        s.lookup(table, block);
        (from, to) = (behind, rest);
    }
}
