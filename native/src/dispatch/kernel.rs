//! The list of kernels: what there is, by name.
//!
//! Names are `<operation>_<types>_<rows>x<channels>c<K>__<isa>` for products and `<operation>_<types>__<isa>` for the rest;
//! the ISA is spelled as in `QUAVER_ISA`. A kernel that is not in the list is never chosen.

use super::query::Query;
use crate::cpu::Isa;

/// What a kernel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Tiles of rows × channels over packed weights.
    Gemm,
    /// The same over two activations, of which one is packed first.
    MatMul,
    /// Depthwise convolution.
    Depthwise,
    /// Addition, subtraction and multiplication of u8.
    BinaryU8,
    /// Arithmetic of f32.
    BinaryF32,
    /// Functions of one f32.
    UnaryF32,
    /// A table of bytes.
    Table,
    /// f32 to u8.
    Quantize,
    /// u8 to f32.
    Dequantize,
    /// Scales and zero points that a run chooses.
    ChooseQparams,
    /// f32 to u8 by them.
    DynamicQuantize,
    /// Matrix products of f32 and weights of 8 bits.
    WeightOnly,
    /// Pools of u8.
    Pool,
    /// The mean of each channel's pixels.
    Mean,
    /// Joining.
    Concat,
    /// Cutting.
    Slice,
    /// Reordering channels.
    ChannelShuffle,
    /// Exchanging dimensions.
    Transpose,
    /// Softmax along the last dimension.
    Softmax,
    /// Recurrences.
    Recurrent,
    /// Images at other extents.
    Resize,
    /// Layer normalization of f32.
    LayerNorm,
    /// Convolutions of f32.
    ConvF32,
    /// Matrix products of f32.
    ProductF32,
    /// The definition.
    Reference,
}

/// An entry of the list.
#[derive(Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// The instruction set that it needs.
    pub isa: Isa,
    /// Rows and channels of its tile, for products.
    pub tile: Option<[usize; 2]>,
    /// Whether it takes no activation above 127.
    pub reduced: bool,
}

impl Kernel {
    /// Whether the activations are in its range.
    pub fn may_run(&self, query: &Query<'_>) -> bool {
        !self.reduced || query.is_reduced()
    }
}

/// The kernels over the vector vocabulary, which every instruction set has.
macro_rules! vector_kernels {
    ($isa:ident, $name:literal, $gemm:literal $gemm_tile:expr, $matmul:literal $matmul_tile:expr $(, $before:expr)?) => {
        &[
            $($before,)?
            Kernel {
                name: concat!("gemm_u8s8u8_", $gemm, "c4__", $name),
                kind: Kind::Gemm,
                isa: Isa::$isa,
                tile: Some($gemm_tile),
                reduced: false,
            },
            Kernel {
                name: concat!("matmul_u8u8u8_", $matmul, "c4__", $name),
                kind: Kind::MatMul,
                isa: Isa::$isa,
                tile: Some($matmul_tile),
                reduced: false,
            },
            vector_kernels!(@ $isa, $name, "depthwise_u8s8u8__", Depthwise),
            vector_kernels!(@ $isa, $name, "binary_u8u8u8__", BinaryU8),
            vector_kernels!(@ $isa, $name, "binary_f32f32f32__", BinaryF32),
            vector_kernels!(@ $isa, $name, "unary_f32f32__", UnaryF32),
            vector_kernels!(@ $isa, $name, "table_u8u8__", Table),
            vector_kernels!(@ $isa, $name, "quantize_f32u8__", Quantize),
            vector_kernels!(@ $isa, $name, "dequantize_u8f32__", Dequantize),
            vector_kernels!(@ $isa, $name, "choose_qparams_f32f32__", ChooseQparams),
            vector_kernels!(@ $isa, $name, "dynamic_quantize_f32u8__", DynamicQuantize),
            vector_kernels!(@ $isa, $name, "gemm_f32u8f32__", WeightOnly),
            vector_kernels!(@ $isa, $name, "pool_u8u8__", Pool),
            vector_kernels!(@ $isa, $name, "mean_u8u8__", Mean),
            vector_kernels!(@ $isa, $name, "concat__", Concat),
            vector_kernels!(@ $isa, $name, "slice__", Slice),
            vector_kernels!(@ $isa, $name, "shuffle_u8u8__", ChannelShuffle),
            vector_kernels!(@ $isa, $name, "transpose__", Transpose),
            vector_kernels!(@ $isa, $name, "softmax__", Softmax),
            vector_kernels!(@ $isa, $name, "recurrent_f32__", Recurrent),
            vector_kernels!(@ $isa, $name, "resize__", Resize),
            vector_kernels!(@ $isa, $name, "layer_norm_f32f32__", LayerNorm),
            vector_kernels!(@ $isa, $name, "conv_f32f32f32__", ConvF32),
            vector_kernels!(@ $isa, $name, "gemm_f32f32f32__", ProductF32),
        ]
    };
    (@ $isa:ident, $name:literal, $operation:literal, $kind:ident) => {
        Kernel { name: concat!($operation, $name), kind: Kind::$kind, isa: Isa::$isa, tile: None, reduced: false }
    };
}

/// The definition: takes every node.
pub static REFERENCE: Kernel = Kernel { name: "reference__scalar", kind: Kind::Reference, isa: Isa::Scalar, tile: None, reduced: false };

/// Its products of constant weights are in pairs, but for layers whose weights are unfavourable: these take the tile of MatMul.
static AVX2: &[Kernel] = vector_kernels!(Avx2, "avx2", "6x16" [6, 16], "4x16" [4, 16], REDUCED);
/// Needs no orders of weights, where it may be used.
const REDUCED: Kernel = Kernel { name: "gemm_u7s8u8_6x16c4__avx2", kind: Kind::Gemm, isa: Isa::Avx2, tile: Some([6, 16]), reduced: true };
static AVXVNNI: &[Kernel] = vector_kernels!(AvxVnni, "avxvnni", "6x16" [6, 16], "6x16" [6, 16]);
static AVX512VNNI: &[Kernel] = vector_kernels!(Avx512Vnni, "avx512vnni", "14x32" [14, 32], "14x32" [14, 32]);
/// What AMX has no kernel for, AVX-512 VNNI does.
static AMX: &[Kernel] = &[
    Kernel { name: "gemm_u8s8u8_32x32c64__amx", kind: Kind::Gemm, isa: Isa::Amx, tile: Some([32, 32]), reduced: false },
    Kernel { name: "matmul_u8u8u8_32x32c64__amx", kind: Kind::MatMul, isa: Isa::Amx, tile: Some([32, 32]), reduced: false },
];

/// The kernels of one instruction set.
pub fn kernels(isa: Isa) -> &'static [Kernel] {
    match isa {
        Isa::Scalar => std::slice::from_ref(&REFERENCE),
        Isa::Avx2 => AVX2,
        Isa::AvxVnni => AVXVNNI,
        Isa::Avx512Vnni => AVX512VNNI,
        Isa::Amx => AMX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_are() {
        let mut seen = std::collections::HashSet::new();
        for isa in Isa::ALL {
            for kernel in kernels(isa) {
                assert!(seen.insert(kernel.name), "{} is listed twice", kernel.name);
                assert_eq!(kernel.isa, isa);
                assert_eq!(kernel.name.rsplit_once("__").map(|(_, isa)| isa), Some(isa.name()));
                if let Some([rows, channels]) = kernel.tile {
                    assert!(kernel.name.contains(&format!("_{rows}x{channels}c")), "{}", kernel.name);
                }
            }
        }
    }
}
