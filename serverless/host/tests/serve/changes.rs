//! What changes while requests come: a model, a component, and that the server ends. No request is lost but those that are refused
//! with a status that says so.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::client::{Client, get, post, request};
use crate::models::adder;
use crate::running::{Running, built, options, until};

const MODEL: &str = "/v2/models/add/infer";

fn good() -> Vec<u8> {
    json!({ "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0, 0] }] }).to_string().into_bytes()
}

/// Puts a file there at once.
fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).expect("writable");
    std::fs::rename(new, path).expect("writable");
}

/// Asks again and again from four threads while `change` is done; every answer is checked.
fn under_load(server: &Running, path: &str, check: impl Fn(u16, &str) + Sync, change: impl FnOnce()) -> usize {
    let (done, address) = (AtomicBool::new(false), server.address);
    std::thread::scope(|scope| {
        let ask = || {
            let (mut client, mut count) = (Client::connect(address), 0);
            while !done.load(Ordering::Relaxed) {
                let answer = client.ask(&request("POST", path, &[], &good())).expect("the connection holds").expect("an answer");
                check(answer.status, &answer.text());
                count += 1;
            }
            count
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        change();
        done.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("all is well")).sum()
    })
}

fn served(folder: &Path) -> Running {
    let mut options = options();
    options.folder = Some(folder.to_owned());
    Running::start(options)
}

#[test]
fn a_model_is_replaced_under_load() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("add.qvr");
    replace(&path, &adder(0.0));
    let server = served(folder.path());
    let value = || post(server.address, MODEL, &good()).json()["outputs"][0]["data"][0].as_f64();
    let check = |status: u16, text: &str| assert_eq!(status, 200, "{text}");
    let asked = under_load(&server, MODEL, check, || {
        for by in 1..=10u8 {
            replace(&path, &adder(f32::from(by)));
            until("the new one is served", || value() == Some(f64::from(by)));
        }
        // What is broken isn't served, and what was still is.
        let before = server.metric("quaver_loads_total{outcome=\"Failed\"}");
        replace(&path, b"broken");
        until("it was tried", || server.metric("quaver_loads_total{outcome=\"Failed\"}") > before);
        assert_eq!(value(), Some(10.0));
    });
    assert!(asked > 10, "there was load");
}

#[test]
fn a_component_is_replaced_under_load() {
    let Some(template) = built("quaver_component.wasm") else { return };
    let component = |by: f32| quaver_componentize::componentize(&template, &adder(by), "add").expect("a component");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.wasm");
    replace(&path, &component(0.0));
    let server = served(folder.path());
    let at = "/apps/app/v2/models/add/infer";
    let value = || post(server.address, at, &good()).json()["outputs"][0]["data"][0].as_f64();
    let check = |status: u16, text: &str| assert_eq!(status, 200, "{text}");
    let asked = under_load(&server, at, check, || {
        for by in 1..=2u8 {
            replace(&path, &component(f32::from(by)));
            until("the new one is served", || value() == Some(f64::from(by)));
        }
    });
    assert!(asked > 2, "there was load");
}

#[test]
fn files_come_and_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = served(folder.path());
    assert_eq!(get(server.address, "/v2/models").json(), json!({ "models": [] }));
    replace(&folder.path().join("add.qvr"), &adder(3.0));
    until("it is served", || post(server.address, MODEL, &good()).status == 200);
    std::fs::remove_file(folder.path().join("add.qvr")).expect("there");
    until("it is gone", || post(server.address, MODEL, &good()).status == 404);
}

#[test]
fn the_end_under_load_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    replace(&folder.path().join("add.qvr"), &adder(1.0));
    let mut server = served(folder.path());
    let address = server.address;
    let told = AtomicBool::new(false);
    // Of each client, so that it ends with all of them at work.
    let answered: [AtomicUsize; 4] = Default::default();
    std::thread::scope(|scope| {
        for count in &answered {
            let mut client = Client::connect(address);
            let told = &told;
            scope.spawn(move || {
                loop {
                    match client.ask(&request("POST", MODEL, &[], &good())) {
                        Ok(Some(answer)) if answer.status == 200 => count.fetch_add(1, Ordering::Relaxed),
                        Ok(Some(answer)) => {
                            assert_eq!(answer.status, 503, "{}", answer.text());
                            return assert!(told.load(Ordering::Acquire), "only once it was told to end");
                        }
                        // A connection that is idle may be closed while a request is on its way; a client asks again elsewhere then.
                        Ok(None) | Err(_) => return assert!(told.load(Ordering::Acquire), "only once it was told to end"),
                    };
                }
            });
        }
        until("there is load", || answered.iter().all(|count| count.load(Ordering::Relaxed) > 5));
        told.store(true, Ordering::Release);
        server.stop();
    });
    server.wait();
    assert!(std::net::TcpStream::connect(address).is_err(), "it has ended");
}

#[test]
fn what_was_begun_is_ended() {
    let Some(guest) = built("quaver_test_guest.wasm") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    replace(&folder.path().join("guest.wasm"), &quaver_componentize::encode(&guest).expect("a component"));
    let mut options = options();
    options.folder = Some(folder.path().to_owned());
    options.limits.guest_time = std::time::Duration::from_millis(700);
    let mut server = Running::start(options);
    let mut slow = Client::connect(server.address);
    slow.write(&request("GET", "/apps/guest/loop", &[], b"")).expect("a socket");
    until("it runs", || server.metric("quaver_instantiation_seconds_count") >= 1.0);
    let mut open = Client::connect(server.address);
    assert_eq!(open.ask(&request("GET", "/v2/health/ready", &[], b"")).expect("holds").expect("an answer").status, 200);
    server.stop();
    until("new requests are refused", || {
        let answer = open.ask(&request("GET", "/v2/health/ready", &[], b""));
        answer.ok().flatten().is_none_or(|answer| answer.status == 503)
    });
    let answer = slow.read().expect("the connection holds").expect("an answer");
    assert_eq!(answer.status, 504, "it was let run until its own deadline");
    server.wait();
}
