//! Convolutions, transposed ones and matrix products with packed weights: any window, groups, channels and epilogue.

use quaver_core::format::weights::PackedShape;
use quaver_core::graph::op::{Conv, ConvTranspose, Epilogue, QConv, QConvTranspose, QGemm, Residual, Window};
use quaver_core::graph::shape::{infer, transposed_extent};
use quaver_core::graph::{Dim, Op, ValueId};
use quaver_core::quant::Affine;
use quaver_core::tensor::DType;

use crate::build::sizes;
use crate::common::Rng;
use crate::network::{Build, Node, check};

/// The node of an operation with weights of that shape, given what it is with an epilogue.
fn product(build: &mut Build, x: ValueId, shape: PackedShape, op: impl Fn(Option<Epilogue>) -> Op) -> Node {
    let constants = constants(build, &shape);
    let mut inputs = vec![x, constants[0], constants[1], constants[2]];
    if build.rng.below(6) == 0 {
        return Node { op: op(None), inputs, dtype: DType::F32, quant: None };
    }
    let quant = build.rng.affine();
    let table = build.rng.below(4) == 0;
    let most = usize::from(if table { u8::MAX } else { quant.q_max });
    let (zero_point, lo, hi) = match build.rng.below(3) {
        0 => (0, 0, most),
        1 => (build.rng.below(most + 1), 0, most),
        _ => {
            let hi = build.rng.between(most / 2, most);
            (build.rng.below(hi + 1), build.rng.below(hi + 1), hi)
        }
    };
    let mut epilogue =
        Epilogue { zero_point: zero_point as u8, lo: lo as u8, hi: hi as u8, residual: None, hard_swish: false, table: false };
    if !table && build.rng.below(4) == 0 {
        epilogue.hard_swish = true;
        let padded = build.net.graph.value(inputs[3]).shape[0].fixed().expect("constant");
        let swish = build.rng.hard_swish(padded);
        inputs.push(build.net.constant("hard_swish", &[2, padded], &swish));
        return Node { op: op(Some(epilogue)), inputs, dtype: DType::U8, quant: Some(quant) };
    }
    if build.rng.below(3) == 0 {
        let shapes: Vec<Vec<Dim>> = inputs.iter().map(|&id| build.net.graph.value(id).shape.clone()).collect();
        let to = infer(&op(Some(epilogue)), &shapes.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("fits");
        let sizes = sizes(&build.net.graph, 1);
        let number = |dim: &Dim| dim.extent()?.at(&|name| sizes.get(name).map(|n| n as i64));
        let to: Vec<usize> = to[1..].iter().map(|dim| number(dim).expect("small") as usize).collect();
        let affine = build.rng.affine();
        epilogue.residual = Some(Residual { zero_point: affine.zero_point, multiplier: 0.01 + build.rng.below(100) as f32 / 50.0 });
        inputs.push(build.bytes(&to, affine));
    }
    if table {
        epilogue.table = true;
        inputs.push(build.net.constant("lookup", &[256], &build.rng.bytes(256, quant.q_max)));
    }
    Node { op: op(Some(epilogue)), inputs, dtype: DType::U8, quant: Some(quant) }
}

/// Weights of any size, biases up to the largest, multipliers that mostly lead into a byte's range.
fn constants(build: &mut Build, shape: &PackedShape) -> [ValueId; 3] {
    let Build { net, rng, .. } = build;
    let k = if shape.depthwise { shape.taps } else { shape.k_blocks() * 4 };
    let hwio = shape.taps * shape.input_channels * shape.groups * shape.output_channels;
    let weights: Vec<i8> = match rng.below(6) {
        0 => vec![-128; hwio],
        _ => rng.bytes(hwio, u8::MAX).into_iter().map(|w| w as i8).collect(),
    };
    let most = i64::from(i32::MAX) - (k * 255 * 128) as i64;
    let shift = rng.below(24);
    let (mut bias, mut multiplier) = (vec![0i32; shape.padded_channels()], vec![0f32; shape.padded_channels()]);
    // A standard deviation of some bytes, be it that of the products or that of the biases.
    let typical = 64.0 / (1e4 * (k as f32).sqrt()).max(2f32.powi(30 - shift as i32));
    for group in 0..shape.groups {
        for n in 0..shape.output_channels {
            let at = shape.channel(group, n);
            bias[at] = i64::from(rng.next() as i32 >> shift).clamp(-most, most) as i32;
            multiplier[at] = typical * rng.below(1000) as f32 / 500.0 * [1.0, 1.0, 1.0, 1000.0][rng.below(4)];
        }
    }
    let channels = [shape.padded_channels()];
    [
        net.constant("w", &shape.weights(), &shape.pack(&weights).expect("as many")),
        net.constant("bias", &channels, &bias),
        net.constant("multiplier", &channels, &multiplier),
    ]
}

/// A convolution of `[N, from…]`; the image is padded to no less than the window covers.
fn convolution(build: &mut Build, mut window: Window, groups: usize, from: [usize; 3], channels: usize) -> Node {
    let padded = |d: usize| window.pads_begin[d] + from[d] + window.pads_end[d];
    window.pads_end = [0, 1].map(|d| window.pads_end[d] + window.reach(d).saturating_sub(padded(d)));
    let quant = build.rng.affine();
    let x = build.bytes(&from, quant);
    let shape = PackedShape::conv(window.kernel, from[2], channels, groups).expect("small");
    product(build, x, shape, |epilogue| Op::QConv(QConv { window, groups, channels, pad_value: quant.zero_point, epilogue }))
}

/// Two numbers in `1 ..= most`, often the same.
fn two(rng: &mut Rng, most: usize) -> [usize; 2] {
    let one = rng.between(1, most);
    [one, if rng.below(2) == 0 { one } else { rng.between(1, most) }]
}

/// Any window up to so large a kernel, at times with padding that no tap of a window is inside of.
fn window(rng: &mut Rng, kernel: usize, strides: usize, dilations: usize) -> Window {
    let (kernel, strides, dilations) = (two(rng, kernel), two(rng, strides), two(rng, dilations));
    let mut window = Window { kernel, strides, dilations, ..Window::unit() };
    if rng.below(4) > 0 {
        window.pads_begin = [0, 1].map(|d| rng.below(window.reach(d) + 2));
        window.pads_end = [0, 1].map(|d| rng.below(window.reach(d) + 2));
    }
    window
}

#[test]
fn convolutions() {
    check(0..560, 5, |build| {
        let (window, from) = (window(&mut build.rng, 4, 3, 3), build.image(40));
        let channels = build.rng.between(1, 70);
        convolution(build, window, 1, from, channels)
    });
}

#[test]
fn grouped_convolutions() {
    check(1000..1400, 5, |build| {
        let window = window(&mut build.rng, 3, 2, 2);
        let [h, w, ic] = build.image(9);
        let groups = build.rng.between(2, 5);
        // More outputs than inputs, so that no group is of one channel to one.
        let channels = groups * build.rng.between(2, 35);
        convolution(build, window, groups, [h, w, groups * ic], channels)
    });
}

#[test]
fn first_layers() {
    check(2000..2320, 5, |build| {
        let kernel = [3, 5, 7][build.rng.below(3)];
        let pads = [kernel / 2; 2];
        let window = Window { kernel: [kernel; 2], strides: two(&mut build.rng, 2), pads_begin: pads, pads_end: pads, ..Window::unit() };
        let (h, w) = (build.rng.between(1, 30), build.rng.between(1, 30));
        let (ic, channels) = ([3, 3, 1, 2][build.rng.below(4)], build.rng.between(1, 40));
        convolution(build, window, 1, [h, w, ic], channels)
    });
}

#[test]
fn convolutions_of_pixels() {
    check(3000..3400, 5, |build| {
        let strides = [[1, 1], [2, 2], [1, 2], [3, 1]][build.rng.below(4)];
        let pads = if build.rng.below(4) == 0 { two(&mut build.rng, 2) } else { [0, 0] };
        let from = build.image(150);
        let channels = build.rng.between(1, 150);
        convolution(build, Window { strides, pads_begin: pads, ..Window::unit() }, 1, from, channels)
    });
}

#[test]
fn images_that_are_copied_some_at_a_time() {
    check(4000..4002, 5, |build| {
        let window = Window { kernel: [3, 3], pads_begin: [1, 1], pads_end: [1, 1], ..Window::unit() };
        convolution(build, window, 1, [57, 71, 64], 5)
    });
}

#[test]
fn depthwise_convolutions() {
    check(5000..5560, 5, |build| {
        let square = [3, 5, 7, 3][build.rng.below(4)];
        let window = match build.rng.below(3) {
            0 => window(&mut build.rng, 4, 3, 3),
            _ => Window {
                kernel: [square; 2],
                strides: [build.rng.between(1, 2); 2],
                pads_begin: [square / 2; 2],
                pads_end: [square / 2; 2],
                ..Window::unit()
            },
        };
        let [h, w, _] = build.image(1);
        // Now and then so many that threads share the channels.
        let most = [40, 40, 150, 900][build.rng.below(4)];
        let channels = build.rng.between(2, most);
        let (h, w) = if channels > 150 { (h.min(5), w.min(5)) } else { (h, w) };
        convolution(build, window, channels, [h, w, channels], channels)
    });
}

#[test]
fn transposed_convolutions() {
    check(6000..6400, 5, |build| {
        let groups = [1, 1, 2, 3][build.rng.below(4)];
        let from = [build.rng.between(1, 8), build.rng.between(1, 8), groups * build.rng.between(1, 20)];
        let (window, output_padding) = transposed_window(build, from);
        let channels = groups * build.rng.between(1, 40);
        let quant = build.rng.affine();
        let x = build.bytes(&from, quant);
        let shape = PackedShape::grouped(window.kernel, from[2], channels, groups).expect("small");
        product(build, x, shape, |epilogue| {
            Op::QConvTranspose(QConvTranspose { window, groups, channels, output_padding, pad_value: quant.zero_point, epilogue })
        })
    });
}

/// A transposed convolution's window, and its output padding, such that there is an output.
fn transposed_window(build: &mut Build, from: [usize; 3]) -> (Window, [usize; 2]) {
    let (kernel, strides, dilations) = (two(&mut build.rng, 4), two(&mut build.rng, 3), two(&mut build.rng, 2));
    let mut window = Window { kernel, strides, dilations, ..Window::unit() };
    let output_padding = [0, 1].map(|d| build.rng.below(strides[d].max(dilations[d])));
    for d in 0..2 {
        let before = window;
        window.pads_begin[d] = build.rng.below(window.reach(d) + 2);
        window.pads_end[d] = build.rng.below(window.reach(d) + 1);
        if transposed_extent(&window, d, from[d], output_padding[d]).is_none_or(|extent| extent == 0) {
            window = before;
        }
    }
    (window, output_padding)
}

#[test]
fn matrix_products() {
    // Where K is no multiple of 4, an operand in the caller's memory is the definition's.
    check(7000..7720, 2, |build| {
        let k = build.rng.between(1, 600);
        let k = if build.rng.below(2) == 0 { k.next_multiple_of(4) } else { k };
        let quant = build.rng.affine();
        let x = match build.rng.below(3) {
            0 => build.bytes(&[k], quant),
            1 => {
                let rows = build.rng.between(1, 6);
                build.bytes(&[rows, k], quant)
            }
            _ => {
                let rows = build.rng.between(7, 90);
                build.bytes(&[rows, k], quant)
            }
        };
        // Now and then so many that threads share the channels.
        let most = [40, 130, 700][build.rng.below(3)];
        let channels = build.rng.between(1, most);
        let shape = PackedShape::grouped([1, 1], k, channels, 1).expect("small");
        product(build, x, shape, |epilogue| Op::QGemm(QGemm { channels, epilogue }))
    });
}

/// Of f32: with constant matrices and biases, and of two activations whose leading dimensions are broadcast.
#[test]
fn real_products() {
    check(9000..9240, 3, |build| {
        let [m, k, n] = [12, 70, 90].map(|most| build.rng.between(1, most));
        let real = |op, inputs| Node { op, inputs, dtype: DType::F32, quant: None };
        if build.rng.below(2) == 0 {
            let x = build.floats(&[m, k]);
            let w = build.rng.floats(k * n);
            let mut inputs = vec![x, build.net.constant("w", &[k, n], &w)];
            if build.rng.below(2) == 0 {
                let bias = build.rng.floats(n);
                inputs.push(build.net.constant("bias", &[n], &bias));
            }
            return real(Op::Gemm, inputs);
        }
        let heads = build.rng.between(1, 3);
        let shared = if build.rng.below(2) == 0 { 1 } else { heads };
        let inputs = vec![build.floats(&[heads, m, k]), build.floats(&[shared, k, n])];
        real(Op::MatMul, inputs)
    });
}

/// Of f32: any window, with groups of many channels, of few, and of one.
#[test]
fn real_convolutions() {
    check(9500..9800, 3, |build| {
        let mut window = window(&mut build.rng, 4, 3, 2);
        let [h, w, _] = build.image(1);
        let (groups, ic, oc) = match build.rng.below(4) {
            0 => (build.rng.between(1, 70), 1, 1),
            1 => (build.rng.between(2, 4), build.rng.between(1, 6), build.rng.between(1, 40)),
            _ => (1, build.rng.between(1, 40), build.rng.between(1, 70)),
        };
        let padded = |d: usize| window.pads_begin[d] + [h, w][d] + window.pads_end[d];
        window.pads_end = [0, 1].map(|d| window.pads_end[d] + window.reach(d).saturating_sub(padded(d)));
        let x = build.floats(&[h, w, groups * ic]);
        let shape = [window.kernel[0], window.kernel[1], ic, groups * oc];
        let weights = build.rng.floats(shape.iter().product());
        let mut inputs = vec![x, build.net.constant("w", &shape, &weights)];
        if build.rng.below(2) == 0 {
            let bias = build.rng.floats(groups * oc);
            inputs.push(build.net.constant("bias", &[groups * oc], &bias));
        }
        Node { op: Op::Conv(Conv { window, groups }), inputs, dtype: DType::F32, quant: None }
    });
}

#[test]
fn real_transposed_convolutions() {
    check(11_000..11_300, 3, |build| {
        let (groups, ic, oc) = match build.rng.below(4) {
            0 => (build.rng.between(1, 70), 1, 1),
            1 => (build.rng.between(2, 4), build.rng.between(1, 6), build.rng.between(1, 40)),
            _ => (1, build.rng.between(1, 40), build.rng.between(1, 70)),
        };
        let from = [build.rng.between(1, 8), build.rng.between(1, 8), groups * ic];
        let (window, output_padding) = transposed_window(build, from);
        let shape = [window.kernel[0], window.kernel[1], ic, groups * oc];
        let weights = build.rng.floats(shape.iter().product());
        let mut inputs = vec![build.floats(&from), build.net.constant("w", &shape, &weights)];
        if build.rng.below(2) == 0 {
            let bias = build.rng.floats(groups * oc);
            inputs.push(build.net.constant("bias", &[groups * oc], &bias));
        }
        let op = Op::ConvTranspose(ConvTranspose { window, groups, output_padding });
        Node { op, inputs, dtype: DType::F32, quant: None }
    });
}

/// Of two activations of bytes, one of which may be constant, whose leading dimensions are broadcast; the right one's zero point
/// is often in the middle.
#[test]
fn products_of_activations() {
    check(9300..9720, 3, |build| {
        let [m, k, n] = [40, 150, 90].map(|most| build.rng.between(1, most));
        let k = if build.rng.below(2) == 0 { k.next_multiple_of(4) } else { k };
        let (a, mut b) = (build.rng.affine(), build.rng.affine());
        match build.rng.below(4) {
            0 => b.zero_point = 0,
            1 => {}
            _ => b = Affine { zero_point: 128, q_max: 255, ..b },
        }
        let heads = build.rng.between(1, 4);
        let [left, right] = [0, 1].map(|_| if build.rng.below(3) == 0 { 1 } else { heads });
        let constant = |build: &mut Build, shape: &[usize], affine: Affine| {
            let bytes = build.rng.bytes(shape.iter().product(), affine.q_max);
            let id = build.net.constant("operand", shape, &bytes);
            build.net.graph.values[id.index()].quant = Some(affine);
            id
        };
        let inputs = match build.rng.below(4) {
            0 => vec![build.bytes(&[left, m, k], a), constant(build, &[k, n], b)],
            1 => vec![constant(build, &[left, m, k], a), build.bytes(&[right, k, n], b)],
            _ => vec![build.bytes(&[left, m, k], a), build.bytes(&[right, k, n], b)],
        };
        if build.rng.below(4) == 0 {
            return Node { op: Op::MatMul, inputs, dtype: DType::F32, quant: None };
        }
        // Steps such that most sums are within a byte's range.
        let most = f64::from(a.scale) * f64::from(b.scale) * 20_000.0 * (k as f64).sqrt();
        let quant = Affine { scale: (most / 255.0) as f32, ..build.rng.affine() };
        Node { op: Op::MatMul, inputs, dtype: DType::U8, quant: Some(quant) }
    });
}

/// A product whose activations each run quantizes by what they are, for a row each or for all of them.
#[test]
fn dynamic_products() {
    check(9800..10_200, 3, |build| {
        let [m, k, n] = [60, 200, 100].map(|most| build.rng.between(1, most));
        let k = if build.rng.below(2) == 0 { k.next_multiple_of(4) } else { k };
        let x = build.floats(&[m, k]);
        let kept = build.rng.below(3);
        let net = &mut build.net;
        let qparams = net.push(Op::ChooseQparams { kept }, &[x], "qparams", "").expect("fits");
        let q = net.push_typed(Op::DynamicQuantize, &[x, qparams], "quantize", "", DType::U8, None).expect("fits");
        let shape = PackedShape::grouped([1, 1], k, n, 1).expect("small");
        let [w, bias, multiplier] = constants(build, &shape);
        let [sums, offset] = ["sums", "offset"].map(|name| {
            let data = build.rng.floats(shape.padded_channels());
            build.net.constant(name, &[data.len()], &data)
        });
        Node {
            op: Op::DynamicGemm { channels: n },
            inputs: vec![q, w, bias, multiplier, qparams, sums, offset],
            dtype: DType::F32,
            quant: None,
        }
    });
}

/// Of real activations and weights of bytes; rows of bytes that whole numbers pick.
#[test]
fn weights_alone() {
    check(10_200..10_400, 3, |build| {
        let [m, k, n] = [20, 70, 90].map(|most| build.rng.between(1, most));
        let scale = build.rng.floats(n);
        let bytes = build.rng.bytes(k * n, 255);
        let x = build.floats(&[m, k]);
        let mut inputs = vec![x, build.net.constant("w", &[k, n], &bytes), build.net.constant("scale", &[n], &scale)];
        if build.rng.below(2) == 0 {
            let bias = build.rng.floats(n);
            inputs.push(build.net.constant("bias", &[n], &bias));
        }
        Node { op: Op::WeightOnlyGemm, inputs, dtype: DType::F32, quant: None }
    });
}
