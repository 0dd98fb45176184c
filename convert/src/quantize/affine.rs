//! Affine parameters of every u8 value.
//!
//! Values that an operation only moves share their parameters: they form a class. A concatenation's operands join the
//! class of its output where nothing else reads them, or where that hardly widens their range; the others are
//! requantized by a table.

use quaver_core::graph::op::PadMode;
use quaver_core::graph::{Graph, Op};
use quaver_core::quant::Affine;

use super::fusion::Groups;
use super::regions::{Kind, Regions, activations};

/// Most by which sharing a concatenation's parameters may widen the range of an operand that others read too.
const WIDENING: f32 = 1.25;

/// Classes of values with common affine parameters.
#[derive(Debug)]
pub struct Classes {
    parent: Vec<usize>,
    range: Vec<Option<(f32, f32)>>,
    /// Whether every member is read once at most.
    exclusive: Vec<bool>,
    /// Of a class' root, whether its zero point is in the middle, as products of two activations are fastest with.
    centred: Vec<bool>,
    /// Parameters that hold whatever the range.
    given: Vec<Option<Affine>>,
}

impl Classes {
    /// Forms the classes; `range` gives the calibrated range of a value.
    pub fn new(graph: &Graph, regions: &Regions, groups: &Groups, range: &dyn Fn(usize) -> Option<(f32, f32)>) -> Self {
        let consumers = graph.consumers();
        let n = graph.values.len();
        let exclusive = (0..n).map(|v| consumers[v].len() <= 1).collect();
        let mut classes = Self { parent: (0..n).collect(), range: vec![None; n], exclusive, centred: vec![false; n], given: Vec::new() };
        for input in &graph.inputs {
            classes.range[input.index()] = range(input.index());
        }
        for (i, node) in graph.nodes.iter().enumerate() {
            let Some(group) = &groups.groups[i] else { continue };
            let output = group.output.index();
            let moves = regions.quantized[i] && regions.kinds[i] == Kind::Move;
            match &node.op {
                Op::Concat { .. } if moves => {
                    classes.range[output] = range(output);
                    for input in activations(graph, node) {
                        classes.join_concat(input, output);
                    }
                }
                op if moves => {
                    classes.union(node.inputs[0].index(), output);
                    if let Op::Pad { mode: PadMode::Constant(v), .. } = op {
                        classes.cover(output, (*v, *v));
                    }
                }
                _ => classes.range[output] = range(output),
            }
        }
        for (i, node) in graph.nodes.iter().enumerate() {
            if regions.quantized[i] && regions.kinds[i] == Kind::Product {
                let root = classes.find(node.inputs[1].index());
                classes.centred[root] = true;
            }
        }
        classes
    }

    /// Every value by itself, with the parameters that the model gives.
    pub fn given(affine: &[Option<Affine>]) -> Self {
        Self { parent: Vec::new(), range: Vec::new(), exclusive: Vec::new(), centred: Vec::new(), given: affine.to_vec() }
    }

    /// The parameters of a value; `None` where calibration saw no range, or the model gives none.
    pub fn affine(&self, value: usize, q_max: u8) -> Option<Affine> {
        if !self.given.is_empty() {
            return self.given[value];
        }
        let root = self.find(value);
        let (min, max) = self.range[root]?;
        Some(if self.centred[root] { Affine::centred(min.abs().max(max.abs()), q_max) } else { Affine::from_range(min, max, q_max) })
    }

    fn find(&self, mut v: usize) -> usize {
        while self.parent[v] != v {
            v = self.parent[v];
        }
        v
    }

    fn cover(&mut self, v: usize, (min, max): (f32, f32)) {
        let root = self.find(v);
        let (lo, hi) = self.range[root].unwrap_or((min, max));
        self.range[root] = Some((lo.min(min), hi.max(max)));
    }

    fn union(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        if a == b {
            return;
        }
        self.parent[a] = b;
        self.exclusive[b] &= self.exclusive[a];
        if let Some(range) = self.range[a] {
            self.cover(b, range);
        }
    }

    fn join_concat(&mut self, input: usize, output: usize) {
        let (i, o) = (self.find(input), self.find(output));
        let (Some(own), Some(whole)) = (self.range[i], self.range[o]) else { return };
        let width = |(min, max): (f32, f32)| max.max(0.0) - min.min(0.0);
        if self.exclusive[i] || width(whole) <= WIDENING * width(own) {
            let exclusive = self.exclusive[o];
            self.union(i, o);
            // Who reads the class are now the readers of the concatenation, and of an operand that was not exclusive.
            let root = self.find(o);
            self.exclusive[root] = exclusive && self.exclusive[i];
        }
    }
}
