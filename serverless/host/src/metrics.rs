//! Numbers for Prometheus.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    target: String,
    status: u16,
}

/// Whom it is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Target {
    target: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fault {
    target: String,
    fault: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Load {
    outcome: Outcome,
}

/// How the loading of a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// It is served now.
    Served,
    /// It can't be, and what was served before still is.
    Failed,
    /// It is gone.
    Removed,
}

/// All numbers.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Target, Histogram, fn() -> Histogram>,
    faults: Family<Fault, Counter>,
    loads: Family<Load, Counter>,
    instantiation: Histogram,
    waited: Histogram,
    batch: Histogram,
    /// Requests that are being answered.
    pub running: Gauge,
    /// Connections that are open.
    pub connections: Gauge,
}

/// From 50 us to about 13 s.
fn seconds() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(50e-6, 2.0, 19))
}

impl Default for Metrics {
    /// All at 0.
    fn default() -> Self {
        let mut this = Self {
            registry: Registry::with_prefix("quaver"),
            requests: Family::default(),
            seconds: Family::new_with_constructor(seconds as fn() -> Histogram),
            faults: Family::default(),
            loads: Family::default(),
            instantiation: Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(5e-6, 2.0, 16)),
            waited: seconds(),
            batch: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]),
            running: Gauge::default(),
            connections: Gauge::default(),
        };
        let registry = &mut this.registry;
        registry.register("requests", "Requests that were answered, by model or component and status", this.requests.clone());
        registry.register_with_unit("request", "Time from a request's head to its answer", Unit::Seconds, this.seconds.clone());
        registry.register("guest_faults", "Guests that were stopped or failed, by what went wrong", this.faults.clone());
        registry.register("loads", "Files that were loaded, or could not be", this.loads.clone());
        registry.register_with_unit("instantiation", "Time to make an instance", Unit::Seconds, this.instantiation.clone());
        registry.register_with_unit("native_wait", "Time that requests wait for a thread", Unit::Seconds, this.waited.clone());
        registry.register("native_batch", "Samples of a native run", this.batch.clone());
        registry.register("running", "Requests that are being answered", this.running.clone());
        registry.register("connections", "Connections that are open", this.connections.clone());
        this
    }
}

impl Metrics {
    /// A request was answered.
    pub fn answered(&self, target: &str, status: u16, time: Duration) {
        self.requests.get_or_create(&Answered { target: target.to_owned(), status }).inc();
        self.seconds.get_or_create(&Target { target: target.to_owned() }).observe(time.as_secs_f64());
    }

    /// A guest failed.
    pub fn fault(&self, target: &str, fault: &str) {
        self.faults.get_or_create(&Fault { target: target.to_owned(), fault: fault.to_owned() }).inc();
    }

    /// A file was loaded, or could not be.
    pub fn loaded(&self, outcome: Outcome) {
        self.loads.get_or_create(&Load { outcome }).inc();
    }

    /// An instance was made.
    pub fn instantiated(&self, time: Duration) {
        self.instantiation.observe(time.as_secs_f64());
    }

    /// A request waited for a thread.
    pub fn waited(&self, time: Duration) {
        self.waited.observe(time.as_secs_f64());
    }

    /// A native run.
    pub fn batch(&self, samples: usize) {
        self.batch.observe(samples as f64);
    }

    /// As text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into memory can't fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
