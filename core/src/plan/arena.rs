//! Offsets in one arena: large values first, each at the lowest place that is free for as long as it lives.

use std::ops::Range;

use crate::backend::SLACK;
use crate::tensor::ALIGNMENT;

/// An arena under construction.
#[derive(Debug, Default)]
pub struct Arena {
    len: usize,
}

impl Arena {
    /// Bytes that the arena needs.
    pub fn size(&self) -> usize {
        self.len
    }

    /// Places every value that has a span; returns the offsets. Values that live at the same time never overlap.
    pub fn place(&mut self, spans: &[Option<(usize, usize)>], sizes: &[usize]) -> Vec<Option<usize>> {
        let mut order: Vec<usize> = (0..spans.len()).filter(|&i| spans[i].is_some()).collect();
        // Ties by index keep the plan the same on every machine.
        order.sort_by_key(|&i| (std::cmp::Reverse(sizes[i]), i));
        let mut offsets = vec![None; spans.len()];
        let mut placed: Vec<(Range<usize>, (usize, usize))> = Vec::new();
        for i in order {
            let Some(span) = spans[i] else { continue };
            let size = padded(sizes[i]);
            let mut start = 0usize;
            // `placed` is sorted by offset: the first gap between values of overlapping life is taken.
            for (range, _) in placed.iter().filter(|(_, other)| other.0 <= span.1 && span.0 <= other.1) {
                if range.start >= start.saturating_add(size) {
                    break;
                }
                start = start.max(range.end);
            }
            let end = start.saturating_add(size);
            let at = placed.partition_point(|(range, _)| range.start <= start);
            placed.insert(at, (start..end, span));
            self.len = self.len.max(end);
            offsets[i] = Some(start);
        }
        offsets
    }

    /// Adds `size` bytes behind everything else.
    pub fn append(&mut self, size: usize) -> Range<usize> {
        let start = self.len;
        self.len = self.len.saturating_add(padded(size));
        start..start.saturating_add(size)
    }
}

/// A size with [`SLACK`] behind it, up to the next place where a value can start.
fn padded(size: usize) -> usize {
    size.saturating_add(SLACK).checked_next_multiple_of(ALIGNMENT).unwrap_or(usize::MAX)
}
