//! What a component does wrong harms only its own request, and is answered with a status that says so.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::{get, post};
use crate::running::{Running, built, options, source};

/// A server of two components of the same kind, of different tenants.
fn serve(change: impl FnOnce(&mut quaver_serverless::Options)) -> Option<(Running, tempfile::TempDir)> {
    let guest = built("quaver_test_guest.wasm")?;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("guest.wasm");
    write(&path, &guest);
    let mut options = options();
    options.sources = vec![source("bad", &path), source("good", &path)];
    options.limits.guest_time = Duration::from_secs(2);
    options.limits.answer = 1 << 20;
    change(&mut options);
    Some((Running::start(options), folder))
}

fn write(path: &Path, module: &[u8]) {
    std::fs::write(path, quaver_componentize::encode(module).expect("a module of a component")).expect("writable");
}

#[test]
fn a_guest_answers() {
    let Some((server, _folder)) = serve(|_| {}) else { return };
    let body: Vec<u8> = (0..200_000u32).map(|x| x as u8).collect();
    let answer = post(server.address, "/apps/good/echo", &body);
    assert_eq!((answer.status, answer.body), (200, body));
    assert_eq!(get(server.address, "/apps/good/none").status, 404);
    assert!(server.metric("quaver_instantiation_seconds_count") >= 2.0);
}

#[test]
fn each_fault_has_its_status_and_harms_no_other() {
    let Some((server, _folder)) = serve(|_| {}) else { return };
    let at = server.address;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut asked = 0;
            while !done.load(Ordering::Relaxed) || asked < 10 {
                let answer = post(at, "/apps/good/echo", b"hello");
                assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..]));
                asked += 1;
            }
        });
        let faults = [
            ("/apps/bad/loop", 504, "time"),
            ("/apps/bad/allocate", 502, "trap"),
            ("/apps/bad/trap", 502, "trap"),
            ("/apps/bad/silent", 502, "silent"),
            ("/apps/bad/late", 502, "trap"),
            ("/apps/bad/endless", 502, "long"),
        ];
        for (path, status, fault) in faults {
            let before = server.metric(&format!("quaver_guest_faults_total{{target=\"bad\",fault=\"{fault}\"}}"));
            let answer = get(at, path);
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
            assert!(answer.json()["error"].is_string(), "{path}");
            let after = server.metric(&format!("quaver_guest_faults_total{{target=\"bad\",fault=\"{fault}\"}}"));
            assert_eq!(after, before + 1.0, "{path} is counted as {fault}");
        }
        done.store(true, Ordering::Relaxed);
        others.join().expect("the others are unharmed");
    });
}

#[test]
fn guests_that_loop_at_once_leave_room_for_others() {
    let Some((server, _folder)) = serve(|options| options.limits.concurrent = 4) else { return };
    let at = server.address;
    std::thread::scope(|scope| {
        // More than there are threads, and than may run at once.
        let looping: Vec<_> = (0..8).map(|_| scope.spawn(move || get(at, "/apps/bad/loop").status)).collect();
        for _ in 0..10 {
            assert_eq!(post(at, "/apps/good/echo", b"x").status, 200);
        }
        for status in looping {
            assert_eq!(status.join().expect("an answer"), 504);
        }
    });
}

#[test]
fn what_is_beyond_the_queue_is_refused() {
    let change = |options: &mut quaver_serverless::Options| (options.limits.concurrent, options.limits.queue) = (1, 1);
    let Some((server, _folder)) = serve(change) else { return };
    let at = server.address;
    std::thread::scope(|scope| {
        let looping: Vec<_> = (0..6).map(|_| scope.spawn(move || get(at, "/apps/bad/loop"))).collect();
        let answers: Vec<_> = looping.into_iter().map(|thread| thread.join().expect("an answer")).collect();
        let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
        assert!(!refused.is_empty(), "one runs and one waits");
        assert!(refused.iter().all(|answer| answer.header("retry-after").is_some()));
        assert!(answers.iter().all(|answer| [503, 504].contains(&answer.status)));
        assert!(answers.iter().any(|answer| answer.status == 504));
    });
    assert_eq!(post(at, "/apps/good/echo", b"x").status, 200);
}

#[test]
fn a_guest_reaches_no_other_server() {
    let Some((server, _folder)) = serve(|_| {}) else { return };
    let answer = get(server.address, "/apps/bad/outgoing");
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("HttpRequestDenied"), "{}", answer.text());
}

#[test]
fn instances_do_not_pile_up() {
    let Some((server, _folder)) = serve(|options| options.limits.instances = 2) else { return };
    for n in 0..50 {
        let path = if n % 2 == 0 { "/apps/bad/trap" } else { "/apps/good/echo" };
        assert_eq!(post(server.address, path, b"x").status, if n % 2 == 0 { 502 } else { 200 }, "request {n}");
    }
}
