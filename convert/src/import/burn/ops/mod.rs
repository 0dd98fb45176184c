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

const TRAINING: &str = "it belongs to training; capture `module.valid()`";
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

fn real(b: &mut Builder<'_>, op: &FloatOperationIr) -> Done {
    let name = match op {
        FloatOperationIr::Exp(_) => "Exp",
        FloatOperationIr::Log(_) => "Log",
        FloatOperationIr::Erf(_) => "Erf",
        FloatOperationIr::Sqrt(_) => "Sqrt",
        FloatOperationIr::Cos(_) => "Cos",
        FloatOperationIr::Cosh(_) => "Cosh",
        FloatOperationIr::Sin(_) => "Sin",
        FloatOperationIr::Sinh(_) => "Sinh",
        FloatOperationIr::Tan(_) => "Tan",
        FloatOperationIr::Tanh(_) => "Tanh",
        FloatOperationIr::ArcCos(_) => "Acos",
        FloatOperationIr::ArcCosh(_) => "Acosh",
        FloatOperationIr::ArcSin(_) => "Asin",
        FloatOperationIr::ArcSinh(_) => "Asinh",
        FloatOperationIr::ArcTan(_) => "Atan",
        FloatOperationIr::ArcTanh(_) => "Atanh",
        FloatOperationIr::Round(_) => "Round",
        FloatOperationIr::Floor(_) => "Floor",
        FloatOperationIr::Ceil(_) => "Ceil",
        FloatOperationIr::Recip(_) => "Reciprocal",
        FloatOperationIr::IsNan(_) => "IsNaN",
        FloatOperationIr::IsInf(_) => "IsInf",
        FloatOperationIr::Matmul(_) => "MatMul",
        _ => "",
    };
    match op {
        FloatOperationIr::Exp(r)
        | FloatOperationIr::Log(r)
        | FloatOperationIr::Erf(r)
        | FloatOperationIr::Sqrt(r)
        | FloatOperationIr::Cos(r)
        | FloatOperationIr::Cosh(r)
        | FloatOperationIr::Sin(r)
        | FloatOperationIr::Sinh(r)
        | FloatOperationIr::Tan(r)
        | FloatOperationIr::Tanh(r)
        | FloatOperationIr::ArcCos(r)
        | FloatOperationIr::ArcCosh(r)
        | FloatOperationIr::ArcSin(r)
        | FloatOperationIr::ArcSinh(r)
        | FloatOperationIr::ArcTan(r)
        | FloatOperationIr::ArcTanh(r)
        | FloatOperationIr::Round(r)
        | FloatOperationIr::Floor(r)
        | FloatOperationIr::Ceil(r)
        | FloatOperationIr::Recip(r)
        | FloatOperationIr::IsNan(r)
        | FloatOperationIr::IsInf(r) => unary(b, name, r),
        FloatOperationIr::Matmul(r) => apply(b, name, &[&r.lhs, &r.rhs], Vec::new(), &r.out),
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
        FloatOperationIr::ArcTan2(_) | FloatOperationIr::Cross(_) => refuse(NOWHERE),
    }
}
