//! What a client does wrong is answered with a status that says so, and others are served meanwhile.

use std::time::Duration;

use serde_json::json;

use crate::client::{Client, ask, post, request};
use crate::models::adder;
use crate::running::{Running, options, source};

/// A server of one model, with a little patience.
fn serve() -> (Running, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("add.qvr");
    std::fs::write(&path, adder(1.0)).expect("writable");
    let mut options = options();
    options.sources = vec![source("add", &path)];
    options.limits.body_time = Duration::from_millis(300);
    options.limits.head_time = Duration::from_millis(300);
    options.limits.body = 1 << 20;
    (Running::start(options), folder)
}

fn good() -> Vec<u8> {
    json!({ "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2] }] }).to_string().into_bytes()
}

const PATH: &str = "/v2/models/add/infer";

#[track_caller]
fn still_serves(server: &Running) {
    assert_eq!(post(server.address, PATH, &good()).json()["outputs"][0]["data"], json!([2.0, 3.0]));
}

#[test]
fn stalled_heads_and_bodies_end() {
    let (server, _folder) = serve();
    let whole = request("POST", PATH, &[], &good());
    let mut head = Client::connect(server.address);
    head.write(b"POST /v2/models/add/infer HT").expect("a socket");
    let mut body = Client::connect(server.address);
    body.write(&whole[..whole.len() - 5]).expect("a socket");
    still_serves(&server);
    let refused = body.read().expect("the connection holds").expect("an answer");
    assert_eq!((refused.status, refused.header("connection")), (408, Some("close")));
    assert_eq!(body.read().expect("it is closed"), None);
    // hyper answers a head that doesn't come with 408, or closes.
    assert!(head.read().is_ok_and(|answer| answer.is_none_or(|answer| answer.status == 408)));
    still_serves(&server);
}

#[test]
fn half_a_body_is_refused() {
    let (server, _folder) = serve();
    let whole = request("POST", PATH, &[], &good());
    let mut client = Client::connect(server.address);
    client.write(&whole[..whole.len() - 5]).expect("a socket");
    client.finish();
    let answer = client.read().ok().flatten();
    assert!(answer.is_none_or(|answer| answer.status == 400));
    still_serves(&server);
}

#[test]
fn large_bodies_are_refused_before_they_are_read() {
    let (server, _folder) = serve();
    let mut client = Client::connect(server.address);
    client.write(b"POST /v2/models/add/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 104857600\r\n\r\n").expect("a socket");
    let answer = client.read().expect("the connection holds").expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));

    // Without a length, it is refused once there is too much of it.
    let mut client = Client::connect(server.address);
    client.write(b"POST /v2/models/add/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").expect("a socket");
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let written = (0..1600).take_while(|_| client.write(&chunk).is_ok()).count();
    assert!(written < 1600, "the server doesn't read 100 MB");
    still_serves(&server);
}

#[test]
fn bodies_share_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("add.qvr");
    std::fs::write(&path, adder(1.0)).expect("writable");
    let mut options = options();
    options.sources = vec![source("add", &path)];
    (options.limits.body, options.limits.bodies, options.limits.queue_time) = (1 << 20, 1 << 20, Duration::from_millis(50));
    let server = Running::start(options);
    // It takes all the room, and stalls.
    let mut slow = Client::connect(server.address);
    slow.write(b"POST /v2/models/add/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 1048576\r\n\r\n").expect("a socket");
    crate::running::until("there is no room", || post(server.address, PATH, &good()).status == 503);
    drop(slow);
    crate::running::until("there is room again", || post(server.address, PATH, &good()).status == 200);
}

#[test]
fn wrong_requests_are_refused_with_the_reason() {
    let (server, _folder) = serve();
    let cases: [(&str, &[u8], u16, &str); 7] = [
        (PATH, b"{\"inputs\":", 400, "JSON"),
        (PATH, b"", 400, "JSON"),
        (PATH, br#"{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}"#, 400, "[N,2]"),
        (PATH, br#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":[1,2]}]}"#, 400, "FP32"),
        (PATH, br#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1]}]}"#, 400, "2 elements"),
        (PATH, br#"{"inputs":[{"name":"x","shape":[4611686018427387904,2],"datatype":"FP32","data":[1,2]}]}"#, 400, "shape"),
        ("/v2/models/add/classify", b"\xff\xd8\xff\xe0 no photo", 400, "photo"),
    ];
    for (path, body, status, word) in cases {
        let answer = post(server.address, path, body);
        let text = answer.text();
        assert_eq!(answer.status, status, "{text}");
        assert!(answer.json()["error"].as_str().is_some_and(|error| error.contains(word)), "{text} should speak of {word}");
    }
    // More samples than memory can hold: the shape fits, so the elements would have to come.
    let many = br#"{"inputs":[{"name":"x","shape":[1000000000,2],"datatype":"FP32","data":[1,2]}]}"#;
    assert_eq!(post(server.address, PATH, many).status, 400);
    let wrong = [("inference-header-content-length", "9999")];
    assert_eq!(ask(server.address, "POST", PATH, &wrong, b"{}").status, 400);
    still_serves(&server);
}

#[test]
fn what_is_no_http_harms_nothing() {
    let (server, _folder) = serve();
    for bytes in [&b"\0\0\0\0\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"POST /v2/models/add/infer HTTP/1.1\r\ncontent-length: -1\r\n\r\n"]
    {
        let answer = Client::connect(server.address).ask(bytes).ok().flatten();
        assert!(answer.is_none_or(|answer| answer.status == 400));
    }
    still_serves(&server);
}

#[test]
fn clients_that_go_away_are_forgotten() {
    let (server, _folder) = serve();
    for _ in 0..100 {
        let mut client = Client::connect(server.address);
        client.write(&request("POST", PATH, &[], &good())).expect("a socket");
    }
    crate::running::until("requests end", || server.metric("quaver_running ") <= 1.0);
    still_serves(&server);
}
