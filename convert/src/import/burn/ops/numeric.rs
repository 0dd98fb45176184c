//! Arithmetic, comparisons, reductions and order, of real and of whole numbers.

use burn_ir::{BinaryOpIr, NumericOperationIr, PadModeIr, PadOpIr, ReduceDimOpIr, ReduceOpIr, ScalarIr, ScalarOpIr, TensorIr};

use super::{Builder, DataType, Done, NOWHERE, RANDOM, apply, finite, int, refuse, unary, word};

pub(super) fn operation(b: &mut Builder<'_>, op: &NumericOperationIr) -> Done {
    use NumericOperationIr as N;
    match op {
        N::Add(r) => binary(b, "Add", r),
        N::AddScalar(r) => with_scalar(b, "Add", r),
        N::Sub(r) => binary(b, "Sub", r),
        N::SubScalar(r) => with_scalar(b, "Sub", r),
        N::Mul(r) => binary(b, "Mul", r),
        N::MulScalar(r) => with_scalar(b, "Mul", r),
        N::Div(r) => binary(b, "Div", r),
        N::DivScalar(r) => with_scalar(b, "Div", r),
        N::Powi(r) => binary(b, "Pow", r),
        N::PowiScalar(r) => with_scalar(b, "Pow", r),
        N::Rem(r) => {
            let operands = [b.input(&r.lhs)?, b.input(&r.rhs)?];
            remainder(b, operands, &r.out)
        }
        N::RemScalar(r) => {
            let operands = [b.input(&r.lhs)?, b.scalar(r.rhs, &r.lhs)];
            remainder(b, operands, &r.out)
        }
        N::Greater(r) => binary(b, "Greater", r),
        N::GreaterElem(r) => with_scalar(b, "Greater", r),
        N::GreaterEqual(r) => binary(b, "GreaterOrEqual", r),
        N::GreaterEqualElem(r) => with_scalar(b, "GreaterOrEqual", r),
        N::Lower(r) => binary(b, "Less", r),
        N::LowerElem(r) => with_scalar(b, "Less", r),
        N::LowerEqual(r) => binary(b, "LessOrEqual", r),
        N::LowerEqualElem(r) => with_scalar(b, "LessOrEqual", r),
        N::Abs(r) => unary(b, "Abs", r),
        N::Neg(r) => unary(b, "Neg", r),
        N::Sign(r) => unary(b, "Sign", r),
        N::Full(r) => full(b, r.value, &r.out),
        N::Mean(r) => reduce(b, "ReduceMean", r),
        N::Sum(r) => reduce(b, "ReduceSum", r),
        N::Prod(r) => reduce(b, "ReduceProd", r),
        N::Max(r) => reduce(b, "ReduceMax", r),
        N::Min(r) => reduce(b, "ReduceMin", r),
        N::MeanDim(r) => reduce_along(b, "ReduceMean", r),
        N::SumDim(r) => reduce_along(b, "ReduceSum", r),
        N::ProdDim(r) => reduce_along(b, "ReduceProd", r),
        N::MaxDim(r) => reduce_along(b, "ReduceMax", r),
        N::MinDim(r) => reduce_along(b, "ReduceMin", r),
        N::SumDims(r) => {
            let x = b.input(&r.input)?;
            let axes = b.ints("axes", r.axes.iter().map(|&axis| axis as i64));
            b.result("ReduceSum", &[x, axes], vec![int("keepdims", 1)], &r.out);
            Ok(())
        }
        N::MaxAbs(r) => {
            let x = b.input(&r.input)?;
            let size = b.helper("Abs", &[x], Vec::new());
            whole_reduction(b, "ReduceMax", size, &r.out);
            Ok(())
        }
        N::MaxAbsDim(r) => {
            let x = b.input(&r.input)?;
            let size = b.helper("Abs", &[x], Vec::new());
            let axes = b.ints("axes", [r.axis as i64]);
            b.result("ReduceMax", &[size, axes], vec![int("keepdims", 1)], &r.out);
            Ok(())
        }
        N::ArgMax(r) => apply(b, "ArgMax", &[&r.input], vec![int("axis", r.axis), int("keepdims", 1)], &r.out),
        N::ArgMin(r) => apply(b, "ArgMin", &[&r.input], vec![int("axis", r.axis), int("keepdims", 1)], &r.out),
        N::MaxDimWithIndices(r) => top(b, &r.tensor, r.dim, true, [Some(&r.out), Some(&r.out_indices)]),
        N::MinDimWithIndices(r) => top(b, &r.tensor, r.dim, false, [Some(&r.out), Some(&r.out_indices)]),
        N::TopK(r) => top(b, &r.input, r.axis, true, [Some(&r.out), None]),
        N::ArgTopK(r) => top(b, &r.input, r.axis, true, [None, Some(&r.out)]),
        N::TopKWithIndices(r) => top(b, &r.tensor, r.dim, true, [Some(&r.out), Some(&r.out_indices)]),
        N::Sort(r) => top(b, &r.input, r.dim, r.descending, [Some(&r.out), None]),
        N::ArgSort(r) => top(b, &r.input, r.dim, r.descending, [None, Some(&r.out)]),
        N::SortWithIndices(r) => top(b, &r.input, r.dim, r.descending, [Some(&r.out), Some(&r.out_indices)]),
        N::Clamp(r) => clamp(b, &r.tensor, [Some(r.min), Some(r.max)], &r.out),
        N::ClampMin(r) => clamp(b, &r.lhs, [Some(r.rhs), None], &r.out),
        N::ClampMax(r) => clamp(b, &r.lhs, [None, Some(r.rhs)], &r.out),
        N::CumSum(r) => {
            let x = b.input(&r.input)?;
            let axis = b.whole("axis", &[], &[r.axis as i64]);
            b.result("CumSum", &[x, axis], Vec::new(), &r.out);
            Ok(())
        }
        N::Pad(r) => pad(b, r),
        N::IntRandom(_) => refuse(RANDOM),
        N::CumProd(_) | N::CumMin(_) | N::CumMax(_) => refuse(NOWHERE),
    }
}

fn binary(b: &mut Builder<'_>, op: &str, r: &BinaryOpIr) -> Done {
    apply(b, op, &[&r.lhs, &r.rhs], Vec::new(), &r.out)
}

pub(super) fn with_scalar(b: &mut Builder<'_>, op: &str, r: &ScalarOpIr) -> Done {
    let operands = [b.input(&r.lhs)?, b.scalar(r.rhs, &r.lhs)];
    b.result(op, &operands, Vec::new(), &r.out);
    Ok(())
}

/// a − b·⌊a/b⌋: the sign is that of b.
fn remainder(b: &mut Builder<'_>, [x, y]: [String; 2], out: &TensorIr) -> Done {
    if !out.dtype.is_float() {
        b.result("Mod", &[x, y], Vec::new(), out);
        return Ok(());
    }
    let quotient = b.helper("Div", &[x.clone(), y.clone()], Vec::new());
    let floor = b.helper("Floor", &[quotient], Vec::new());
    let multiple = b.helper("Mul", &[floor, y], Vec::new());
    b.result("Sub", &[x, multiple], Vec::new(), out);
    Ok(())
}

/// One number everywhere.
pub(super) fn full(b: &mut Builder<'_>, number: ScalarIr, out: &TensorIr) -> Done {
    let number = b.scalar(number, out);
    let shape = b.extents(out);
    b.result("Expand", &[number, shape], Vec::new(), out);
    Ok(())
}

fn reduce(b: &mut Builder<'_>, op: &str, r: &ReduceOpIr) -> Done {
    let x = b.input(&r.input)?;
    whole_reduction(b, op, x, &r.out);
    Ok(())
}

/// Over all axes: burn's result has one.
fn whole_reduction(b: &mut Builder<'_>, op: &str, x: String, out: &TensorIr) {
    let one = b.helper(op, &[x], vec![int("keepdims", 0)]);
    let shape = b.extents(out);
    b.result("Reshape", &[one, shape], Vec::new(), out);
}

fn reduce_along(b: &mut Builder<'_>, op: &str, r: &ReduceDimOpIr) -> Done {
    let x = b.input(&r.input)?;
    let axes = b.ints("axes", [r.axis as i64]);
    b.result(op, &[x, axes], vec![int("keepdims", 1)], &r.out);
    Ok(())
}

/// The first elements in order, and their indices: as many as the result has.
fn top(b: &mut Builder<'_>, x: &TensorIr, axis: usize, largest: bool, outs: [Option<&TensorIr>; 2]) -> Done {
    let value = b.input(x)?;
    let count = outs.iter().flatten().next().map_or(1, |out| out.shape[axis]);
    let k = b.ints("k", [count as i64]);
    b.results("TopK", &[value, k], vec![int("axis", axis), int("largest", i64::from(largest))], &outs);
    Ok(())
}

fn clamp(b: &mut Builder<'_>, x: &TensorIr, limits: [Option<ScalarIr>; 2], out: &TensorIr) -> Done {
    let mut value = b.input(x)?;
    if !x.dtype.is_float() {
        value = b.helper("Cast", &[value], vec![int("to", DataType::Float as i32)]);
    }
    let limits = ["min", "max"].into_iter().zip(limits).map(|(what, limit)| match limit {
        Some(limit) => b.real(what, &[], &[finite(limit.elem::<f64>())]),
        None => String::new(),
    });
    let inputs: Vec<String> = [value].into_iter().chain(limits.collect::<Vec<_>>()).collect();
    b.result("Clip", &inputs, Vec::new(), out);
    Ok(())
}

fn pad(b: &mut Builder<'_>, r: &PadOpIr) -> Done {
    let x = b.input(&r.input)?;
    let before = r.padding.iter().map(|&(before, _)| before as i64);
    let pads = b.ints("pads", before.chain(r.padding.iter().map(|&(_, after)| after as i64)));
    let mut inputs = vec![x, pads];
    let mode = match r.mode {
        PadModeIr::Constant(number) => {
            inputs.push(b.scalar(number, &r.input));
            "constant"
        }
        PadModeIr::Reflect => "reflect",
        PadModeIr::Edge => "edge",
    };
    b.result("Pad", &inputs, vec![word("mode", mode)], &r.out);
    Ok(())
}
