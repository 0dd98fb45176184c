//! The rules: an ordered table. The first one that applies, and for whose kernel there is an instruction set, decides.

use quaver_core::graph::Op;
use quaver_core::graph::op::PoolFn;
use quaver_core::tensor::DType;

use super::kernel::Kind;
use super::query::{Product, Query};
use crate::amx::{self, Extents};
use crate::cpu::Isa;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// The kernel that it names.
    pub kind: Kind,
    /// The one instruction set that it is about, where it is about one.
    pub isa: Option<Isa>,
    /// Whether it applies.
    pub applies: fn(&Query<'_>) -> bool,
    /// Why.
    pub reason: &'static str,
}

/// All rules.
pub static RULES: &[Rule] = &[
    Rule {
        name: "tiles",
        kind: Kind::Gemm,
        isa: Some(Isa::Amx),
        applies: |q| product(q, |p| amx::pays(p.extents())),
        reason: "enough rows, channels and K for tile registers to be worth the way through memory",
    },
    Rule {
        name: "one row",
        kind: Kind::Gemm,
        isa: None,
        applies: |q| product(q, |p| p.m == 1),
        reason: "weights are read once; the speed is that of memory",
    },
    Rule {
        name: "rows in place",
        kind: Kind::Gemm,
        isa: None,
        applies: |q| product(q, |p| p.window.is_none_or(|w| w.kernel == [1, 1] && w.pads_begin == [0, 0] && w.pads_end == [0, 0])),
        reason: "a product, or a 1x1 window: activations are read where they lie",
    },
    Rule {
        name: "first layer",
        kind: Kind::Gemm,
        isa: None,
        applies: |q| product(q, |p| p.channels < 4),
        reason: "few channels: pixels are copied into whole quads, and a kernel row is one run of them",
    },
    Rule {
        name: "transposed",
        kind: Kind::Gemm,
        isa: None,
        applies: |q| matches!(q.op, Op::QConvTranspose(_)),
        reason: "a convolution of an image with holes between its pixels",
    },
    Rule {
        name: "grouped",
        kind: Kind::Gemm,
        isa: None,
        applies: |q| product(q, |p| p.groups > 1),
        reason: "group by group, taps as segments",
    },
    Rule {
        name: "windows",
        kind: Kind::Gemm,
        isa: None,
        applies: |q| product(q, |_| true),
        reason: "kernel rows as segments, in a padded copy where the window leaves the image",
    },
    Rule {
        name: "tiles of two activations",
        kind: Kind::MatMul,
        isa: Some(Isa::Amx),
        applies: |q| activations(q, |[m, k, n]| amx::pays(Extents { m, n, k, run: k, pitch: k, near: false })),
        reason: "enough rows, columns and K for tile registers, once the right operand is packed",
    },
    Rule {
        name: "two activations",
        kind: Kind::MatMul,
        isa: None,
        applies: |q| activations(q, |_| true),
        reason: "the right operand is packed as weights are",
    },
    Rule {
        name: "depthwise",
        kind: Kind::Depthwise,
        isa: None,
        applies: |q| matches!(q.op, Op::QConv(_)),
        reason: "one filter a channel: vertical taps as quads",
    },
    Rule {
        name: "u8 arithmetic",
        kind: Kind::BinaryU8,
        isa: None,
        applies: |q| matches!(q.op, Op::Binary { .. }) && q.output.dtype == DType::U8,
        reason: "three float steps an element, sixteen at a time",
    },
    Rule {
        name: "f32 arithmetic",
        kind: Kind::BinaryF32,
        isa: None,
        applies: |q| matches!(q.op, Op::Binary { .. }),
        reason: "one operation an element",
    },
    Rule {
        name: "f32 function",
        kind: Kind::UnaryF32,
        isa: None,
        applies: |q| matches!(q.op, Op::Unary { .. }),
        reason: "functions of a few operations",
    },
    Rule { name: "table", kind: Kind::Table, isa: None, applies: |q| matches!(q.op, Op::Table), reason: "256 bytes in registers" },
    Rule {
        name: "quantize",
        kind: Kind::Quantize,
        isa: None,
        applies: |q| matches!(q.op, Op::Quantize { .. }),
        reason: "a division and a rounding an element",
    },
    Rule {
        name: "dequantize",
        kind: Kind::Dequantize,
        isa: None,
        applies: |q| matches!(q.op, Op::Dequantize),
        reason: "a multiplication an element",
    },
    Rule {
        name: "choose parameters",
        kind: Kind::ChooseQparams,
        isa: None,
        applies: |q| matches!(q.op, Op::ChooseQparams { .. }),
        reason: "the smallest and the largest of a row, sixteen at a time",
    },
    Rule {
        name: "quantize by rows",
        kind: Kind::DynamicQuantize,
        isa: None,
        applies: |q| matches!(q.op, Op::DynamicQuantize),
        reason: "a division and a rounding an element, under parameters that the run chose",
    },
    Rule {
        name: "weight-only product",
        kind: Kind::WeightOnly,
        isa: None,
        applies: |q| matches!(q.op, Op::WeightOnlyGemm),
        reason: "weights are read as bytes, and are real in registers",
    },
    Rule {
        name: "u8 pool",
        kind: Kind::Pool,
        isa: None,
        applies: |q| matches!(&q.op, Op::Pool(p) if matches!(p.function, PoolFn::Max | PoolFn::Average)) && q.output.dtype == DType::U8,
        reason: "64 channels at a time",
    },
    Rule {
        name: "mean of pixels",
        kind: Kind::Mean,
        isa: None,
        applies: |q| matches!(q.op, Op::Reduce { .. }) && q.inputs[0].dtype == DType::U8,
        reason: "exact sums by dot products with ones",
    },
    Rule { name: "join", kind: Kind::Concat, isa: None, applies: |q| matches!(q.op, Op::Concat { .. }), reason: "copies of runs" },
    Rule { name: "cut", kind: Kind::Slice, isa: None, applies: |q| matches!(q.op, Op::Slice { .. }), reason: "copies of runs" },
    Rule {
        name: "shuffle",
        kind: Kind::ChannelShuffle,
        isa: None,
        applies: |q| matches!(q.op, Op::ChannelShuffle { .. }),
        reason: "bytes are interleaved in registers",
    },
    Rule {
        name: "transpose",
        kind: Kind::Transpose,
        isa: None,
        applies: |q| matches!(q.op, Op::Transpose { .. }),
        reason: "square tiles in cache",
    },
    Rule {
        name: "softmax",
        kind: Kind::Softmax,
        isa: None,
        applies: |q| matches!(q.op, Op::Softmax { .. }),
        reason: "along the last dimension, rows lie in one piece",
    },
    Rule {
        name: "recurrent",
        kind: Kind::Recurrent,
        isa: None,
        applies: |q| matches!(q.op, Op::Recurrent(_)),
        reason: "columns of a state's weights lie side by side",
    },
    Rule {
        name: "resize",
        kind: Kind::Resize,
        isa: None,
        applies: |q| matches!(q.op, Op::Resize(_)),
        reason: "positions are computed once a line, and pixels copied or mixed whole",
    },
    Rule {
        name: "layer norm",
        kind: Kind::LayerNorm,
        isa: None,
        applies: |q| matches!(q.op, Op::LayerNorm { .. }),
        reason: "sixteen partial sums a row",
    },
    Rule {
        name: "f32 convolution",
        kind: Kind::ConvF32,
        isa: None,
        applies: |q| matches!(q.op, Op::Conv(_) | Op::ConvTranspose(_)),
        reason: "a multiplication and an addition a step, positions and channels at once",
    },
    Rule {
        name: "f32 product",
        kind: Kind::ProductF32,
        isa: None,
        applies: |q| matches!(q.op, Op::Gemm | Op::MatMul),
        reason: "a multiplication and an addition a step, rows and columns at once",
    },
    Rule { name: "definition", kind: Kind::Reference, isa: None, applies: |_| true, reason: "no kernel takes this node" },
];

/// Asked about M, K and N of a product of two activations of u8.
fn activations(q: &Query<'_>, applies: impl Fn([usize; 3]) -> bool) -> bool {
    match (q.op, q.inputs[0].dtype, q.inputs[0].shape, q.output.shape.last()) {
        (Op::MatMul, DType::U8, &[.., m, k], Some(&n)) => applies([m, k, n]),
        _ => false,
    }
}

fn product(q: &Query<'_>, applies: impl Fn(Product) -> bool) -> bool {
    q.product().is_some_and(applies)
}
