//! Sessions on a small network: results in closed form, every error, batches, threads, files.

use std::env;
use std::process::Command;

use quaver::{DType, Dim, Error, Isa, Model, Session, SessionOptions, Tensor};
use quaver_core::format::weights::PackedShape;
use quaver_core::format::{Metadata, write};
use quaver_core::graph::op::{BinaryFn, QGemm, UnaryFn};
use quaver_core::graph::{Network, Op};
use quaver_core::quant::Affine;

/// `sum` = min(a + b, 77.5) through u8 in steps of a half (by a matrix of ones on the diagonal), `relu` = max(a, 0).
fn network() -> Network {
    let mut net = Network::new("sum");
    let shape = || vec![Dim::BATCH, Dim::Fixed(4)];
    let a = net.input("a", DType::F32, shape());
    let b = net.input("b", DType::F32, shape());
    let relu = net.push(Op::Unary { function: UnaryFn::Relu }, &[a], "relu", "relu").expect("fits");
    let sum = net.push(Op::Binary { function: BinaryFn::Add }, &[a, b], "add", "added").expect("fits");
    let affine = Affine { scale: 0.5, zero_point: 100, q_max: 255 };
    let q = net.push_typed(Op::Quantize { channels_last: false }, &[sum], "quantize", "quantized", DType::U8, Some(affine)).expect("fits");
    let packed = PackedShape::grouped([1, 1], 4, 4, 1).expect("small");
    let weights = packed.pack(&std::array::from_fn::<i8, 16, _>(|i| i8::from(i % 5 == 0))).expect("16 weights");
    let w = net.constant("w", &packed.weights(), &weights);
    let bias = net.constant("bias", &[16], &[-100i32; 16]);
    let multiplier = net.constant("multiplier", &[16], &[0.5f32; 16]);
    let op = Op::QGemm(QGemm { channels: 4, epilogue: None });
    let y = net.push_typed(op, &[q, w, bias, multiplier], "gemm", "sum", DType::F32, None).expect("fits");
    net.output(y);
    net.output(relu);
    net
}

fn file() -> Vec<u8> {
    write(&network(), &Metadata::from([("author".into(), "test".into())])).expect("valid")
}

fn model() -> Model {
    Model::from_bytes(file()).expect("valid")
}

fn session(model: &Model) -> Session {
    Session::new(model, SessionOptions::default()).expect("one thread, any ISA")
}

fn rows(batch: usize, first: f32, step: f32) -> Tensor {
    Tensor::from_vec([batch, 4], (0..4 * batch).map(|i| first + step * i as f32).collect::<Vec<_>>()).expect("fits")
}

fn check_batch(session: &mut Session, batch: usize) {
    let outputs = session.run(&[("b", rows(batch, 7.0, -0.5)), ("a", rows(batch, -3.0, 1.0))]).expect("valid inputs");
    let expected: Vec<f32> = (0..4 * batch).map(|i| (4.0 + 0.5 * i as f32).min(77.5)).collect();
    let sum = outputs.get("sum").expect("an output");
    assert_eq!((sum.shape(), sum.as_slice::<f32>()), (&[batch, 4][..], Some(&expected[..])));
    let expected: Vec<f32> = (0..4 * batch).map(|i| (i as f32 - 3.0).max(0.0)).collect();
    assert_eq!(outputs.get("relu").and_then(|t| t.as_slice::<f32>()), Some(&expected[..]));
    assert_eq!(outputs.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["sum", "relu"]);
    assert_eq!(outputs.first(), outputs.get("sum"));
    assert_eq!(outputs.get("added"), None);
}

#[test]
fn a_model_says_what_it_takes_and_gives() {
    let model = model();
    let inputs: Vec<_> = model.inputs().iter().map(|p| (p.name.as_str(), p.dtype, p.shape.clone())).collect();
    let shape = || vec![Dim::BATCH, Dim::Fixed(4)];
    assert_eq!(inputs, [("a", DType::F32, shape()), ("b", DType::F32, shape())]);
    assert_eq!(model.outputs().iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["sum", "relu"]);
    assert_eq!((model.name(), model.metadata()["author"].as_str(), model.file_size()), ("sum", "test", file().len()));
    assert_eq!(model.tensors().iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["w", "bias", "multiplier"]);
    assert_eq!(session(&model).threads(), 1);
}

#[test]
fn any_batch_size_in_any_order() {
    let mut session = session(&model());
    for batch in [1, 3, 1, 2, 3, 4, 5, 6, 1, 40, 3] {
        check_batch(&mut session, batch);
    }
}

#[test]
fn threads_share_a_model() {
    let model = model();
    std::thread::scope(|scope| {
        for batch in [1, 3] {
            let model = model.clone();
            scope.spawn(move || {
                let mut session = session(&model);
                (0..50).for_each(|_| check_batch(&mut session, batch));
            });
        }
    });
}

#[test]
fn a_mapped_file_gives_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("net.qvr");
    std::fs::write(&path, file()).expect("written");
    let model = Model::open(&path).expect("valid");
    std::fs::remove_file(&path).expect("removed");
    check_batch(&mut session(&model), 3);
}

#[test]
fn an_observer_sees_every_node() {
    let model = model();
    let mut session = session(&model);
    let inputs = [("a", rows(2, 1.0, 0.0)), ("b", rows(2, 2.0, 0.0))];
    let mut seen = Vec::new();
    let mut watch = |node, id, view: quaver_core::tensor::TensorView<'_>| {
        let name = model.graph().value(id).name.clone();
        seen.push((node, name, view.shape().to_vec(), view.bytes()[0]));
    };
    let outputs = session.run_observed(&inputs, &mut watch).expect("valid inputs");
    let names: Vec<_> = seen.iter().map(|(node, name, ..)| (*node, name.as_str())).collect();
    assert_eq!(names, [(0, "relu"), (1, "added"), (2, "quantized"), (3, "sum")]);
    assert_eq!((&seen[2].2[..], seen[2].3), (&[2, 4][..], 106));
    assert_eq!(outputs, session.run(&inputs).expect("valid inputs"));
}

#[test]
fn wrong_inputs_are_named() {
    let model = model();
    let mut session = session(&model);
    let good = || rows(2, 0.0, 0.0);
    let mut refusal = |inputs: &[(&str, Tensor)]| session.run(inputs).expect_err("should be refused");
    assert!(matches!(refusal(&[("c", good())]), Error::UnknownInput { name, known } if name == "c" && known == "'a', 'b'"));
    assert!(matches!(refusal(&[("a", good()), ("a", good())]), Error::DuplicateInput { name } if name == "a"));
    assert!(matches!(refusal(&[("a", good())]), Error::MissingInput { name, expected } if name == "b" && expected == "f32[N,4]"));
    let bytes = Tensor::from_vec([2, 4], vec![0u8; 8]).expect("fits");
    let wrong = refusal(&[("a", bytes), ("b", good())]);
    assert!(matches!(wrong, Error::InputType { name, expected: DType::F32, got: DType::U8 } if name == "a"));
    for shape in [vec![2, 5], vec![8], vec![2, 4, 1], vec![0, 4]] {
        let elements = shape.iter().product();
        let tensor = Tensor::from_vec(shape.clone(), vec![0f32; elements]).expect("fits");
        assert!(matches!(refusal(&[("a", good()), ("b", tensor)]), Error::InputShape { name, got, .. } if name == "b" && got == shape));
    }
    let wrong = refusal(&[("a", good()), ("b", rows(3, 0.0, 0.0))]);
    assert!(matches!(wrong, Error::Batch { name, got: 3, other, expected: 2 } if name == "b" && other == "a"));
    check_batch(&mut session, 2);
}

#[test]
fn limits_hold() {
    let model = model();
    let threads = Session::new(&model, SessionOptions { threads: 0, ..SessionOptions::default() });
    assert!(matches!(threads, Err(Error::Threads { threads: 0 })));
    let mut session = Session::new(&model, SessionOptions { max_memory: 1 << 12, ..SessionOptions::default() }).expect("valid");
    check_batch(&mut session, 3);
    let large = session.run(&[("a", rows(1000, 0.0, 0.0)), ("b", rows(1000, 0.0, 0.0))]);
    assert!(matches!(large, Err(Error::Plan(_))));
}

#[test]
fn wrong_files_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing.qvr");
    assert!(matches!(Model::open(&missing), Err(Error::Open { path, .. }) if path == missing));
    for contents in [&b""[..], b"hello", &file()[..700]] {
        let path = folder.path().join("wrong.qvr");
        std::fs::write(&path, contents).expect("written");
        let error = Model::open(&path).expect_err("not valid");
        assert!(matches!(&error, Error::File { path: p, .. } if *p == path), "{error}");
        assert!(matches!(Model::from_bytes(contents), Err(Error::Bytes(_))));
    }
}

/// Run by `isa_comes_from_the_environment` in processes of their own, as a variable belongs to a process.
#[test]
fn obeys_quaver_isa() {
    let session = Session::new(&model(), SessionOptions::default());
    match env::var("QUAVER_ISA").as_deref() {
        Err(_) => assert_eq!(Some(session.expect("the best there is").isa()), Isa::available().last().map(|isa| isa.name())),
        Ok(asked) => match Isa::ALL.into_iter().find(|isa| isa.name() == asked) {
            None => assert!(matches!(session, Err(Error::UnknownIsa { value, .. }) if value == asked)),
            Some(isa) if Isa::available().contains(&isa) => assert_eq!(session.expect("it is there").isa(), asked),
            Some(_) => assert!(matches!(session, Err(Error::UnavailableIsa { value, .. }) if value == asked)),
        },
    }
}

#[test]
fn isa_comes_from_the_environment() {
    let program = env::current_exe().expect("this test");
    for asked in ["scalar", "avx2", "avxvnni", "avx512vnni", "amx", "sse9", ""] {
        let child = Command::new(&program).args(["--exact", "obeys_quaver_isa"]).env("QUAVER_ISA", asked).output().expect("starts");
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && text.contains("1 passed"), "QUAVER_ISA={asked}: {text}");
    }
}
