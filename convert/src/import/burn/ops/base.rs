//! What moves, picks and makes elements of any type.

use burn_backend::tensor::IndexingUpdateOp;
use burn_backend::{DType, Slice};
use burn_ir::{BaseOperationIr, ReduceDimOpIr, ReduceOpIr, SliceAssignOpIr, TensorIr, UnfoldOpIr};

use super::super::assembly::{Assembly, between};
use super::super::graph::ints;
use super::{Builder, Done, NOWHERE, Refused, apply, cast, int, numeric, refuse, word};
use crate::import::onnx::proto::tensor_proto::DataType;

pub(super) fn operation(b: &mut Builder<'_>, op: &BaseOperationIr) -> Done {
    match op {
        BaseOperationIr::Reshape(r) => shaped(b, "Reshape", &r.input, &r.out),
        BaseOperationIr::Expand(r) => shaped(b, "Expand", &r.input, &r.out),
        BaseOperationIr::SwapDims(r) => {
            let mut perm: Vec<usize> = (0..r.input.shape.len()).collect();
            perm.swap(r.dim1, r.dim2);
            apply(b, "Transpose", &[&r.input], vec![ints("perm", perm)], &r.out)
        }
        BaseOperationIr::Permute(r) => apply(b, "Transpose", &[&r.input], vec![ints("perm", r.axes.iter().copied())], &r.out),
        BaseOperationIr::Flip(r) => {
            let x = b.input(&r.input)?;
            let axes = r.axes.iter().map(|&axis| axis as i64);
            let [starts, ends] = [("starts", -1), ("ends", i64::MIN)].map(|(what, n)| b.ints(what, axes.clone().map(|_| n)));
            let steps = b.ints("steps", axes.clone().map(|_| -1));
            let axes = b.ints("axes", axes);
            b.result("Slice", &[x, starts, ends, axes, steps], Vec::new(), &r.out);
            Ok(())
        }
        BaseOperationIr::Unfold(r) => unfold(b, r),
        BaseOperationIr::Slice(r) => slice(b, &r.tensor, &r.ranges, &r.out),
        BaseOperationIr::SliceAssign(r) => slice_assign(b, r),
        BaseOperationIr::Select(r) => apply(b, "Gather", &[&r.tensor, &r.indices], vec![int("axis", r.dim)], &r.out),
        BaseOperationIr::Gather(r) => apply(b, "GatherElements", &[&r.tensor, &r.indices], vec![int("axis", r.dim)], &r.out),
        BaseOperationIr::GatherNd(r) => apply(b, "GatherND", &[&r.data, &r.indices], Vec::new(), &r.out),
        BaseOperationIr::Scatter(r) => {
            let attributes = vec![int("axis", r.dim), word("reduction", reduction(&r.update)?)];
            apply(b, "ScatterElements", &[&r.tensor, &r.indices, &r.value], attributes, &r.out)
        }
        BaseOperationIr::ScatterNd(r) => {
            apply(b, "ScatterND", &[&r.data, &r.indices, &r.values], vec![word("reduction", reduction(&r.reduction)?)], &r.out)
        }
        BaseOperationIr::SelectAssign(_) => refuse(NOWHERE),
        BaseOperationIr::MaskWhere(r) => apply(b, "Where", &[&r.mask, &r.value, &r.tensor], Vec::new(), &r.out),
        BaseOperationIr::MaskFill(r) => {
            let (mask, x) = (b.input(&r.mask)?, b.input(&r.tensor)?);
            let value = b.scalar(r.value, &r.tensor);
            b.result("Where", &[mask, value, x], Vec::new(), &r.out);
            Ok(())
        }
        BaseOperationIr::Equal(r) => apply(b, "Equal", &[&r.lhs, &r.rhs], Vec::new(), &r.out),
        BaseOperationIr::EqualElem(r) => numeric::with_scalar(b, "Equal", r),
        BaseOperationIr::NotEqual(r) => {
            let operands = [b.input(&r.lhs)?, b.input(&r.rhs)?];
            let equal = b.helper("Equal", &operands, Vec::new());
            b.result("Not", &[equal], Vec::new(), &r.out);
            Ok(())
        }
        BaseOperationIr::NotEqualElem(r) => {
            let operands = [b.input(&r.lhs)?, b.scalar(r.rhs, &r.lhs)];
            let equal = b.helper("Equal", &operands, Vec::new());
            b.result("Not", &[equal], Vec::new(), &r.out);
            Ok(())
        }
        BaseOperationIr::RepeatDim(r) if r.tensor.shape[r.dim] == 1 => shaped(b, "Expand", &r.tensor, &r.out),
        BaseOperationIr::RepeatDim(r) => {
            let x = b.input(&r.tensor)?;
            let repeats = (0..r.tensor.shape.len()).map(|axis| if axis == r.dim { r.times as i64 } else { 1 });
            let repeats = b.ints("repeats", repeats);
            b.result("Tile", &[x, repeats], Vec::new(), &r.out);
            Ok(())
        }
        BaseOperationIr::Cat(r) => {
            // An empty tensor is what loops begin with.
            let parts: Vec<&TensorIr> = r.tensors.iter().filter(|tensor| tensor.shape[r.dim] > 0).collect();
            apply(b, "Concat", &parts, vec![int("axis", r.dim)], &r.out)
        }
        BaseOperationIr::Cast(r) => match kind(&r.out) {
            to if to == kind(&r.input) => {
                let x = b.input(&r.input)?;
                b.same(x, &r.out);
                Ok(())
            }
            to => cast(b, &r.input, to, &r.out),
        },
        BaseOperationIr::Empty(r) | BaseOperationIr::Zeros(r) => filled(b, 0, &r.out),
        BaseOperationIr::Ones(r) => filled(b, 1, &r.out),
        BaseOperationIr::All(r) => every(b, "ReduceMin", r),
        BaseOperationIr::Any(r) => every(b, "ReduceMax", r),
        BaseOperationIr::AllDim(r) => every_along(b, "ReduceMin", r),
        BaseOperationIr::AnyDim(r) => every_along(b, "ReduceMax", r),
    }
}

/// What becomes of a tensor's elements here.
fn kind(tensor: &TensorIr) -> DataType {
    match tensor.dtype {
        DType::Bool(_) => DataType::Bool,
        dtype if dtype.is_float() => DataType::Float,
        _ => DataType::Int64,
    }
}

/// An operation that is told the shape of its result.
fn shaped(b: &mut Builder<'_>, op: &str, x: &TensorIr, out: &TensorIr) -> Done {
    let x = b.input(x)?;
    let shape = b.extents(out);
    b.result(op, &[x, shape], Vec::new(), out);
    Ok(())
}

/// One number everywhere.
fn filled(b: &mut Builder<'_>, number: i64, out: &TensorIr) -> Done {
    numeric::full(b, burn_ir::ScalarIr::Int(number), out)
}

fn slice(b: &mut Builder<'_>, x: &TensorIr, ranges: &[Slice], out: &TensorIr) -> Done {
    let value = b.input(x)?;
    let mut parts: [Vec<i64>; 4] = Default::default();
    for (axis, slice) in ranges.iter().enumerate() {
        let extent = x.shape[axis];
        let range = slice.to_range(extent);
        if range == (0..extent) && slice.step == 1 {
            continue;
        }
        // Backwards, it begins with the last one of the range.
        let (start, end) = match slice.step > 0 {
            true => (range.start as i64, range.end as i64),
            false => (range.end as i64 - 1, if range.start == 0 { i64::MIN } else { range.start as i64 - 1 }),
        };
        for (part, number) in parts.iter_mut().zip([start, end, axis as i64, slice.step as i64]) {
            part.push(number);
        }
    }
    if parts[0].is_empty() {
        b.same(value, out);
        return Ok(());
    }
    let mut inputs = vec![value];
    for (what, numbers) in ["starts", "ends", "axes", "steps"].into_iter().zip(parts) {
        inputs.push(b.ints(what, numbers));
    }
    b.result("Slice", &inputs, Vec::new(), out);
    Ok(())
}

fn slice_assign(b: &mut Builder<'_>, r: &SliceAssignOpIr) -> Done {
    let mut cuts = Vec::new();
    for (axis, slice) in r.ranges.iter().enumerate() {
        let extent = r.tensor.shape[axis];
        let range = slice.to_range(extent);
        if slice.step != 1 {
            return refuse("it assigns to every other element; write it as a concatenation, or with a mask");
        }
        if range != (0..extent) {
            cuts.push((axis, range));
        }
    }
    let value = b.input(&r.value)?;
    match &cuts[..] {
        [] => b.same(value, &r.out),
        [(axis, range)] => {
            let known = b.assemblies.get(&r.tensor.id).filter(|a| a.takes(*axis, range)).cloned();
            let mut assembly = known.unwrap_or_else(|| Assembly::new(r.tensor.clone(), *axis));
            assembly.replace(range.clone(), value);
            b.assemblies.insert(r.out.id, assembly);
        }
        [first, rest @ ..] => {
            let x = b.input(&r.tensor)?;
            let whole = within(b, x, first, rest, &value, &r.tensor);
            b.same(whole, &r.out);
        }
    }
    Ok(())
}

type Along = (usize, std::ops::Range<usize>);

/// `x` with a value in place of a part of it: what is before it, the part, what is behind it, axis by axis.
fn within(b: &mut Builder<'_>, x: String, first: &Along, rest: &[Along], value: &str, like: &TensorIr) -> String {
    let (axis, range) = (first.0, first.1.clone());
    let extent = like.shape[axis];
    let mut parts = Vec::new();
    if range.start > 0 {
        parts.push(between(b, x.clone(), axis, 0..range.start));
    }
    parts.push(match rest {
        [] => value.to_owned(),
        [next, rest @ ..] => {
            let inner = between(b, x.clone(), axis, range.clone());
            within(b, inner, next, rest, value, like)
        }
    });
    if range.end < extent {
        parts.push(between(b, x, axis, range.end..extent));
    }
    b.helper("Concat", &parts, vec![int("axis", axis)])
}

/// Windows along an axis, whose elements become the last one.
fn unfold(b: &mut Builder<'_>, r: &UnfoldOpIr) -> Done {
    let x = b.input(&r.input)?;
    let rank = r.input.shape.len();
    let windows = r.out.shape[r.dim];
    let indices: Vec<i64> = (0..windows).flat_map(|w| (0..r.size).map(move |i| (w * r.step + i) as i64)).collect();
    let indices = b.whole("indices", &[windows, r.size], &indices);
    let taken = b.helper("Gather", &[x, indices], vec![int("axis", r.dim)]);
    let perm = (0..=rank).filter(|&axis| axis != r.dim + 1).chain([r.dim + 1]);
    b.result("Transpose", &[taken], vec![ints("perm", perm)], &r.out);
    Ok(())
}

fn reduction(update: &IndexingUpdateOp) -> Result<&'static str, Refused> {
    match update {
        IndexingUpdateOp::Assign => Ok("none"),
        IndexingUpdateOp::Add => Ok("add"),
        IndexingUpdateOp::Mul => Ok("mul"),
        IndexingUpdateOp::Min => Ok("min"),
        IndexingUpdateOp::Max => Ok("max"),
    }
}

/// Truth of a tensor's elements, as real numbers.
fn truth(b: &mut Builder<'_>, x: &TensorIr) -> Result<String, Refused> {
    let value = b.input(x)?;
    Ok(if x.dtype.is_bool() { value } else { b.helper("Cast", &[value], vec![int("to", DataType::Bool as i32)]) })
}

fn every(b: &mut Builder<'_>, op: &str, r: &ReduceOpIr) -> Done {
    let x = truth(b, &r.input)?;
    let one = b.helper(op, &[x], vec![int("keepdims", 0)]);
    let shape = b.extents(&r.out);
    b.result("Reshape", &[one, shape], Vec::new(), &r.out);
    Ok(())
}

fn every_along(b: &mut Builder<'_>, op: &str, r: &ReduceDimOpIr) -> Done {
    let x = truth(b, &r.input)?;
    let axes = b.ints("axes", [r.axis as i64]);
    b.result(op, &[x, axes], vec![int("keepdims", 1)], &r.out);
    Ok(())
}
