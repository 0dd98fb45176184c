//! Small quantized networks for tests: pseudo-random weights, one affine encoding for all activations.

// Each test binary uses its part.
#![allow(dead_code, reason = "shared by several test binaries")]

use quaver::Model;
use quaver_core::format::weights::PackedShape;
use quaver_core::format::{Metadata, write};
use quaver_core::graph::op::{BinaryFn, Cut, Epilogue, Pool, PoolFn, QConv, QConvTranspose, QGemm, ReduceFn, Residual, Window};
use quaver_core::graph::{Dim, Network, Op, ValueId};
use quaver_core::quant::Affine;
use quaver_core::tensor::DType;

/// How all activations are encoded.
pub const AFFINE: Affine = Affine { scale: 0.05, zero_point: 100, q_max: 255 };
const EPILOGUE: Epilogue = Epilogue { zero_point: 100, lo: 0, hi: 255, residual: None, hard_swish: false, table: false };

/// A square window that keeps the extents at stride 1.
pub fn window(kernel: usize, stride: usize) -> Window {
    let pad = [kernel / 2; 2];
    Window { kernel: [kernel; 2], strides: [stride; 2], pads_begin: pad, pads_end: pad, ..Window::unit() }
}

/// A network under construction, of images or rows of u8 after its first node.
pub struct Builder {
    pub net: Network,
}

impl Builder {
    /// A network whose input `x` is f32 of that shape behind the batch, and its quantized form.
    pub fn new(shape: &[usize]) -> (Self, ValueId) {
        let mut net = Network::new("test");
        let dims = [Dim::BATCH].into_iter().chain(shape.iter().map(|&d| Dim::Fixed(d))).collect();
        let x = net.input("x", DType::F32, dims);
        let mut builder = Self { net };
        let q = builder.push(Op::Quantize { channels_last: false }, &[x]);
        (builder, q)
    }

    /// Adds a node with a u8 result, named after its operation and number.
    pub fn push(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = format!("{}_{}", op.name(), self.net.graph.nodes.len());
        self.net.push_typed(op, inputs, &name, &format!("{name}:u8"), DType::U8, Some(AFFINE)).expect("valid")
    }

    fn channels(&self, x: ValueId) -> usize {
        self.net.graph.value(x).shape.last().and_then(|d| d.fixed()).expect("channels are known")
    }

    /// Weights, biases and multipliers.
    fn constants(&mut self, packed: PackedShape) -> [ValueId; 3] {
        let mut state = packed.len() as u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as i8
        };
        let count = packed.taps * packed.input_channels * packed.groups * packed.output_channels;
        let hwio: Vec<i8> = (0..count).map(|_| next()).collect();
        let weights = self.net.constant("", &packed.weights(), &packed.pack(&hwio).expect("sized"));
        let n = packed.padded_channels();
        [weights, self.net.constant("", &[n], &vec![700i32; n]), self.net.constant("", &[n], &vec![1e-3f32; n])]
    }

    /// A convolution, depthwise where it is one, perhaps with a fused addition.
    pub fn conv(&mut self, x: ValueId, channels: usize, window: Window, groups: usize, add: Option<ValueId>) -> ValueId {
        let packed = PackedShape::conv(window.kernel, self.channels(x), channels, groups).expect("small");
        let [w, b, m] = self.constants(packed);
        let residual = add.map(|_| Residual { zero_point: AFFINE.zero_point, multiplier: 0.5 });
        let conv = QConv { window, groups, channels, pad_value: AFFINE.zero_point, epilogue: Some(Epilogue { residual, ..EPILOGUE }) };
        let operands: Vec<ValueId> = [x, w, b, m].into_iter().chain(add).collect();
        self.push(Op::QConv(conv), &operands)
    }

    /// A transposed convolution of stride 2.
    pub fn transposed(&mut self, x: ValueId, channels: usize) -> ValueId {
        let window = window(3, 2);
        let packed = PackedShape::grouped(window.kernel, self.channels(x), channels, 1).expect("small");
        let [w, b, m] = self.constants(packed);
        let (pad_value, epilogue) = (AFFINE.zero_point, Some(EPILOGUE));
        let conv = QConvTranspose { window, groups: 1, channels, output_padding: [1, 1], pad_value, epilogue };
        self.push(Op::QConvTranspose(conv), &[x, w, b, m])
    }

    /// A product with a matrix.
    pub fn gemm(&mut self, x: ValueId, channels: usize) -> ValueId {
        let packed = PackedShape::grouped([1, 1], self.channels(x), channels, 1).expect("small");
        let [w, b, m] = self.constants(packed);
        self.push(Op::QGemm(QGemm { channels, epilogue: Some(EPILOGUE) }), &[x, w, b, m])
    }

    /// The mean of each channel's pixels.
    pub fn mean(&mut self, x: ValueId) -> ValueId {
        self.push(Op::Reduce { function: ReduceFn::Mean, axes: vec![1, 2], keep_dims: false }, &[x])
    }

    /// The file, with that output as real numbers.
    pub fn model(mut self, output: ValueId) -> Model {
        let y = self.net.push(Op::Dequantize, &[output], "dequantize", "y").expect("valid");
        self.net.output(y);
        Model::from_bytes(write(&self.net, &Metadata::new()).expect("valid")).expect("valid")
    }
}

/// A network with each kind of node that a kernel takes: 16×16 images of 3 channels to 10 numbers.
pub fn everything() -> Model {
    let (mut b, x) = Builder::new(&[16, 16, 3]);
    let first = b.conv(x, 32, window(3, 2), 1, None);
    let depthwise = b.conv(first, 32, window(3, 1), 32, None);
    let wide = b.conv(depthwise, 32, window(1, 1), 1, Some(first));
    let grouped = b.conv(wide, 32, window(3, 1), 2, None);
    let added = b.push(Op::Binary { function: BinaryFn::Add }, &[grouped, wide]);
    let scale = b.mean(added);
    let scale = b.push(Op::Reshape { shape: vec![Dim::BATCH, 1.into(), 1.into(), 32.into()] }, &[scale]);
    let scaled = b.push(Op::Binary { function: BinaryFn::Mul }, &[added, scale]);
    let table = b.net.constant("", &[256], &(0..=255u8).map(|q| q.max(100)).collect::<Vec<_>>());
    let table = b.push(Op::Table, &[scaled, table]);
    let pool = |function| Op::Pool(Pool { function, window: window(3, 1), ceil_mode: false, count_include_pad: false });
    let (largest, average) = (b.push(pool(PoolFn::Max), &[table]), b.push(pool(PoolFn::Average), &[table]));
    // More operands than anyone would keep on a stack.
    let joined = b.push(Op::Concat { axis: 3 }, &[largest, average].repeat(10));
    let cut = b.push(Op::Slice { cuts: vec![Cut::new(3, 8, 64, 1)] }, &[joined]);
    let shuffled = b.push(Op::ChannelShuffle { axis: 3, groups: 4 }, &[cut]);
    let transposed = b.transposed(shuffled, 16);
    let turned = b.push(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[transposed]);
    let turned = b.push(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[turned]);
    let mean = b.mean(turned);
    let scores = b.gemm(mean, 10);
    b.model(scores)
}

/// Elements for an input of so many.
pub fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i % 97) as f32 / 16.0 - 3.0).collect()
}
