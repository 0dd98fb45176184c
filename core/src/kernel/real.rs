//! What ends a product with real numbers: f32(acc)·m, and what the activations' parameters, which a run chose, make of it.

use super::edge;
use super::epilogue::{Rows, Sums};
use super::simd::Simd;
use crate::reference::dynamic::offset_of;

/// An epilogue of rows that are scaled as [`Op::DynamicGemm`](crate::graph::Op::DynamicGemm) says: one group of channels.
#[derive(Debug, Clone, Copy)]
pub struct Dynamic<'a> {
    /// Scale and zero point.
    pub qparams: &'a [[f32; 2]],
    /// Rows that have a pair in common.
    pub rows: usize,
    /// Of each channel, the real sum of its weights.
    pub sums: &'a [[f32; 16]],
    /// What is added last.
    pub offset: &'a [[f32; 16]],
}

/// Writes a tile of sums as real numbers.
#[inline(always)]
pub(super) fn to_f32<S: Simd, R: Rows, const NB: usize>(s: S, sums: &Sums<'_, NB>, dynamic: Option<&Dynamic<'_>>, to: &mut R) {
    let lacking = sums.lacking(s, false);
    for i in 0..sums.rows {
        let pair = dynamic.and_then(|dynamic| dynamic.qparams.get((sums.row + i) / dynamic.rows)).unwrap_or(&[0.0; 2]);
        let (scale, zero) = (s.splat_f32(pair[0]), s.splat_f32(offset_of(pair)));
        for n in 0..NB {
            let mut y = s.mul(s.to_f32(sums.load(s, [i, n], &lacking)), s.load_f32(&sums.multiplier[n]));
            let block = sums.channel / 16 + n;
            if let Some(Dynamic { sums, offset, .. }) = dynamic
                && let (Some(sums), Some(offset)) = (sums.get(block), offset.get(block))
            {
                y = s.add(y, s.mul(zero, s.load_f32(sums)));
                y = s.add(s.mul(y, scale), s.load_f32(offset));
            }
            let len = sums.channels.saturating_sub(n * 16).min(16) * 4;
            if len == 0 {
                break;
            }
            let place = to.at(sums.row + i, (sums.channel + n * 16) * 4, len);
            match place.as_mut_array::<64>() {
                Some(place) => s.store_f32(y, place),
                None => {
                    let mut whole = [0; 64];
                    s.store_f32(y, &mut whole);
                    edge::copy(&whole[..len], place);
                }
            }
        }
    }
}
