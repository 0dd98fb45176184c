//! Channel shuffle of bytes along the last axis (ShuffleNet): groups of channels, one after the other, are dealt out in turn.

use std::ops::Range;

use crate::backend::{Operand, OutputMut};
use crate::kernel::simd::Simd;
use crate::kernel::split::Split;
use crate::tensor::DType;

/// A row of `[groups, n]` bytes becomes `[n, groups]`. A unit is a row.
#[derive(Debug, Clone, Copy)]
pub struct ChannelShuffle<'a> {
    x: &'a [u8],
    groups: usize,
    /// Channels of a group.
    n: usize,
}

impl<'a> ChannelShuffle<'a> {
    /// `None` for other axes and types.
    pub fn new(axis: usize, groups: usize, inputs: &[Operand<'a>], _: &OutputMut<'_>) -> Option<Self> {
        let x = inputs.first()?.view;
        let n = x.shape().get(axis)?.checked_div(groups)?;
        let applies = x.dtype() == DType::U8 && axis + 1 == x.shape().len() && n > 0;
        applies.then_some(Self { x: x.bytes(), groups, n })
    }
}

impl Split for ChannelShuffle<'_> {
    fn units(&self) -> usize {
        self.x.len() / self.unit_bytes()
    }

    fn unit_bytes(&self) -> usize {
        self.groups * self.n
    }

    #[inline(always)]
    fn compute<S: Simd>(&self, _: S, units: Range<usize>, to: &mut [u8]) {
        let row = self.unit_bytes();
        let from = &self.x[units.start * row..units.end * row];
        for (from, to) in from.chunks_exact(row).zip(to.chunks_exact_mut(row)) {
            match self.groups {
                2 => {
                    let (a, b) = from.split_at(self.n);
                    pairs(a, b, to);
                }
                groups => {
                    for k in 0..groups {
                        let group = &from[k * self.n..][..self.n];
                        for (i, &channel) in group.iter().enumerate() {
                            to[i * groups + k] = channel;
                        }
                    }
                }
            }
        }
    }
}

/// The bytes of two groups in turn.
#[inline(always)]
fn pairs(a: &[u8], b: &[u8], to: &mut [u8]) {
    let n = a.len();
    let mut i = 0;
    while i + 16 <= n {
        sixteen_pairs(a, b, to, i);
        i += 16;
    }
    if n >= 16 && i < n {
        sixteen_pairs(a, b, to, n - 16);
    } else {
        for i in i..n {
            to[2 * i] = a[i];
            to[2 * i + 1] = b[i];
        }
    }
}

#[inline(always)]
fn sixteen_pairs(a: &[u8], b: &[u8], to: &mut [u8], at: usize) {
    let (Some(a), Some(b)) = (a[at..].first_chunk::<16>(), b[at..].first_chunk::<16>()) else { return };
    let Some(to) = to[2 * at..].first_chunk_mut::<32>() else { return };
    for i in 0..16 {
        to[2 * i] = a[i];
        to[2 * i + 1] = b[i];
    }
}
