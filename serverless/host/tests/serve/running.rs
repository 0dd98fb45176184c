//! A server in this process, on a port of its own, and what it serves.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quaver_serverless::{Limits, Options, Server, Source};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::get;

/// A server that runs until it is dropped.
pub struct Running {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<JoinHandle<()>>,
    runtime: Runtime,
}

/// Options with short limits.
pub fn options() -> Options {
    let limits = Limits { guest_time: Duration::from_secs(60), instances: 16, guest_memory: 64 << 20, ..Limits::default() };
    Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        reload: Duration::from_millis(20),
        threads: 2,
        limits,
        ..Options::default()
    }
}

/// A file under a name.
pub fn source(name: &str, path: &Path) -> Source {
    Source { name: Some(name.to_owned()), path: path.to_owned() }
}

impl Running {
    pub fn start(options: Options) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let server = runtime.block_on(Server::bind(options)).unwrap_or_else(|error| panic!("{error}"));
        let address = server.address().expect("it listens");
        let (stop, told) = oneshot::channel();
        let ended = runtime.spawn(server.run(async move { drop(told.await) }));
        Self { address, stop: Some(stop), ended: Some(ended), runtime }
    }

    /// Tells it to end, as SIGTERM does.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) {
        if let Some(ended) = self.ended.take() {
            self.runtime.block_on(ended).expect("it ends by itself");
        }
    }

    /// The value of a line of `/metrics` that begins so; 0 where there is none.
    pub fn metric(&self, begin: &str) -> f64 {
        let text = get(self.address, "/metrics").text();
        let line = text.lines().find(|line| line.starts_with(begin));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        if !std::thread::panicking() {
            self.wait();
        }
    }
}

/// Waits until something is so, or a minute has gone by.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}, but it isn't");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What `cargo xtask wasm` builds; where it isn't there, the test is skipped, which `QUAVER_REQUIRE_WASM` and `CI` forbid.
pub fn built(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/wasm").join(name);
    if let Ok(bytes) = std::fs::read(&path) {
        return Some(bytes);
    }
    let required = ["QUAVER_REQUIRE_WASM", "CI"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(!required, "'{}' isn't built; run `cargo xtask wasm`", path.display());
    println!("skipped: '{}' isn't built; `cargo xtask wasm` does it", path.display());
    None
}
