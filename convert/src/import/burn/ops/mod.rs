//! burn's operations as ONNX's, one family a file.

mod activation;
mod attention;
mod base;
mod convolution;
mod module;
mod numeric;
mod pool;

use burn_ir::{BoolOperationIr, FloatOperationIr, IntOperationIr, OperationIr, TensorIr, UnaryOpIr};

use super::graph::{Builder, Refused, finite, float, int, word};
use crate::import::onnx::proto::{AttributeProto, tensor_proto::DataType};

type Done = Result<(), Refused>;

const TRAINING: &str = "it computes gradients; leave them out of the captured forward pass";
const RANDOM: &str = "its results are random; make them an input of the network";
const NOWHERE: &str = "quaver has no operation for it; compute it before the network or behind it, or express it by other operations";

/// Adds what gives the operation's results to the graph.
pub(super) fn operation(b: &mut Builder<'_>, operation: &OperationIr) -> Done {
    match operation {
        OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => base::operation(b, op),
        OperationIr::NumericFloat(_, op) | OperationIr::NumericInt(_, op) => numeric::operation(b, op),
        OperationIr::Bool(op) => truth(b, op),
        OperationIr::Int(op) => whole(b, op),
        OperationIr::Float(_, op) => real(b, op),
        OperationIr::Module(op) => module::operation(b, op),
        OperationIr::Activation(op) => activation::operation(b, op),
        OperationIr::Custom(_) => refuse("operations of other backends are not known here; express it by burn's own"),
        OperationIr::Distributed(_) => refuse("it is about several devices; capture the network on one"),
        OperationIr::Init(_) | OperationIr::Drop(_) => Ok(()),
    }
}

fn refuse<T>(what: &str) -> Result<T, Refused> {
    Err(what.to_owned())
}

/// An operation of tensors alone.
fn apply(b: &mut Builder<'_>, op: &str, inputs: &[&TensorIr], attributes: Vec<AttributeProto>, out: &TensorIr) -> Done {
    let inputs = inputs.iter().map(|tensor| b.input(tensor)).collect::<Result<Vec<_>, _>>()?;
    b.result(op, &inputs, attributes, out);
    Ok(())
}

/// An operation of one tensor.
fn unary(b: &mut Builder<'_>, op: &str, repr: &UnaryOpIr) -> Done {
    apply(b, op, &[&repr.input], Vec::new(), &repr.out)
}

fn cast(b: &mut Builder<'_>, x: &TensorIr, to: DataType, out: &TensorIr) -> Done {
    apply(b, "Cast", &[x], vec![int("to", to as i32)], out)
}

fn truth(b: &mut Builder<'_>, op: &BoolOperationIr) -> Done {
    match op {
        BoolOperationIr::IntoFloat(r) => cast(b, &r.input, DataType::Float, &r.out),
        BoolOperationIr::IntoInt(r) => cast(b, &r.input, DataType::Int64, &r.out),
        BoolOperationIr::Not(r) => unary(b, "Not", r),
        BoolOperationIr::And(r) => apply(b, "And", &[&r.lhs, &r.rhs], Vec::new(), &r.out),
        BoolOperationIr::Or(r) => apply(b, "Or", &[&r.lhs, &r.rhs], Vec::new(), &r.out),
        BoolOperationIr::Xor(r) => apply(b, "Xor", &[&r.lhs, &r.rhs], Vec::new(), &r.out),
    }
}

fn whole(b: &mut Builder<'_>, op: &IntOperationIr) -> Done {
    match op {
        IntOperationIr::IntoFloat(r) => cast(b, &r.input, DataType::Float, &r.out),
        IntOperationIr::Matmul(r) => apply(b, "MatMul", &[&r.lhs, &r.rhs], Vec::new(), &r.out),
        _ => refuse(NOWHERE),
    }
}

/// Functions of one real number.
fn real(b: &mut Builder<'_>, op: &FloatOperationIr) -> Done {
    let (name, r) = match op {
        FloatOperationIr::Exp(r) => ("Exp", r),
        FloatOperationIr::Log(r) => ("Log", r),
        FloatOperationIr::Erf(r) => ("Erf", r),
        FloatOperationIr::Sqrt(r) => ("Sqrt", r),
        FloatOperationIr::Cos(r) => ("Cos", r),
        FloatOperationIr::Cosh(r) => ("Cosh", r),
        FloatOperationIr::Sin(r) => ("Sin", r),
        FloatOperationIr::Sinh(r) => ("Sinh", r),
        FloatOperationIr::Tan(r) => ("Tan", r),
        FloatOperationIr::Tanh(r) => ("Tanh", r),
        FloatOperationIr::ArcCos(r) => ("Acos", r),
        FloatOperationIr::ArcCosh(r) => ("Acosh", r),
        FloatOperationIr::ArcSin(r) => ("Asin", r),
        FloatOperationIr::ArcSinh(r) => ("Asinh", r),
        FloatOperationIr::ArcTan(r) => ("Atan", r),
        FloatOperationIr::ArcTanh(r) => ("Atanh", r),
        FloatOperationIr::Round(r) => ("Round", r),
        FloatOperationIr::Floor(r) => ("Floor", r),
        FloatOperationIr::Ceil(r) => ("Ceil", r),
        FloatOperationIr::Recip(r) => ("Reciprocal", r),
        FloatOperationIr::IsNan(r) => ("IsNaN", r),
        FloatOperationIr::IsInf(r) => ("IsInf", r),
        _ => return real_others(b, op),
    };
    unary(b, name, r)
}

fn real_others(b: &mut Builder<'_>, op: &FloatOperationIr) -> Done {
    match op {
        FloatOperationIr::Matmul(r) => apply(b, "MatMul", &[&r.lhs, &r.rhs], Vec::new(), &r.out),
        FloatOperationIr::Powf(r) => apply(b, "Pow", &[&r.lhs, &r.rhs], Vec::new(), &r.out),
        FloatOperationIr::PowfScalar(r) => numeric::with_scalar(b, "Pow", r),
        FloatOperationIr::Log1p(r) => {
            let x = b.input(&r.input)?;
            let one = b.real("one", &[], &[1.0]);
            let sum = b.helper("Add", &[x, one], Vec::new());
            b.result("Log", &[sum], Vec::new(), &r.out);
            Ok(())
        }
        FloatOperationIr::Trunc(r) => {
            let x = b.input(&r.input)?;
            let [sign, size] = ["Sign", "Abs"].map(|op| b.helper(op, std::slice::from_ref(&x), Vec::new()));
            let floor = b.helper("Floor", &[size], Vec::new());
            b.result("Mul", &[sign, floor], Vec::new(), &r.out);
            Ok(())
        }
        FloatOperationIr::Hypot(r) => {
            let operands = [b.input(&r.lhs)?, b.input(&r.rhs)?];
            let squares = operands.map(|x| b.helper("Mul", &[x.clone(), x], Vec::new()));
            let sum = b.helper("Add", &squares, Vec::new());
            b.result("Sqrt", &[sum], Vec::new(), &r.out);
            Ok(())
        }
        FloatOperationIr::IntoInt(r) => cast(b, &r.input, DataType::Int64, &r.out),
        FloatOperationIr::GridSample2d(r) => {
            use burn_ir::{GridSamplePaddingModeIr as Padding, InterpolateModeIr as Mode};
            let mode = match r.options.mode {
                Mode::Nearest => "nearest",
                Mode::Bilinear => "linear",
                Mode::Bicubic => "cubic",
                Mode::NearestExact | Mode::Lanczos3 => {
                    return refuse("this interpolation is not supported; use bilinear, bicubic or nearest");
                }
            };
            let padding = match r.options.padding_mode {
                Padding::Zeros => "zeros",
                Padding::Border => "border",
                Padding::Reflection => "reflection",
            };
            let corners = i64::from(r.options.align_corners);
            let attributes = vec![word("mode", mode), word("padding_mode", padding), int("align_corners", corners)];
            apply(b, "GridSample", &[&r.tensor, &r.grid], attributes, &r.out)
        }
        FloatOperationIr::Random(_) => refuse(RANDOM),
        FloatOperationIr::Quantize(_) | FloatOperationIr::Dequantize(_) => {
            refuse("the module is quantized by burn; capture it as it was before, and let quaver quantize it")
        }
        _ => refuse(NOWHERE),
    }
}
