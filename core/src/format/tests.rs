//! One test for each way in which a file can be wrong, and the attacks that `FORMAT.md` lists.

use super::weights::PackedShape;
use super::{FILLER, FormatError, KEY_FORMAT, KEY_GRAPH, KEY_PRODUCER, MAX_HEADER, MAX_PORTS, METADATA_LABELS, Metadata, QvrModel, write};
use crate::graph::op::{BinaryFn, Epilogue, QConv, QGemm, ReduceFn, Residual, UnaryFn, Window};
use crate::graph::{ConstantId, Dim, Network, Op, ValueId};
use crate::quant::Affine;
use crate::tensor::{AlignedBytes, DType};

const AFFINE: Affine = Affine { scale: 0.1, zero_point: 7, q_max: 255 };

/// Packed weights, biases and multipliers of ones, named after the node.
fn operands(net: &mut Network, name: &str, shape: PackedShape) -> [ValueId; 3] {
    let channels = shape.padded_channels();
    let unpacked = vec![1i8; shape.taps * shape.input_channels * shape.groups * shape.output_channels];
    [
        net.constant(format!("{name}.weight"), &shape.weights(), &shape.pack(&unpacked).expect("length")),
        net.constant(format!("{name}.bias"), &[channels], &vec![3i32; channels]),
        net.constant(format!("{name}.multiplier"), &[channels], &vec![0.01f32; channels]),
    ]
}

/// A small network with packed, depthwise and float weights, residual, tables, exponentials, and constants of odd sizes.
fn sample() -> Network {
    let mut net = Network::new("sample");
    let u8s = |net: &mut Network, op: Op, inputs: &[ValueId], name: &str| {
        net.push_typed(op, inputs, name, name, DType::U8, Some(AFFINE)).expect(name)
    };
    let x = net.input("x", DType::F32, vec![Dim::BATCH, 5.into(), 5.into(), 3.into()]);
    let scale = net.constant("scale", &[3], &[0.5f32, 1.0, 2.0]);
    let scaled = net.push(Op::Binary { function: BinaryFn::Mul }, &[x, scale], "scaled", "scaled").expect("fits");
    let q = u8s(&mut net, Op::Quantize { channels_last: false }, &[scaled], "q");
    let window = Window { kernel: [3, 3], pads_begin: [1, 1], pads_end: [1, 1], ..Window::unit() };
    let plain = Epilogue { zero_point: 7, lo: 0, hi: 255, residual: None, hard_swish: false, table: false };
    let [w, b, m] = operands(&mut net, "conv", PackedShape::conv([3, 3], 3, 20, 1).expect("small"));
    let conv = QConv { window, groups: 1, channels: 20, pad_value: 7, epilogue: Some(plain) };
    let conv = u8s(&mut net, Op::QConv(conv), &[q, w, b, m], "conv");
    let [w, b, m] = operands(&mut net, "dw", PackedShape::conv([3, 3], 20, 20, 20).expect("small"));
    let table = net.constant("dw.table", &[256], &(0..=255).collect::<Vec<u8>>());
    let residual = Some(Residual { zero_point: 7, multiplier: 0.5 });
    let dw = QConv { window, groups: 20, channels: 20, pad_value: 7, epilogue: Some(Epilogue { residual, table: true, ..plain }) };
    let dw = u8s(&mut net, Op::QConv(dw), &[conv, w, b, m, conv, table], "dw");
    let clip = net.constant("clip.table", &[256], &[9u8; 256]);
    let clip = u8s(&mut net, Op::Table, &[dw, clip], "clip");
    let mean = u8s(&mut net, Op::Reduce { function: ReduceFn::Mean, axes: vec![1, 2], keep_dims: false }, &[clip], "mean");
    let [w, b, m] = operands(&mut net, "fc", PackedShape::grouped([1, 1], 20, 10, 1).expect("small"));
    let swished = Epilogue { hard_swish: true, ..plain };
    let swish = net.constant("fc.hard_swish", &[2, 16], &[[0.025f32; 16], [-1.25; 16]].concat());
    let fc = u8s(&mut net, Op::QGemm(QGemm { channels: 10, epilogue: Some(swished) }), &[mean, w, b, m, swish], "fc");
    let exp = net.constant("exp", &[256], &[1i32; 256]);
    let soft = net.push_typed(Op::Softmax { axis: 1 }, &[fc, exp], "soft", "soft", DType::F32, None).expect("fits");
    let w = net.constant("head.weight", &[10, 3], &[0.25f32; 30]);
    let head = net.push(Op::Gemm, &[soft, w], "head", "head").expect("fits");
    let y = net.push(Op::Unary { function: UnaryFn::Clip { lo: -1.0, hi: 1.0 } }, &[head], "clamp", "y").expect("fits");
    net.output(y);
    net
}

fn file() -> Vec<u8> {
    write(&sample(), &Metadata::from([("author".into(), "test".into()), (METADATA_LABELS.into(), "[]".into())])).expect("valid")
}

fn open(bytes: &[u8]) -> Result<QvrModel<AlignedBytes>, FormatError> {
    QvrModel::open(AlignedBytes::copy_of(bytes).expect("memory"))
}

fn refusal(bytes: &[u8]) -> FormatError {
    open(bytes).expect_err("should be refused")
}

fn split(file: &[u8]) -> (String, Vec<u8>) {
    let length = u64::from_le_bytes(file[..8].try_into().expect("8 bytes")) as usize;
    (String::from_utf8(file[8..8 + length].to_vec()).expect("UTF-8").trim_end().to_owned(), file[8 + length..].to_vec())
}

fn join(header: &[u8], data: &[u8]) -> Vec<u8> {
    let length = (8 + header.len()).next_multiple_of(64) - 8;
    let mut file = (length as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.resize(8 + length, b' ');
    file.extend_from_slice(data);
    file
}

/// The file with `from` replaced by `to` in its header, which must hold it once.
fn with_header(from: &str, to: &str) -> Vec<u8> {
    let (header, data) = split(&file());
    assert_eq!(header.matches(from).count(), 1, "{from} in {header}");
    join(header.replace(from, to).as_bytes(), &data)
}

/// The file with `from` replaced by `to` in its graph.
fn with_graph(from: &str, to: &str) -> Vec<u8> {
    let escape = |s: &str| s.replace('"', "\\\"");
    with_header(&escape(from), &escape(to))
}

/// The file with bytes of a tensor overwritten.
fn with_data(tensor: &str, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file();
    let start = open(&file).expect("valid").tensors().iter().find(|t| t.name == tensor).expect("named").range.start + at;
    file[start..start + bytes.len()].copy_from_slice(bytes);
    file
}

macro_rules! assert_refused {
    ($bytes:expr, $pattern:pat $(if $guard:expr)?) => {
        match refusal(&$bytes) {
            $pattern $(if $guard)? => {}
            other => panic!("refused for another reason: {other}"),
        }
    };
}

#[test]
fn what_is_written_is_read() {
    use crate::graph::Constants;
    let net = sample();
    let bytes = file();
    let model = open(&bytes).expect("valid");
    assert_eq!(model.graph(), &net.graph);
    assert_eq!(model.metadata().len(), 2);
    assert_eq!(model.metadata()["author"], "test");
    assert_eq!(model.producer(), concat!("quaver ", env!("CARGO_PKG_VERSION")));
    assert_eq!((model.file_size(), bytes.len() % 64), (bytes.len(), 0));
    let (read, written): (&dyn Constants, &dyn Constants) = (&model, &net);
    for (c, tensor) in model.tensors().iter().enumerate() {
        let id = ConstantId(c as u32);
        assert_eq!(read.bytes_of(id), written.bytes_of(id), "{}", tensor.name);
        assert_eq!(read.bytes_of(id).as_ptr().align_offset(64), 0, "{}", tensor.name);
    }
    assert_eq!(read.bytes_of(ConstantId(model.tensors().len() as u32)), [0u8; 0]);
    let again = write(&Network::default(), &Metadata::new()).expect("empty networks are files");
    assert!(open(&again).expect("valid").tensors().is_empty());
}

#[test]
fn safetensors_reads_the_file() {
    let bytes = file();
    let other = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let model = open(&bytes).expect("valid");
    for tensor in model.tensors() {
        let view = other.tensor(&tensor.name).expect("the same name");
        assert_eq!((view.shape(), view.data()), (&tensor.shape[..], &bytes[tensor.range.clone()]), "{}", tensor.name);
    }
    let fillers = other.names().iter().filter(|n| n.starts_with(FILLER)).count();
    assert_eq!(other.len(), model.tensors().len() + fillers);
    assert_eq!(fillers, 3, "scale, dw.weight and head.weight are of odd sizes");
}

#[test]
fn names_are_unique_and_constants_are_written_once() {
    let mut net = Network::new("names");
    let relu = |net: &mut Network, x| net.push(Op::Unary { function: UnaryFn::Relu }, &[x], "", "").expect("fits");
    net.constant("nobody's", &[1], &[9.0f32]);
    let spare = net.graph.values.pop();
    assert!(spare.is_some());
    for name in ["a", "a", "", "__metadata__", "a.1"] {
        let c = net.constant(name, &[1], &[1.0f32]);
        relu(&mut net, c);
    }
    let shared = net.graph.values.iter().find(|v| v.constant.is_some()).expect("there are some").clone();
    net.graph.values.push(shared);
    let model = open(&write(&net, &Metadata::new()).expect("valid")).expect("valid");
    let names: Vec<&str> = model.tensors().iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a", "a.1", "c2", "c3", "a.1.4"]);
}

#[test]
fn tensors_without_elements_take_no_bytes() {
    let mut net = Network::new("empty");
    for name in ["a", "b"] {
        let c = net.constant::<f32>(name, &[0, 3], &[]);
        net.push(Op::Unary { function: UnaryFn::Relu }, &[c], "", "").expect("fits");
    }
    let bytes = write(&net, &Metadata::new()).expect("valid");
    assert_eq!(open(&bytes).expect("valid").tensors().len(), 2);
    assert!(safetensors::SafeTensors::deserialize(&bytes).is_ok());
}

#[test]
fn header_lengths() {
    for len in 0..8 {
        assert_refused!(vec![0; len], FormatError::TooShort { len: n } if n == len);
    }
    let with_length = |length: u64| {
        let mut file = file();
        file[..8].copy_from_slice(&length.to_le_bytes());
        file
    };
    assert_refused!(with_length(u64::MAX), FormatError::HeaderTooLarge { len: u64::MAX, .. });
    assert_refused!(with_length(MAX_HEADER as u64 + 1), FormatError::HeaderTooLarge { .. });
    assert_refused!(with_length(MAX_HEADER as u64), FormatError::HeaderOutside { .. });
    assert_refused!(with_length(file().len() as u64), FormatError::HeaderOutside { .. });
    assert_refused!(with_length(0), FormatError::HeaderAlignment { start: 8 });
    assert_refused!(with_length(57), FormatError::HeaderAlignment { .. });
}

#[test]
fn memory_must_be_aligned() {
    let file = file();
    let mut shifted = AlignedBytes::zeroed(file.len() + 1).expect("memory");
    shifted[1..].copy_from_slice(&file);
    assert_eq!(QvrModel::open(&shifted[1..]).expect_err("odd address"), FormatError::Misaligned);
}

#[test]
fn header_text() {
    let (header, data) = split(&file());
    assert_refused!(join(b"", &data), FormatError::HeaderPadding);
    assert_refused!(join(format!(" {header}").as_bytes(), &data), FormatError::HeaderPadding);
    assert_refused!(join(format!("{header}\n").as_bytes(), &data), FormatError::HeaderPadding);
    assert_refused!(join(format!("{header}{{}}").as_bytes(), &data), FormatError::HeaderJson { .. });
    assert_refused!(join(b"{\"a\xff\":1}", &data), FormatError::HeaderJson { .. });
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_refused!(join(deep.as_bytes(), &data), FormatError::HeaderJson { .. });
    assert_refused!(with_header("\"scale\":{", "\"scale\":{\"more\":1,"), FormatError::HeaderJson { .. });
}

#[test]
fn keys() {
    let twice = |key: &str, value: &str| with_header("{\"__metadata__\":", &format!("{{\"{key}\":{value},\"__metadata__\":"));
    assert_refused!(twice("__metadata__", "{}"), FormatError::DuplicateKey { key } if key == "__metadata__");
    assert_refused!(with_header("\"author\"", "\"quaver.format\""), FormatError::DuplicateKey { key } if key == "quaver.format");
    assert_refused!(with_header("\"dw.table\"", "\"exp\""), FormatError::DuplicateKey { key } if key == "exp");
    assert_refused!(join(b"{}", &[]), FormatError::MissingKey { key: "__metadata__" });
    for key in [KEY_FORMAT, KEY_PRODUCER, KEY_GRAPH] {
        assert_refused!(with_header(&format!("\"{key}\""), "\"other\""), FormatError::MissingKey { key: k } if k == key);
    }
    assert_refused!(with_header("author", "quaver.author"), FormatError::UnknownKey { key } if key == "quaver.author");
    for key in [KEY_GRAPH, "quaver.author"] {
        let error = write(&sample(), &Metadata::from([(key.to_owned(), String::new())])).expect_err("not the caller's");
        assert_eq!(error, FormatError::UnknownKey { key: key.to_owned() });
    }
}

#[test]
fn the_version_is_looked_at_first() {
    let other = with_header("\"quaver.format\":\"1\",\"quaver.producer\"", "\"quaver.format\":\"2\",\"quaver.new\"");
    assert_refused!(other, FormatError::Version { found } if found == "2");
}

#[test]
fn tensors_lie_where_they_should() {
    // `scale` is the first tensor: 12 bytes, then a filler of 52.
    let scale = "\"scale\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}";
    let filler = "\"__pad__.0\":{\"dtype\":\"U8\",\"shape\":[52],\"data_offsets\":[12,64]}";
    let swap = |from: &str, a: &str, b: &str| with_header(from, &from.replace(a, b));
    assert_refused!(swap(scale, "F32", "F16"), FormatError::TensorType { dtype, .. } if dtype == "F16");
    for range in ["[1,12]", "[12,0]", "[4,16]", "[18446744073709551615,12]"] {
        assert_refused!(swap(scale, "[0,12]", range), FormatError::TensorOffsets { .. });
    }
    assert_refused!(swap(scale, "[0,12]", "[0,18446744073709551615]"), FormatError::TensorOutside { .. });
    assert_refused!(swap(scale, "[0,12]", "[0,-12]"), FormatError::HeaderJson { .. });
    for shape in ["[4]", "[3,2]", "[18446744073709551615,18446744073709551615]", "[0]"] {
        assert_refused!(swap(scale, "[3]", shape), FormatError::TensorLength { .. });
    }
    assert_refused!(swap(filler, "[52],\"data_offsets\":[12,64]", "[51],\"data_offsets\":[12,63]"), FormatError::Filler { .. });
    assert_refused!(swap(filler, "__pad__.0", "__pad__.7"), FormatError::Filler { .. });
    assert_refused!(swap(filler, "__pad__.0", "__pad__.00"), FormatError::Filler { .. });
    assert_refused!(swap(filler, "U8", "I8"), FormatError::Filler { .. });
    assert_refused!(swap(filler, "[52]", "[52,1]"), FormatError::Filler { .. });
    assert_refused!(swap(filler, "__pad__.0", "__new__"), FormatError::ReservedName { .. });
    assert_refused!(swap(filler, "__pad__.0", "mine"), FormatError::Alignment { at: 12, .. });
    let empty = "\"__pad__.0\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[12,12]}";
    assert_refused!(with_header(filler, &format!("{empty},{}", filler.replace("__pad__.0", "mine"))), FormatError::Filler { .. });
    assert_refused!(with_data("scale", 12, &[1]), FormatError::Filler { what, .. } if what.contains("other than 0"));
}

#[test]
fn the_file_ends_with_its_last_tensor() {
    let mut longer = file();
    longer.push(0);
    let len = longer.len();
    assert_refused!(longer, FormatError::TrailingBytes { got, .. } if got == len);
    let (header, data) = split(&file());
    let last = header.rfind(",\"__pad__.2\"").expect("head.weight is of an odd size");
    let short = format!("{}}}", &header[..last]);
    assert_refused!(join(short.as_bytes(), &data[..data.len() - 8]), FormatError::Alignment { what, .. } if what == "the end");
    let whole = file();
    for len in 0..whole.len() {
        assert!(open(&whole[..len]).is_err(), "cut to {len} of {}", whole.len());
    }
}

#[test]
fn graph_text() {
    assert_refused!(with_graph("{\"name\":\"sample\"", "{\"name\":"), FormatError::GraphJson { .. });
    for (place, with) in [
        ("{\"name\":\"sample\"", "{\"more\":1,\"name\":\"sample\""),
        ("{\"name\":\"sample\"", "{\"name\":\"sample\",\"name\":\"sample\""),
        ("{\"n\":\"x\"", "{\"n\":\"x\",\"more\":1"),
        ("{\"n\":\"head\",\"o\"", "{\"n\":\"head\",\"more\":1,\"o\""),
        ("{\"op\":\"Reduce\"", "{\"more\":1,\"op\":\"Reduce\""),
        ("{\"op\":\"Reduce\"", "{\"op\":\"Reduce\",\"keep_dims\":true"),
        ("{\"op\":\"Gemm\"", "{\"more\":1,\"op\":\"Gemm\""),
        ("{\"op\":\"QGemm\"", "{\"more\":1,\"op\":\"QGemm\""),
        ("{\"op\":\"QGemm\"", "{\"op\":\"QLoop\""),
        ("\"m\":0.5", "\"m\":1e999"),
        ("\"m\":0.5", "\"m\":null"),
    ] {
        assert_refused!(with_graph(place, with), FormatError::GraphJson { .. });
    }
    let deep = format!("{{\"name\":{}", "[".repeat(100_000));
    assert_refused!(with_graph("{\"name\":\"sample\"", &deep), FormatError::GraphJson { .. });
}

#[test]
fn graph_structure() {
    // The first node multiplies values 0 and 1 to 2.
    assert_refused!(with_graph("\"i\":[0,1],\"y\":[2]", "\"i\":[0,999],\"y\":[2]"), FormatError::Graph(_));
    assert_refused!(with_graph("\"i\":[0,1],\"y\":[2]", "\"i\":[2,1],\"y\":[2]"), FormatError::Graph(_));
    assert_refused!(with_graph("\"i\":[0,1],\"y\":[2]", "\"i\":[0,1],\"y\":[1]"), FormatError::Graph(_));
    assert_refused!(with_graph("\"i\":[0,1],\"y\":[2]", "\"i\":[],\"y\":[2]"), FormatError::Graph(_));
    assert_refused!(with_graph("\"inputs\":[0]", "\"inputs\":[0,0]"), FormatError::Graph(_));
    assert_refused!(with_graph("\"channels\":10", "\"channels\":11"), FormatError::Graph(_));
    assert_refused!(
        with_graph("{\"n\":\"x\",\"t\":\"f32\",\"d\":[{\"N\":1}", "{\"n\":\"x\",\"t\":\"f32\",\"d\":[{\"N\":0}"),
        FormatError::Graph(_)
    );
    assert_refused!(with_graph("\"n\":\"x\"", "\"n\":\"\""), FormatError::PortName { role: "input", .. });
    let (header, _) = split(&file());
    let at = header.find("\\\"outputs\\\":[").expect("outputs");
    let y = header[at + 13..].split(']').next().expect("a list");
    assert_refused!(
        with_header(&format!("\\\"outputs\\\":[{y}]"), &format!("\\\"outputs\\\":[{y},{y}]")),
        FormatError::PortName { role: "output", .. }
    );
    let many = "0,".repeat(MAX_PORTS) + "0";
    let many = with_graph("\"inputs\":[0]", &format!("\"inputs\":[{many}]"));
    assert_refused!(many, FormatError::TooMany { what: "inputs", .. });
}

#[test]
fn constants_are_tensors() {
    assert_refused!(with_graph("\"d\":[3],\"c\":0", "\"d\":[3],\"c\":99"), FormatError::ConstantMissing { index: 99, .. });
    assert_refused!(with_graph("\"d\":[3],\"c\":0", "\"d\":[1],\"c\":0"), FormatError::ConstantType { .. });
    assert_refused!(with_header("\"F32\",\"shape\":[3]", "\"F32\",\"shape\":[1,3]"), FormatError::ConstantType { .. });
    let (header, mut data) = split(&file());
    let extra = format!(",\"extra\":{{\"dtype\":\"U8\",\"shape\":[64],\"data_offsets\":[{},{}]}}}}", data.len(), data.len() + 64);
    data.extend([0; 64]);
    let extra = join(format!("{}{extra}", &header[..header.len() - 1]).as_bytes(), &data);
    assert_refused!(extra, FormatError::UnusedTensor { tensor } if tensor == "extra");
}

#[test]
fn attributes_are_finite() {
    assert_refused!(with_graph("\"lo\":-1.0", "\"lo\":-1e39"), FormatError::GraphJson { .. });
    let mut net = Network::new("");
    let x = net.input("x", DType::F32, vec![Dim::BATCH]);
    net.push(Op::Unary { function: UnaryFn::Elu { alpha: f32::NAN } }, &[x], "", "").expect("fits");
    assert_eq!(write(&net, &Metadata::new()), Err(FormatError::NotFinite { node: "#0".into() }));
}

#[test]
fn accumulators_fit() {
    // The first convolution has K = 9 · 4.
    let room = i32::MAX - 255 * 128 * 36;
    assert!(open(&with_data("conv.bias", 8, &(-room).to_le_bytes())).is_ok());
    let over = (-room - 1).to_le_bytes();
    assert_refused!(with_data("conv.bias", 8, &over), FormatError::Overflow { k: 36, bias, .. } if bias as i32 == room + 1);
    assert_refused!(with_data("fc.bias", 60, &i32::MIN.to_le_bytes()), FormatError::Overflow { k: 20, .. });
    assert!(open(&with_data("dw.bias", 0, &(i32::MAX - 255 * 128 * 9).to_le_bytes())).is_ok());
    assert_refused!(with_data("dw.bias", 0, &(i32::MAX - 255 * 128 * 9 + 1).to_le_bytes()), FormatError::Overflow { k: 9, .. });
}

#[test]
fn multipliers_and_tables_are_numbers_in_range() {
    for bad in [f32::NAN, f32::INFINITY, -1.0] {
        let file = with_data("fc.multiplier", 12, &bad.to_le_bytes());
        assert_refused!(file, FormatError::Multiplier { node, position: 3, .. } if node == "fc");
    }
    assert_refused!(with_graph("\"m\":0.5", "\"m\":-0.5"), FormatError::Graph(_));
    for (at, entry) in [(0, 0), (5, -1), (7, (1 << 23) + 1)] {
        let file = with_data("exp", 4 * at, &i32::to_le_bytes(entry));
        assert_refused!(file, FormatError::Exponentials { entry: e, .. } if e == entry);
    }
}

#[test]
fn bytes_stay_below_the_largest_of_their_value() {
    let reduced = Affine { q_max: 127, ..AFFINE };
    let found = |build: &dyn Fn(&mut Network, ValueId)| {
        let mut net = Network::new("");
        let x = net.input("x", DType::U8, vec![Dim::BATCH, 4.into()]);
        net.graph.values[x.index()].quant = Some(AFFINE);
        build(&mut net, x);
        match write(&net, &Metadata::new()) {
            Err(FormatError::ByteRange { found, q_max: 127, .. }) => found,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(found(&|net, x| net.graph.values[x.index()].quant = Some(reduced)), 255);
    let table = |net: &mut Network, x| {
        let mut bytes = [0u8; 256];
        bytes[9] = 130;
        let t = net.constant("t", &[256], &bytes);
        net.push_typed(Op::Table, &[x, t], "", "", DType::U8, Some(reduced)).expect("fits");
    };
    assert_eq!(found(&table), 130);
    let gemm = |net: &mut Network, x| {
        let [w, b, m] = operands(net, "g", PackedShape::grouped([1, 1], 4, 4, 1).expect("small"));
        let epilogue = Some(Epilogue { zero_point: 7, lo: 0, hi: 128, residual: None, hard_swish: false, table: false });
        let op = Op::QGemm(QGemm { channels: 4, epilogue });
        net.push_typed(op, &[x, w, b, m], "", "", DType::U8, Some(reduced)).expect("fits");
    };
    assert_eq!(found(&gemm), 128);
    let constant = |net: &mut Network, _| {
        let c = net.constant("c", &[2], &[1u8, 200]);
        net.graph.values[c.index()].quant = Some(reduced);
    };
    assert_eq!(found(&constant), 200);
}

#[test]
fn hard_swish_has_parameters_and_stands_alone() {
    let refusal = |change: &dyn Fn(&mut Network, usize, &mut Epilogue)| {
        let mut net = sample();
        let fc = net.graph.nodes.iter().position(|n| n.name == "fc").expect("there");
        let Op::QGemm(QGemm { channels, epilogue: Some(mut epilogue) }) = net.graph.nodes[fc].op else { panic!("a product") };
        change(&mut net, fc, &mut epilogue);
        net.graph.nodes[fc].op = Op::QGemm(QGemm { channels, epilogue: Some(epilogue) });
        write(&net, &Metadata::new()).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(refusal(&|_, _, _| {}), "");
    let with = |position: usize, number: f32| with_data("fc.hard_swish", 4 * position, &number.to_le_bytes());
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_refused!(with(3, bad), FormatError::HardSwish { node, position: 3, .. } if node == "fc");
    }
    for bad in [f32::NAN, f32::NEG_INFINITY] {
        assert_refused!(with(19, bad), FormatError::HardSwish { node, position: 19, .. } if node == "fc");
    }
    assert!(open(&with(19, 0.0)).is_ok() && open(&with(19, -3.0)).is_ok());
    let without = refusal(&|net, fc, _| net.graph.nodes[fc].inputs.truncate(4));
    assert!(without.contains("epilogue"), "{without}");
    let short = refusal(&|net, fc, _| net.graph.nodes[fc].inputs[4] = net.constant("short", &[16], &[0.025f32; 16]));
    assert!(short.contains("[2,16]"), "{short}");
    let with_table = refusal(&|net, fc, e| {
        let table = net.constant("fc.table", &[256], &[9u8; 256]);
        net.graph.nodes[fc].inputs.push(table);
        e.table = true;
    });
    assert!(with_table.contains("beside"), "{with_table}");
    let with_residual = refusal(&|net, fc, e| {
        let residual = net.graph.nodes[fc].outputs[0];
        let other = net.graph.values[residual.index()].clone();
        let added = net.input("added", DType::U8, other.shape);
        net.graph.values[added.index()].quant = other.quant;
        net.graph.nodes[fc].inputs.insert(4, added);
        e.residual = Some(Residual { zero_point: 7, multiplier: 0.5 });
    });
    assert!(with_residual.contains("beside"), "{with_residual}");
    for other in ["\"hard_swish\":1", "\"hardswish\":true"] {
        assert!(open(&with_graph("\"hard_swish\":true", other)).is_err(), "{other}");
    }
}

#[test]
fn sums_of_bytes_fit_32_bits() {
    let mut net = Network::new("");
    let x = net.input("x", DType::U8, vec![Dim::BATCH, 4096.into(), 4096.into(), 1.into()]);
    net.graph.values[x.index()].quant = Some(AFFINE);
    let window = Window { kernel: [4096, 2049], ..Window::unit() };
    let pool = crate::graph::op::Pool { function: crate::graph::op::PoolFn::Average, window, ceil_mode: false, count_include_pad: false };
    net.push_typed(Op::Pool(pool), &[x], "", "", DType::U8, Some(AFFINE)).expect("fits");
    assert!(matches!(write(&net, &Metadata::new()), Err(FormatError::Graph(_))));
}

#[test]
fn what_cannot_be_read_cannot_be_written() {
    let mut net = sample();
    net.graph.values[1].shape = vec![Dim::Fixed(4)];
    assert!(matches!(write(&net, &Metadata::new()), Err(FormatError::TensorLength { .. })));
    let large = Metadata::from([("note".to_owned(), " ".repeat(MAX_HEADER))]);
    assert!(matches!(write(&sample(), &large), Err(FormatError::HeaderTooLarge { .. })));
}

proptest::proptest! {
    #[test]
    fn scales_survive_to_the_bit(bits in 0x0080_0000u32..0x7f80_0000) {
        let mut net = Network::new("");
        let x = net.input("x", DType::F32, vec![Dim::BATCH]);
        let scale = f32::from_bits(bits);
        net.push_typed(Op::Quantize { channels_last: false }, &[x], "", "", DType::U8, Some(Affine { scale, ..AFFINE })).expect("fits");
        let function = UnaryFn::Clip { lo: -scale, hi: scale };
        net.push(Op::Unary { function }, &[x], "", "").expect("fits");
        let model = open(&write(&net, &Metadata::new()).expect("valid")).expect("valid");
        proptest::prop_assert_eq!(model.graph(), &net.graph);
    }

    #[test]
    fn changed_bytes_never_panic(changes in proptest::collection::vec((0usize..usize::MAX, 0u8..), 1..4)) {
        let mut file = file();
        let header = u64::from_le_bytes(file[..8].try_into().expect("8 bytes")) as usize;
        for (at, to) in changes {
            file[at % (8 + header)] = to;
        }
        let _ = open(&file);
    }
}
