//! Bodies of requests, each in one piece of memory that serves other bodies later.
//!
//! Elements that follow the protocol's header lie at an address that is good for every type, so that a run reads them where they are.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use quaver_core::tensor::ALIGNMENT;

/// Memory of bodies that have been answered.
#[derive(Debug, Default)]
pub struct Buffers {
    idle: Mutex<Vec<Vec<u8>>>,
}

/// Most pieces of memory that wait for another body, and the most bytes of one: larger ones go back to the system.
const MOST_IDLE: usize = 16;
const MOST_BYTES: usize = 4 << 20;

impl Buffers {
    /// Memory for so many bytes, of which the one at `aligned` is to have a good address; `None` where it can't be had.
    pub fn take(self: &Arc<Self>, bytes: usize, aligned: usize) -> Option<Buffer> {
        let needed = bytes.checked_add(ALIGNMENT)?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let place = idle.iter().position(|memory| memory.capacity() >= needed);
        let mut memory = place.map(|place| idle.swap_remove(place)).unwrap_or_default();
        drop(idle);
        memory.try_reserve_exact(needed).ok()?;
        let start = memory.as_ptr().wrapping_add(aligned).align_offset(ALIGNMENT);
        memory.resize(start, 0);
        Some(Buffer { memory, start, home: Arc::clone(self) })
    }
}

/// Bytes in such memory, which goes back when this is dropped.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    /// Where they begin.
    start: usize,
    home: Arc<Buffers>,
}

impl Buffer {
    /// Appends bytes; `None` where there is no memory for more than were asked for.
    pub fn extend(&mut self, bytes: &[u8]) -> Option<()> {
        self.memory.try_reserve(bytes.len()).ok()?;
        self.memory.extend_from_slice(bytes);
        Some(())
    }

    /// The bytes, to be shared.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.memory.capacity() <= MOST_BYTES {
            let mut idle = self.home.idle.lock().unwrap_or_else(PoisonError::into_inner);
            self.memory.clear();
            idle.push(std::mem::take(&mut self.memory));
            if idle.len() > MOST_IDLE {
                // What serves fewest bodies.
                let least = (0..idle.len()).min_by_key(|&at| idle[at].capacity());
                least.map(|at| idle.swap_remove(at));
            }
        }
    }
}

/// Why a body is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It is longer than it may be.
    Long,
    /// It ended early.
    Early,
    /// There is no memory for it.
    Memory,
}

/// Reads a body of at most so many bytes to its end; the one at `aligned` gets a good address where the body says how long it is.
pub async fn read(body: Incoming, most: usize, aligned: usize, buffers: &Arc<Buffers>) -> Result<Bytes, Unread> {
    let length = body.size_hint().exact().map_or(0, |length| usize::try_from(length).unwrap_or(most).min(most));
    let mut buffer = buffers.take(length, aligned).ok_or(Unread::Memory)?;
    let mut body = Limited::new(body, most);
    while let Some(frame) = body.frame().await {
        match frame {
            // Copied at once, so that the connection reads on into the memory where this lies.
            Ok(frame) => frame.data_ref().map_or(Some(()), |data| buffer.extend(data)).ok_or(Unread::Memory)?,
            Err(error) if error.is::<LengthLimitError>() => return Err(Unread::Long),
            Err(_) => return Err(Unread::Early),
        }
    }
    Ok(buffer.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_its_bytes_lie_well() {
        let buffers = Arc::default();
        let mut first: Option<*const u8> = None;
        for aligned in [0, 1, 63, 64, 201] {
            let mut buffer = Buffers::take(&buffers, 1000, aligned).expect("memory");
            let memory = buffer.memory.as_ptr();
            assert_eq!(*first.get_or_insert(memory), memory);
            let bytes: Vec<u8> = (0..1000).map(|i| i as u8).collect();
            bytes.chunks(300).for_each(|part| buffer.extend(part).expect("memory"));
            let body = buffer.freeze();
            assert_eq!(body, bytes);
            assert_eq!(body[aligned..].as_ptr().align_offset(ALIGNMENT), 0, "at {aligned}");
        }
        // Two at once need two.
        let two = [0; 2].map(|_| Buffers::take(&buffers, 10, 0).expect("memory"));
        assert_ne!(two[0].memory.as_ptr(), two[1].memory.as_ptr());
    }

    #[test]
    fn much_memory_is_not_kept() {
        let buffers: Arc<Buffers> = Arc::default();
        drop(buffers.take(MOST_BYTES, 0));
        drop((1..MOST_IDLE + 4).map(|size| buffers.take(size * 1000, 0)).collect::<Vec<_>>());
        let idle = buffers.idle.lock().expect("nobody panicked");
        assert_eq!(idle.len(), MOST_IDLE);
        assert!(idle.iter().all(|memory| memory.is_empty() && (4000..=MOST_BYTES).contains(&memory.capacity())));
    }
}
