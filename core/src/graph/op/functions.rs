//! Functions of operations that have one body for many of them, by ONNX's names.

use serde::Serialize;

/// Function of [`super::Op::Binary`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum BinaryFn {
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a · b
    Mul,
    /// a / b
    Div,
    /// The smaller; NaN if either is.
    Min,
    /// The larger; NaN if either is.
    Max,
    /// a to the power b
    Pow,
}

impl BinaryFn {
    /// ONNX's name of the operation.
    pub fn name(self) -> &'static str {
        match self {
            BinaryFn::Add => "Add",
            BinaryFn::Sub => "Sub",
            BinaryFn::Mul => "Mul",
            BinaryFn::Div => "Div",
            BinaryFn::Min => "Min",
            BinaryFn::Max => "Max",
            BinaryFn::Pow => "Pow",
        }
    }
}

/// Function of [`super::Op::Compare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum CompareFn {
    /// a = b
    Equal,
    /// a < b
    Less,
    /// a ≤ b
    LessOrEqual,
}

impl CompareFn {
    /// ONNX's name of the operation.
    pub fn name(self) -> &'static str {
        match self {
            CompareFn::Equal => "Equal",
            CompareFn::Less => "Less",
            CompareFn::LessOrEqual => "LessOrEqual",
        }
    }
}

/// Function of [`super::Op::Reduce`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum ReduceFn {
    /// Σx / n
    Mean,
    /// Σx
    Sum,
    /// The largest
    Max,
    /// The smallest
    Min,
    /// Πx
    Prod,
    /// Σ|x|
    L1,
    /// √Σx²
    L2,
    /// Σx²
    SumSquare,
}

impl ReduceFn {
    /// ONNX's name of the operation.
    pub fn name(self) -> &'static str {
        match self {
            ReduceFn::Mean => "ReduceMean",
            ReduceFn::Sum => "ReduceSum",
            ReduceFn::Max => "ReduceMax",
            ReduceFn::Min => "ReduceMin",
            ReduceFn::Prod => "ReduceProd",
            ReduceFn::L1 => "ReduceL1",
            ReduceFn::L2 => "ReduceL2",
            ReduceFn::SumSquare => "ReduceSumSquare",
        }
    }
}

/// A function of one real number; ONNX's operation of that name unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum UnaryFn {
    /// max(x, 0)
    Relu,
    /// x where positive, else αx
    LeakyRelu {
        /// α
        alpha: f32,
    },
    /// min(max(x, lo), hi); also ReLU6
    Clip {
        /// Lower limit
        lo: f32,
        /// Upper limit
        hi: f32,
    },
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// max(0, min(1, αx + β))
    HardSigmoid {
        /// α
        alpha: f32,
        /// β
        beta: f32,
    },
    /// x · HardSigmoid(x) with α = 1/6, β = 1/2
    HardSwish,
    /// x · Sigmoid(x), also named Swish
    Silu,
    /// hyperbolic tangent
    Tanh,
    /// x·Φ(x), by the error function
    Gelu,
    /// GELU's approximation by tanh
    GeluTanh,
    /// x · tanh(Softplus(x))
    Mish,
    /// x where positive, else α(eˣ − 1)
    Elu {
        /// α
        alpha: f32,
    },
    /// γx where positive, else γα(eˣ − 1)
    Selu {
        /// α
        alpha: f32,
        /// γ
        gamma: f32,
    },
    /// max(0, x) + min(0, α(e^(x/α) − 1))
    Celu {
        /// α
        alpha: f32,
    },
    /// ln(1 + eˣ)
    Softplus,
    /// x / (1 + |x|)
    Softsign,
    /// x where x > α, else 0
    ThresholdedRelu {
        /// α
        alpha: f32,
    },
    /// x + bias where x < −λ, x − bias where x > λ, else 0
    Shrink {
        /// λ
        lambda: f32,
        /// What a kept value moves by
        bias: f32,
    },
    /// eˣ
    Exp,
    /// Natural logarithm
    Log,
    /// √x
    Sqrt,
    /// 1/x
    Reciprocal,
    /// |x|
    Abs,
    /// −x
    Neg,
    /// −1, 0 or 1
    Sign,
    /// Round down
    Floor,
    /// Round up
    Ceil,
    /// Round to nearest, ties to even
    Round,
    /// Error function
    Erf,
    /// Sine of radians
    Sin,
    /// Cosine of radians
    Cos,
    /// Tangent of radians
    Tan,
    /// Inverse sine
    Asin,
    /// Inverse cosine
    Acos,
    /// Inverse tangent
    Atan,
    /// Hyperbolic sine
    Sinh,
    /// Hyperbolic cosine
    Cosh,
    /// Inverse hyperbolic sine
    Asinh,
    /// Inverse hyperbolic cosine
    Acosh,
    /// Inverse hyperbolic tangent
    Atanh,
}

impl UnaryFn {
    /// ONNX's name of the operation, or PyTorch's where ONNX has none.
    pub fn name(self) -> &'static str {
        match self {
            UnaryFn::Relu => "Relu",
            UnaryFn::LeakyRelu { .. } => "LeakyRelu",
            UnaryFn::Clip { .. } => "Clip",
            UnaryFn::Sigmoid => "Sigmoid",
            UnaryFn::HardSigmoid { .. } => "HardSigmoid",
            UnaryFn::HardSwish => "HardSwish",
            UnaryFn::Silu => "SiLU",
            UnaryFn::Tanh => "Tanh",
            UnaryFn::Gelu => "Gelu",
            UnaryFn::GeluTanh => "GeluTanh",
            UnaryFn::Mish => "Mish",
            UnaryFn::Elu { .. } => "Elu",
            UnaryFn::Selu { .. } => "Selu",
            UnaryFn::Celu { .. } => "Celu",
            UnaryFn::Softplus => "Softplus",
            UnaryFn::Softsign => "Softsign",
            UnaryFn::ThresholdedRelu { .. } => "ThresholdedRelu",
            UnaryFn::Shrink { .. } => "Shrink",
            UnaryFn::Exp => "Exp",
            UnaryFn::Log => "Log",
            UnaryFn::Sqrt => "Sqrt",
            UnaryFn::Reciprocal => "Reciprocal",
            UnaryFn::Abs => "Abs",
            UnaryFn::Neg => "Neg",
            UnaryFn::Sign => "Sign",
            UnaryFn::Floor => "Floor",
            UnaryFn::Ceil => "Ceil",
            UnaryFn::Round => "Round",
            UnaryFn::Erf => "Erf",
            UnaryFn::Sin => "Sin",
            UnaryFn::Cos => "Cos",
            UnaryFn::Tan => "Tan",
            UnaryFn::Asin => "Asin",
            UnaryFn::Acos => "Acos",
            UnaryFn::Atan => "Atan",
            UnaryFn::Sinh => "Sinh",
            UnaryFn::Cosh => "Cosh",
            UnaryFn::Asinh => "Asinh",
            UnaryFn::Acosh => "Acosh",
            UnaryFn::Atanh => "Atanh",
        }
    }
}
