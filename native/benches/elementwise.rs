//! Kernels that are bound by memory rather than by sums: the time of each, bytes moved a second, and both against a copy of
//! as many bytes in the same run and against the reference. Results are compared with the reference's first.
//!
//! `cargo bench -p quaver --bench elementwise [FILTER]`

use std::hint::black_box;
use std::time::Instant;

use quaver::isa::avx512vnni::Avx512Vnni;
use quaver_core::backend::{Operand, OutputMut};
use quaver_core::graph::op::{BinaryFn, Coordinates, Pool, PoolFn, ReduceFn, Resize, ResizeMode, UnaryFn, Window};
use quaver_core::graph::{Dim, Op};
use quaver_core::kernel::elementwise::{binary_f32::BinaryF32, binary_u8::BinaryU8, table::Table, unary_f32::UnaryF32};
use quaver_core::kernel::layout::{rows::Concat, rows::Slice, shuffle::ChannelShuffle, transpose::Transpose};
use quaver_core::kernel::pool::PoolU8;
use quaver_core::kernel::quantize::{Dequantize, Quantize, QuantizeTransposed};
use quaver_core::kernel::reduce::MeanOfPixels;
use quaver_core::kernel::resize::{LinearU8, Nearest};
use quaver_core::kernel::simd::Simd;
use quaver_core::kernel::softmax::{SoftmaxF32, SoftmaxU8};
use quaver_core::kernel::split::{Part, Split};
use quaver_core::quant::Affine;
use quaver_core::reference::Reference;
use quaver_core::tensor::{AlignedBytes, DType, TensorView, TensorViewMut, byte_count};

const Q: Affine = Affine { scale: 0.05, zero_point: 100, q_max: 255 };

struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: AlignedBytes,
}

impl Tensor {
    fn u8(shape: &[usize]) -> Self {
        let data: Vec<u8> = (0..shape.iter().product::<usize>()).map(|i| (i * 73 % 251) as u8).collect();
        Self { dtype: DType::U8, shape: shape.to_vec(), bytes: AlignedBytes::copy_of(&data).expect("memory") }
    }

    fn f32(shape: &[usize]) -> Self {
        let data: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| (i * 73 % 251) as f32 / 32.0 - 4.0).collect();
        Self { dtype: DType::F32, shape: shape.to_vec(), bytes: AlignedBytes::copy_of(bytemuck::cast_slice(&data)).expect("memory") }
    }

    fn operand(&self) -> Operand<'_> {
        let quant = (self.dtype == DType::U8).then_some(Q);
        Operand::new(TensorView::new(self.dtype, &self.shape, &self.bytes).expect("sized"), quant)
    }
}

/// The least time of a call, in seconds.
fn least(mut call: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < 0.15 {
        let start = Instant::now();
        for _ in 0..8 {
            call();
        }
        best = best.min(start.elapsed().as_secs_f64() / 8.0);
    }
    best
}

struct Bench {
    isa: Avx512Vnni,
    filter: Option<String>,
}

impl Bench {
    /// One line. `make` is a kernel's constructor. Where the kernel fuses `op` with another, there is no reference.
    fn run<'a, W: Split>(
        &self,
        name: &str,
        op: &Op,
        inputs: &'a [Operand<'a>],
        to: (DType, &[usize]),
        make: impl FnOnce(&'a [Operand<'a>], &OutputMut<'_>) -> Option<W>,
    ) {
        if self.filter.as_ref().is_some_and(|f| !name.contains(f)) {
            return;
        }
        let (dtype, shape) = to;
        let quant = (dtype == DType::U8).then_some(Q);
        let bytes = byte_count(dtype, shape).expect("small");
        let mut expected = AlignedBytes::zeroed(bytes).expect("memory");
        let mut got = expected.clone();
        let work = {
            let output = OutputMut { view: TensorViewMut::new(dtype, shape, &mut got).expect("sized"), quant };
            make(inputs, &output).expect("it applies")
        };
        let kernel = least(|| self.isa.vectorize(Part::whole(black_box(work), &mut got)));
        let fused = matches!(op, Op::Transpose { .. }) && dtype != inputs[0].view.dtype();
        let reference = if fused {
            f64::NAN
        } else {
            least(|| {
                let view = TensorViewMut::new(dtype, shape, &mut expected).expect("sized");
                Reference.compute(black_box(op), inputs, &mut OutputMut { view, quant });
            })
        };
        assert!(fused || got[..] == expected[..], "{name}: a wrong result");
        let moved = bytes + inputs.iter().map(|i| i.view.bytes().len()).sum::<usize>();
        let (from, mut copy) = (vec![1u8; moved / 2], vec![0u8; moved / 2]);
        let copy = least(|| black_box(&mut copy).copy_from_slice(black_box(&from)));
        println!(
            "{name:34} {:9.2} us {:7.1} GB/s   {:5.2} x copy   {:6.1} x faster than reference",
            kernel * 1e6,
            moved as f64 / kernel / 1e9,
            kernel / copy,
            reference / kernel
        );
    }
}

fn main() {
    let Some(isa) = Avx512Vnni::detect() else { return println!("this machine has no avx512vnni") };
    let bench = Bench { isa, filter: std::env::args().skip(1).find(|a| !a.starts_with("--")) };
    binary(&bench);
    unary(&bench);
    softmax(&bench);
    images(&bench);
    layout(&bench);
    resize(&bench);
}

fn binary(bench: &Bench) {
    let shape = [1, 56, 56, 64];
    let (a, b) = (Tensor::u8(&shape), Tensor::u8(&shape));
    let inputs = [a.operand(), b.operand()];
    for function in [BinaryFn::Add, BinaryFn::Mul] {
        let name = format!("{} u8 56x56x64", function.name());
        bench.run(&name, &Op::Binary { function }, &inputs, (DType::U8, &shape), |i, o| BinaryU8::new(function, i, o));
    }
    for shape in [[1, 14, 14, 672], [1, 28, 28, 120], [1, 56, 56, 24]] {
        let (a, b) = (Tensor::u8(&shape), Tensor::u8(&[1, 1, 1, shape[3]]));
        let inputs = [a.operand(), b.operand()];
        for function in [BinaryFn::Add, BinaryFn::Mul] {
            let name = format!("{} u8 gate {}x{}x{}", function.name(), shape[1], shape[2], shape[3]);
            bench.run(&name, &Op::Binary { function }, &inputs, (DType::U8, &shape), |i, o| BinaryU8::new(function, i, o));
        }
    }
    let one = Tensor::u8(&[1]);
    let inputs = [a.operand(), one.operand()];
    let function = BinaryFn::Add;
    bench.run("Add u8 scalar 56x56x64", &Op::Binary { function }, &inputs, (DType::U8, &shape), |i, o| BinaryU8::new(function, i, o));
    let (a, b) = (Tensor::f32(&shape), Tensor::f32(&shape));
    let inputs = [a.operand(), b.operand()];
    for function in [BinaryFn::Add, BinaryFn::Div, BinaryFn::Max] {
        let name = format!("{} f32 56x56x64", function.name());
        bench.run(&name, &Op::Binary { function }, &inputs, (DType::F32, &shape), |i, o| BinaryF32::new(function, i, o));
    }
}

fn unary(bench: &Bench) {
    let shape = [1, 56, 56, 64];
    let (x, table) = (Tensor::u8(&shape), Tensor::u8(&[256]));
    bench.run("Table 56x56x64", &Op::Table, &[x.operand(), table.operand()], (DType::U8, &shape), Table::new);
    let real = Tensor::f32(&shape);
    for function in [UnaryFn::Relu, UnaryFn::HardSwish, UnaryFn::Exp, UnaryFn::Sigmoid, UnaryFn::Gelu, UnaryFn::Tanh, UnaryFn::Log] {
        let name = format!("{} f32 56x56x64", function.name());
        bench.run(&name, &Op::Unary { function }, &[real.operand()], (DType::F32, &shape), |i, o| UnaryF32::new(function, i, o));
    }
    bench.run("Quantize 56x56x64", &Op::Quantize { channels_last: false }, &[real.operand()], (DType::U8, &shape), Quantize::new);
    bench.run("Dequantize 56x56x64", &Op::Dequantize, &[x.operand()], (DType::F32, &shape), Dequantize::new);
    let image = Tensor::f32(&[1, 3, 224, 224]);
    let transpose = Op::Transpose { perm: vec![0, 2, 3, 1] };
    bench.run("Quantize+Transpose 3x224x224", &transpose, &[image.operand()], (DType::U8, &[1, 224, 224, 3]), |i, o| {
        QuantizeTransposed::new(i, o)
    });
    bench.run("Quantize+Transpose 3>4x224x224", &transpose, &[image.operand()], (DType::U8, &[1, 224, 224, 4]), |i, _| {
        QuantizeTransposed::with_pitch(&i[0], Q, Some(4), Q.zero_point)
    });
}

fn softmax(bench: &Bench) {
    let op = Op::Softmax { axis: 1 };
    for shape in [[1, 1000], [768, 197]] {
        let (x, table) = (Tensor::u8(&shape), quaver_core::arith::exp::build(Q.scale));
        let table =
            Tensor { dtype: DType::I32, shape: vec![256], bytes: AlignedBytes::copy_of(bytemuck::cast_slice(&table)).expect("memory") };
        let name = |what: &str| format!("Softmax {what} {}x{}", shape[0], shape[1]);
        let inputs = [x.operand(), table.operand()];
        bench.run(&name("u8"), &op, &inputs, (DType::U8, &shape), |i, o| SoftmaxU8::new(1, i, o));
        bench.run(&name("u8>f32"), &op, &inputs, (DType::F32, &shape), |i, o| SoftmaxU8::new(1, i, o));
        let real = Tensor::f32(&shape);
        bench.run(&name("f32"), &op, &[real.operand()], (DType::F32, &shape), |i, o| SoftmaxF32::new(1, i, o));
    }
}

fn images(bench: &Bench) {
    let axes = vec![1, 2];
    for shape in [[1, 7, 7, 1280], [1, 14, 14, 672], [1, 56, 56, 24]] {
        let x = Tensor::u8(&shape);
        let op = Op::Reduce { function: ReduceFn::Mean, axes: axes.clone(), keep_dims: true };
        let name = format!("Mean {}x{}x{}", shape[1], shape[2], shape[3]);
        bench.run(&name, &op, &[x.operand()], (DType::U8, &[1, 1, 1, shape[3]]), |i, o| MeanOfPixels::new(ReduceFn::Mean, &axes, i, o));
    }
    for (shape, out, kernel, stride, pad) in
        [([1, 112, 112, 64], 56, 3, 2, 1), ([1, 28, 28, 192], 28, 3, 1, 1), ([1, 56, 56, 24], 28, 2, 2, 0)]
    {
        let x = Tensor::u8(&shape);
        for function in [PoolFn::Max, PoolFn::Average] {
            let window = Window { kernel: [kernel; 2], strides: [stride; 2], pads_begin: [pad; 2], pads_end: [pad; 2], ..Window::unit() };
            let pool = Pool { function, window, ceil_mode: false, count_include_pad: false };
            let name = format!("{function:?}Pool {kernel}x{kernel}/{stride} {}x{}x{}", shape[1], shape[2], shape[3]);
            bench.run(&name, &Op::Pool(pool), &[x.operand()], (DType::U8, &[1, out, out, shape[3]]), |i, o| PoolU8::new(&pool, i, o));
        }
    }
}

fn layout(bench: &Bench) {
    for c in [24, 58, 128] {
        let (a, b) = (Tensor::u8(&[1, 28, 28, c]), Tensor::u8(&[1, 28, 28, c]));
        let (one, two) = ([1, 28, 28, c], [1, 28, 28, 2 * c]);
        let name = |what: &str| format!("{what} 28x28x{c}");
        bench.run(&name("Concat"), &Op::Concat { axis: 3 }, &[a.operand(), b.operand()], (DType::U8, &two), |i, o| Concat::new(3, i, o));
        let whole = Tensor::u8(&two);
        let shuffle = Op::ChannelShuffle { axis: 3, groups: 2 };
        bench.run(&name("Shuffle 2x"), &shuffle, &[whole.operand()], (DType::U8, &two), |i, o| ChannelShuffle::new(3, 2, i, o));
        let cuts = vec![quaver_core::graph::op::Cut::new(3, c, c, 1)];
        bench.run(&name("Slice"), &Op::Slice { cuts: cuts.clone() }, &[whole.operand()], (DType::U8, &one), |i, o| Slice::new(&cuts, i, o));
    }
    for c in [3, 16, 64] {
        let (pixels, planes) = ([1, 56, 56, c], [1, c, 56, 56]);
        for (dtype, x, y) in
            [(DType::U8, Tensor::u8(&pixels), Tensor::u8(&planes)), (DType::F32, Tensor::f32(&pixels), Tensor::f32(&planes))]
        {
            let (out, back) = (vec![0, 3, 1, 2], vec![0, 2, 3, 1]);
            let name = format!("Transpose {dtype} NHWC>NCHW C={c}");
            if c >= 8 {
                bench.run(&name, &Op::Transpose { perm: out.clone() }, &[x.operand()], (dtype, &planes), |i, o| Transpose::new(&out, i, o));
            }
            if dtype == DType::U8 || c >= 4 {
                let name = format!("Transpose {dtype} NCHW>NHWC C={c}");
                bench.run(&name, &Op::Transpose { perm: back.clone() }, &[y.operand()], (dtype, &pixels), |i, o| {
                    Transpose::new(&back, i, o)
                });
            }
        }
    }
}

fn resize(bench: &Bench) {
    let (x, out) = (Tensor::u8(&[1, 28, 28, 128]), [1, 56, 56, 128]);
    for mode in [ResizeMode::Floor, ResizeMode::Linear] {
        let scales = vec![1.0, 2.0, 2.0, 1.0];
        let shape = out.map(Dim::Fixed).to_vec();
        let coordinates = if mode == ResizeMode::Linear { Coordinates::HalfPixel } else { Coordinates::Asymmetric };
        let resize = Resize { mode, coordinates, shape, scales };
        let (op, inputs) = (Op::Resize(resize.clone()), [x.operand()]);
        if mode == ResizeMode::Linear {
            bench.run("Resize linear 28>56x128", &op, &inputs, (DType::U8, &out), |i, o| LinearU8::new(&resize, i, o));
        } else {
            bench.run("Resize nearest 28>56x128", &op, &inputs, (DType::U8, &out), |i, o| Nearest::new(&resize, i, o));
        }
    }
}
