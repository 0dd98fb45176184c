//! How many requests run and wait at once, for each model and component: what is beyond is refused at once rather than late.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Limits;

/// The way in.
#[derive(Debug)]
pub struct Gate {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    time: Duration,
}

/// A request that may run, until this is dropped.
#[derive(Debug)]
pub struct Pass {
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    /// With a request's limits.
    pub fn new(limits: &Limits) -> Self {
        let running = Arc::new(Semaphore::new(limits.concurrent));
        Self { running, waiting: AtomicUsize::new(0), queue: limits.queue, time: limits.queue_time }
    }

    /// Waits for a request's turn; `None`, where too many wait already, or it takes too long.
    pub async fn enter(&self) -> Option<Pass> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Some(Pass { _permit: permit });
        }
        let _waiting = Waiting::among(&self.waiting, self.queue)?;
        let permit = tokio::time::timeout(self.time, Arc::clone(&self.running).acquire_owned()).await.ok()?.ok()?;
        Some(Pass { _permit: permit })
    }
}

/// One that waits; counted until it is dropped, also where its client goes away.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(count: &'a AtomicUsize, most: usize) -> Option<Self> {
        let counted = Self(count);
        // Where it is one too many, dropping `counted` takes it back.
        (count.fetch_add(1, Ordering::Relaxed) < most).then_some(counted)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_beyond_is_refused() {
        let limits = Limits { concurrent: 1, queue: 1, queue_time: Duration::from_secs(600), ..Limits::default() };
        let gate = Gate::new(&limits);
        let first = gate.enter().await.expect("room");
        let mut second = std::pin::pin!(gate.enter());
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut second).await.is_err(), "it waits");
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 1);
        assert!(gate.enter().await.is_none(), "one waits already");
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 1);
        drop(first);
        let _second = second.await.expect("its turn");
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn waiting_ends() {
        let limits = Limits { concurrent: 1, queue: 1, queue_time: Duration::from_millis(1), ..Limits::default() };
        let gate = Gate::new(&limits);
        let _first = gate.enter().await.expect("room");
        assert!(gate.enter().await.is_none());
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 0);
    }
}
