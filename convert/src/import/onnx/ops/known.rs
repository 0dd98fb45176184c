//! What depends on constants alone is known at import, so that it can decide about what follows: as a condition, an index, a shape.
//!
//! Also what exporters make of shapes that are open, Range and ConstantOfShape, as values of the network.

use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::{Dim, Op, ValueId};
use quaver_core::reference::Reference;
use quaver_core::tensor::{AlignedBytes, DType, TensorView, TensorViewMut, byte_count};

use super::compose::{int, real};
use super::{Ctx, Importer, NodeError, Outputs, Sym, Val, invalid, unsupported};
use crate::import::onnx::proto::tensor_proto::DataType;
use quaver_core::graph::Constants;

/// Most bytes of a result that is computed at import; larger ones may have twice those of the operands, as simplification does.
const SMALL: usize = 1 << 20;

impl Importer<'_> {
    /// The results of the nodes from `first` on, by the definition, in place of these nodes; `None` where that can't be.
    pub(super) fn known(&mut self, first: usize, outputs: &[Val]) -> Option<Vec<Val>> {
        let mut done: Vec<(ValueId, Vec<usize>, AlignedBytes)> = Vec::new();
        for node in &self.net.graph.nodes[first..] {
            let output = self.net.graph.value(node.outputs[0]);
            let plain = |id: ValueId| {
                let value = self.net.graph.value(id);
                value.quant.is_none() && matches!(value.dtype, DType::F32 | DType::I64)
            };
            if !node.inputs.iter().chain(&node.outputs).all(|&id| plain(id)) {
                return None;
            }
            let shape = fixed(&output.shape)?;
            let size = byte_count(output.dtype, &shape)?;
            let mut total = 0;
            let mut operands = Vec::with_capacity(node.inputs.len());
            for id in &node.inputs {
                let value = self.net.graph.value(*id);
                let (from, bytes): (&[usize], &[u8]) = match (done.iter().find(|d| d.0 == *id), value.constant) {
                    (Some((_, shape, bytes)), _) => (shape, bytes),
                    (None, Some(constant)) => (&[], self.net.bytes_of(constant)),
                    _ => return None,
                };
                total += bytes.len();
                operands.push((value.dtype, if from.is_empty() { fixed(&value.shape)? } else { from.to_vec() }, bytes));
            }
            if size > SMALL.max(2 * total) || size == 0 {
                return None;
            }
            let operands: Option<Vec<Operand<'_>>> =
                operands.iter().map(|(dtype, shape, bytes)| Some(Operand::new(TensorView::new(*dtype, shape, bytes)?, None))).collect();
            let mut bytes = AlignedBytes::zeroed(size)?;
            let mut result = OutputMut { view: TensorViewMut::new(output.dtype, &shape, &mut bytes)?, quant: None };
            Reference.compute(&node.op, &operands?, &mut result);
            done.push((node.outputs[0], shape, bytes));
        }
        let value = |output: &Val| match output {
            Val::Tensor(id) => {
                let value = self.net.graph.value(*id);
                if let Some((_, shape, bytes)) = done.iter().find(|d| d.0 == *id) {
                    return decoded(value.dtype, shape.clone(), bytes);
                }
                decoded(value.dtype, fixed(&value.shape)?, self.net.bytes_of(value.constant?))
            }
            other => Some(other.clone()),
        };
        let values = outputs.iter().map(value).collect::<Option<Vec<Val>>>()?;
        self.net.graph.nodes.truncate(first);
        Some(values)
    }

    /// start, start + delta, … below a limit that depends on the inputs' extents.
    pub(super) fn range(&mut self, ctx: &Ctx<'_>) -> Outputs {
        // A formula stays one where it is said to be real, so only what is a number tells which of both the result is.
        let mut real = false;
        let mut one = |i: usize| {
            Ok::<_, NodeError>(match self.given(ctx, i)? {
                Val::Ints { data, .. } => data.first().cloned(),
                Val::Floats { data, .. } => {
                    real = true;
                    data.first().filter(|x| x.fract() == 0.0 && x.abs() < (1 << 24) as f32).map(|&x| Sym::Num(x as i64))
                }
                _ => None,
            })
        };
        let (Some(start), Some(limit), Some(Sym::Num(delta))) = (one(0)?, one(1)?, one(2)?) else {
            return unsupported("how many numbers it has only a run would know");
        };
        if delta < 1 {
            return unsupported("its steps are not positive and its limit is open");
        }
        let count = Sym::apply("Sub", &limit, &start).and_then(|n| Sym::apply("Add", &n, &Sym::Num(delta - 1)));
        let Some(extent) = count.and_then(|n| Sym::apply("Div", &n, &Sym::Num(delta))).and_then(|n| n.dim()) else {
            return invalid("it has no numbers, or too many");
        };
        let mut count = self.count_up(ctx, &extent)?;
        if real {
            count = self.as_floats(ctx, &count)?;
        }
        let number = |n: Sym| Val::Ints { shape: Vec::new(), data: vec![n] };
        let count = self.call(ctx, "Mul", &[&count, &number(Sym::Num(delta))], &[])?;
        self.last(ctx, "Add", &[&count, &number(start)], &[])
    }

    /// One number at every place of a shape that depends on the inputs' extents.
    pub(super) fn constant_of_shape(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let value = ctx.attrs.tensor("value")?.map(|t| super::super::tensor::decode(t, None)).transpose()?;
        let value = match value {
            Some(Val::Ints { data, .. }) => Val::Ints { shape: Vec::new(), data: data[..1.min(data.len())].to_vec() },
            Some(Val::Floats { data, .. }) => real(data.first().copied().unwrap_or(0.0)),
            _ => real(0.0),
        };
        let shape = self.syms(ctx, 0)?.and_then(|shape| shape.iter().map(Sym::dim).collect::<Option<Vec<Dim>>>());
        let Some(shape) = shape else { return invalid("its shape holds a negative number") };
        let id = self.as_value(&value)?;
        self.push(ctx, Op::Expand { shape }, &[id])
    }

    /// A value as real numbers.
    pub(super) fn as_floats(&mut self, ctx: &Ctx<'_>, value: &Val) -> Result<Val, NodeError> {
        self.call(ctx, "Cast", &[value], &[int("to", DataType::Float as i64)])
    }
}

fn fixed(shape: &[Dim]) -> Option<Vec<usize>> {
    shape.iter().map(Dim::fixed).collect()
}

fn decoded(dtype: DType, shape: Vec<usize>, bytes: &[u8]) -> Option<Val> {
    match dtype {
        DType::F32 => Some(Val::floats(shape, bytemuck::try_cast_slice(bytes).ok()?.to_vec())),
        DType::I64 => {
            let data = bytemuck::try_cast_slice::<u8, i64>(bytes).ok()?.iter().map(|&n| Sym::Num(n)).collect();
            Some(Val::Ints { shape, data })
        }
        _ => None,
    }
}
