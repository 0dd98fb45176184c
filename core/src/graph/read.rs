//! The graph from JSON, in the form in which serde writes it: every field is known, and none stands twice.

use super::op::{
    BinaryFn, Conv, ConvTranspose, Coordinates, Cut, DepthOrder, Epilogue, PadMode, Pool, PoolFn, QConv, QConvTranspose, QGemm, ReduceFn,
    Residual, Resize, ResizeMode, UnaryFn, Window,
};
use super::{ConstantId, Dim, Graph, Node, Op, Value, ValueId};
use crate::json::{Error, Json, Object, Read, Structure, structures};
use crate::quant::Affine;
use crate::tensor::DType;

type Result<T> = std::result::Result<T, Error>;

structures! {
    Graph { name, values, nodes, inputs, outputs }
    Value { name = "n" or String::new(), dtype = "t", shape = "d", quant = "q" or None, constant = "c" or None }
    Node { name = "n" or String::new(), op = "o", inputs = "i", outputs = "y" }
    Affine { scale = "s", zero_point = "z", q_max = "max" or u8::MAX }
    Cut { axis, start, len, step }
    Window { kernel, strides, dilations, pads_begin, pads_end }
    Pool { function, window, ceil_mode or false, count_include_pad or false }
    Resize { mode, coordinates, shape, scales }
    Conv { window, groups }
    ConvTranspose { window, groups, output_padding }
    Epilogue { zero_point = "z", lo, hi, residual or None, table or false }
    Residual { zero_point = "z", multiplier = "m" }
    QConv { window, groups, channels, pad_value, epilogue or None }
    QConvTranspose { window, groups, channels, output_padding, pad_value, epilogue or None }
    QGemm { channels, epilogue or None }
}

impl Read for ValueId {
    fn read(value: Json<'_>) -> Result<Self> {
        u32::read(value).map(Self)
    }
}

impl Read for ConstantId {
    fn read(value: Json<'_>) -> Result<Self> {
        u32::read(value).map(Self)
    }
}

impl Read for Dim {
    fn read(value: Json<'_>) -> Result<Self> {
        if !value.is_object() {
            return usize::read(value).map(Dim::Fixed);
        }
        let mut object = value.object()?;
        let times = object.take("N")?;
        object.end().map(|()| Dim::Batch { times })
    }
}

impl Structure for Op {
    fn take(object: &mut Object<'_>) -> Result<Self> {
        let name: String = object.take("op")?;
        Ok(match name.as_str() {
            "Reshape" => Op::Reshape { shape: object.take("shape")? },
            "Transpose" => Op::Transpose { perm: object.take("perm")? },
            "Concat" => Op::Concat { axis: object.take("axis")? },
            "Slice" => Op::Slice { cuts: object.take("cuts")? },
            "Pad" => Op::Pad { before: object.take("before")?, after: object.take("after")?, mode: object.take("mode")? },
            "DepthToSpace" => Op::DepthToSpace { block: object.take("block")?, order: object.take("order")? },
            "SpaceToDepth" => Op::SpaceToDepth { block: object.take("block")? },
            "ChannelShuffle" => Op::ChannelShuffle { axis: object.take("axis")?, groups: object.take("groups")? },
            "Binary" => Op::Binary { function: object.take("function")? },
            "Pool" => Op::Pool(Structure::take(object)?),
            "Reduce" => Op::Reduce { function: object.take("function")?, axes: object.take("axes")?, keep_dims: object.take("keep_dims")? },
            "Softmax" => Op::Softmax { axis: object.take("axis")? },
            "Resize" => Op::Resize(Structure::take(object)?),
            "Conv" => Op::Conv(Structure::take(object)?),
            "ConvTranspose" => Op::ConvTranspose(Structure::take(object)?),
            "Gemm" => Op::Gemm,
            "MatMul" => Op::MatMul,
            "Unary" => Op::Unary { function: object.take("function")? },
            "LogSoftmax" => Op::LogSoftmax { axis: object.take("axis")? },
            "Quantize" => Op::Quantize { channels_last: object.take_or("channels_last", false)? },
            "Dequantize" => Op::Dequantize,
            "Table" => Op::Table,
            "QConv" => Op::QConv(Structure::take(object)?),
            "QConvTranspose" => Op::QConvTranspose(Structure::take(object)?),
            "QGemm" => Op::QGemm(Structure::take(object)?),
            _ => return Err(Error::new(format!("there is no operation '{name}'"))),
        })
    }
}

impl Read for PadMode {
    fn read(value: Json<'_>) -> Result<Self> {
        match value.variant()? {
            (_, None) => value.one_of(&[("reflect", Self::Reflect), ("edge", Self::Edge), ("wrap", Self::Wrap)]),
            (name, Some(constant)) if name == "constant" => f32::read(constant).map(Self::Constant),
            (name, Some(_)) => Err(Error::new(format!("there is no padding '{name}' with a value"))),
        }
    }
}

impl Read for UnaryFn {
    fn read(value: Json<'_>) -> Result<Self> {
        let (name, Some(parameters)) = value.variant()? else { return plain_function(value) };
        let mut object = parameters.object()?;
        let mut take = |parameter| object.take(parameter);
        let function = match name.as_str() {
            "LeakyRelu" => Self::LeakyRelu { alpha: take("alpha")? },
            "Clip" => Self::Clip { lo: take("lo")?, hi: take("hi")? },
            "HardSigmoid" => Self::HardSigmoid { alpha: take("alpha")?, beta: take("beta")? },
            "Elu" => Self::Elu { alpha: take("alpha")? },
            "Selu" => Self::Selu { alpha: take("alpha")?, gamma: take("gamma")? },
            "Celu" => Self::Celu { alpha: take("alpha")? },
            "ThresholdedRelu" => Self::ThresholdedRelu { alpha: take("alpha")? },
            "Shrink" => Self::Shrink { lambda: take("lambda")?, bias: take("bias")? },
            _ => return Err(Error::new(format!("there is no function '{name}' with parameters"))),
        };
        object.end().map(|()| function)
    }
}

/// Reads names of variants, which JSON has as they are, or where written so, others.
macro_rules! names {
    ($value:ident, $of:ident { $($variant:ident $(= $in_json:literal)?),* $(,)? }) => {
        $value.one_of(&[$((names!(@name $variant $(, $in_json)?), $of::$variant)),*])
    };
    (@name $variant:ident) => { stringify!($variant) };
    (@name $variant:ident, $in_json:literal) => { $in_json };
}

fn plain_function(value: Json<'_>) -> Result<UnaryFn> {
    names!(
        value,
        UnaryFn {
            Relu,
            Sigmoid,
            HardSwish,
            Silu,
            Tanh,
            Gelu,
            GeluTanh,
            Mish,
            Softplus,
            Softsign,
            Exp,
            Log,
            Sqrt,
            Reciprocal,
            Abs,
            Neg,
            Sign,
            Floor,
            Ceil,
            Round,
            Erf,
            Sin,
            Cos,
            Tan,
            Asin,
            Acos,
            Atan,
            Sinh,
            Cosh,
            Asinh,
            Acosh,
            Atanh,
        }
    )
}

macro_rules! enumerations {
    ($($of:ident { $($variants:tt)* })*) => {
        $(impl Read for $of {
            fn read(value: Json<'_>) -> Result<Self> {
                names!(value, $of { $($variants)* })
            }
        })*
    };
}

enumerations! {
    DType { F32 = "f32", U8 = "u8", I8 = "i8", I32 = "i32", I64 = "i64" }
    DepthOrder { Dcr = "DCR", Crd = "CRD" }
    BinaryFn { Add, Sub, Mul, Div, Min, Max, Pow }
    ReduceFn { Mean, Sum, Max, Min, Prod, L1, L2, SumSquare }
    PoolFn { Max, Average }
    ResizeMode {
        RoundPreferFloor = "round_prefer_floor", RoundPreferCeil = "round_prefer_ceil", Floor = "floor", Ceil = "ceil", Linear = "linear",
    }
    Coordinates {
        HalfPixel = "half_pixel", PytorchHalfPixel = "pytorch_half_pixel", AlignCorners = "align_corners", Asymmetric = "asymmetric",
    }
}
