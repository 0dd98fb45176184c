//! Models by the protocol: metadata, results with native's bytes, in batches and alone.

use std::time::Duration;

use quaver_serverless::Options;
use serde_json::json;

use crate::client::{ask, get, post};
use crate::models::{adder, binary_request, fashion, images, native};
use crate::running::{Running, options, source};

/// A server of two models, and the folder with their files.
fn serve(change: impl FnOnce(&mut Options)) -> (Running, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("add.qvr"), adder(10.0)).expect("writable");
    std::fs::write(folder.path().join("other.qvr"), fashion(false)).expect("writable");
    let mut options = options();
    options.sources = vec![source("add", &folder.path().join("add.qvr")), source("fashion", &folder.path().join("other.qvr"))];
    change(&mut options);
    (Running::start(options), folder)
}

#[test]
fn a_server_says_what_it_has() {
    let (server, _folder) = serve(|_| {});
    let at = server.address;
    assert_eq!(get(at, "/v2").json()["name"], "quaver");
    assert_eq!(get(at, "/v2/health/live").json(), json!({ "live": true }));
    assert_eq!(get(at, "/v1/health/ready").json(), json!({ "ready": true }));
    assert_eq!(get(at, "/v2/models").json(), json!({ "models": ["add", "fashion"] }));
    assert_eq!(get(at, "/v2/models/add/ready").status, 200);
    let about = get(at, "/v2/models/add").json();
    assert_eq!(about["inputs"], json!([{ "name": "x", "datatype": "FP32", "shape": [-1, 2] }]));
    for (path, status) in [("/v2/models/none", 404), ("/apps/none/x", 404), ("/", 404), ("/v2/models/add/infer", 405)] {
        let answer = get(at, path);
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.json()["error"].is_string(), "{path}");
    }
}

#[test]
fn json_goes_in_and_out() {
    let (server, _folder) = serve(|_| {});
    let request = json!({ "id": "1", "inputs": [{ "name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4.5] }] });
    let answer = post(server.address, "/v1/models/add/infer", request.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expected = json!([{ "name": "y", "datatype": "FP32", "shape": [2, 2], "data": [11.0, 12.0, 13.0, 14.5] }]);
    assert_eq!((&answer.json()["id"], &answer.json()["outputs"]), (&json!("1"), &expected));
}

#[test]
fn results_are_natives_alone_and_in_batches() {
    let file = fashion(false);
    // With a delay that requests don't end before, they can only be answered in one batch.
    for (batch, delay) in [(1, Duration::ZERO), (8, Duration::from_secs(3600))] {
        let (server, _folder) = serve(|options| (options.max_batch, options.batch_delay) = (batch, delay));
        let at = server.address;
        std::thread::scope(|scope| {
            for seed in 0..8 {
                let file = &file;
                scope.spawn(move || {
                    let (shape, data) = ([1, 1, 28, 28], images(1, seed));
                    let (body, length) = binary_request(file, &shape, &data);
                    let header = [("inference-header-content-length", length.as_str())];
                    let answer = ask(at, "POST", "/v2/models/fashion/infer", &header, &body);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    assert_eq!(answer.binary(), native(file, &shape, &data), "request {seed}, batches of {batch}");
                });
            }
        });
        let runs = server.metric("quaver_native_batch_count");
        assert_eq!(runs, if batch == 1 { 8.0 } else { 1.0 });
    }
}

#[test]
fn requests_of_several_samples_share_a_batch() {
    let file = fashion(false);
    let (server, _folder) = serve(|options| (options.max_batch, options.batch_delay) = (8, Duration::from_secs(3600)));
    let at = server.address;
    std::thread::scope(|scope| {
        for (seed, rows) in [(1, 3), (2, 1), (3, 4)] {
            let file = &file;
            scope.spawn(move || {
                let (shape, data) = ([rows, 1, 28, 28], images(rows, seed));
                let (body, length) = binary_request(file, &shape, &data);
                let answer = ask(at, "POST", "/v2/models/fashion/infer", &[("inference-header-content-length", &length)], &body);
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(answer.binary(), native(file, &shape, &data), "{rows} samples");
            });
        }
    });
    assert_eq!(server.metric("quaver_native_batch_sum"), 8.0);
    assert_eq!(server.metric("quaver_native_batch_count"), 1.0);
}

#[test]
fn a_photo_is_classified() {
    let (server, _folder) = serve(|_| {});
    let picture = image::GrayImage::from_fn(40, 30, |x, y| image::Luma([(x * 5 + y) as u8]));
    for (format, content_type) in [(image::ImageFormat::Png, "image/png"), (image::ImageFormat::Jpeg, "image/jpeg")] {
        let mut file = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut file, format).expect("writes");
        let answer = ask(server.address, "POST", "/v2/models/fashion/classify?top=3", &[("content-type", content_type)], file.get_ref());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let classes = answer.json()["classes"].as_array().expect("classes").clone();
        assert_eq!(classes.len(), 3);
        assert!(classes.iter().all(|class| class["label"].is_string() && class["probability"].as_f64().is_some_and(|p| p <= 1.0)));
    }
}
