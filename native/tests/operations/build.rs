//! A network of one operation in the making.

use std::ops::Range;

use quaver_core::format::{Metadata, write};
use quaver_core::graph::{Dim, Graph, Network, Op, Sizes, ValueId};
use quaver_core::quant::Affine;
use quaver_core::tensor::DType;

use crate::common::Rng;

/// A network in the making.
pub struct Build {
    pub net: Network,
    pub rng: Rng,
    /// Whether rows and columns of images are left open.
    pub open: bool,
}

/// The operation that is tested.
pub struct Node {
    pub op: Op,
    pub inputs: Vec<ValueId>,
    pub dtype: DType,
    pub quant: Option<Affine>,
}

impl Build {
    /// An operand u8 `[N, shape…]`: an input, or what a table makes of one.
    pub fn bytes(&mut self, shape: &[usize], quant: Affine) -> ValueId {
        let x = self.input(DType::U8, shape);
        if quant.q_max == u8::MAX && self.rng.below(2) == 0 {
            self.net.graph.values[x.index()].quant = Some(quant);
            return x;
        }
        self.net.graph.values[x.index()].quant = Some(Affine { scale: 1.0, zero_point: 0, q_max: u8::MAX });
        let table = self.net.constant("table", &[256], &self.rng.bytes(256, quant.q_max));
        self.net.push_typed(Op::Table, &[x, table], "before", "", DType::U8, Some(quant)).expect("fits")
    }

    /// An operand f32 `[N, shape…]`.
    pub fn floats(&mut self, shape: &[usize]) -> ValueId {
        self.input(DType::F32, shape)
    }

    /// Any extents of images, most of them small.
    pub fn image(&mut self, channels: usize) -> [usize; 3] {
        let most = if self.rng.below(4) == 0 { 24 } else { 9 };
        [self.rng.between(1, most), self.rng.between(1, most), self.rng.between(1, channels)]
    }

    fn input(&mut self, dtype: DType, shape: &[usize]) -> ValueId {
        let name = format!("x{}", self.net.graph.inputs.len());
        let is_open = |axis: usize, extent: usize| self.open && shape.len() == 3 && axis < 2 && extent > 1;
        let extent = |(axis, &extent): (usize, &usize)| match is_open(axis, extent) {
            true => Dim::symbol(&format!("{}{extent}", ["H", "W"][axis])),
            false => Dim::Fixed(extent),
        };
        self.net.input(name, dtype, [Dim::BATCH].into_iter().chain(shape.iter().enumerate().map(extent)).collect())
    }
}

/// Sizes of a batch for a network, whose open extents are named after the number that they are tested at.
pub fn sizes(graph: &Graph, batch: usize) -> Sizes {
    let mut sizes = Sizes::from(batch);
    for dim in graph.inputs.iter().flat_map(|&id| &graph.value(id).shape).filter(|dim| dim.is_open()) {
        let name = dim.to_string();
        sizes.set(&name, name[1..].parse().expect("a number behind a letter"));
    }
    sizes
}

/// The number that an extent of an input is.
pub fn extent(dim: &Dim, sizes: &Sizes) -> usize {
    let open = || sizes.get(&dim.to_string());
    dim.at(sizes.batch()).or_else(open).expect("small")
}

/// The file of the network for each seed, and what is left of its random numbers.
pub fn files(seeds: Range<u64>, node: impl Fn(&mut Build) -> Node) -> impl Iterator<Item = (u64, Vec<u8>, Rng)> {
    seeds.map(move |seed| {
        let mut build = Build { net: Network::new("one"), rng: Rng(seed), open: seed % 3 == 2 };
        let Node { op, inputs, dtype, quant } = node(&mut build);
        let Build { mut net, rng, .. } = build;
        let y = net.push_typed(op, &inputs, "node", "y", dtype, quant).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        net.output(y);
        let file = write(&net, &Metadata::default()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        (seed, file, rng)
    })
}
