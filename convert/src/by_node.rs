//! Nodes of a quantized graph one by one, by the definition: what [`crate::refine`] walks with, and what [`crate::layers`] asks.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::{Constants, Graph, Value};
use quaver_core::reference::Reference;
use quaver_core::tensor::{AlignedBytes, DType, TensorView, TensorViewMut, byte_count};

use crate::calibrate::HostTensor;

/// A value in memory.
#[derive(Debug)]
pub(crate) struct Held {
    /// Element type.
    pub(crate) dtype: DType,
    /// Extents.
    pub(crate) shape: Vec<usize>,
    /// Elements.
    pub(crate) bytes: AlignedBytes,
}

impl Held {
    /// Real numbers as `value` holds them: as they are, rounded to whole ones, or in its integers.
    pub(crate) fn new(value: &Value, tensor: &HostTensor) -> Option<Self> {
        let bytes = match (value.dtype, value.quant) {
            (DType::I64, _) => AlignedBytes::copy_of(bytemuck::cast_slice(&tensor.whole())),
            (DType::U8, Some(affine)) => AlignedBytes::copy_of(&tensor.data.iter().map(|&x| affine.quantize(x)).collect::<Vec<u8>>()),
            (DType::F32, _) => AlignedBytes::copy_of(bytemuck::cast_slice(&tensor.data)),
            _ => None,
        };
        Some(Self { dtype: value.dtype, shape: tensor.shape.clone(), bytes: bytes? })
    }

    /// The elements as real numbers, where they stand for some.
    pub(crate) fn real(&self, value: &Value) -> Option<Vec<f32>> {
        let view = TensorView::new(self.dtype, &self.shape, &self.bytes)?;
        match (view.as_slice::<f32>(), value.quant) {
            (Some(data), _) => Some(data.to_vec()),
            (None, Some(affine)) => Some(view.bytes().iter().map(|&q| affine.dequantize(q)).collect()),
            (None, None) => None,
        }
    }
}

/// Computes a node. `graph` has operands and constants, `sized` the same values and nodes with the extents of this run; `held` gives
/// what is no constant. `None` where an operand is not there.
pub(crate) fn compute<'a>(
    (graph, constants): (&'a Graph, &'a dyn Constants),
    sized: &Graph,
    node: usize,
    held: &dyn Fn(usize) -> Option<&'a Held>,
) -> Option<Held> {
    let entry = &graph.nodes[node];
    let extents = |v: &Value| v.shape.iter().filter_map(|d| d.fixed()).collect::<Vec<usize>>();
    let shapes: Vec<Vec<usize>> =
        entry.inputs.iter().map(|id| held(id.index()).map_or_else(|| extents(graph.value(*id)), |held| held.shape.clone())).collect();
    let mut operands = Vec::with_capacity(shapes.len());
    for (id, shape) in entry.inputs.iter().zip(&shapes) {
        let value = graph.value(*id);
        let bytes: &[u8] = match (held(id.index()), value.constant) {
            (Some(held), _) => &held.bytes,
            (None, Some(constant)) => constants.bytes_of(constant),
            (None, None) => return None,
        };
        let view = TensorView::new(value.dtype, shape, bytes.get(..byte_count(value.dtype, shape)?)?)?;
        operands.push(Operand::new(view, value.quant));
    }
    let value = sized.value(entry.outputs[0]);
    let shape = extents(value);
    let mut bytes = AlignedBytes::zeroed(byte_count(value.dtype, &shape)?)?;
    let view = TensorViewMut::new(value.dtype, &shape, &mut bytes)?;
    Reference.compute(&sized.nodes[node].op, &operands, &mut OutputMut { view, quant: value.quant });
    Some(Held { dtype: value.dtype, shape, bytes })
}
