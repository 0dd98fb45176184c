//! Files from outside: whatever bytes come, opening them gives a model or an error, and a model that opens can be run.

use std::panic::{AssertUnwindSafe, catch_unwind};

use quaver_core::exec::Executor;
use quaver_core::format::weights::PackedShape;
use quaver_core::format::{METADATA_LABELS, Metadata, QvrModel, write};
use quaver_core::graph::op::{
    BinaryFn, Conv, Coordinates, Cut, Epilogue, PadMode, Pool, PoolFn, QConv, QConvTranspose, QGemm, ReduceFn, Residual, Resize,
    ResizeMode, UnaryFn, Window,
};
use quaver_core::graph::{Dim, Graph, Network, Op, ValueId};
use quaver_core::plan::{Location, Plan};
use quaver_core::quant::Affine;
use quaver_core::reference::Reference;
use quaver_core::tensor::{AlignedBytes, DType, TensorView};

/// Changed files of each run, half of them with changes in the header alone.
const MUTATIONS: usize = 120_000;
/// Most activations of a run.
const ARENA: usize = 64 << 20;

#[test]
fn changed_files_never_panic() {
    let file = write(&sample(), &Metadata::from([(METADATA_LABELS.to_owned(), "[\"a\"]".to_owned())])).expect("valid");
    assert_eq!(attempt(&file), Outcome::Ran, "the unchanged file runs");
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let opened: Vec<usize> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|t| {
                scope.spawn({
                    let file = &file;
                    move || (t..MUTATIONS).step_by(threads).filter(|&seed| survive(file, seed as u64) == Outcome::Ran).count()
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().expect("`survive` reported why")).collect()
    });
    // If nothing opened, nothing behind the header would have been tried.
    assert!(opened.iter().sum::<usize>() > MUTATIONS / 50, "{opened:?} of {MUTATIONS} changed files ran");
}

/// What became of a file.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Refused,
    TooDear,
    Ran,
}

fn survive(file: &[u8], seed: u64) -> Outcome {
    let changed = mutate(file, &mut Rng(seed));
    match catch_unwind(AssertUnwindSafe(|| attempt(&changed))) {
        Ok(outcome) => outcome,
        Err(_) => panic!("a panic on the file of seed {seed}"),
    }
}

fn attempt(file: &[u8]) -> Outcome {
    let Ok(model) = QvrModel::open(AlignedBytes::copy_of(file).expect("memory")) else { return Outcome::Refused };
    let graph = model.graph();
    let Ok(plan) = Plan::new(graph, 1, ARENA) else { return Outcome::Refused };
    check_plan(graph, &plan);
    if plan.arena_len > 1 << 20 || work(graph, &plan) > 1 << 22 {
        return Outcome::TooDear;
    }
    let buffers: Vec<AlignedBytes> = graph.inputs.iter().map(|&id| input_bytes(&plan.shapes[id.index()], graph.value(id).dtype)).collect();
    let shapes: Vec<Vec<usize>> = graph.inputs.iter().map(|id| plan.shapes[id.index()].clone()).collect();
    let views = graph.inputs.iter().zip(&shapes).zip(&buffers);
    let views: Vec<TensorView<'_>> =
        views.map(|((&id, shape), bytes)| TensorView::new(graph.value(id).dtype, shape, bytes).expect("sized")).collect();
    let mut executor = Executor::new(plan, 0).expect("memory");
    executor.run(graph, &model, &Reference, &views, None).expect("inputs are as the graph says");
    for (index, &id) in graph.outputs.iter().enumerate() {
        let output = executor.output(graph, index).expect("an output");
        let largest = graph.value(id).quant.map_or(u8::MAX, |q| q.q_max);
        assert!(output.dtype() != DType::U8 || output.bytes().iter().all(|&b| b <= largest), "a byte above its value's largest");
    }
    Outcome::Ran
}

fn check_plan(graph: &Graph, plan: &Plan) {
    for (value, location) in graph.values.iter().zip(&plan.locations) {
        if let Location::Arena(range) = location {
            assert!(range.end <= plan.arena_len && range.start % 64 == 0, "'{}' is at {range:?}", value.name);
        }
    }
}

/// About how many steps a run takes; changed windows can make a small file take hours, which is allowed, but not here.
fn work(graph: &Graph, plan: &Plan) -> usize {
    let elements = |id: ValueId| plan.shapes[id.index()].iter().product::<usize>();
    let area = |w: &Window| w.kernel[0].saturating_mul(w.kernel[1]);
    let node = |node: &quaver_core::graph::Node| {
        let each = match &node.op {
            Op::Pool(p) => area(&p.window),
            Op::Conv(c) => area(&c.window).saturating_mul(c.groups.max(plan.shapes[node.inputs[0].index()][3])),
            Op::QConv(c) => area(&c.window).saturating_mul(plan.shapes[node.inputs[0].index()][3]),
            Op::QConvTranspose(c) => area(&c.window).saturating_mul(plan.shapes[node.inputs[0].index()][3]),
            Op::Gemm | Op::MatMul | Op::QGemm(_) => plan.shapes[node.inputs[0].index()].last().copied().unwrap_or(1),
            _ => 1,
        };
        each.saturating_mul(elements(node.outputs[0])).saturating_add(elements(node.inputs[0]))
    };
    graph.nodes.iter().map(node).fold(0, usize::saturating_add)
}

fn input_bytes(shape: &[usize], dtype: DType) -> AlignedBytes {
    let count: usize = shape.iter().product();
    let mut bytes = AlignedBytes::zeroed(count * dtype.size()).expect("memory");
    match dtype {
        // Numbers of both signs, large ones, and what is no number.
        DType::F32 => {
            let odd = [f32::NAN, f32::INFINITY, -1e30, -0.0, 0.5];
            for (i, slot) in bytes.chunks_exact_mut(4).enumerate() {
                let number = if i % 7 == 0 { odd[i / 7 % odd.len()] } else { i as f32 * 0.3 - 9.0 };
                slot.copy_from_slice(&number.to_le_bytes());
            }
        }
        _ => bytes.iter_mut().enumerate().for_each(|(i, b)| *b = (i % 251) as u8),
    }
    bytes
}

/// One to three changes: bits, bytes, digits of the header, pieces moved or doubled, the end cut off.
fn mutate(file: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut file = file.to_vec();
    for _ in 0..1 + rng.below(3) {
        let header = header_end(&file);
        let place = |rng: &mut Rng, len: usize| rng.below(len.max(1));
        match rng.below(10) {
            0 if !file.is_empty() => {
                let at = place(rng, file.len());
                file[at] ^= 1 << rng.below(8);
            }
            1 if !file.is_empty() => {
                let at = place(rng, file.len());
                file[at] = rng.next() as u8;
            }
            2 => {
                let len = place(rng, file.len());
                file.truncate(len);
            }
            3 => {
                let (from, len) = (place(rng, file.len()), rng.below(40));
                let piece: Vec<u8> = file.iter().skip(from).take(len).copied().collect();
                let to = place(rng, file.len());
                let end = (to + if rng.below(2) == 0 { piece.len() } else { 0 }).min(file.len());
                file.splice(to..end, piece);
            }
            4 => swap_numbers(&mut file, header, rng),
            5 | 6 => replace_number(&mut file, header, rng),
            _ => change_digit(&mut file, header, rng),
        }
    }
    file
}

fn header_end(file: &[u8]) -> usize {
    let length = file.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
    usize::try_from(length).map_or(file.len(), |n| n.saturating_add(8)).min(file.len())
}

fn digits(file: &[u8], header: usize) -> Vec<usize> {
    (8..header).filter(|&i| file[i].is_ascii_digit()).collect()
}

/// The likeliest way to another valid file: one digit becomes another, so that no length changes.
fn change_digit(file: &mut [u8], header: usize, rng: &mut Rng) {
    let digits = digits(file, header);
    if let Some(&at) = digits.get(rng.below(digits.len().max(1))) {
        file[at] = b'0' + rng.below(10) as u8;
    }
}

fn swap_numbers(file: &mut [u8], header: usize, rng: &mut Rng) {
    let digits = digits(file, header);
    if !digits.is_empty() {
        file.swap(digits[rng.below(digits.len())], digits[rng.below(digits.len())]);
    }
}

/// Puts a number of another length and moves the end of the header accordingly, so that the data stays where it was.
fn replace_number(file: &mut Vec<u8>, header: usize, rng: &mut Rng) {
    const NUMBERS: [&str; 16] = [
        "0",
        "1",
        "2",
        "16",
        "-1",
        "255",
        "256",
        "0.0",
        "1e-45",
        "3e38",
        "1e39",
        "65536",
        "1048576",
        "2147483648",
        "9223372036854775807",
        "18446744073709551615",
    ];
    let digits = digits(file, header);
    let Some(&at) = digits.get(rng.below(digits.len().max(1))) else { return };
    let is_part = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'-');
    let start = file[..at].iter().rposition(|b| !is_part(b)).map_or(at, |i| i + 1);
    let end = file[at..header].iter().position(|b| !is_part(b)).map_or(header, |i| at + i);
    let mut text = file[8..start.max(8)].to_vec();
    text.extend_from_slice(NUMBERS[rng.below(NUMBERS.len())].as_bytes());
    text.extend_from_slice(&file[end..header]);
    text.truncate(text.trim_ascii_end().len());
    text.resize((8 + text.len()).next_multiple_of(64) - 8, b' ');
    let length = (text.len() as u64).to_le_bytes();
    file.splice(..header, length.into_iter().chain(text));
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

const AFFINE: Affine = Affine { scale: 0.1, zero_point: 7, q_max: 255 };

/// Most kinds of operation, on tiny tensors: the file is small, so that changes meet what matters.
fn sample() -> Network {
    let mut net = Network::new("sample");
    let n = &mut net;
    let x = n.input("x", DType::F32, vec![Dim::BATCH, 4.into(), 4.into(), 3.into()]);
    let scale = n.constant("scale", &[3], &[0.5f32, 1.0, 2.0]);
    let scaled = real(n, Op::Binary { function: BinaryFn::Mul }, &[x, scale]);
    let padded = real(n, Op::Pad { before: vec![0, 1, 0, 0], after: vec![0, 1, 0, 0], mode: PadMode::Reflect }, &[scaled]);
    let cut = real(n, Op::Slice { cuts: vec![Cut::new(1, 4, 4, -1)] }, &[padded]);
    let w = n.constant("w", &[1, 1, 3, 4], &[0.25f32; 12]);
    let mixed = real(n, Op::Conv(Conv { window: Window::unit(), groups: 1 }), &[cut, w]);
    let q = bytes(n, Op::Quantize { channels_last: false }, &[mixed]);

    let window = Window { kernel: [3, 3], pads_begin: [1, 1], pads_end: [1, 1], ..Window::unit() };
    let plain = Epilogue { zero_point: 7, lo: 0, hi: 255, residual: None, hard_swish: false, table: false };
    let conv = QConv { window, groups: 1, channels: 4, pad_value: 7, epilogue: Some(plain) };
    let [w, b, m] = packed(n, PackedShape::conv([3, 3], 4, 4, 1));
    let conv = bytes(n, Op::QConv(conv), &[q, w, b, m]);
    let residual = Some(Residual { zero_point: 7, multiplier: 0.5 });
    let depthwise = QConv { window, groups: 4, channels: 4, pad_value: 7, epilogue: Some(Epilogue { residual, table: true, ..plain }) };
    let [w, b, m] = packed(n, PackedShape::conv([3, 3], 4, 4, 4));
    let table = n.constant("table", &[256], &(0..=255).rev().collect::<Vec<u8>>());
    let depthwise = bytes(n, Op::QConv(depthwise), &[conv, w, b, m, q, table]);
    let up = QConvTranspose {
        window: Window { kernel: [2, 2], strides: [2, 2], ..Window::unit() },
        groups: 2,
        channels: 4,
        output_padding: [0, 0],
        pad_value: 7,
        epilogue: Some(Epilogue { hard_swish: true, ..plain }),
    };
    let [w, b, m] = packed(n, PackedShape::grouped([2, 2], 4, 4, 2));
    let swish = n.constant("swish", &[2, 32], &[[0.02f32; 32], [0.5; 32]].concat());
    let up = bytes(n, Op::QConvTranspose(up), &[depthwise, w, b, m, swish]);
    let window = Window { kernel: [3, 3], strides: [2, 2], pads_begin: [1, 1], ..Window::unit() };
    let pool = |function| Op::Pool(Pool { function, window, ceil_mode: true, count_include_pad: false });
    let largest = bytes(n, pool(PoolFn::Max), &[up]);
    let average = bytes(n, pool(PoolFn::Average), &[up]);
    let joined = bytes(n, Op::Concat { axis: 3 }, &[largest, average]);
    let shuffled = bytes(n, Op::ChannelShuffle { axis: 3, groups: 2 }, &[joined]);
    let resize = Resize {
        mode: ResizeMode::Linear,
        coordinates: Coordinates::HalfPixel,
        shape: vec![Dim::BATCH, 6.into(), 6.into(), 8.into()],
        scales: vec![1.0, 1.5, 1.5, 1.0],
    };
    let resized = bytes(n, Op::Resize(resize), &[shuffled]);
    let folded = bytes(n, Op::SpaceToDepth { block: 2 }, &[resized]);
    let sum = bytes(n, Op::Binary { function: BinaryFn::Add }, &[folded, folded]);
    let mean = bytes(n, Op::Reduce { function: ReduceFn::Mean, axes: vec![1, 2], keep_dims: false }, &[sum]);
    let tabled = bytes(n, Op::Table, &[mean, table]);
    let turned = bytes(n, Op::Transpose { perm: vec![0, 1] }, &[tabled]);
    let [w, b, m] = packed(n, PackedShape::grouped([1, 1], 32, 5, 1));
    let scores = bytes(n, Op::QGemm(QGemm { channels: 5, epilogue: Some(plain) }), &[turned, w, b, m]);
    let exponentials = n.constant("exp", &[256], &std::array::from_fn::<i32, 256, _>(|d| (1 << 23) >> d.min(24)));
    let soft = n.push_typed(Op::Softmax { axis: 1 }, &[scores, exponentials], "", "", DType::F32, None).expect("fits");
    let w = n.constant("head", &[5, 3], &[0.25f32; 15]);
    let head = real(n, Op::Gemm, &[soft, w]);
    let clamped = real(n, Op::Unary { function: UnaryFn::Clip { lo: -1.0, hi: 1.0 } }, &[head]);
    let reshaped = real(n, Op::Reshape { shape: vec![Dim::BATCH, 1.into(), 3.into()] }, &[clamped]);
    for (id, name) in [(reshaped, "y"), (sum, "sum")] {
        n.graph.values[id.index()].name = name.into();
        n.output(id);
    }
    net
}

fn real(net: &mut Network, op: Op, inputs: &[ValueId]) -> ValueId {
    net.push(op, inputs, "", "").expect("fits")
}

fn bytes(net: &mut Network, op: Op, inputs: &[ValueId]) -> ValueId {
    net.push_typed(op, inputs, "", "", DType::U8, Some(AFFINE)).expect("fits")
}

fn packed(net: &mut Network, shape: Option<PackedShape>) -> [ValueId; 3] {
    let shape = shape.expect("small");
    let weights = shape.taps * shape.input_channels * shape.groups * shape.output_channels;
    let weights: Vec<i8> = (0..weights).map(|i| (i * 37 % 255) as i8).collect();
    let channels = shape.padded_channels();
    [
        net.constant("", &shape.weights(), &shape.pack(&weights).expect("length")),
        net.constant("", &[channels], &vec![-300i32; channels]),
        net.constant("", &[channels], &vec![0.003f32; channels]),
    ]
}
