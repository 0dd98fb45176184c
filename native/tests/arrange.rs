//! What a session asks of its plan, so that data move less: images quantized into frames, few samples at once, products
//! written into concatenations, pools computed along with convolutions. It changes no result: sessions are compared with the definition, which asks for nothing.

mod common;
mod network;

use common::{Rng, difference, skip};
use network::{AFFINE, Builder};
use quaver::dispatch::explain::Place;
use quaver::{DType, Isa, Model, Session, SessionOptions, Tensor};
use quaver_core::graph::op::{Pool, PoolFn, Window};
use quaver_core::graph::{Dim, Op, ValueId};

/// Batch sizes of each network, in one session.
const BATCHES: [usize; 6] = [1, 2, 3, 4, 5, 1];

/// Compares sessions with the definition, on inputs of the model's shapes.
fn check(model: &Model, rng: &mut Rng, case: &str) {
    let session = |isa: Isa, threads: usize| {
        let options = SessionOptions { threads, isa: Some(isa), ..SessionOptions::default() };
        (isa, threads, Session::new(model, options).expect("it is there"))
    };
    let (_, _, mut definition) = session(Isa::Scalar, 1);
    let available = Isa::available();
    Isa::ALL.into_iter().filter(|isa| !available.contains(isa)).for_each(|isa| skip(isa.name()));
    let mut sessions: Vec<_> = available[1..].iter().flat_map(|&isa| [1, 2].map(|threads| session(isa, threads))).collect();
    for batch in BATCHES {
        let tensor = |shape: &[Dim], rng: &mut Rng| {
            let shape: Vec<usize> = shape.iter().map(|dim| dim.at(batch).expect("small")).collect();
            let len = shape.iter().product();
            Tensor::from_vec(shape, rng.floats(len)).expect("sized")
        };
        let inputs: Vec<(&str, Tensor)> = model.inputs().iter().map(|port| (port.name.as_str(), tensor(&port.shape, rng))).collect();
        let expected = definition.run(&inputs).expect("valid inputs");
        for (isa, threads, session) in &mut sessions {
            let got = session.run(&inputs).expect("valid inputs");
            for ((name, expected), (_, got)) in expected.iter().zip(got.iter()) {
                assert_eq!((expected.shape(), expected.dtype()), (got.shape(), got.dtype()));
                let wrong = difference(expected.dtype(), got.bytes(), expected.bytes());
                assert_eq!(wrong, None, "{case}, batch {batch}, {isa}, {threads} threads, {name} {:?}", got.shape());
            }
        }
    }
}

/// Where nodes of that operation write their results at a batch size, on the best instruction set there is.
fn places(model: &Model, op: &str, batch: usize) -> Vec<Place> {
    let session = Session::new(model, SessionOptions::default()).expect("starts");
    session.explain(batch).expect("fits").iter().filter(|e| e.op == op).map(|e| e.place).collect()
}

/// Whether sessions run the definition alone.
fn nothing_to_arrange() -> bool {
    Isa::available().len() == 1
}

/// A network that begins with the quantization of images, of planes or of pixels.
fn images(extents: [usize; 3], channels_last: bool) -> (Builder, ValueId) {
    let [h, w, c] = extents;
    let mut builder = Builder { net: quaver_core::graph::Network::new("images") };
    let shape = if channels_last { [c, h, w] } else { [h, w, c] };
    let dims = [Dim::BATCH].into_iter().chain(shape.map(Dim::Fixed)).collect();
    let x = builder.net.input("x", DType::F32, dims);
    let q = builder.push(Op::Quantize { channels_last }, &[x]);
    (builder, q)
}

/// A window that fits.
fn any_window(rng: &mut Rng, extents: [usize; 2]) -> Window {
    loop {
        let mut pair = |from: usize, to: usize| [rng.between(from, to), rng.between(from, to)];
        let (kernel, strides, dilations) = (pair(1, 5), pair(1, 3), pair(1, 2));
        let (pads_begin, pads_end) = (pair(0, 4), pair(0, 4));
        let window = Window { kernel, strides, dilations, pads_begin, pads_end };
        if (0..2).all(|d| window.reach(d) <= extents[d] + pads_begin[d] + pads_end[d]) {
            return window;
        }
    }
}

#[test]
fn images_are_quantized_into_frames() {
    let mut framed = 0;
    for seed in 0..120 {
        let mut rng = Rng(seed);
        let channels = if seed % 2 == 0 { 3 } else { rng.between(1, 70) };
        let extents = [rng.between(1, 20), rng.between(1, if seed % 5 == 0 { 150 } else { 20 }), channels];
        let (mut b, q) = images(extents, seed % 3 != 0);
        let window = any_window(&mut rng, [extents[0], extents[1]]);
        let groups = if channels % 2 == 0 && rng.below(3) == 0 { 2 } else { 1 };
        let y = b.conv(q, 2 * rng.between(1, 20), window, groups, None);
        let model = b.model(y);
        check(&model, &mut rng, &format!("seed {seed}, {extents:?}, {window:?}, {groups} groups"));
        framed += usize::from(places(&model, "Quantize", 2) == [Place::Frames]);
    }
    assert!(framed > 60 || nothing_to_arrange(), "only {framed} of 120");
}

#[test]
fn a_large_dilation_on_a_small_image_has_a_kernel() {
    let (mut b, q) = images([16, 16, 256], false);
    let window = Window { kernel: [3, 3], dilations: [36; 2], pads_begin: [36; 2], pads_end: [36; 2], ..Window::unit() };
    let y = b.conv(q, 8, window, 1, None);
    let model = b.model(y);
    check(&model, &mut Rng(5), "dilated");
    let session = Session::new(&model, SessionOptions::default()).expect("starts");
    let explained = session.explain(1).expect("fits");
    assert!(explained.iter().all(|e| e.isa != Isa::Scalar) || nothing_to_arrange());
}

#[test]
fn large_images_run_in_several_passes() {
    let (mut b, q) = images([160, 112, 3], true);
    let first = b.conv(q, 32, network::window(3, 1), 1, None);
    let depthwise = b.conv(first, 32, network::window(3, 2), 32, None);
    let wide = b.conv(depthwise, 32, network::window(1, 1), 1, None);
    let added = b.conv(wide, 32, network::window(1, 1), 1, Some(depthwise));
    let small = b.conv(added, 8, network::window(3, 2), 1, None);
    let mean = b.mean(small);
    let skipped = b.mean(first);
    let joined = b.push(Op::Concat { axis: 1 }, &[mean, skipped]);
    let scores = b.gemm(joined, 10);
    b.net.output(small);
    let model = b.model(scores);
    let times = |batch: usize| {
        let session = Session::new(&model, SessionOptions::default()).expect("starts");
        session.explain(batch).expect("fits").iter().map(|e| e.times).collect::<Vec<_>>()
    };
    assert!(times(1).iter().all(|&times| times == 1));
    let times = times(4);
    assert!(times.is_sorted_by(|a, b| a >= b) && times[0] == 4 && times.last() == Some(&1), "{times:?}");
    check(&model, &mut Rng(7), "passes");
}

#[test]
fn products_are_written_into_concatenations() {
    let mut joined = 0;
    for seed in 0..120 {
        let mut rng = Rng(seed);
        let (h, w, c) = (rng.between(1, 9), rng.between(1, 9), rng.between(1, 40));
        let (mut b, q) = images([h, w, c], false);
        let mut operands = Vec::new();
        for _ in 0..rng.between(2, 5) {
            let channels = [rng.between(1, 70), 16, 32][rng.below(3)];
            operands.push(match rng.below(8) {
                0 => q,
                1 => b.conv(q, c, network::window(3, 1), c, None),
                2 => {
                    let first = b.conv(q, channels, network::window(1, 1), 1, None);
                    let second = b.conv(q, channels, network::window(1, 1), 1, Some(first));
                    b.push(Op::Concat { axis: 3 }, &[first, second])
                }
                3 if c % 2 == 0 => b.conv(q, 2 * channels, network::window(3, 1), 2, None),
                4 => b.gemm(q, channels),
                5 => *operands.last().unwrap_or(&q),
                6 => b.conv(q, channels, network::window(1, 1), 1, None),
                _ => b.conv(q, channels, network::window(3, 1), 1, None),
            });
        }
        let y = b.push(Op::Concat { axis: 3 }, &operands);
        if rng.below(3) == 0 {
            b.net.output(operands[0]);
        }
        let model = b.model(y);
        check(&model, &mut rng, &format!("seed {seed}, {h}x{w}x{c}"));
        let all = ["QConv", "QGemm"].map(|op| places(&model, op, 3)).concat();
        joined += all.iter().filter(|&&place| place == Place::Concat).count();
    }
    assert!(joined > 80 || nothing_to_arrange(), "only {joined}");
}

#[test]
fn a_concatenation_of_products_alone_takes_no_time() {
    let (mut b, q) = images([5, 5, 8], false);
    let operands = [b.conv(q, 24, network::window(1, 1), 1, None), b.conv(q, 8, network::window(3, 1), 1, None)];
    let joined = b.push(Op::Concat { axis: 3 }, &operands);
    let model = b.model(joined);
    let expected = if nothing_to_arrange() { [Place::Own; 2] } else { [Place::Concat; 2] };
    assert_eq!(places(&model, "QConv", 1), expected);
    assert_eq!(places(&model, "Concat", 1).is_empty(), !nothing_to_arrange());
}

/// A max pool over such windows.
fn max_pool(window: Window, ceil_mode: bool) -> Op {
    Op::Pool(Pool { function: PoolFn::Max, window, ceil_mode, count_include_pad: false })
}

#[test]
fn pools_are_computed_along_with_convolutions() {
    let mut joined = 0;
    for seed in 0..24 {
        let mut rng = Rng(seed);
        // Enough for results that don't stay near.
        let (h, w, c) = (rng.between(60, 90), rng.between(50, 90), [3, 4, 17][rng.below(3)]);
        let channels = 2 * (300_000 / (h * w)).div_ceil(2) + rng.below(3);
        let (mut b, q) = images([h, w, c], seed % 2 == 0);
        let groups = if c.is_multiple_of(2) && channels.is_multiple_of(2) && rng.below(2) == 0 { 2 } else { 1 };
        let conv = b.conv(q, channels, network::window([1, 3][rng.below(2)], 1), groups, None);
        let window = match seed % 4 {
            0 => network::window(3, 2),
            1 => Window { kernel: [2, 2], strides: [2, 2], ..Window::unit() },
            _ => {
                let window = any_window(&mut rng, [h, w]);
                let less = |pads: [usize; 2]| [0, 1].map(|d| pads[d].min(window.kernel[d] - 1));
                Window { pads_begin: less(window.pads_begin), pads_end: less(window.pads_end), ..window }
            }
        };
        let pooled = b.push(max_pool(window, rng.below(2) == 0), &[conv]);
        let y = if rng.below(2) == 0 { pooled } else { b.conv(pooled, 8, network::window(1, 1), 1, None) };
        let model = b.model(y);
        check(&model, &mut rng, &format!("seed {seed}, {h}x{w}x{c}, {channels} channels, {window:?}"));
        joined += usize::from(places(&model, "QConv", 1)[0] == Place::Pool);
        assert_eq!(places(&model, "MaxPool", 1).is_empty(), places(&model, "QConv", 1)[0] == Place::Pool);
    }
    assert!(joined > 10 || nothing_to_arrange(), "only {joined} of 24");
}

#[test]
fn what_a_pool_shares_with_others_is_written() {
    let pool = || max_pool(network::window(3, 2), false);
    let images = || images([80, 80, 8], false);
    let conv = |b: &mut Builder, q| b.conv(q, 64, network::window(3, 1), 1, None);
    // Another reader; the caller; an addition within; a result that stays near; an average.
    let (mut b, q) = images();
    let (y, same) = (conv(&mut b, q), b.conv(q, 64, network::window(1, 2), 1, None));
    let (pooled, other) = (b.push(pool(), &[y]), b.conv(y, 64, network::window(1, 2), 1, Some(same)));
    let joined = b.push(Op::Concat { axis: 3 }, &[pooled, other]);
    let twice = b.model(joined);
    let (mut b, q) = images();
    let y = conv(&mut b, q);
    let pooled = b.push(pool(), &[y]);
    b.net.output(y);
    let seen = b.model(pooled);
    let (mut b, q) = images();
    let first = b.conv(q, 64, network::window(1, 1), 1, None);
    let y = b.conv(q, 64, network::window(3, 1), 1, Some(first));
    let pooled = b.push(pool(), &[y]);
    let added = b.model(pooled);
    let (mut b, q) = images();
    let y = b.conv(q, 16, network::window(3, 1), 1, None);
    let pooled = b.push(pool(), &[y]);
    let small = b.model(pooled);
    let (mut b, q) = images();
    let y = conv(&mut b, q);
    let mean = Pool { function: PoolFn::Average, window: network::window(3, 2), ceil_mode: false, count_include_pad: false };
    let pooled = b.push(Op::Pool(mean), &[y]);
    let average = b.model(pooled);
    for (name, model) in [("twice", twice), ("seen", seen), ("added", added), ("small", small), ("average", average)] {
        assert!(
            !places(&model, "QConv", 1).contains(&Place::Pool)
                && ["MaxPool", "AveragePool"].map(|op| places(&model, op, 1)).concat() == [Place::Own],
            "{name}"
        );
        check(&model, &mut Rng(3), name);
    }
}

#[test]
fn samples_that_meet_run_at_once() {
    let (mut b, q) = images([96, 80, 32], false);
    let y = b.conv(q, 32, network::window(3, 1), 1, None);
    let mean = b.mean(y);
    let turned = b.push(Op::Transpose { perm: vec![1, 0] }, &[mean]);
    let model = b.model(turned);
    let session = Session::new(&model, SessionOptions::default()).expect("starts");
    assert!(session.explain(4).expect("fits").iter().all(|e| e.times == 1));
    check(&model, &mut Rng(8), "mixed");
}

#[test]
fn what_others_read_stays_as_it_is() {
    let mut rng = Rng(1);
    let three = network::window(3, 1);
    // Two convolutions; a convolution and a fused addition; a convolution and the caller.
    let (mut b, q) = images([9, 7, 3], true);
    let (first, second) = (b.conv(q, 8, three, 1, None), b.conv(q, 8, three, 1, None));
    let twice = b.push(Op::Concat { axis: 3 }, &[first, second]);
    let twice = b.model(twice);
    let (mut b, q) = images([9, 7, 8], true);
    let added = b.conv(q, 8, three, 1, Some(q));
    let added = b.model(added);
    let (mut b, q) = images([9, 7, 3], true);
    let y = b.conv(q, 8, three, 1, None);
    b.net.output(q);
    let seen = b.model(y);
    for (name, model) in [("twice", twice), ("added", added), ("seen", seen)] {
        assert_eq!(places(&model, "Quantize", 1), [Place::Own], "{name}");
        check(&model, &mut rng, name);
    }
}

#[test]
fn an_observer_sees_what_is_elsewhere_in_a_run() {
    let (mut b, q) = images([9, 7, 3], true);
    let y = b.conv(q, 8, network::window(3, 1), 1, None);
    let model = b.model(y);
    let mut session = Session::new(&model, SessionOptions::default()).expect("starts");
    let x = Tensor::from_vec([2, 3, 9, 7], network::ramp(2 * 3 * 9 * 7)).expect("sized");
    let mut seen = Vec::new();
    let inputs = [("x", x.clone())];
    let observed = session
        .run_observed(&inputs, &mut |_, id, view| {
            if id == q {
                seen.push((view.shape().to_vec(), view.bytes().to_vec()));
            }
        })
        .expect("runs");
    assert_eq!(observed, session.run(&inputs).expect("runs"));
    let x = x.as_slice::<f32>().expect("floats");
    let at = |i: usize| (i / 189) * 189 + (i % 3) * 63 + i % 189 / 3;
    let expected: Vec<u8> = (0..378).map(|i| AFFINE.quantize(x[at(i)])).collect();
    assert_eq!(seen, [(vec![2, 9, 7, 3], expected)]);
}
