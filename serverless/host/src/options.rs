//! What is served, and every limit.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A server's options.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Files, `.qvr` or components.
    pub sources: Vec<Source>,
    /// A folder whose `.qvr` files and components (`.wasm`) are served by their names, as they come and go.
    pub folder: Option<PathBuf>,
    /// How often files are looked at for changes; never, where that is zero.
    pub reload: Duration,
    /// Threads that compute natively.
    pub threads: usize,
    /// Most samples of a batch.
    pub max_batch: usize,
    /// How long a request may wait for others to share its batch, while threads are free.
    pub batch_delay: Duration,
    /// A folder for compiled components, this user's own; without one they are compiled at each start.
    pub cache: Option<PathBuf>,
    /// Whether components may use this machine's kernels.
    pub lend: bool,
    /// Most bytes of models that components hand over.
    pub lend_bytes: usize,
    /// Limits of each request.
    pub limits: Limits,
    /// How long requests have to end, once the server is told to.
    pub drain: Duration,
}

/// A file, and the name that requests call it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name; the file's without its suffix, where there is none.
    pub name: Option<String>,
    /// The file.
    pub path: PathBuf,
}

/// What requests may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// How long the head of a request may take to arrive.
    pub head_time: Duration,
    /// How long a body may take to arrive.
    pub body_time: Duration,
    /// Bytes of a body.
    pub body: usize,
    /// Bytes of the bodies of all requests at once.
    pub bodies: usize,
    /// Bytes of a guest's answer.
    pub answer: usize,
    /// Requests at once, for each model and component.
    pub concurrent: usize,
    /// Requests that wait for their turn, for each of them; those beyond are refused.
    pub queue: usize,
    /// How long they wait at most.
    pub queue_time: Duration,
    /// How long a guest may take for an answer.
    pub guest_time: Duration,
    /// Bytes of a guest's memory.
    pub guest_memory: usize,
    /// Elements of a guest's tables.
    pub guest_table: usize,
    /// Instances of guests at once, of all components together.
    pub instances: u32,
}

impl Default for Options {
    /// On port 8080 of this machine only, with a thread a processor.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            sources: Vec::new(),
            folder: None,
            reload: Duration::from_secs(1),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            max_batch: 8,
            batch_delay: Duration::ZERO,
            cache: None,
            lend: true,
            lend_bytes: 512 << 20,
            limits: Limits::default(),
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            body: 32 << 20,
            bodies: 1 << 30,
            answer: 64 << 20,
            concurrent: 16,
            queue: 256,
            queue_time: Duration::from_secs(10),
            guest_time: Duration::from_secs(10),
            guest_memory: 512 << 20,
            guest_table: 20_000,
            instances: 64,
        }
    }
}
