//! The graph from JSON, in the form in which serde writes it: every field is known, and none stands twice.

use super::extent::Extent;
use super::op::{
    BinaryFn, CompareFn, Conv, ConvTranspose, Coordinates, Cut, DepthOrder, Epilogue, PadMode, Pool, PoolFn, QConv, QConvTranspose, QGemm,
    ReduceFn, Residual, Resize, ResizeMode, UnaryFn, Window,
};
use super::recurrent::{Cell, Recurrent};
use super::{ConstantId, Dim, Graph, Node, Op, Value, ValueId};
use crate::json::{Json, Object, Read, Structure, structures};
use crate::quant::Affine;
use crate::tensor::DType;

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
    Recurrent { cell, reverse or false, activations, clip or None }
    ConvTranspose { window, groups, output_padding }
    Epilogue { zero_point = "z", lo, hi, residual or None, hard_swish or false, table or false }
    Residual { zero_point = "z", multiplier = "m" }
    QConv { window, groups, channels, pad_value, epilogue or None }
    QConvTranspose { window, groups, channels, output_padding, pad_value, epilogue or None }
    QGemm { channels, epilogue or None }
}

impl Read for ValueId {
    fn read(value: Json<'_>) -> Self {
        Self(u32::read(value))
    }
}

impl Read for ConstantId {
    fn read(value: Json<'_>) -> Self {
        Self(u32::read(value))
    }
}

impl Read for Dim {
    fn read(value: Json<'_>) -> Self {
        if !value.is_object() {
            return Dim::Fixed(usize::read(value));
        }
        let mut object = value.object();
        if let Some(times) = object.take_maybe("N") {
            object.end();
            return Dim::Batch { times };
        }
        Dim::of(Extent::read(value)).unwrap_or_else(|| {
            value.refuse("an extent is negative".to_owned());
            Dim::Fixed(0)
        })
    }
}

impl Structure for Op {
    fn take(object: &mut Object<'_>) -> Self {
        let name: String = object.take("op");
        match name.as_str() {
            "Reshape" => Op::Reshape { shape: object.take("shape") },
            "Transpose" => Op::Transpose { perm: object.take("perm") },
            "Concat" => Op::Concat { axis: object.take("axis") },
            "Slice" => Op::Slice { cuts: object.take("cuts") },
            "Pad" => Op::Pad { before: object.take("before"), after: object.take("after"), mode: object.take("mode") },
            "DepthToSpace" => Op::DepthToSpace { block: object.take("block"), order: object.take("order") },
            "SpaceToDepth" => Op::SpaceToDepth { block: object.take("block") },
            "ChannelShuffle" => Op::ChannelShuffle { axis: object.take("axis"), groups: object.take("groups") },
            "Expand" => Op::Expand { shape: object.take("shape") },
            "Gather" => Op::Gather { axis: object.take("axis") },
            "TopK" => Op::TopK { axis: object.take("axis"), k: object.take("k"), largest: object.take("largest") },
            "NonMaxSuppression" => {
                Op::NonMaxSuppression { most: object.take("most"), overlap: object.take("overlap"), score: object.take("score") }
            }
            "Cast" => Op::Cast { to: object.take("to") },
            "Compare" => Op::Compare { function: object.take("function") },
            "Where" => Op::Where,
            "LayerNorm" => Op::LayerNorm { epsilon: object.take("epsilon"), rms: object.take_or("rms", false) },
            "Binary" => Op::Binary { function: object.take("function") },
            "Pool" => Op::Pool(Structure::take(object)),
            "Reduce" => Op::Reduce { function: object.take("function"), axes: object.take("axes"), keep_dims: object.take("keep_dims") },
            "Softmax" => Op::Softmax { axis: object.take("axis") },
            "Resize" => Op::Resize(Structure::take(object)),
            "Conv" => Op::Conv(Structure::take(object)),
            "ConvTranspose" => Op::ConvTranspose(Structure::take(object)),
            "Gemm" => Op::Gemm,
            "MatMul" => Op::MatMul,
            "Unary" => Op::Unary { function: object.take("function") },
            "Recurrent" => Op::Recurrent(Structure::take(object)),
            "LogSoftmax" => Op::LogSoftmax { axis: object.take("axis") },
            "Quantize" => Op::Quantize { channels_last: object.take_or("channels_last", false) },
            "Dequantize" => Op::Dequantize,
            "Table" => Op::Table,
            "QConv" => Op::QConv(Structure::take(object)),
            "QConvTranspose" => Op::QConvTranspose(Structure::take(object)),
            "QGemm" => Op::QGemm(Structure::take(object)),
            "ChooseQparams" => Op::ChooseQparams { kept: object.take("kept") },
            "DynamicQuantize" => Op::DynamicQuantize,
            "DynamicGemm" => Op::DynamicGemm { channels: object.take("channels") },
            "WeightOnlyGemm" => Op::WeightOnlyGemm,
            "Embedding" => Op::Embedding,
            _ => {
                object.refuse(format!("there is no operation '{name}'"));
                Op::Dequantize
            }
        }
    }
}

impl Read for PadMode {
    fn read(value: Json<'_>) -> Self {
        match value.variant() {
            (_, None) => value.one_of(&[("reflect", Self::Reflect), ("edge", Self::Edge), ("wrap", Self::Wrap)]),
            (name, Some(constant)) if name == "constant" => Self::Constant(f32::read(constant)),
            (name, Some(_)) => {
                value.refuse(format!("there is no padding '{name}' with a value"));
                Self::Edge
            }
        }
    }
}

impl Read for UnaryFn {
    fn read(value: Json<'_>) -> Self {
        let (name, Some(parameters)) = value.variant() else { return plain_function(value) };
        let mut object = parameters.object();
        let mut take = |parameter| object.take(parameter);
        let function = match name.as_str() {
            "LeakyRelu" => Self::LeakyRelu { alpha: take("alpha") },
            "Clip" => Self::Clip { lo: take("lo"), hi: take("hi") },
            "HardSigmoid" => Self::HardSigmoid { alpha: take("alpha"), beta: take("beta") },
            "Elu" => Self::Elu { alpha: take("alpha") },
            "Selu" => Self::Selu { alpha: take("alpha"), gamma: take("gamma") },
            "Celu" => Self::Celu { alpha: take("alpha") },
            "ThresholdedRelu" => Self::ThresholdedRelu { alpha: take("alpha") },
            "Shrink" => Self::Shrink { lambda: take("lambda"), bias: take("bias") },
            _ => {
                value.refuse(format!("there is no function '{name}' with parameters"));
                Self::Relu
            }
        };
        object.end();
        function
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

fn plain_function(value: Json<'_>) -> UnaryFn {
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
            fn read(value: Json<'_>) -> Self {
                names!(value, $of { $($variants)* })
            }
        })*
    };
}

enumerations! {
    DType { F32 = "f32", U8 = "u8", I8 = "i8", I32 = "i32", I64 = "i64" }
    DepthOrder { Dcr = "DCR", Crd = "CRD" }
    BinaryFn { Add, Sub, Mul, Div, Min, Max, Pow }
    CompareFn { Equal, Less, LessOrEqual }
    ReduceFn { Mean, Sum, Max, Min, Prod, L1, L2, SumSquare }
    PoolFn { Max, Average }
    Cell { Rnn, Gru, GruLinear, Lstm }
    ResizeMode {
        RoundPreferFloor = "round_prefer_floor", RoundPreferCeil = "round_prefer_ceil", Floor = "floor", Ceil = "ceil", Linear = "linear",
    }
    Coordinates {
        HalfPixel = "half_pixel", PytorchHalfPixel = "pytorch_half_pixel", AlignCorners = "align_corners", Asymmetric = "asymmetric",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::from_str;

    fn survives<T: Read + PartialEq + std::fmt::Debug + serde::Serialize>(value: T) {
        let text = serde_json::to_string(&value).expect("serializes");
        assert_eq!(from_str::<T>(&text).as_ref(), Ok(&value), "{text}");
    }

    #[test]
    fn operations_are_read_as_they_are_written() {
        let window = Window { kernel: [1, 2], strides: [3, 4], dilations: [5, 6], pads_begin: [7, 8], pads_end: [9, 10] };
        let residual = Some(Residual { zero_point: 4, multiplier: 0.1 });
        let epilogue = Epilogue { zero_point: 1, lo: 2, hi: 3, residual, hard_swish: false, table: true };
        let plain = Epilogue { residual: None, table: false, ..epilogue };
        let resize = |mode, coordinates| Resize { mode, coordinates, shape: vec![Dim::BATCH, 4.into()], scales: vec![1.0, 0.3] };
        let pool = Pool { function: PoolFn::Max, window, ceil_mode: false, count_include_pad: false };
        let (groups, channels, output_padding, pad_value) = (2, 3, [4, 5], 6);
        let conv = QConv { window, groups, channels, pad_value, epilogue: Some(epilogue) };
        let transpose = QConvTranspose { window, groups, channels, output_padding, pad_value, epilogue: Some(plain) };
        let recurrent =
            |cell, activations, clip: Option<f32>| Op::Recurrent(Recurrent { cell, reverse: clip.is_some(), activations, clip });
        let pad = |mode| Op::Pad { before: vec![1], after: vec![2], mode };
        let mut ops = vec![
            Op::Reshape { shape: vec![Dim::Batch { times: 3 }, 0.into()] },
            Op::Transpose { perm: vec![1, 0] },
            Op::Concat { axis: 1 },
            Op::Slice { cuts: vec![Cut::new(1, 2, 3, -4)] },
            pad(PadMode::Constant(-1.5)),
            pad(PadMode::Reflect),
            pad(PadMode::Edge),
            pad(PadMode::Wrap),
            Op::DepthToSpace { block: 2, order: DepthOrder::Dcr },
            Op::DepthToSpace { block: 2, order: DepthOrder::Crd },
            Op::SpaceToDepth { block: 3 },
            Op::ChannelShuffle { axis: 1, groups: 2 },
            Op::Pool(pool),
            Op::Pool(Pool { function: PoolFn::Average, ceil_mode: true, count_include_pad: true, ..pool }),
            Op::Softmax { axis: 1 },
            Op::Resize(resize(ResizeMode::RoundPreferFloor, Coordinates::HalfPixel)),
            Op::Resize(resize(ResizeMode::RoundPreferCeil, Coordinates::PytorchHalfPixel)),
            Op::Resize(resize(ResizeMode::Floor, Coordinates::AlignCorners)),
            Op::Resize(resize(ResizeMode::Ceil, Coordinates::Asymmetric)),
            Op::Resize(resize(ResizeMode::Linear, Coordinates::HalfPixel)),
            Op::Conv(Conv { window, groups }),
            Op::ConvTranspose(ConvTranspose { window, groups, output_padding }),
            Op::TopK { axis: 1, k: Dim::BATCH, largest: true },
            Op::NonMaxSuppression { most: 3, overlap: 0.5, score: f32::MIN },
            Op::Gemm,
            Op::MatMul,
            Op::LayerNorm { epsilon: 0.1, rms: false },
            Op::LayerNorm { epsilon: 0.1, rms: true },
            Op::LogSoftmax { axis: 2 },
            recurrent(Cell::Rnn, vec![UnaryFn::Relu], None),
            recurrent(Cell::Gru, vec![UnaryFn::Sigmoid, UnaryFn::Tanh], None),
            recurrent(Cell::GruLinear, vec![UnaryFn::Sigmoid, UnaryFn::Elu { alpha: 0.5 }], Some(3.5)),
            recurrent(Cell::Lstm, vec![UnaryFn::Sigmoid, UnaryFn::Tanh, UnaryFn::Tanh], None),
            Op::Quantize { channels_last: false },
            Op::Quantize { channels_last: true },
            Op::Dequantize,
            Op::Table,
            Op::QConv(conv),
            Op::QConv(QConv { epilogue: None, ..conv }),
            Op::QConvTranspose(transpose),
            Op::QGemm(QGemm { channels: 1, epilogue: Some(Epilogue { hard_swish: true, ..plain }) }),
            Op::QGemm(QGemm { channels: 1, epilogue: None }),
            Op::ChooseQparams { kept: 2 },
            Op::DynamicQuantize,
            Op::DynamicGemm { channels: 7 },
            Op::WeightOnlyGemm,
            Op::Embedding,
        ];
        use {BinaryFn as B, ReduceFn as R, UnaryFn as U};
        ops.extend([B::Add, B::Sub, B::Mul, B::Div, B::Min, B::Max, B::Pow].map(|function| Op::Binary { function }));
        let reductions = [R::Mean, R::Sum, R::Max, R::Min, R::Prod, R::L1, R::L2, R::SumSquare];
        ops.extend(reductions.map(|function| Op::Reduce { function, axes: vec![0, 2], keep_dims: true }));
        let (alpha, beta, gamma, lambda, bias) = (0.1, 0.2, 0.3, 0.4, 0.5);
        ops.extend(
            [
                U::LeakyRelu { alpha },
                U::Clip { lo: -1.0, hi: 6.0 },
                U::HardSigmoid { alpha, beta },
                U::Elu { alpha },
                U::Selu { alpha, gamma },
                U::Celu { alpha },
                U::ThresholdedRelu { alpha },
                U::Shrink { lambda, bias },
            ]
            .map(|function| Op::Unary { function }),
        );
        #[rustfmt::skip]
        let plain = [
            U::Relu, U::Sigmoid, U::HardSwish, U::Silu, U::Tanh, U::Gelu, U::GeluTanh, U::Mish, U::Softplus, U::Softsign, U::Exp, U::Log,
            U::Sqrt, U::Reciprocal, U::Abs, U::Neg, U::Sign, U::Floor, U::Ceil, U::Round, U::Erf, U::Sin, U::Cos, U::Tan, U::Asin, U::Acos,
            U::Atan, U::Sinh, U::Cosh, U::Asinh, U::Acosh, U::Atanh,
        ];
        ops.extend(plain.map(|function| Op::Unary { function }));
        ops.into_iter().for_each(survives);
    }

    #[test]
    fn values_are_read_as_they_are_written() {
        let value = Value { name: String::new(), dtype: DType::F32, shape: vec![], quant: None, constant: None };
        for dtype in [DType::F32, DType::U8, DType::I8, DType::I32, DType::I64] {
            survives(Value {
                dtype,
                name: "é\"\n".to_owned(),
                shape: vec![Dim::BATCH, 7.into()],
                constant: Some(ConstantId(9)),
                ..value.clone()
            });
        }
        for q_max in [255, 127] {
            survives(Value { quant: Some(Affine { scale: 0.1, zero_point: 3, q_max }), ..value.clone() });
        }
    }

    #[test]
    fn nothing_else_is_read() {
        for wrong in [
            r#"{"op":"Gemm","more":1}"#,
            r#"{"op":"Gemm","op":"Gemm"}"#,
            r#"{"op":"Concat"}"#,
            r#"{"op":"QLoop"}"#,
            r#"{"axis":1}"#,
            r#"{"op":"Unary","function":"Clip"}"#,
            r#"{"op":"Unary","function":{"Relu":{}}}"#,
            r#"{"op":"Unary","function":{"Elu":{"alpha":1,"beta":2}}}"#,
            r#"{"op":"Unary","function":{"Elu":{"alpha":1},"Relu":{}}}"#,
            r#"{"op":"Pad","before":[],"after":[],"mode":"constant"}"#,
            r#"{"op":"Pad","before":[],"after":[],"mode":{"edge":1}}"#,
            r#"{"op":"Reshape","shape":[{"N":1,"M":2}]}"#,
            r#"{"op":"Reshape","shape":[-1]}"#,
            r#"["Gemm"]"#,
        ] {
            assert!(from_str::<Op>(wrong).is_err(), "{wrong}");
        }
        assert!(from_str::<Op>(r#"{"axis":1,"op":"Concat"}"#).is_ok(), "fields may stand in any order");
    }
}
