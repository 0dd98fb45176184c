//! Observers: what they see of a value, and the range that they choose for it.

pub mod entropy;
pub mod histogram;
pub mod min_max;
pub mod moving_average;
pub mod percentile;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Watches the data of one value.
pub trait Observer {
    /// Sees the elements of one more sample, all finite.
    fn observe(&mut self, data: &[f32]);

    /// The range to quantize to 0 ..= `q_max`.
    fn range(&self, q_max: u8) -> (f32, f32);
}

/// The observers, by the names that the command line and the qconfig mapping use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObserverKind {
    /// The smallest and largest element.
    #[serde(rename = "minmax")]
    MinMax,
    /// A running average of each sample's smallest and largest, weight 0.01.
    #[serde(rename = "moving_average")]
    MovingAverage,
    /// The range of least squared quantization error.
    #[default]
    #[serde(rename = "histogram")]
    Histogram,
    /// What holds 99.99 % of the elements.
    #[serde(rename = "percentile")]
    Percentile,
    /// The range whose quantized distribution diverges least from the true one (Kullback-Leibler).
    #[serde(rename = "entropy")]
    Entropy,
}

impl ObserverKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::MinMax, Self::MovingAverage, Self::Histogram, Self::Percentile, Self::Entropy];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::MinMax => "minmax",
            Self::MovingAverage => "moving_average",
            Self::Histogram => "histogram",
            Self::Percentile => "percentile",
            Self::Entropy => "entropy",
        }
    }

    /// A fresh observer.
    pub fn observer(self) -> Box<dyn Observer> {
        match self {
            Self::MinMax => Box::new(min_max::MinMax::default()),
            Self::MovingAverage => Box::new(moving_average::MovingAverage::default()),
            Self::Histogram => Box::new(histogram::LeastError::default()),
            Self::Percentile => Box::new(percentile::Percentile::default()),
            Self::Entropy => Box::new(entropy::Entropy::default()),
        }
    }
}

impl FromStr for ObserverKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|k| k.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|k| k.name()).collect();
            format!("unknown observer '{name}'; there are {}", names.join(", "))
        })
    }
}
