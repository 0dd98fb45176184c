//! What channels of values look like: the extent and the mean square of each, the last dimension being the channels.

use quaver_core::graph::{Network, ValueId};

use super::Sample;
use super::burn_exec::{FloatRunner, RunError};

/// One channel of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Channel {
    /// The smallest element, or 0.
    pub min: f32,
    /// The largest element, or 0.
    pub max: f32,
    /// The mean of squares.
    pub mean_square: f64,
}

/// Channels of some values.
#[derive(Debug, Clone, Default)]
pub struct Channels(Vec<Vec<Channel>>);

impl Channels {
    /// Looks at the values that `wanted` names, on every sample.
    ///
    /// # Errors
    /// [`RunError`] where a sample doesn't fit.
    pub fn observe(network: &Network, samples: &[Sample], wanted: &dyn Fn(ValueId) -> bool) -> Result<Self, RunError> {
        let runner = FloatRunner::new(network)?;
        let mut channels: Vec<Vec<Channel>> = vec![Vec::new(); network.graph.values.len()];
        let mut rows = vec![0usize; channels.len()];
        for sample in samples {
            runner.run(sample, &mut |id, data, shape| {
                if !wanted(id) {
                    return;
                }
                let width = shape.last().copied().unwrap_or(1).max(1);
                let all = &mut channels[id.index()];
                all.resize(width, Channel::default());
                for row in data.chunks_exact(width) {
                    for (channel, &x) in all.iter_mut().zip(row) {
                        channel.min = channel.min.min(x);
                        channel.max = channel.max.max(x);
                        channel.mean_square += f64::from(x) * f64::from(x);
                    }
                }
                rows[id.index()] += data.len() / width;
            })?;
        }
        for (all, &rows) in channels.iter_mut().zip(&rows) {
            all.iter_mut().for_each(|c| c.mean_square /= rows.max(1) as f64);
        }
        Ok(Self(channels))
    }

    /// The channels of a value; none if it was not looked at.
    pub fn of(&self, id: ValueId) -> &[Channel] {
        &self.0[id.index()]
    }
}
