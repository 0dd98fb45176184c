//! Observers: what they see of a value, and the range that they choose for it.

pub mod entropy;
pub mod histogram;
pub mod min_max;
pub mod moving_average;
pub mod percentile;

use std::str::FromStr;

use quaver_core::graph::{Graph, Op, ValueId};
use serde::{Deserialize, Serialize};

/// Watches the data of one value.
pub trait Observer {
    /// Sees the elements of one more sample, all finite.
    fn observe(&mut self, data: &[f32]);

    /// The range to quantize to 0 ..= `q_max`.
    fn range(&self, q_max: u8) -> (f32, f32);
}

/// Dimensions of images.
const IMAGE: usize = 4;

/// The observers, by the names that the command line and the qconfig mapping use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObserverKind {
    /// [`Self::Percentile`] for sequences of networks with layer normalizations, whose few elements far out mean more than their
    /// squared error says; else [`Self::Histogram`].
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// The smallest and largest element.
    #[serde(rename = "minmax")]
    MinMax,
    /// A running average of each sample's smallest and largest, weight 0.01.
    #[serde(rename = "moving_average")]
    MovingAverage,
    /// The range of least squared quantization error.
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
    pub const ALL: [Self; 6] = [Self::Auto, Self::MinMax, Self::MovingAverage, Self::Histogram, Self::Percentile, Self::Entropy];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::MinMax => "minmax",
            Self::MovingAverage => "moving_average",
            Self::Histogram => "histogram",
            Self::Percentile => "percentile",
            Self::Entropy => "entropy",
        }
    }

    /// The kind that [`Self::Auto`] means for a value of `graph`; others mean themselves.
    pub fn resolve(self, graph: &Graph, id: ValueId) -> Self {
        let normalized = || graph.nodes.iter().any(|n| matches!(n.op, Op::LayerNorm { .. }));
        match self {
            Self::Auto if graph.value(id).shape.len() < IMAGE && normalized() => Self::Percentile,
            Self::Auto => Self::Histogram,
            other => other,
        }
    }

    /// A fresh observer.
    pub fn observer(self) -> Box<dyn Observer> {
        match self {
            Self::MinMax => Box::new(min_max::MinMax::default()),
            Self::MovingAverage => Box::new(moving_average::MovingAverage::default()),
            Self::Auto | Self::Histogram => Box::new(histogram::LeastError::default()),
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
