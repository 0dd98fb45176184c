//! Values under a permutation that is not carried out, and the graph in which they are built.

use std::collections::HashMap;

use quaver_core::graph::check::GraphError;
use quaver_core::graph::{Dim, Network, Node, Op, ValueId};

use crate::simplify::rewrite::{constant_bytes, constant_data, fixed_shape};

/// Transpose(base, perm): dimension i is dimension `perm[i]` of `base`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    /// A value of the new graph.
    pub(super) base: ValueId,
    /// The permutation.
    pub(super) perm: Vec<usize>,
}

impl View {
    /// The value itself.
    pub(super) fn plain(base: ValueId, rank: usize) -> Self {
        Self { base, perm: (0..rank).collect() }
    }
}

/// Whether a permutation changes nothing.
pub(super) fn is_identity(perm: &[usize]) -> bool {
    perm.iter().enumerate().all(|(i, &p)| i == p)
}

/// Elements of one sample, about.
pub(super) fn elements(shape: &[Dim]) -> usize {
    shape.iter().fold(1, |n: usize, d| n.saturating_mul(d.about()))
}

/// The new graph; old values stay in its table, where nothing names them in the end.
#[derive(Debug)]
pub(super) struct Builder {
    /// The network.
    pub(super) net: Network,
    carried_out: HashMap<(ValueId, Vec<usize>), ValueId>,
}

impl Builder {
    pub(super) fn new(net: Network) -> Self {
        Self { net, carried_out: HashMap::new() }
    }

    /// Adds a node with the names, type and affine parameters of `like`.
    pub(super) fn push(&mut self, op: Op, inputs: &[ValueId], like: &Node) -> Result<ValueId, GraphError> {
        let output = self.net.graph.value(like.outputs[0]).clone();
        self.net.push_typed(op, inputs, &like.name, &output.name, output.dtype, output.quant)
    }

    /// Names a value after the transposed one that it stands for, if it has no name of its own.
    pub(super) fn inherit_name(&mut self, base: ValueId, transposed: ValueId) {
        if self.net.graph.value(base).name.is_empty() {
            let name = self.net.graph.value(transposed).name.clone();
            self.net.graph.values[base.index()].name = name;
        }
    }

    /// The value of a view.
    pub(super) fn carry_out(&mut self, view: &View) -> Result<ValueId, GraphError> {
        self.permuted(view.base, view.perm.clone())
    }

    /// The view of `id` whose base is Transpose(id, perm).
    pub(super) fn ahead(&mut self, id: ValueId, perm: &[usize]) -> Result<View, GraphError> {
        let base = self.permuted(id, perm.to_vec())?;
        let mut back = vec![0; perm.len()];
        for (i, &p) in perm.iter().enumerate() {
            back[p] = i;
        }
        self.carried_out.insert((base, back.clone()), id);
        Ok(View { base, perm: back })
    }

    /// The base b for which Transpose(b, order) is the view, whose rank may be lower: then it is taken to begin with
    /// extents of 1, as broadcasting does.
    pub(super) fn in_order(&mut self, view: &View, order: &[usize]) -> Result<ValueId, GraphError> {
        let missing = order.len() - view.perm.len();
        let value = self.net.graph.value(view.base);
        let broadcasts = value.shape.iter().all(|d| *d == Dim::Fixed(1));
        if view.perm == order || (missing > 0 && (broadcasts || (is_identity(order) && is_identity(&view.perm)))) {
            return Ok(view.base);
        }
        let base = if missing > 0 { self.extended(view.base, missing)? } else { view.base };
        let perm: Vec<usize> = (0..missing).chain(view.perm.iter().map(|p| p + missing)).collect();
        let mut needed = vec![0; order.len()];
        for (i, &position) in order.iter().enumerate() {
            needed[position] = perm[i];
        }
        self.permuted(base, needed)
    }

    /// The graph's output `index`, formerly `old`, with its name.
    pub(super) fn output(&mut self, view: &View, old: ValueId, index: usize) -> Result<ValueId, GraphError> {
        let name = self.net.graph.value(old).name.clone();
        let mut id = self.carry_out(view)?;
        let graph = &self.net.graph;
        let taken = graph.inputs.contains(&id) || graph.outputs[..index].contains(&id) || graph.value(id).constant.is_some();
        if taken && graph.value(id).name != name {
            let value = graph.value(id).clone();
            id = self.net.push_typed(Op::Reshape { shape: value.shape }, &[id], "", "", value.dtype, value.quant)?;
        }
        // The name belongs to what the caller gets; a base in another layout gives it up.
        if id != view.base && self.net.graph.value(view.base).name == name && !self.net.graph.inputs.contains(&view.base) {
            self.net.graph.values[view.base.index()].name.clear();
        }
        self.net.graph.values[id.index()].name = name;
        Ok(id)
    }

    /// A constant matrix whose row `order[i]` is row i of `weights`.
    pub(super) fn reorder_rows(&mut self, weights: ValueId, order: &[usize]) -> ValueId {
        let value = self.net.graph.value(weights);
        let (Some(data), Some(shape)) = (self.net.elements::<f32>(weights), fixed_shape(&value.shape)) else { return weights };
        let columns = data.len() / order.len().max(1);
        let mut moved = vec![0f32; data.len()];
        for (from, &to) in order.iter().enumerate() {
            moved[to * columns..(to + 1) * columns].copy_from_slice(&data[from * columns..(from + 1) * columns]);
        }
        let name = value.name.clone();
        self.net.constant(name, &shape, &moved)
    }

    /// Transpose(base, perm), made once; a Reshape where only extents of 1 move, and data where `base` is a constant.
    fn permuted(&mut self, base: ValueId, perm: Vec<usize>) -> Result<ValueId, GraphError> {
        if is_identity(&perm) {
            return Ok(base);
        }
        if let Some(&done) = self.carried_out.get(&(base, perm.clone())) {
            return Ok(done);
        }
        let value = self.net.graph.value(base).clone();
        let id = match self.permuted_constant(base, &perm) {
            Some(id) => id,
            None => {
                let moving: Vec<usize> = perm.iter().copied().filter(|&p| value.shape[p] != Dim::Fixed(1)).collect();
                let op = match moving.is_sorted() {
                    true => Op::Reshape { shape: perm.iter().map(|&p| value.shape[p].clone()).collect() },
                    false => Op::Transpose { perm: perm.clone() },
                };
                self.net.push_typed(op, &[base], "", "", value.dtype, value.quant)?
            }
        };
        self.carried_out.insert((base, perm), id);
        Ok(id)
    }

    /// `base` with `missing` extents of 1 in front.
    fn extended(&mut self, base: ValueId, missing: usize) -> Result<ValueId, GraphError> {
        let value = self.net.graph.value(base).clone();
        let shape: Vec<Dim> = std::iter::repeat_n(Dim::Fixed(1), missing).chain(value.shape.iter().cloned()).collect();
        if let Some(bytes) = constant_data(&self.net, base).map(<[u8]>::to_vec)
            && let Some(extents) = fixed_shape(&shape)
            && let Some(id) = constant_bytes(&mut self.net, &value.name, value.dtype, &extents, &bytes)
        {
            self.net.graph.values[id.index()].quant = value.quant;
            return Ok(id);
        }
        self.net.push_typed(Op::Reshape { shape }, &[base], "", "", value.dtype, value.quant)
    }

    fn permuted_constant(&mut self, base: ValueId, perm: &[usize]) -> Option<ValueId> {
        let value = self.net.graph.value(base);
        let bytes = constant_data(&self.net, base)?;
        let shape = fixed_shape(&value.shape)?;
        let size = value.dtype.size();
        let strides: Vec<usize> = (0..shape.len()).map(|i| shape[i + 1..].iter().product::<usize>() * size).collect();
        let mut offsets = vec![0];
        for &p in perm {
            offsets = offsets.iter().flat_map(|&start| (0..shape[p]).map(move |i| (start, i))).map(|(s, i)| s + i * strides[p]).collect();
        }
        let moved: Vec<u8> = offsets.iter().flat_map(|&start| bytes[start..start + size].iter().copied()).collect();
        let extents: Vec<usize> = perm.iter().map(|&p| shape[p]).collect();
        let (name, dtype, quant) = (value.name.clone(), value.dtype, value.quant);
        let id = constant_bytes(&mut self.net, &name, dtype, &extents, &moved)?;
        self.net.graph.values[id.index()].quant = quant;
        Some(id)
    }
}
