//! What picks elements by the values of others: Gather, comparisons, Where, logic; Cast between whole and real numbers.
//!
//! Activations are real or whole (i64). Truth is the real number 1, its opposite 0.

use quaver_core::graph::op::{BinaryFn, CompareFn, UnaryFn};
use quaver_core::graph::{Op, ValueId};
use quaver_core::tensor::DType;

use super::super::proto::tensor_proto::DataType;
use super::{Ctx, Importer, NodeError, Outputs, Val, invalid, unsupported};

impl Importer<'_> {
    /// Picks elements by indices that are known when it runs.
    pub(super) fn gather_by(&mut self, ctx: &Ctx<'_>, x: ValueId, axis: usize) -> Outputs {
        let mut indices = self.value(ctx, 1)?;
        if self.dtype(indices) == DType::F32 {
            indices = self.helper(ctx, "indices", Op::Cast { to: DType::I64 }, &[indices])?;
        }
        self.push(ctx, Op::Gather { axis }, &[x, indices])
    }

    pub(super) fn cast(&mut self, ctx: &Ctx<'_>) -> Outputs {
        ctx.attrs.ignore("saturate");
        let to = ctx.attrs.int("to")?.and_then(|to| DataType::try_from(to as i32).ok());
        let x = self.value(ctx, 0)?;
        let pass = Ok(vec![Val::Tensor(x)]);
        match (self.dtype(x), to) {
            (DType::F32, Some(DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double)) => pass,
            (DType::I64, Some(DataType::Int64 | DataType::Int32)) => pass,
            (DType::F32, Some(DataType::Int64 | DataType::Int32)) => self.push(ctx, Op::Cast { to: DType::I64 }, &[x]),
            (DType::I64, Some(DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double)) => {
                self.push(ctx, Op::Cast { to: DType::F32 }, &[x])
            }
            (DType::F32 | DType::I64, Some(DataType::Bool)) => {
                let x = self.as_real(ctx, x)?;
                let zero = self.number(0.0);
                let is_zero = self.helper(ctx, "zero", Op::Compare { function: CompareFn::Equal }, &[x, zero])?;
                self.not(ctx, is_zero)
            }
            (from, Some(to)) => unsupported(format!("a cast from {from} to {to:?} is not supported")),
            (_, None) => invalid("it casts to a type that is unknown"),
        }
    }

    /// Equal, Less, Greater and the others, of whole numbers where both operands are such.
    pub(super) fn compare(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let (function, swapped) = match ctx.node.op_type.as_str() {
            "Equal" => (CompareFn::Equal, false),
            "Less" => (CompareFn::Less, false),
            "Greater" => (CompareFn::Less, true),
            "LessOrEqual" => (CompareFn::LessOrEqual, false),
            _ => (CompareFn::LessOrEqual, true),
        };
        let [mut a, mut b] = [self.value(ctx, 0)?, self.value(ctx, 1)?];
        if self.dtype(a) != self.dtype(b) {
            [a, b] = [self.as_real(ctx, a)?, self.as_real(ctx, b)?];
        }
        let operands = if swapped { [b, a] } else { [a, b] };
        self.push(ctx, Op::Compare { function }, &operands)
    }

    pub(super) fn choose(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let [condition, a, b] = [self.real(ctx, 0)?, self.value(ctx, 1)?, self.value(ctx, 2)?];
        let whole = [a, b].iter().all(|&id| self.dtype(id) == DType::I64);
        let operands = [condition, self.as_real(ctx, a)?, self.as_real(ctx, b)?];
        if whole {
            let chosen = self.helper(ctx, "chosen", Op::Where, &operands)?;
            return self.push(ctx, Op::Cast { to: DType::I64 }, &[chosen]);
        }
        self.push(ctx, Op::Where, &operands)
    }

    /// And, Or, Xor and Not.
    pub(super) fn logic(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let a = self.real(ctx, 0)?;
        let function = match ctx.node.op_type.as_str() {
            "Not" => return self.not(ctx, a),
            "And" => BinaryFn::Mul,
            "Or" => BinaryFn::Max,
            _ => {
                let b = self.real(ctx, 1)?;
                let same = self.helper(ctx, "same", Op::Compare { function: CompareFn::Equal }, &[a, b])?;
                return self.not(ctx, same);
            }
        };
        let b = self.real(ctx, 1)?;
        self.push(ctx, Op::Binary { function }, &[a, b])
    }

    fn not(&mut self, ctx: &Ctx<'_>, x: ValueId) -> Outputs {
        let one = self.number(1.0);
        self.push(ctx, Op::Binary { function: BinaryFn::Sub }, &[one, x])
    }

    /// x where it is not below 0, else slope·x.
    pub(super) fn p_relu(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let [x, slope] = [self.real(ctx, 0)?, self.real(ctx, 1)?];
        // Of real operations alone, so that it can be quantized: Relu(x) − slope·Relu(−x).
        let unary = |function| Op::Unary { function };
        let above = self.helper(ctx, "above", unary(UnaryFn::Relu), &[x])?;
        let negative = self.helper(ctx, "negative", unary(UnaryFn::Neg), &[x])?;
        let below = self.helper(ctx, "below", unary(UnaryFn::Relu), &[negative])?;
        let scaled = self.helper(ctx, "scaled", Op::Binary { function: BinaryFn::Mul }, &[below, slope])?;
        self.push(ctx, Op::Binary { function: BinaryFn::Sub }, &[above, scaled])
    }

    /// A whole number as a real one; a real one as it is.
    pub(super) fn as_real(&mut self, ctx: &Ctx<'_>, x: ValueId) -> Result<ValueId, NodeError> {
        match self.dtype(x) {
            DType::I64 => self.helper(ctx, "real", Op::Cast { to: DType::F32 }, &[x]),
            DType::F32 => Ok(x),
            other => unsupported(format!("operand '{}' is {other}; f32 and i64 are supported here", self.net.graph.value(x).name)),
        }
    }

    pub(super) fn dtype(&self, id: ValueId) -> DType {
        self.net.graph.value(id).dtype
    }

    pub(super) fn number(&mut self, x: f32) -> ValueId {
        self.net.constant("", &[], &[x])
    }
}
