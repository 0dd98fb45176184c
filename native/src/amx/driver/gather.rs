//! Rows whose segments are gathered, for tiles that can't be loaded from where they lie.

use quaver_core::kernel::gemm::Source;

use crate::amx::machine::BYTES;

/// Copies a row's segments one behind the other, by whole lines of a cache: up to 63 bytes more than there are.
#[inline(always)]
pub(super) fn gather(source: &Source<'_>, base: usize, row: &mut [u8]) {
    let len = source.quads * 4;
    for (i, segment) in source.segments.iter().enumerate() {
        copy_over(&source.bytes[base + segment..], len, &mut row[i * len..]);
    }
}

/// Copies by whole lines where there are any.
#[inline(always)]
pub(in crate::amx) fn copy_over(from: &[u8], len: usize, to: &mut [u8]) {
    for at in (0..len).step_by(BYTES) {
        match (from[at..].first_chunk::<BYTES>(), to[at..].first_chunk_mut::<BYTES>()) {
            (Some(from), Some(to)) => *to = *from,
            _ => to[at..len].copy_from_slice(&from[at..len]),
        }
    }
}
