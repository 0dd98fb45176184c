//! Row-major walks over strided dimensions: what the operations that move, broadcast or reduce have in common.
//!
//! A walk follows K tensors at once. Dimensions that lie behind one another in all of them become one, so that the inner
//! loops of the callers are as long as the layout allows. Nothing is allocated.

use crate::backend::{Operand, OutputMut};
use crate::tensor::MAX_RANK;

/// Most dimensions: those of a tensor, of which two may be seen as two each (depth to space).
const MOST: usize = MAX_RANK + 2;

/// Extents, and strides in elements of K tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk<const K: usize> {
    extents: [usize; MOST],
    strides: [[isize; K]; MOST],
    rank: usize,
}

impl<const K: usize> Walk<K> {
    /// A walk over one position.
    pub(crate) fn new() -> Self {
        Self { extents: [1; MOST], strides: [[0; K]; MOST], rank: 0 }
    }

    /// Adds a dimension inside those added before; `extent` is not 0.
    pub(crate) fn push(&mut self, extent: usize, strides: [isize; K]) {
        if extent == 1 {
            return;
        }
        if let Some(last) = self.rank.checked_sub(1)
            && (0..K).all(|k| self.strides[last][k] == strides[k] * extent as isize)
        {
            self.extents[last] *= extent;
            self.strides[last] = strides;
            return;
        }
        self.extents[self.rank] = extent;
        self.strides[self.rank] = strides;
        self.rank += 1;
    }

    /// Exchanges the tensors of a walk over two.
    pub(crate) fn swapped(mut self) -> Self {
        self.strides.iter_mut().for_each(|s| s.reverse());
        self
    }

    /// The dimension `from_last` places before the last, or one of extent 1.
    pub(crate) fn dim(&self, from_last: usize) -> (usize, [isize; K]) {
        match self.rank.checked_sub(from_last + 1) {
            Some(d) => (self.extents[d], self.strides[d]),
            None => (1, [1; K]),
        }
    }

    /// Number of dimensions that are left.
    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// Number of positions.
    pub(crate) fn len(&self) -> usize {
        self.extents[..self.rank].iter().product()
    }

    /// The offsets of position `index` of all but the last `inner` dimensions, in row-major order.
    pub(crate) fn at(&self, inner: usize, mut index: usize) -> [isize; K] {
        let mut offsets = [0; K];
        for d in (0..self.rank.saturating_sub(inner)).rev() {
            let i = (index % self.extents[d]) as isize;
            index /= self.extents[d];
            for (offset, stride) in offsets.iter_mut().zip(self.strides[d]) {
                *offset += stride * i;
            }
        }
        offsets
    }

    /// Calls `visit` with the offsets of every position of all but the last `inner` dimensions, in row-major order.
    pub(crate) fn outer(&self, inner: usize, visit: &mut dyn FnMut([isize; K])) {
        let rank = self.rank.saturating_sub(inner);
        let mut at = [0usize; MOST];
        let mut offsets = [0isize; K];
        loop {
            visit(offsets);
            let mut d = rank;
            loop {
                let Some(next) = d.checked_sub(1) else { return };
                d = next;
                at[d] += 1;
                let back = if at[d] < self.extents[d] { 0 } else { std::mem::take(&mut at[d]) };
                for (offset, stride) in offsets.iter_mut().zip(self.strides[d]) {
                    *offset += stride * (1 - back as isize);
                }
                if back == 0 {
                    break;
                }
            }
        }
    }
}

/// The walk over operands that are broadcast to the output's shape: a dimension that one lacks, or has with extent 1, has stride 0 there.
pub(crate) fn broadcast<const K: usize>(inputs: &[Operand<'_>], output: &OutputMut<'_>) -> Walk<K> {
    let shape = output.view.shape();
    let own: [_; K] = std::array::from_fn(|k| strides(inputs[k].view.shape()));
    let mut walk = Walk::new();
    for (d, &extent) in shape.iter().enumerate() {
        walk.push(
            extent,
            std::array::from_fn(|k| {
                let from = inputs[k].view.shape();
                match (d + from.len()).checked_sub(shape.len()) {
                    Some(i) if from[i] != 1 => own[k][i],
                    _ => 0,
                }
            }),
        );
    }
    walk
}

/// Row-major strides of `shape`, in elements.
pub(crate) fn strides(shape: &[usize]) -> [isize; MAX_RANK] {
    let mut strides = [0; MAX_RANK];
    let mut stride = 1;
    for (slot, &extent) in strides.iter_mut().zip(shape).rev() {
        *slot = stride;
        stride *= extent as isize;
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contiguous_dimensions_become_one() {
        let mut walk = Walk::<2>::new();
        for (extent, strides) in [(2, [60, 5]), (3, [20, 0]), (4, [5, 0]), (1, [7, 7]), (5, [1, 1])] {
            walk.push(extent, strides);
        }
        assert_eq!((walk.rank, walk.len()), (3, 120));
        assert_eq!((walk.dim(0), walk.dim(1), walk.dim(3)), ((5, [1, 1]), (12, [5, 0]), (1, [1, 1])));
    }

    #[test]
    fn visits_in_row_major_order() {
        let mut walk = Walk::<1>::new();
        walk.push(2, [1]);
        walk.push(3, [-10]);
        walk.push(4, [100]);
        let mut seen = Vec::new();
        walk.outer(1, &mut |[o]| seen.push(o));
        assert_eq!(seen, [0, -10, -20, 1, -9, -19]);
        seen.clear();
        walk.outer(0, &mut |[o]| seen.push(o));
        assert_eq!((seen.len(), seen[3], seen[4], seen[23]), (24, 300, -10, 281));
        assert!((0..24).all(|i| walk.at(0, i) == [seen[i]]));
        assert!((0..6).all(|i| walk.at(1, i) == [seen[4 * i]]));
        seen.clear();
        walk.outer(9, &mut |[o]| seen.push(o));
        assert_eq!(seen, [0]);
    }

    #[test]
    fn strides_are_row_major() {
        assert_eq!(strides(&[2, 3, 4])[..3], [12, 4, 1]);
    }
}
