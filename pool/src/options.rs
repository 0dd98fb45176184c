//! How a pool is made. It says nothing about where threads run: that is for the hook to decide.

use std::fmt;
use std::sync::Arc;

/// How a [`Pool`](super::Pool) is made.
#[derive(Clone)]
pub struct PoolOptions {
    /// Threads, the caller's included; 0 is taken as 1.
    pub threads: usize,
    /// Called by each worker when it starts, with its index: 1 to `threads` − 1, as the caller's thread is 0. This is the
    /// place to pin it to a core or a NUMA node. The pool can be used before it is done; if it panics, that worker ends and the
    /// others do its work.
    pub on_start: Option<Arc<dyn Fn(usize) + Send + Sync>>,
}

impl Default for PoolOptions {
    /// One thread, no hook.
    fn default() -> Self {
        Self { threads: 1, on_start: None }
    }
}

impl fmt::Debug for PoolOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolOptions").field("threads", &self.threads).field("on_start", &self.on_start.is_some()).finish()
    }
}
