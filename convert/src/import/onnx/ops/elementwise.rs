//! Functions of one and of two operands.

use quaver_core::graph::Op;
use quaver_core::graph::op::{BinaryFn, UnaryFn};
use quaver_core::tensor::DType;

use super::{Ctx, Importer, NodeError, Outputs, Val, invalid, unsupported};

impl Importer<'_> {
    pub(super) fn binary(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let function = match ctx.node.op_type.as_str() {
            "Add" => BinaryFn::Add,
            "Sub" => BinaryFn::Sub,
            "Mul" => BinaryFn::Mul,
            "Div" => BinaryFn::Div,
            _ => BinaryFn::Pow,
        };
        // An integer exponent is the same number as a real one.
        let b = match (function, ctx.inputs.get(1)) {
            (BinaryFn::Pow, Some(Some(Val::Ints { shape, data }))) => match data.iter().map(|s| s.num().map(|n| n as f32)).collect() {
                Some(exponent) => self.net.constant("", shape, &Vec::<f32>::clone(&exponent)),
                None => return unsupported("its exponent depends on the batch size"),
            },
            _ => self.real(ctx, 1)?,
        };
        let whole = function != BinaryFn::Pow && self.whole(ctx);
        let a = self.real(ctx, 0)?;
        if !whole {
            return self.push(ctx, Op::Binary { function }, &[a, b]);
        }
        // Exact, but for numbers above 2²⁴.
        let y = self.helper(ctx, "number", Op::Binary { function }, &[a, b])?;
        self.push(ctx, Op::Cast { to: DType::I64 }, &[y])
    }

    /// Whether all operands are whole numbers, some of them computed when it runs.
    fn whole(&self, ctx: &Ctx<'_>) -> bool {
        let is_whole = |value: &Option<Val>| match value {
            Some(Val::Tensor(id)) => self.dtype(*id) == DType::I64,
            value => matches!(value, Some(Val::Ints { .. })),
        };
        ctx.inputs.iter().all(is_whole)
    }

    /// Min, Max, Sum and Mean of any number of operands: a chain.
    pub(super) fn variadic(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let function = match ctx.node.op_type.as_str() {
            "Min" => BinaryFn::Min,
            "Max" => BinaryFn::Max,
            _ => BinaryFn::Add,
        };
        let count = ctx.inputs.len();
        let mut value = self.real(ctx, 0)?;
        let mean = ctx.node.op_type == "Mean";
        for i in 1..count {
            let b = self.real(ctx, i)?;
            let op = Op::Binary { function };
            value = if i + 1 == count && !mean {
                self.net.push(op, &[value, b], ctx.name, ctx.out(0))?
            } else {
                self.helper(ctx, "part", op, &[value, b])?
            };
        }
        if !mean {
            return Ok(vec![Val::Tensor(value)]);
        }
        let n = self.net.constant("", &[], &[count as f32]);
        self.push(ctx, Op::Binary { function: BinaryFn::Div }, &[value, n])
    }

    pub(super) fn unary(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let a = ctx.attrs;
        let function = match ctx.node.op_type.as_str() {
            "Relu" => UnaryFn::Relu,
            "LeakyRelu" => UnaryFn::LeakyRelu { alpha: a.float("alpha", 0.01)? },
            "Clip" => return self.clip(ctx),
            "Sigmoid" => UnaryFn::Sigmoid,
            "HardSigmoid" => UnaryFn::HardSigmoid { alpha: a.float("alpha", 0.2)?, beta: a.float("beta", 0.5)? },
            "HardSwish" => UnaryFn::HardSwish,
            "Tanh" => UnaryFn::Tanh,
            "Gelu" => match a.string("approximate", "none")?.as_str() {
                "none" => UnaryFn::Gelu,
                "tanh" => UnaryFn::GeluTanh,
                other => return invalid(format!("approximate '{other}' is unknown")),
            },
            "Mish" => UnaryFn::Mish,
            "Elu" => UnaryFn::Elu { alpha: a.float("alpha", 1.0)? },
            "Selu" => UnaryFn::Selu { alpha: a.float("alpha", 1.673_263_2)?, gamma: a.float("gamma", 1.050_701)? },
            "Celu" => UnaryFn::Celu { alpha: a.float("alpha", 1.0)? },
            "Softplus" => UnaryFn::Softplus,
            "Softsign" => UnaryFn::Softsign,
            "ThresholdedRelu" => UnaryFn::ThresholdedRelu { alpha: a.float("alpha", 1.0)? },
            "Shrink" => UnaryFn::Shrink { lambda: a.float("lambd", 0.5)?, bias: a.float("bias", 0.0)? },
            "Exp" => UnaryFn::Exp,
            "Log" => UnaryFn::Log,
            "Sqrt" => UnaryFn::Sqrt,
            "Reciprocal" => UnaryFn::Reciprocal,
            "Abs" => UnaryFn::Abs,
            "Neg" => UnaryFn::Neg,
            "Sign" => UnaryFn::Sign,
            "Floor" => UnaryFn::Floor,
            "Ceil" => UnaryFn::Ceil,
            "Round" => UnaryFn::Round,
            "Erf" => UnaryFn::Erf,
            "Sin" => UnaryFn::Sin,
            "Cos" => UnaryFn::Cos,
            "Tan" => UnaryFn::Tan,
            "Asin" => UnaryFn::Asin,
            "Acos" => UnaryFn::Acos,
            "Atan" => UnaryFn::Atan,
            "Sinh" => UnaryFn::Sinh,
            "Cosh" => UnaryFn::Cosh,
            "Asinh" => UnaryFn::Asinh,
            "Acosh" => UnaryFn::Acosh,
            "Atanh" => UnaryFn::Atanh,
            _ => return unsupported("this operation is not supported"),
        };
        self.function(ctx, function)
    }

    fn clip(&mut self, ctx: &Ctx<'_>) -> Outputs {
        if self.opset >= 11 && ctx.inputs.iter().skip(1).flatten().any(|limit| matches!(limit, Val::Tensor(_))) {
            return self.clip_by(ctx);
        }
        let limit = |importer: &Self, i: usize, attribute: &'static str, default: f32| -> Result<f32, NodeError> {
            if importer.opset < 11 {
                return Ok(ctx.attrs.float(attribute, default)?);
            }
            if !ctx.has(i) {
                return Ok(default);
            }
            let whole = match ctx.inputs.get(i) {
                Some(Some(Val::Ints { data, .. })) => data.iter().map(|n| n.num().map(|n| n as f32)).collect::<Option<Vec<f32>>>(),
                _ => None,
            };
            match whole.as_deref().map_or_else(|| Ok(importer.floats(ctx, i)?.1), Ok::<_, NodeError>)? {
                [one] => Ok(*one),
                _ => invalid(format!("operand '{}' should be one number", ctx.node.input[i])),
            }
        };
        // The graph's JSON has no infinities: a missing limit is the largest number.
        let lo = limit(self, 1, "min", f32::MIN)?.clamp(f32::MIN, f32::MAX);
        let hi = limit(self, 2, "max", f32::MAX)?.clamp(f32::MIN, f32::MAX);
        if lo.is_nan() || hi.is_nan() {
            return invalid("a limit is not a number");
        }
        let x = self.value(ctx, 0)?;
        if self.dtype(x) != DType::I64 {
            return self.function(ctx, UnaryFn::Clip { lo, hi });
        }
        let real = self.as_real(ctx, x)?;
        let limited = self.helper(ctx, "limited", Op::Unary { function: UnaryFn::Clip { lo, hi } }, &[real])?;
        self.push(ctx, Op::Cast { to: DType::I64 }, &[limited])
    }

    /// Clip with a limit that a run computes: the least of the upper one and the largest of the lower one and the operand.
    fn clip_by(&mut self, ctx: &Ctx<'_>) -> Outputs {
        let x = self.given(ctx, 0)?;
        match (ctx.inputs.get(1), ctx.inputs.get(2)) {
            (Some(Some(lo)), Some(Some(hi))) => {
                let above = self.call(ctx, "Max", &[x, lo], &[])?;
                self.last(ctx, "Min", &[&above, hi], &[])
            }
            (Some(Some(lo)), _) => self.last(ctx, "Max", &[x, lo], &[]),
            (_, Some(Some(hi))) => self.last(ctx, "Min", &[x, hi], &[]),
            _ => invalid("it has no limit"),
        }
    }
}
