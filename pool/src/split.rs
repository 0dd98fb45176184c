//! Cutting a range of work into balanced contiguous pieces. It knows nothing about threads.

use std::ops::Range;

/// Cuts `0..total` into at most `parts` ranges, none of them empty, in order and without gaps. All boundaries but `total` are
/// multiples of `granule` (0 is taken as 1), and the ranges differ by at most one granule.
pub fn split(total: usize, parts: usize, granule: usize) -> Split {
    let granule = granule.max(1);
    let units = total.div_ceil(granule);
    // One part at least where there is work, as somebody has to do it.
    Split { total, granule, units, parts: parts.max(1).min(units) }
}

/// The ranges that [`split`] makes, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    total: usize,
    granule: usize,
    /// Granules, the last perhaps incomplete.
    units: usize,
    parts: usize,
}

impl Split {
    /// Number of ranges: 0 only where there is nothing to cut.
    pub fn len(&self) -> usize {
        self.parts
    }

    /// Whether there is nothing to cut.
    pub fn is_empty(&self) -> bool {
        self.parts == 0
    }

    /// Range `index`.
    ///
    /// # Panics
    /// If there is none.
    pub fn get(&self, index: usize) -> Range<usize> {
        assert!(index < self.parts, "range {index} of {}", self.parts);
        self.boundary(index)..self.boundary(index + 1)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Range<usize>> + use<> {
        let split = *self;
        (0..split.parts).map(move |index| split.get(index))
    }

    fn boundary(&self, index: usize) -> usize {
        let (each, more) = (self.units / self.parts, self.units % self.parts);
        // The product is above `total` by less than a granule, which can overflow.
        (each * index + more.min(index)).saturating_mul(self.granule).min(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_balanced_and_complete() {
        for total in (0..70).chain([1000, 4097, usize::MAX - 3, usize::MAX]) {
            for parts in [0, 1, 2, 3, 7, 64] {
                for granule in [0, 1, 2, 4, 16, 100, usize::MAX] {
                    let ranges = split(total, parts, granule);
                    let (whole, case) = (granule.max(1), format!("{total} {parts} {granule}: {ranges:?}"));
                    let mut end = 0;
                    for range in ranges.iter() {
                        assert_eq!(range.start, end, "{case}");
                        assert!(range.end > range.start, "{case}");
                        assert!(range.end % whole == 0 || range.end == total, "{case}");
                        end = range.end;
                    }
                    assert_eq!(end, total, "{case}");
                    assert_eq!((ranges.len(), ranges.is_empty()), (ranges.iter().len(), total == 0), "{case}");
                    assert!(ranges.len() == parts.max(1) || ranges.len() == total.div_ceil(whole), "{case}");
                    let units = || ranges.iter().map(|range| range.len().div_ceil(whole));
                    assert!(units().max().unwrap_or(0) - units().min().unwrap_or(0) <= 1, "{case}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "range 2 of 2")]
    fn there_are_no_more() {
        split(4, 2, 1).get(2);
    }
}
