//! A model in a component: native's bytes by its own kernels, by the host's, and by wasi-nn.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quaver_core::tensor::{AlignedBytes, DType, TensorView};
use quaver_serverless::Options;
use quaver_serverless::native::{Model, Pool};
use serde_json::json;

use crate::client::{ask, get, post};
use crate::models::{adder, binary_request, difference, fashion, images, native};
use crate::running::{Running, built, options, source};

/// A server of a component for each file, named by its place: `m0`, `m1` and so on.
fn serve(files: &[&[u8]], change: impl FnOnce(&mut Options, &Path)) -> Option<(Running, tempfile::TempDir)> {
    let template = built("quaver_component.wasm")?;
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = options();
    for (index, file) in files.iter().enumerate() {
        let name = format!("m{index}");
        let path = folder.path().join(&name).with_extension("wasm");
        let component = quaver_componentize::componentize(&template, file, &name).unwrap_or_else(|error| panic!("{error}"));
        std::fs::write(&path, component).expect("writable");
        options.sources.push(source(&name, &path));
    }
    change(&mut options, folder.path());
    Some((Running::start(options), folder))
}

#[test]
fn results_are_natives_by_own_kernels_and_by_the_hosts() {
    let files = [fashion(false), fashion(true)];
    for lend in [false, true] {
        let Some((server, _folder)) = serve(&[&files[0], &files[1]], |options, _| options.lend = lend) else { return };
        for (index, file) in files.iter().enumerate() {
            for (seed, rows) in [(1, 1), (2, 3), (3, 1)] {
                let (shape, data) = ([rows, 1, 28, 28], images(rows, seed));
                let (body, length) = binary_request(file, &shape, &data);
                let path = format!("/apps/m{index}/v2/models/m{index}/infer");
                let answer = ask(server.address, "POST", &path, &[("inference-header-content-length", &length)], &body);
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(answer.binary(), native(file, &shape, &data), "model {index}, {rows} samples, lent: {lend}");
            }
        }
        // That it was the host that computed, or wasn't.
        assert_eq!(server.metric("quaver_native_batch_count") > 0.0, lend);
    }
}

#[test]
fn a_component_answers_as_the_server_does() {
    [false, true].into_iter().for_each(answers_as_the_server_does);
}

fn answers_as_the_server_does(lend: bool) {
    let file = fashion(false);
    let with_model = |options: &mut Options, folder: &Path| {
        std::fs::write(folder.join("m0.qvr"), &file).expect("writable");
        options.sources.push(source("m0", &folder.join("m0.qvr")));
        options.lend = lend;
    };
    let Some((server, _folder)) = serve(&[&file], with_model) else { return };
    let picture = image::RgbImage::from_fn(50, 40, |x, y| image::Rgb([(x * 5) as u8, (y * 6) as u8, (x * y) as u8]));
    let [mut png, mut jpeg] = [const { Vec::new() }; 2].map(std::io::Cursor::new);
    picture.write_to(&mut png, image::ImageFormat::Png).expect("writes");
    picture.write_to(&mut jpeg, image::ImageFormat::Jpeg).expect("writes");
    let zeros = json!({ "id": "z", "inputs": [{ "name": "x", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": vec![0.25; 784] }] });
    let name = get(server.address, "/v2/models/m0").json()["inputs"][0]["name"].clone();
    let zeros = {
        let mut request = zeros;
        request["inputs"][0]["name"] = name;
        request.to_string()
    };
    let (cut, json_bytes) = binary_request(&file, &[1, 1, 28, 28], &images(1, 4));
    let json_bytes: usize = json_bytes.parse().expect("a number");
    let lengths = [json_bytes, json_bytes - 1, 0, cut.len(), cut.len() + 1].map(|length| length.to_string());
    for length in lengths.iter().map(String::as_str).chain(["x", "-1", ""]) {
        for body in [&cut[..], &cut[..json_bytes], &cut[..cut.len() - 1], b""] {
            let ask = |path: &str| ask(server.address, "POST", path, &[("inference-header-content-length", length)], body);
            let (ours, theirs) = (ask("/v2/models/m0/infer"), ask("/apps/m0/v2/models/m0/infer"));
            assert_eq!((ours.status, &ours.body), (theirs.status, &theirs.body), "{length} of {}", body.len());
            assert_eq!(ours.status == 200, length.parse() == Ok(json_bytes) && body.len() == cut.len(), "{}", ours.text());
        }
    }
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8]);
    let photo = [("content-type", "image/png"), ("inference-header-content-length", "7")];
    let cases: [Case<'_>; 11] = [
        ("GET", "/v2/models/m0", &[], b""),
        ("GET", "/v2/models", &[], b""),
        ("GET", "/v1/health/ready", &[], b""),
        ("POST", "/v2/models/m0/infer", &[], zeros.as_bytes()),
        ("POST", "/v2/models/m0/infer", &[("content-type", "image/png")], png.get_ref()),
        ("POST", "/v2/models/m0/infer", &photo, png.get_ref()),
        ("POST", "/v2/models/m0/classify", &photo, png.get_ref()),
        ("POST", "/v2/models/m0/classify?top=10", &[], jpeg.get_ref()),
        ("POST", "/v2/models/m0/infer", &[], b"{\"inputs\":[]}"),
        ("POST", "/v2/models/m0/classify", &[], b"no photo"),
        ("GET", "/v2/models/m0/infer", &[], b""),
    ];
    for (method, path, headers, body) in cases {
        let ours = ask(server.address, method, path, headers, body);
        let theirs = ask(server.address, method, &format!("/apps/m0{path}"), headers, body);
        assert_eq!((ours.status, ours.text()), (theirs.status, theirs.text()), "{method} {path}");
        assert_eq!(ours.header("content-type"), theirs.header("content-type"));
    }
}

#[test]
fn inputs_come_in_any_order() {
    let file = difference();
    let Some((server, _folder)) = serve(&[&file], |options, _| options.lend = true) else { return };
    let bytes = [1f32, 2.0, 10.0, 30.0].map(f32::to_le_bytes).concat();
    for (names, expected) in [(["a", "b"], [-9.0, -28.0]), (["b", "a"], [9.0, 28.0])] {
        let input = |name| json!({ "name": name, "shape": [2], "datatype": "FP32", "parameters": { "binary_data_size": 8 } });
        let header = json!({ "inputs": names.map(input) }).to_string();
        let (body, length) = ([header.as_bytes(), &bytes].concat(), header.len().to_string());
        let answer = ask(server.address, "POST", "/apps/m0/v2/models/m0/infer", &[("inference-header-content-length", &length)], &body);
        assert_eq!(answer.json()["outputs"][0]["data"], json!(expected), "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn elements_of_others_are_read_at_any_address() {
    let pool = Pool::new(1, (1, Duration::ZERO), Arc::default(), Arc::default()).expect("a thread");
    let model = Arc::new(Model::new("m", &adder(1.0)).expect("valid"));
    let bytes = [0.5f32, -2.0].map(f32::to_le_bytes).concat();
    for start in 0..9 {
        let memory = AlignedBytes::copy_of(&[&[7; 9][..start], &bytes].concat()).expect("memory");
        let view = TensorView::new(DType::F32, &[1, 2], &memory[start..]).expect("fits");
        let result = pool.infer_borrowed(&model, &[view]).await.expect("it runs");
        assert_eq!(result[0].bytes, [1.5f32, -1.0].map(f32::to_le_bytes).concat(), "at {start}");
    }
}

#[test]
fn requests_leave_nothing_behind() {
    let file = adder(1.0);
    let Some((server, _folder)) = serve(&[&file], |options, _| options.lend = false) else { return };
    let request = |x: f32| json!({ "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "FP32", "data": [x, 0] }] }).to_string();
    for x in 0..20u8 {
        let answer = post(server.address, "/apps/m0/v2/models/m0/infer", request(f32::from(x)).as_bytes());
        assert_eq!(answer.json()["outputs"][0]["data"], json!([f32::from(x) + 1.0, 1.0]));
        // One that is refused midway, in an instance whose memory the next one gets.
        assert_eq!(post(server.address, "/apps/m0/v2/models/m0/infer", b"{\"inputs\":[{").status, 400);
    }
}

#[test]
fn models_that_guests_hand_over_stay_within_their_bytes() {
    let files = [fashion(false), fashion(true)];
    // Room for one of them.
    let most = files[0].len().max(files[1].len());
    let Some((server, _folder)) = serve(&[&files[0], &files[1]], |options, _| options.lend_bytes = most) else { return };
    for round in 0..3 {
        for (index, file) in files.iter().enumerate() {
            let (shape, data) = ([1, 1, 28, 28], images(1, round));
            let (body, length) = binary_request(file, &shape, &data);
            let path = format!("/apps/m{index}/v2/models/m{index}/infer");
            let answer = ask(server.address, "POST", &path, &[("inference-header-content-length", &length)], &body);
            assert_eq!(answer.binary(), native(file, &shape, &data));
        }
    }
    // Without room, guests compute by themselves.
    let Some((server, _folder)) = serve(&[&files[0]], |options, _| options.lend_bytes = 10) else { return };
    let (body, length) = binary_request(&files[0], &[1, 1, 28, 28], &images(1, 9));
    let answer = ask(server.address, "POST", "/apps/m0/v2/models/m0/infer", &[("inference-header-content-length", &length)], &body);
    assert_eq!(answer.binary(), native(&files[0], &[1, 1, 28, 28], &images(1, 9)));
    assert_eq!(server.metric("quaver_native_batch_count"), 0.0);
}

#[test]
fn a_compiled_component_is_kept() {
    let file = adder(2.0);
    let cached = |options: &mut Options, folder: &Path| options.cache = Some(folder.join("cache"));
    let Some((server, folder)) = serve(&[&file], cached) else { return };
    let ask = |server: &Running| {
        let request = json!({ "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2] }] }).to_string();
        post(server.address, "/apps/m0/v2/models/m0/infer", request.as_bytes()).json()["outputs"][0]["data"].clone()
    };
    assert_eq!(ask(&server), json!([3.0, 4.0]));
    drop(server);
    let mut again = options();
    again.sources = vec![source("m0", &folder.path().join("m0.wasm"))];
    again.cache = Some(folder.path().join("cache"));
    assert_eq!(ask(&Running::start(again)), json!([3.0, 4.0]));
    assert_eq!(std::fs::read_dir(folder.path().join("cache")).expect("a folder").count(), 2, "code and digest of one component");
}

#[test]
fn wasi_nn_runs_models_that_are_served() {
    let Some(guest) = built("quaver_test_guest.wasm") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = fashion(false);
    std::fs::write(folder.path().join("fashion.qvr"), &file).expect("writable");
    std::fs::write(folder.path().join("guest.wasm"), quaver_componentize::encode(&guest).expect("a component")).expect("writable");
    let server = Running::start(Options { folder: Some(folder.path().to_owned()), ..options() });
    let data = images(2, 5);
    let body: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
    let run = |name: &str, shape: &str| ask(server.address, "POST", &format!("/apps/guest/nn/{name}"), &[("x-shape", shape)], &body);
    let answer = run("fashion", "2,1,28,28");
    assert_eq!((answer.status, answer.body), (200, native(&file, &[2, 1, 28, 28], &data)));
    for (name, shape) in [("none", "2,1,28,28"), ("fashion", "2,28,28"), ("fashion", "9,1,28,28")] {
        let answer = run(name, shape);
        assert_eq!(answer.status, 400, "{name} {shape}");
        assert!(!answer.body.is_empty());
    }
}

#[test]
fn what_cannot_be_put_in_is_refused() {
    let Some(template) = built("quaver_component.wasm") else { return };
    let file = adder(1.0);
    let refused =
        |template: &[u8], file: &[u8], name: &str| quaver_componentize::componentize(template, file, name).expect_err("wrong").to_string();
    assert!(refused(&template, b"no model", "m").contains("not a valid .qvr file"));
    assert!(refused(&template, &file[..file.len() - 1], "m").contains("not a valid .qvr file"));
    assert!(refused(b"\0asm\x01\0\0\0", &file, "m").contains("cargo xtask wasm"));
    assert!(refused(&template, &file, "a/b").contains("'a/b'"));
}
