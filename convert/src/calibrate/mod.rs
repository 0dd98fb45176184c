//! Calibration: the float graph runs on samples, observers watch its edges and choose a range for each.
//!
//! * [`burn_exec`] the float run · [`channels`] extents of channels · [`observer`] the observers · [`data`] where samples come from

pub mod burn_exec;
pub mod channels;
pub mod data;
pub mod observer;

pub use burn_exec::HostTensor;

use quaver_core::graph::{Network, ValueId};
use thiserror::Error;

use burn_exec::{FloatRunner, RunError};
use data::DataError;
use observer::{Observer, ObserverKind};

/// One sample: a tensor for each of the network's inputs, in order.
pub type Sample = Vec<HostTensor>;

/// Why calibration failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CalibrateError {
    /// The float run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The samples.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An input or output that is no number.
    #[error("value '{value}' became {found} on sample {sample}; check the sample's preprocessing and the float model")]
    NotFinite {
        /// The first value of the network that is none.
        value: String,
        /// What it became.
        found: f32,
        /// Index of the sample.
        sample: usize,
    },
    /// Nothing to learn from.
    #[error("there are no calibration samples; give at least one")]
    Empty,
}

/// The range of a value that became infinite, or no number.
pub const UNBOUNDED: (f32, f32) = (f32::MIN, f32::MAX);

/// What calibration found.
#[derive(Debug, Clone)]
pub struct Calibration {
    ranges: Vec<Option<(f32, f32)>>,
    /// Samples seen.
    pub samples: usize,
}

impl Calibration {
    /// The range chosen for a value, (min, max).
    pub fn range(&self, id: ValueId) -> Option<(f32, f32)> {
        self.ranges.get(id.index()).copied().flatten()
    }
}

/// Runs `network` on every sample; `kinds` says which observer watches a value, whose range is chosen for integers up to
/// `q_max`. `progress` is called with the number of samples done.
///
/// # Errors
/// [`CalibrateError`].
pub fn calibrate(
    network: &Network,
    samples: impl Iterator<Item = Result<Sample, CalibrateError>>,
    kinds: &dyn Fn(ValueId) -> ObserverKind,
    q_max: u8,
    progress: &mut dyn FnMut(usize),
) -> Result<Calibration, CalibrateError> {
    let runner = FloatRunner::new(network)?;
    let mut observers: Vec<Option<Box<dyn Observer>>> = network.graph.values.iter().map(|_| None).collect();
    let mut unbounded = vec![false; observers.len()];
    let mut done = 0;
    for sample in samples {
        let mut bad = None;
        let mut leaves = false;
        runner.run(&sample?, &mut |id, data, _| {
            let observer = observers[id.index()].get_or_insert_with(|| kinds(id).resolve(&network.graph, id).observer());
            let Some(&found) = data.iter().find(|x| !x.is_finite()) else { return observer.observe(data) };
            bad.get_or_insert((id, found));
            leaves |= network.graph.outputs.contains(&id) || network.graph.inputs.contains(&id);
            unbounded[id.index()] = true;
            let finite: Vec<f32> = data.iter().copied().filter(|x| x.is_finite()).collect();
            if !finite.is_empty() {
                observer.observe(&finite);
            }
        })?;
        // Masks are made of infinities, which a network gets rid of; but what comes in or out of it is real.
        if let (true, Some((id, found))) = (leaves, bad) {
            return Err(CalibrateError::NotFinite { value: network.graph.value(id).name.clone(), found, sample: done });
        }
        done += 1;
        progress(done);
    }
    if done == 0 {
        return Err(CalibrateError::Empty);
    }
    let range = |(observer, unbounded): (Option<Box<dyn Observer>>, bool)| match unbounded {
        true => Some(UNBOUNDED),
        false => observer.map(|observer| observer.range(q_max)),
    };
    Ok(Calibration { ranges: observers.into_iter().zip(unbounded).map(range).collect(), samples: done })
}
