//! One contestant on one network in one host, and the figures of those that belong together.

use std::fmt;

use serde::Serialize;

use crate::bench::contestant::Timing;
use crate::bench::summary::{ratio_of_rounds, round_median};

/// What runs WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Host {
    /// Headless Chromium; each contestant in a worker.
    Chromium,
    /// Node; all in its main thread.
    Node,
}

impl Host {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Chromium, Self::Node];
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chromium => "Chromium",
            Self::Node => "Node",
        })
    }
}

/// A library with what it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// onnxruntime-web on the float network.
    Float,
    /// onnxruntime-web on the quantized network, as QDQ.
    Int8,
    /// Us, with the build that the package chooses.
    Quaver,
    /// Us, with the build for every engine.
    QuaverBase,
}

impl Who {
    /// Those that take part, in the order of a round. The base build has one thread.
    pub fn all(threads: u32) -> Vec<Self> {
        let mut all = vec![Self::Float, Self::Int8, Self::Quaver];
        all.extend((threads == 1).then_some(Self::QuaverBase));
        all
    }

    /// As the tools call it.
    pub const fn engine(self) -> &'static str {
        match self {
            Self::Float | Self::Int8 => "onnxruntime",
            Self::Quaver | Self::QuaverBase => "quaver",
        }
    }

    /// The build that is forced.
    pub const fn build(self) -> Option<&'static str> {
        match self {
            Self::QuaverBase => Some("base"),
            _ => None,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float => "ORT float",
            Self::Int8 => "ORT INT8",
            Self::Quaver => "Quaver",
            Self::QuaverBase => "Quaver base",
        })
    }
}

/// A contestant's rounds on a network, or why there are none.
#[derive(Debug, Clone, Serialize)]
pub struct Lane {
    /// The network's name.
    pub network: String,
    /// Where.
    pub host: Host,
    /// With how many threads.
    pub threads: u32,
    /// Whose.
    pub who: Who,
    /// What it runs on, in its own words.
    pub what: Option<String>,
    /// In the order they ran, each beside the round of the same number of the others.
    pub rounds: Vec<Timing>,
    /// Why it could not be measured.
    pub reason: Option<String>,
}

impl Lane {
    /// Before the first round.
    pub fn new(network: &str, host: Host, threads: u32, who: Who) -> Self {
        Self { network: network.to_owned(), host, threads, who, what: None, rounds: Vec::new(), reason: None }
    }

    /// It ends. Rounds before that have no counterparts.
    pub fn fail(&mut self, reason: String) {
        self.rounds.clear();
        self.reason = Some(reason);
    }

    /// Median over the rounds of their medians, in milliseconds.
    pub fn median(&self) -> Option<f64> {
        round_median(&self.rounds)
    }

    /// The shortest inference of all rounds.
    pub fn minimum(&self) -> Option<f64> {
        self.rounds.iter().map(|round| round.min_ms).reduce(f64::min)
    }
}

/// A line of a table: a network in one host with one number of threads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The network's name.
    pub network: String,
    /// Times in the order of [`Who::all`].
    pub times: Vec<Option<f64>>,
    /// Our time through that of the faster form of onnxruntime-web, median over the rounds.
    pub ratio: Option<f64>,
    /// The same of the shortest inferences.
    pub ratio_of_minima: Option<f64>,
    /// What [`Line::ratio`] should be at most, where that is agreed: on one thread in Chromium.
    pub bar: Option<f64>,
    /// The base build's time through that of the build that the package chooses.
    pub base: Option<f64>,
}

/// What the ratio should be at most.
const BARS: [(&str, f64); 6] = [
    ("mobilenet_v2", 0.30),
    ("resnet50", 0.40),
    ("squeezenet1_1", 0.35),
    ("efficientnet_b0", 0.25),
    ("shufflenet_v2_x1_0", 0.35),
    ("mobilenet_v3_large", 0.30),
];

impl Line {
    /// Of all lanes of a network in one host with one number of threads.
    pub fn new(lanes: &[Lane]) -> Option<Self> {
        let first = lanes.first()?;
        let network = first.network.clone();
        let agreed = first.host == Host::Chromium && first.threads == 1;
        let of = |who: Who| lanes.iter().find(|lane| lane.who == who);
        let peers = || lanes.iter().filter(|lane| lane.who.engine() != Who::Quaver.engine());
        let better = peers().filter_map(|lane| Some((lane, lane.median()?))).min_by(|a, b| a.1.total_cmp(&b.1));
        let rounds = |lane: Option<&Lane>| lane.map(|lane| lane.rounds.clone()).unwrap_or_default();
        let (ours, base) = (rounds(of(Who::Quaver)), rounds(of(Who::QuaverBase)));
        let minimum = peers().filter_map(Lane::minimum).reduce(f64::min);
        Some(Self {
            times: lanes.iter().map(Lane::median).collect(),
            ratio: better.and_then(|(better, _)| ratio_of_rounds(&ours, &better.rounds)),
            ratio_of_minima: of(Who::Quaver).and_then(Lane::minimum).zip(minimum).map(|(ours, theirs)| ours / theirs),
            bar: BARS.iter().find(|(name, _)| agreed && *name == network).map(|&(_, bar)| bar),
            base: ratio_of_rounds(&base, &ours),
            network,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Host, Lane, Line, Who};
    use crate::bench::contestant::Timing;

    fn lane(who: Who, rounds: &[f64]) -> Lane {
        let timing = |&ms: &f64| Timing { median_ms: ms, min_ms: ms, runs: 1, isa: None };
        Lane { rounds: rounds.iter().map(timing).collect(), ..Lane::new("resnet50", Host::Chromium, 1, who) }
    }

    #[test]
    fn ratios_are_to_the_better_form_in_the_same_round() {
        let lanes = [
            lane(Who::Float, &[8.0, 80.0, 8.0]),
            lane(Who::Int8, &[4.0, 40.0, 4.0]),
            lane(Who::Quaver, &[1.0, 10.0, 1.0]),
            lane(Who::QuaverBase, &[1.5, 15.0, 1.5]),
        ];
        let line = Line::new(&lanes).map(|line| (line.times, line.ratio, line.ratio_of_minima, line.bar, line.base));
        let times = [8.0, 4.0, 1.0, 1.5].map(Some).to_vec();
        assert_eq!(line, Some((times, Some(0.25), Some(0.25), Some(0.40), Some(1.5))));
    }

    #[test]
    fn a_form_that_fails_leaves_the_other() {
        let mut failed = lane(Who::Int8, &[1.0]);
        failed.fail("no".to_owned());
        let line = Line::new(&[lane(Who::Float, &[8.0]), failed, lane(Who::Quaver, &[2.0])]);
        assert_eq!(line.map(|line| (line.ratio, line.base)), Some((Some(0.25), None)));
        assert_eq!(Line::new(&[]), None);
    }
}
