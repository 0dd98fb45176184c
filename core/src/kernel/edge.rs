//! Loads, stores and copies at the edges of a slice, where fewer bytes are left than a vector has, or a copy is too short
//! for a call to be worth it.

use super::simd::Simd;

/// The 64 bytes from `at` on; zeros stand for those behind the end.
#[inline(always)]
pub fn load<S: Simd>(s: S, from: &[u8], at: usize) -> S::B {
    match from.get(at..).and_then(|from| from.first_chunk::<64>()) {
        Some(whole) => s.load_b(whole),
        None => s.load_b(&padded(s, from.get(at..).unwrap_or_default())),
    }
}

/// The 64 bytes from `at` on; where there are fewer, they are put into `rest`, and zeros behind them.
#[inline(always)]
pub fn chunk<'a, S: Simd>(s: S, from: &'a [u8], at: usize, rest: &'a mut [u8; 64]) -> &'a [u8; 64] {
    match from[at..].first_chunk() {
        Some(whole) => whole,
        None => {
            *rest = padded(s, &from[at..]);
            rest
        }
    }
}

/// `N` bytes from `at` on; what is behind the end is 0.
#[inline(always)]
pub fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    match bytes.get(at..at + N).and_then(|b| b.first_chunk()) {
        Some(b) => *b,
        None => tail(bytes, at),
    }
}

/// What there is from `at` on, then zeros.
#[cold]
fn tail<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut to = [0; N];
    let rest = bytes.get(at..).unwrap_or_default();
    let len = rest.len().min(N);
    to[..len].copy_from_slice(&rest[..len]);
    to
}

/// Up to 64 bytes, and zeros.
#[inline(always)]
pub fn padded<S: Simd>(_s: S, from: &[u8]) -> [u8; 64] {
    // A call, even one that is never made, keeps a loop's vectors in memory where it may change all registers.
    if const { S::COMPACT } { padded_apart(from) } else { padded_here(from) }
}

#[inline(never)]
fn padded_apart(from: &[u8]) -> [u8; 64] {
    padded_here(from)
}

#[inline(always)]
fn padded_here(from: &[u8]) -> [u8; 64] {
    let mut whole = [0; 64];
    let len = from.len().min(64);
    whole[..len].copy_from_slice(&from[..len]);
    whole
}

/// The first bytes of `v`: as many as `to` has, at most 64.
#[inline(always)]
pub fn store<S: Simd>(s: S, v: S::B, to: &mut [u8]) {
    match to.first_chunk_mut::<64>() {
        Some(whole) => s.store_b(v, whole),
        None => {
            let mut whole = [0; 64];
            s.store_b(v, &mut whole);
            to.copy_from_slice(&whole[..to.len()]);
        }
    }
}

/// Where the block of 64 channels starts that `channel` is the first new one of: the last block overlaps the one before it.
#[inline(always)]
pub fn block(channel: usize, channels: usize) -> usize {
    channel.min(channels.saturating_sub(64))
}

/// All 64 bytes where there is room, else those of the `channels` that count: what is stored behind them belongs to the next
/// pixel, which overwrites it.
#[inline(always)]
pub fn store_over<S: Simd>(s: S, v: S::B, channels: usize, to: &mut [u8]) {
    match to.first_chunk_mut::<64>() {
        Some(whole) => s.store_b(v, whole),
        None => store(s, v, &mut to[..channels.min(64)]),
    }
}

/// The `j`-th sixteen of 64 bytes.
#[inline(always)]
pub fn quarter(x: &[u8; 64], j: usize) -> &[u8; 16] {
    &x.as_chunks::<16>().0[j]
}

/// Copies `from` to `to`, of the same length, without a call where it is short: two pieces that overlap.
#[inline(always)]
pub fn copy(from: &[u8], to: &mut [u8]) {
    let len = from.len().min(to.len());
    let (from, to) = (&from[..len], &mut to[..len]);
    match len {
        0 => {}
        1 => to[0] = from[0],
        2..4 => ends::<2>(from, to),
        4..8 => ends::<4>(from, to),
        8..16 => ends::<8>(from, to),
        16..32 => ends::<16>(from, to),
        32..64 => ends::<32>(from, to),
        64..=128 => ends::<64>(from, to),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last `N` bytes.
#[inline(always)]
fn ends<const N: usize>(from: &[u8], to: &mut [u8]) {
    if let (Some(head), Some(tail)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) {
        if let Some(to) = to.first_chunk_mut::<N>() {
            *to = *head;
        }
        if let Some(to) = to.last_chunk_mut::<N>() {
            *to = *tail;
        }
    }
}
