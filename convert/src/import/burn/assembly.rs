//! Tensors that are filled part by part, as burn's recurrent layers fill their results: one concatenation in the end.

use std::collections::BTreeMap;
use std::ops::Range;

use burn_ir::TensorIr;

use super::graph::{Builder, Refused, int};

/// A tensor of which parts along an axis have been replaced.
#[derive(Clone)]
pub(super) struct Assembly {
    base: TensorIr,
    axis: usize,
    /// By their first index: the last one, and what is there.
    parts: BTreeMap<usize, (usize, String)>,
}

impl Assembly {
    /// A tensor of which nothing has been replaced yet.
    pub(super) fn new(base: TensorIr, axis: usize) -> Self {
        Self { base, axis, parts: BTreeMap::new() }
    }

    /// Whether that part can be replaced without looking at what has been there.
    pub(super) fn takes(&self, axis: usize, range: &Range<usize>) -> bool {
        self.axis == axis && self.parts.iter().all(|(&start, &(end, _))| end <= range.start || range.end <= start)
    }

    pub(super) fn replace(&mut self, range: Range<usize>, value: String) {
        self.parts.insert(range.start, (range.end, value));
    }

    /// The parts, and what remains between them, as one value.
    pub(super) fn assemble(self, b: &mut Builder<'_>) -> Result<String, Refused> {
        let extent = self.base.shape[self.axis];
        let mut operands = Vec::with_capacity(self.parts.len());
        let mut done = 0;
        for (start, (end, value)) in self.parts {
            if done < start {
                let base = b.input(&self.base)?;
                operands.push(between(b, base, self.axis, done..start));
            }
            operands.push(value);
            done = end;
        }
        if done < extent {
            let base = b.input(&self.base)?;
            operands.push(between(b, base, self.axis, done..extent));
        }
        match &operands[..] {
            [one] => Ok(one.clone()),
            _ => Ok(b.helper("Concat", &operands, vec![int("axis", self.axis)])),
        }
    }
}

/// The elements of a range along an axis.
pub(super) fn between(b: &mut Builder<'_>, x: String, axis: usize, range: Range<usize>) -> String {
    let [start, end, axis] = [("start", range.start), ("end", range.end), ("axis", axis)].map(|(what, n)| b.ints(what, [n as i64]));
    b.helper("Slice", &[x, start, end, axis], Vec::new())
}
