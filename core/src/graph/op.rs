//! The closed set of operations, with their attributes.
//!
//! Layout: images are **NHWC** everywhere past import. Most operations are defined for several element types and mean
//! the same thing at each; the `Q…` operations exist only on integers, because their weights are packed and carry an
//! epilogue. What an operation computes is defined by `core::reference` and `ARITHMETIC.md`; which operands it takes is
//! written at each variant, in order.

mod functions;

use serde::Serialize;

use super::dim::Dim;
use super::recurrent::Recurrent;
use crate::tensor::DType;

pub use functions::{BinaryFn, CompareFn, ReduceFn, UnaryFn};

/// An operation and its attributes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op")]
pub enum Op {
    // ---- any element type: data moves, values stay --------------------------------------------------------------
    /// `x → y`: the same elements in another shape; its product equals that of the input's.
    Reshape {
        /// Extents of the output.
        shape: Vec<Dim>,
    },
    /// `x → y`: y's dimension i is x's dimension `perm[i]`.
    Transpose {
        /// A permutation of the dimensions.
        perm: Vec<usize>,
    },
    /// `x₀, x₁, … → y`: joined along `axis`; every u8 operand has the output's affine parameters.
    Concat {
        /// The dimension along which to join.
        axis: usize,
    },
    /// `x → y`: a strided window; element i along an axis is x's `start + i·step`.
    Slice {
        /// The axes that are cut, each at most once.
        cuts: Vec<Cut>,
    },
    /// `x → y`: elements added around x.
    Pad {
        /// Elements added before each dimension.
        before: Vec<usize>,
        /// Elements added after each dimension.
        after: Vec<usize>,
        /// What they hold.
        mode: PadMode,
    },
    /// `x[N,H,W,C] → y[N,H·b,W·b,C/b²]`.
    DepthToSpace {
        /// Edge b of the square that a column of channels becomes.
        block: usize,
        /// Order of the channels.
        order: DepthOrder,
    },
    /// `x[N,H,W,C] → y[N,H/b,W/b,C·b²]`, ONNX's channel order.
    SpaceToDepth {
        /// Edge b of the square that becomes a column of channels.
        block: usize,
    },
    /// `x → y`: along `axis`, seen as `[groups, n]`, transposed to `[n, groups]` (ShuffleNet).
    ChannelShuffle {
        /// The dimension whose elements are reordered.
        axis: usize,
        /// Number of groups; divides the extent.
        groups: usize,
    },

    /// `x → y`: repeated along dimensions that x lacks, or has with extent 1, as ONNX (numpy) broadcasts.
    Expand {
        /// Extents to broadcast with.
        shape: Vec<Dim>,
    },
    /// `x, indices i64[…] → y`: the elements of x along `axis` that the indices name, whose dimensions take the axis' place. One below
    /// 0 counts from the end; one outside takes the element nearest to it.
    Gather {
        /// The dimension along which is picked.
        axis: usize,
    },

    /// `x f32 → y`: the k largest or smallest elements along `axis`, in that order: their indices, where y is i64, or themselves, where it is
    /// f32.
    TopK {
        /// The dimension along which is ordered.
        axis: usize,
        /// The extent of y there, at most that of x.
        k: Dim,
        /// Whether the largest are asked for.
        largest: bool,
    },

    /// `boxes f32[B,N,4], scores f32[B,C,N] → y i64[B·C·most,3]`: for each class of a sample the boxes of the highest scores that overlap no
    /// one taken before, as (sample, class, box); behind the last, rows of −1. A box is two opposite corners.
    NonMaxSuppression {
        /// Most boxes of a class of a sample.
        most: usize,
        /// Intersection over union above which a box is left out.
        overlap: f32,
        /// What a score has to be above.
        score: f32,
    },

    // ---- f32, or u8 → u8 under the operands' affine parameters ----------------------------------------------------
    /// `a, b → y`: element by element with ONNX (numpy) broadcasting. u8: Add, Sub and Mul only.
    Binary {
        /// What is computed.
        function: BinaryFn,
    },
    /// `x[N,H,W,C] → y[N,H′,W′,C]`. u8: Max keeps the affine parameters, Average requantizes.
    Pool(Pool),
    /// `x → y`: over `axes`. u8 (Mean only): exact integer sum, then requantized to u8, or scaled where y is f32.
    Reduce {
        /// What is computed.
        function: ReduceFn,
        /// The reduced dimensions, ascending.
        axes: Vec<usize>,
        /// Whether a reduced dimension stays, with extent 1.
        keep_dims: bool,
    },
    /// `x → y` (f32), or `x, table i32[256] → y` (u8 → u8 or f32), where `table[d]` is the integer exponential of a
    /// distance d = max − q, see `arith::exp`.
    Softmax {
        /// The dimension that sums to 1.
        axis: usize,
    },
    /// `a[…,M,K], b[…,K,N] → y[…,M,N]`, leading dimensions broadcast. u8: exact integer sums, then requantized to u8, or scaled
    /// where y is f32.
    MatMul,
    /// `x → y`: interpolation. u8 keeps the affine parameters.
    Resize(Resize),

    // ---- whole numbers and truth, which is the real number 1, its opposite 0 -----------------------------------------
    /// `x i64 → y f32`, the nearest; or `x f32 → y i64`, the next towards 0.
    Cast {
        /// The type of y.
        to: DType,
    },
    /// `a, b → y f32`: whether it holds, on f32 or i64 with ONNX (numpy) broadcasting.
    Compare {
        /// What is asked.
        function: CompareFn,
    },
    /// `condition f32, a f32, b f32 → y f32`: a where the condition is not 0, else b; with ONNX (numpy) broadcasting.
    Where,

    // ---- f32 only -------------------------------------------------------------------------------------------------
    /// `x[N,H,W,C], w[kh,kw,C/groups,O] (, b[O]) → y[N,H′,W′,O]`.
    Conv(Conv),
    /// `x[N,H,W,C], w[kh,kw,C/groups,O] (, b[O]) → y[N,H′,W′,O]`; input channel c of group g meets `w[.., c − g·C/groups, ..]`.
    ConvTranspose(ConvTranspose),
    /// `x[…,K], scale[K], bias[K] → y[…,K]`: rows less their mean, over the root of their variance plus ε, scaled and moved.
    LayerNorm {
        /// ε
        epsilon: f32,
        /// Whether the mean counts as 0 (RMSNormalization).
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        rms: bool,
    },
    /// `x[…,K], w[K,N] (, b[N]) → y[…,N]`.
    Gemm,
    /// `x → y`, element by element.
    Unary {
        /// What is computed.
        function: UnaryFn,
    },
    /// `gates[T,B,G·H], r[H,G·H], h₀[B or 1,H]` and, of an LSTM, `c₀[B or 1,H] (, peepholes[3,H])`, of a GRU that is linear before
    /// its reset, `bias[1,H]` → `[S,T,B,H]`, the S states of each step: h, and of an LSTM c. `gates` has the inputs' products and
    /// all other biases.
    Recurrent(Recurrent),
    /// `x → y`: x − ln Σ exp x along `axis`.
    LogSoftmax {
        /// The dimension that is normalised.
        axis: usize,
    },

    // ---- between real and integer ---------------------------------------------------------------------------------
    /// `x f32 → y u8` under y's affine parameters.
    Quantize {
        /// Whether x is `[N,C,H,W]` and y `[N,H,W,C]`, which is how many networks begin.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        channels_last: bool,
    },
    /// `x u8 → y f32` under x's affine parameters.
    Dequantize,

    /// `x f32[…] → y f32[…, 2]`: for each part of x that its first `kept` dimensions name, scale and zero point of the integers that
    /// cover it, as ONNX's DynamicQuantizeLinear and PyTorch's `choose_qparams` have them.
    ChooseQparams {
        /// Leading dimensions of x that y has too: 0 for one pair a tensor, all but the last for one a row.
        kept: usize,
    },
    /// `x f32, qparams f32[…, 2] → y u8` of x's shape, each part under the pair that [`Op::ChooseQparams`] gives for it.
    DynamicQuantize,

    // ---- u8 ---------------------------------------------------------------------------------------------------------
    /// `x u8, table u8[256] → y u8`: y = `table[x]`. Every unary function, and any change of affine parameters.
    Table,
    /// `x u8[N,H,W,C], w i8 packed, bias i32, multiplier f32 (, residual u8) (, table u8[256]) → y u8 or f32 [N,H′,W′,O]`.
    QConv(QConv),
    /// As [`Op::QConv`], transposed; taps that fall between inputs or outside see the zero point.
    QConvTranspose(QConvTranspose),
    /// `x u8[…,K], w i8 packed, bias i32, multiplier f32 (, residual u8) (, table u8[256]) → y u8 or f32 […,N]`.
    QGemm(QGemm),
    /// `x u8[…,K], w i8 packed, bias i32, multiplier f32, qparams f32[…, 2], sums f32, offset f32 → y f32[…,N]`: x has the pair of
    /// `qparams` that its leading dimensions name. `bias` is −128·Σw, `sums` are Σw as real numbers, `offset` is added last; all
    /// have as many elements as padded channels.
    DynamicGemm {
        /// Output columns N.
        channels: usize,
    },
    /// `x f32[…,K], w u8[K,N], scale f32[N] (, b f32[N]) → y f32[…,N]`: weights stand for (w − 128)·scale, and are real where they
    /// are multiplied.
    WeightOnlyGemm,
    /// `table u8[V,D], scale f32[V], indices i64[…] → y f32[…,D]`: rows as [`Op::Gather`] picks them, which stand for
    /// (q − 128)·scale of their row.
    Embedding,
}

impl Op {
    /// The name in messages, reports and `explain`.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Reshape { .. } => "Reshape",
            Op::Transpose { .. } => "Transpose",
            Op::Concat { .. } => "Concat",
            Op::Slice { .. } => "Slice",
            Op::Pad { .. } => "Pad",
            Op::DepthToSpace { .. } => "DepthToSpace",
            Op::SpaceToDepth { .. } => "SpaceToDepth",
            Op::ChannelShuffle { .. } => "ChannelShuffle",
            Op::Expand { .. } => "Expand",
            Op::Gather { .. } => "Gather",
            Op::TopK { .. } => "TopK",
            Op::NonMaxSuppression { .. } => "NonMaxSuppression",
            Op::Cast { .. } => "Cast",
            Op::Compare { function } => function.name(),
            Op::Where => "Where",
            Op::LayerNorm { rms: true, .. } => "RMSNormalization",
            Op::LayerNorm { .. } => "LayerNormalization",
            Op::Binary { function } => function.name(),
            Op::Pool(Pool { function: PoolFn::Max, .. }) => "MaxPool",
            Op::Pool(Pool { function: PoolFn::Average, .. }) => "AveragePool",
            Op::Reduce { function, .. } => function.name(),
            Op::Softmax { .. } => "Softmax",
            Op::Resize(_) => "Resize",
            Op::Conv(_) => "Conv",
            Op::ConvTranspose(_) => "ConvTranspose",
            Op::Gemm => "Gemm",
            Op::MatMul => "MatMul",
            Op::Unary { function } => function.name(),
            Op::Recurrent(recurrent) => recurrent.cell.name(),
            Op::LogSoftmax { .. } => "LogSoftmax",
            Op::Quantize { .. } => "Quantize",
            Op::Dequantize => "Dequantize",
            Op::Table => "Table",
            Op::QConv(_) => "QConv",
            Op::QConvTranspose(_) => "QConvTranspose",
            Op::QGemm(_) => "QGemm",
            Op::ChooseQparams { .. } => "ChooseQparams",
            Op::DynamicQuantize => "DynamicQuantize",
            Op::DynamicGemm { .. } => "DynamicGemm",
            Op::WeightOnlyGemm => "WeightOnlyGemm",
            Op::Embedding => "Embedding",
        }
    }
}

impl Op {
    /// The extents among its attributes, which may be open.
    pub fn extents(&self) -> Vec<&Dim> {
        match self {
            Op::Reshape { shape } | Op::Expand { shape } | Op::Resize(Resize { shape, .. }) => shape.iter().collect(),
            Op::TopK { k, .. } => vec![k],
            Op::Slice { cuts } => cuts.iter().flat_map(|cut| [&cut.start, &cut.len]).collect(),
            _ => Vec::new(),
        }
    }

    /// As [`Op::extents`], to change them.
    pub fn extents_mut(&mut self) -> Vec<&mut Dim> {
        match self {
            Op::Reshape { shape } | Op::Expand { shape } | Op::Resize(Resize { shape, .. }) => shape.iter_mut().collect(),
            Op::TopK { k, .. } => vec![k],
            Op::Slice { cuts } => cuts.iter_mut().flat_map(|cut| [&mut cut.start, &mut cut.len]).collect(),
            _ => Vec::new(),
        }
    }
}

/// One axis of a [`Op::Slice`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// The dimension.
    pub axis: usize,
    /// First element taken.
    pub start: Dim,
    /// Number of elements taken.
    pub len: Dim,
    /// Distance between two of them; not 0, negative runs backwards.
    pub step: isize,
}

impl Cut {
    /// Of `len` elements from `start` on.
    pub fn new(axis: usize, start: impl Into<Dim>, len: impl Into<Dim>, step: isize) -> Self {
        Self { axis, start: start.into(), len: len.into(), step }
    }

    /// The first element and their number, in a graph that can run.
    pub fn range(&self) -> [usize; 2] {
        [&self.start, &self.len].map(|dim| dim.fixed().unwrap_or(0))
    }
}

/// What a [`Op::Pad`] puts around its input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PadMode {
    /// This real number; on u8 its quantized value.
    Constant(f32),
    /// The mirrored input, without repeating the edge.
    Reflect,
    /// The edge element.
    Edge,
    /// The input again, from its other side.
    Wrap,
}

/// Order of channels in [`Op::DepthToSpace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum DepthOrder {
    /// Channel = (row, column, depth), ONNX's default.
    #[serde(rename = "DCR")]
    Dcr,
    /// Channel = (depth, row, column), PyTorch's pixel shuffle.
    #[serde(rename = "CRD")]
    Crd,
}

/// The window that slides over an NHWC image: rows first, then columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Window {
    /// Extents of the kernel.
    pub kernel: [usize; 2],
    /// Step between two positions.
    pub strides: [usize; 2],
    /// Distance between two taps.
    pub dilations: [usize; 2],
    /// Rows above, columns left of the image.
    pub pads_begin: [usize; 2],
    /// Rows below, columns right of the image.
    pub pads_end: [usize; 2],
}

impl Window {
    /// Extent that the taps cover along dimension `d`.
    pub fn reach(&self, d: usize) -> usize {
        (self.kernel[d] - 1) * self.dilations[d] + 1
    }

    /// A 1×1 window of stride 1 without padding.
    pub fn unit() -> Self {
        Self { kernel: [1, 1], strides: [1, 1], dilations: [1, 1], pads_begin: [0, 0], pads_end: [0, 0] }
    }

    /// The input position of tap `k` at output position `o` along dimension `d`, or `None` outside of `0 .. extent`.
    #[inline]
    pub fn input_at(&self, d: usize, o: usize, k: usize, extent: usize) -> Option<usize> {
        (o * self.strides[d] + k * self.dilations[d]).checked_sub(self.pads_begin[d]).filter(|&i| i < extent)
    }

    /// The input position that reaches output position `o` of a transposed convolution through tap `k`, likewise; `None` also for
    /// holes.
    #[inline]
    pub fn input_of(&self, d: usize, o: usize, k: usize, extent: usize) -> Option<usize> {
        let at = (o + self.pads_begin[d]).checked_sub(k * self.dilations[d])?;
        (at % self.strides[d] == 0).then_some(at / self.strides[d]).filter(|&i| i < extent)
    }
}

/// Attributes of [`Op::Pool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// What is computed over a window.
    pub function: PoolFn,
    /// The window; `pads_end` is as the model gives it, ceil mode adds to it.
    pub window: Window,
    /// Whether the output's extents are rounded up. A window that starts in the end padding is left out, as in PyTorch.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ceil_mode: bool,
    /// Average: whether padding counts as zeros. What ceil mode adds beyond the padding never counts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub count_include_pad: bool,
}

/// Function of a [`Pool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum PoolFn {
    /// The largest element inside the image.
    Max,
    /// The mean.
    Average,
}

/// Attributes of [`Op::Resize`]: one entry a dimension.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resize {
    /// Interpolation.
    pub mode: ResizeMode,
    /// How an output coordinate becomes an input coordinate.
    pub coordinates: Coordinates,
    /// Extents of the output.
    pub shape: Vec<Dim>,
    /// Output extent over input extent along each dimension, as the model gives it (1 where nothing changes); 0 where that is
    /// the ratio of the extents, which only the graph of a run knows.
    pub scales: Vec<f32>,
}

/// Interpolation of a [`Resize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeMode {
    /// Nearest input, halves rounded down.
    RoundPreferFloor,
    /// Nearest input, halves rounded up.
    RoundPreferCeil,
    /// The input at or before.
    Floor,
    /// The input at or behind.
    Ceil,
    /// Linear between neighbours, one dimension after the other.
    Linear,
}

/// ONNX's `coordinate_transformation_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    /// (x + ½)/scale − ½
    HalfPixel,
    /// As half_pixel, but 0 where the output has one element
    PytorchHalfPixel,
    /// x·(in − 1)/(out − 1)
    AlignCorners,
    /// x/scale
    Asymmetric,
}

/// Attributes of [`Op::Conv`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Conv {
    /// The window.
    pub window: Window,
    /// Number of groups; divides input and output channels.
    pub groups: usize,
}

/// Attributes of [`Op::ConvTranspose`]: `window` is that of the convolution whose gradient this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ConvTranspose {
    /// The window.
    pub window: Window,
    /// Number of groups; divides input and output channels.
    pub groups: usize,
    /// Rows and columns added at the end of the output.
    pub output_padding: [usize; 2],
}

/// How an i32 accumulator becomes an output byte, see [`crate::arith::requant`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Epilogue {
    /// Zero point of what the accumulator is requantized to (before the table, where there is one).
    #[serde(rename = "z")]
    pub zero_point: u8,
    /// Lower clamp.
    pub lo: u8,
    /// Upper clamp.
    pub hi: u8,
    /// A u8 tensor of the output's shape is added before rounding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residual: Option<Residual>,
    /// HardSwish is applied before rounding: t·clamp(t·a + ½, 0, 1) + b, of which each channel has its own a, the scale that t counts
    /// in over 6, and b, in steps of the output: an operand holds all a, and then all b. There is no residual and no table then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hard_swish: bool,
    /// A 256-byte table is applied to the requantized byte.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub table: bool,
}

/// The fused addition of an [`Epilogue`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Residual {
    /// Zero point of the added tensor.
    #[serde(rename = "z")]
    pub zero_point: u8,
    /// Its scale over the scale of the requantized byte.
    #[serde(rename = "m")]
    pub multiplier: f32,
}

/// Attributes of [`Op::QConv`].
///
/// `epilogue` is `None` where the output is f32: y = f32(acc) · multiplier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QConv {
    /// The window.
    pub window: Window,
    /// Number of groups. Groups = input channels = output channels > 1 is depthwise and has its own weight layout.
    pub groups: usize,
    /// Output channels.
    pub channels: usize,
    /// Zero point of x, what padding holds.
    pub pad_value: u8,
    /// Requantization, for a u8 output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epilogue: Option<Epilogue>,
}

/// Attributes of [`Op::QConvTranspose`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QConvTranspose {
    /// The window of the convolution whose gradient this is.
    pub window: Window,
    /// Number of groups.
    pub groups: usize,
    /// Output channels.
    pub channels: usize,
    /// Rows and columns added at the end of the output.
    pub output_padding: [usize; 2],
    /// Zero point of x, what taps without an input see.
    pub pad_value: u8,
    /// Requantization, for a u8 output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epilogue: Option<Epilogue>,
}

/// Attributes of [`Op::QGemm`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QGemm {
    /// Output columns N.
    pub channels: usize,
    /// Requantization, for a u8 output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epilogue: Option<Epilogue>,
}
