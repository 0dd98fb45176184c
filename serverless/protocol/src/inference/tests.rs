//! Requests and answers as clients of the protocol write and read them.

use quaver_core::graph::Dim;
use quaver_core::tensor::{DType, TensorView};
use serde_json::{Value, json};

use super::*;
use crate::description::Port;
use crate::photo::Preprocessing;

fn port(name: &str, dtype: DType, shape: &[Dim]) -> Port {
    Port { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

/// x f32[N,2], ids i64[N] → y f32[N,2], z u8[N].
fn pair() -> Description {
    Description {
        name: "pair".to_owned(),
        inputs: vec![port("x", DType::F32, &[Dim::BATCH, 2.into()]), port("ids", DType::I64, &[Dim::BATCH])],
        outputs: vec![port("y", DType::F32, &[Dim::BATCH, 2.into()]), port("z", DType::U8, &[Dim::BATCH])],
        labels: Vec::new(),
        preprocessing: Preprocessing::default(),
    }
}

fn image() -> Description {
    Description {
        name: "image".to_owned(),
        inputs: vec![port("x", DType::U8, &[Dim::BATCH, 2.into(), 2.into(), 3.into()])],
        outputs: vec![port("y", DType::F32, &[Dim::BATCH, 3.into()])],
        labels: vec!["cat".to_owned(), "dog".to_owned()],
        preprocessing: Preprocessing { stretch: true, ..Preprocessing::default() },
    }
}

fn good() -> Value {
    json!({
        "id": "7",
        "inputs": [
            { "name": "ids", "shape": [1], "datatype": "INT64", "data": [-3] },
            { "name": "x", "shape": [1, 2], "datatype": "FP32", "data": [[0.5, 2]], "parameters": { "other": true } },
        ],
    })
}

fn read<'a>(head: &Head<'_>, body: &'a [u8]) -> Result<Inference<'a>, ProtocolError> {
    Inference::read(&pair(), head, body)
}

fn refused(change: impl FnOnce(&mut Value)) -> ProtocolError {
    let mut request = good();
    change(&mut request);
    read(&Head::default(), request.to_string().as_bytes()).expect_err("wrong")
}

#[test]
fn json_becomes_inputs_in_the_models_order() {
    let body = good().to_string();
    let inference = read(&Head::default(), body.as_bytes()).expect("valid");
    assert_eq!(inference.inputs[0].shape, [1, 2]);
    assert_eq!(&*inference.inputs[0].bytes, [0.5f32.to_le_bytes(), 2f32.to_le_bytes()].as_flattened());
    assert_eq!(&*inference.inputs[1].bytes, (-3i64).to_le_bytes());
    assert_eq!(inference.reply, Reply::Tensors { id: Some("7".to_owned()), outputs: vec![(0, false), (1, false)] });
}

#[test]
fn binary_tensors_follow_in_the_requests_order() {
    let header = json!({
        "inputs": [
            { "name": "ids", "shape": [1], "datatype": "INT64", "parameters": { "binary_data_size": 8 } },
            { "name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": { "binary_data_size": 8 } },
        ],
        "outputs": [{ "name": "z", "parameters": { "binary_data": true } }, { "name": "y" }],
    })
    .to_string();
    let tail = [5i64.to_le_bytes(), [0, 0, 128, 63, 0, 0, 0, 64]].concat();
    let body = [header.as_bytes(), &tail].concat();
    let length = header.len().to_string();
    let head = Head { header_length: Some(&length), ..Head::default() };
    let inference = read(&head, &body).expect("valid");
    assert!(matches!(inference.inputs[0].bytes, Cow::Borrowed(_)), "binary elements are not copied");
    assert_eq!(&*inference.inputs[0].bytes, &tail[8..]);
    assert_eq!(&*inference.inputs[1].bytes, &tail[..8]);
    assert_eq!(inference.reply, Reply::Tensors { id: None, outputs: vec![(1, true), (0, false)] });

    assert!(matches!(read(&head, &body[..body.len() - 1]), Err(ProtocolError::Cut { missing: 1, .. })));
    assert!(matches!(read(&head, &[&body[..], &[0]].concat()), Err(ProtocolError::Rest { bytes: 1 })));
    for wrong in ["-1", "x", "100000"] {
        let head = Head { header_length: Some(wrong), ..Head::default() };
        assert!(matches!(read(&head, &body), Err(ProtocolError::HeaderLength { .. })), "{wrong}");
    }
}

#[test]
fn a_request_is_checked_before_its_elements_are_there() {
    let x = json!({ "name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": { "binary_data_size": 8 } });
    let ids = json!({ "name": "ids", "shape": [1], "datatype": "INT64", "parameters": { "binary_data_size": 8 } });
    let told = json!({ "name": "ids", "shape": [1], "datatype": "INT64", "data": [1] });
    let asked = |inputs: [&Value; 2], behind| Asked::read(&pair(), json!({ "inputs": inputs }).to_string().as_bytes(), behind);
    let follow = asked([&x, &ids], 16).expect("valid");
    assert_eq!(follow.follow(), Some(vec![&[1, 2][..], &[1]]));
    assert_eq!(asked([&ids, &x], 16).expect("valid").follow(), None, "in another order than the model's");
    assert_eq!(asked([&x, &told], 8).expect("valid").follow(), None, "one isn't behind the JSON");
    assert!(matches!(asked([&x, &ids], 15), Err(ProtocolError::Cut { missing: 1, .. })));
    assert!(matches!(asked([&x, &ids], 17), Err(ProtocolError::Rest { bytes: 1 })));
    let bytes: Vec<u8> = (0..16).collect();
    let fewer = asked([&x, &ids], 16).expect("valid").with(&bytes[..13]).expect_err("fewer than there should be").to_string();
    assert!(fewer.contains("'ids'") && fewer.contains('3'), "{fewer}");
    assert_eq!(*follow.with(&bytes).expect("fits").inputs[1].bytes, bytes[8..]);
}

#[test]
fn what_does_not_fit_is_refused() {
    use ProtocolError as P;
    assert!(matches!(read(&Head::default(), b"{"), Err(P::Json(_))));
    assert!(matches!(read(&Head::default(), b"[]"), Err(P::Json(_))));
    assert!(matches!(read(&Head::default(), b"{\"inputs\":[]}"), Err(P::MissingInput { .. })));
    assert!(matches!(refused(|r| r["inputs"][0]["name"] = "y".into()), P::UnknownInput { .. }));
    assert!(matches!(refused(|r| r["inputs"][0] = r["inputs"][1].clone()), P::TwiceInput { .. }));
    assert!(matches!(refused(|r| r["inputs"][1]["datatype"] = "FP64".into()), P::Type { .. }));
    assert!(matches!(refused(|r| r["inputs"][1]["shape"] = json!([1, 3])), P::Shape { .. }));
    assert!(matches!(refused(|r| r["inputs"][1]["shape"] = json!([2])), P::Shape { .. }));
    assert!(matches!(refused(|r| r["inputs"][1]["shape"] = json!([0, 2])), P::Shape { .. }));
    assert!(matches!(refused(|r| r["inputs"][1]["shape"] = json!([u64::MAX, 2])), P::Shape { .. }));
    assert!(matches!(refused(|r| r["inputs"][1]["data"] = json!([1])), P::Data { .. }));
    assert!(matches!(refused(|r| r["inputs"][1]["data"] = Value::Null), P::Data { .. } | P::NoData { .. }));
    assert!(matches!(refused(|r| r["inputs"][1]["parameters"]["binary_data_size"] = 4.into()), P::Bytes { expected: 8, got: 4, .. }));
    assert!(matches!(refused(|r| r["outputs"] = json!([{ "name": "x" }])), P::UnknownOutput { .. }));
    let batch = |r: &mut Value| r["inputs"][1] = json!({ "name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4] });
    let refusal = refused(batch);
    assert!(matches!(refusal, P::Extent { .. }), "{refusal}");
    assert_eq!(refusal.status(), 400);
}

#[test]
fn outputs_become_json_or_bytes() {
    let (y, z) = ([0.5f32.to_le_bytes(), (-1f32).to_le_bytes()].concat(), [9]);
    let results = [TensorView::new(DType::F32, &[1, 2], &y).expect("fits"), TensorView::new(DType::U8, &[1], &z).expect("fits")];
    let reply = Reply::Tensors { id: Some("a".to_owned()), outputs: vec![(1, false), (0, false)] };
    let answer = reply.answer(&pair(), &results).expect("they fit");
    let expected = json!({
        "model_name": "pair", "model_version": "1", "id": "a",
        "outputs": [
            { "name": "z", "datatype": "UINT8", "shape": [1], "data": [9] },
            { "name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.5, -1.0] },
        ],
    });
    assert_eq!(serde_json::from_slice::<Value>(&answer.body).expect("JSON"), expected);
    assert_eq!((answer.status, answer.header_length), (200, None));

    let answer = Reply::Tensors { id: None, outputs: vec![(0, true), (1, false)] }.answer(&pair(), &results).expect("they fit");
    let length = answer.header_length.expect("binary");
    let listed: Value = serde_json::from_slice(&answer.body[..length]).expect("JSON");
    assert_eq!(listed["outputs"][0]["parameters"]["binary_data_size"], 8);
    assert_eq!(listed["outputs"][1]["data"], json!([9]));
    assert_eq!(answer.body[length..], y);

    let missing = Reply::Tensors { id: None, outputs: vec![(0, true), (1, false)] }.answer(&pair(), &results[..1]);
    assert_eq!(missing.expect_err("one is missing").status(), 500);
}

#[test]
fn metadata_names_ports() {
    let value: Value = serde_json::from_slice(&pair().metadata().body).expect("JSON");
    assert_eq!(value["inputs"][0], json!({ "name": "x", "datatype": "FP32", "shape": [-1, 2] }));
    assert_eq!(value["outputs"][1], json!({ "name": "z", "datatype": "UINT8", "shape": [-1] }));
    assert!(pair().is_called("pair").is_ok() && pair().is_called("other").is_err());
}

/// A file of 2 x 2 pixels.
fn png() -> Vec<u8> {
    let pixels = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]];
    let picture = ::image::RgbImage::from_raw(2, 2, pixels.as_flattened().to_vec()).expect("fits");
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, ::image::ImageFormat::Png).expect("writes");
    file.into_inner()
}

#[test]
fn a_photo_becomes_an_input_and_scores_become_classes() {
    let head = Head { path: "/v2/models/image/classify?top=2", content_type: Some("image/png"), header_length: None };
    let file = png();
    for inference in [Inference::photo(&image(), &head, &file), Inference::read(&image(), &head, &file)] {
        let inference = inference.expect("a photo");
        assert_eq!(inference.inputs[0].shape, [1, 2, 2, 3]);
        assert_eq!(&*inference.inputs[0].bytes, (1..=12).collect::<Vec<u8>>());
        let scores: Vec<u8> = [0.125f32, 0.625, 0.25].iter().flat_map(|s| s.to_le_bytes()).collect();
        let scores = TensorView::new(DType::F32, &[1, 3], &scores).expect("fits");
        let answer = inference.reply.answer(&image(), &[scores]).expect("scores");
        let expected = json!({ "model_name": "image", "classes": [
            { "class": 1, "label": "dog", "probability": 0.625 },
            { "class": 2, "label": "class 2", "probability": 0.25 },
        ] });
        assert_eq!(serde_json::from_slice::<Value>(&answer.body).expect("JSON"), expected);
    }
}

#[test]
fn what_is_no_photo_is_refused() {
    let photo = |path: &str, content_type: Option<&str>, file: &[u8]| {
        Inference::photo(&image(), &Head { path, content_type, header_length: None }, file).expect_err("no photo").status()
    };
    let file = png();
    assert_eq!(photo("/?top=0", None, &file), 400);
    assert_eq!(photo("/?top=x", None, &file), 400);
    assert_eq!(photo("/", Some("text/html"), &file), 415);
    assert_eq!(photo("/", None, b"GIF89a"), 415);
    assert_eq!(photo("/", None, b""), 415);
    assert_eq!(photo("/", None, &file[..file.len() / 2]), 400);
    let mut broken = file.clone();
    // Within its data, which a checksum guards.
    let middle = broken.len() - 20;
    broken[middle] ^= 255;
    assert_eq!(photo("/", None, &broken), 400);
    // Width and height of a picture of 2^32 - 2 pixels, with the checksum of its header made to fit by the decoder's own rules: a
    // wrong one is refused, too.
    let mut large = file.clone();
    large[16..20].copy_from_slice(&65_535u32.to_be_bytes());
    assert!([400, 413].contains(&photo("/", None, &large)));
    let several = Inference::photo(&pair(), &Head::default(), &file).expect_err("it takes two inputs");
    assert_eq!(several.status(), 400);
}
