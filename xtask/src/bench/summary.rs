//! From rounds to figures: medians, ratios, geometric means. Pure functions of the measurements.

use serde::Serialize;

use super::contestant::{Engine, Measurement, Precision, Timing};

/// A line of the table: a network with one number of threads.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The network's name.
    pub network: String,
    /// With how many threads.
    pub threads: u32,
    /// The fastest float engine and its time.
    pub best_fp32: Option<(Engine, f64)>,
    /// Every peer's quantized time.
    pub int8: Vec<(Engine, Option<f64>)>,
    /// Our time.
    pub quaver: Option<f64>,
    /// The fastest quantized peer.
    pub best_int8: Option<Engine>,
    /// Our time through the fastest quantized peer's, median over the rounds.
    pub ratio: Option<f64>,
    /// The same of the shortest inferences of all rounds, which work of others on the machine disturbs least.
    pub ratio_of_minima: Option<f64>,
    /// The fastest float engine's time through ours, median over the rounds.
    pub speedup: Option<f64>,
    /// The fastest float engine's time through the fastest quantized peer's, median over the rounds.
    pub peers_speedup: Option<f64>,
    /// Our time at every batch.
    pub batches: Vec<(u32, Option<f64>)>,
    /// Our time at the last batch through that at the first, median over the rounds.
    pub batch_ratio: Option<f64>,
}

/// Geometric means over the networks that have the figure.
#[derive(Debug, Clone, Serialize)]
pub struct Geomean {
    /// With how many threads.
    pub threads: u32,
    /// Of [`Summary::ratio`].
    pub ratio: Option<f64>,
    /// Of [`Summary::ratio_of_minima`].
    pub ratio_of_minima: Option<f64>,
    /// Of [`Summary::speedup`].
    pub speedup: Option<f64>,
    /// Of [`Summary::peers_speedup`].
    pub peers_speedup: Option<f64>,
    /// Networks with a ratio.
    pub networks: usize,
}

/// The summary of one network's measurements with one number of threads. `batch` is the peers'.
pub fn summarize(measurements: &[&Measurement], batch: u32) -> Option<Summary> {
    let first = measurements.first()?;
    let is_peer = |m: &Measurement, precision| m.contestant.engine != Engine::Quaver && m.contestant.precision == precision;
    let peers = |precision| measurements.iter().copied().filter(move |m| is_peer(m, precision));
    let fastest = |precision| peers(precision).filter(|m| m.median_ms.is_some()).min_by(|a, b| total_cmp(a.median_ms, b.median_ms));
    let ours: Vec<&Measurement> = measurements.iter().copied().filter(|m| m.contestant.engine == Engine::Quaver).collect();
    let quaver = ours.iter().copied().find(|m| m.contestant.batch == batch);
    let (fp32, int8) = (fastest(Precision::Fp32), fastest(Precision::Int8));
    let int8_minimum = peers(Precision::Int8).filter_map(|m| minimum(Some(m))).reduce(f64::min);
    let last = ours.last().copied().filter(|_| ours.len() > 1);
    Some(Summary {
        network: first.network.clone(),
        threads: first.threads,
        best_fp32: fp32.and_then(|m| Some((m.contestant.engine, m.median_ms?))),
        int8: peers(Precision::Int8).map(|m| (m.contestant.engine, m.median_ms)).collect(),
        quaver: quaver.and_then(|m| m.median_ms),
        best_int8: int8.map(|m| m.contestant.engine),
        ratio: round_ratio(quaver, int8),
        ratio_of_minima: minimum(quaver).zip(int8_minimum).map(|(ours, theirs)| ours / theirs),
        speedup: round_ratio(fp32, quaver),
        peers_speedup: round_ratio(fp32, int8),
        batches: ours.iter().map(|m| (m.contestant.batch, m.median_ms)).collect(),
        batch_ratio: round_ratio(last, quaver),
    })
}

/// The geometric means of the summaries with this number of threads.
pub fn geomeans(summaries: &[Summary], threads: u32) -> Geomean {
    let of = |figure: fn(&Summary) -> Option<f64>| -> Vec<f64> {
        summaries.iter().filter(|summary| summary.threads == threads).filter_map(figure).collect()
    };
    let ratios = of(|summary| summary.ratio);
    Geomean {
        threads,
        ratio: geomean(&ratios),
        ratio_of_minima: geomean(&of(|summary| summary.ratio_of_minima)),
        speedup: geomean(&of(|summary| summary.speedup)),
        peers_speedup: geomean(&of(|summary| summary.peers_speedup)),
        networks: ratios.len(),
    }
}

/// The median of the rounds' medians.
pub fn round_median(rounds: &[Timing]) -> Option<f64> {
    median(rounds.iter().map(|round| round.median_ms).collect())
}

/// The median over the rounds of `a`'s time through `b`'s in the same round.
fn round_ratio(a: Option<&Measurement>, b: Option<&Measurement>) -> Option<f64> {
    ratio_of_rounds(&a?.rounds, &b?.rounds)
}

/// The median over the rounds of one's time through the other's in the same round.
pub fn ratio_of_rounds(a: &[Timing], b: &[Timing]) -> Option<f64> {
    median(a.iter().zip(b).map(|(a, b)| a.median_ms / b.median_ms).collect())
}

/// The shortest inference of all rounds.
fn minimum(measurement: Option<&Measurement>) -> Option<f64> {
    measurement?.rounds.iter().map(|round| round.min_ms).reduce(f64::min)
}

/// The median.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// The geometric mean.
pub fn geomean(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().map(|value| value.ln()).sum();
    (!values.is_empty()).then(|| (sum / values.len() as f64).exp())
}

fn total_cmp(a: Option<f64>, b: Option<f64>) -> std::cmp::Ordering {
    a.unwrap_or(f64::INFINITY).total_cmp(&b.unwrap_or(f64::INFINITY))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::contestant::Contestant;

    pub fn measured(network: &str, engine: Engine, precision: Precision, batch: u32, rounds: &[f64]) -> Measurement {
        let mut measurement = Measurement::new(network, 1, Contestant { engine, precision, batch });
        measurement.rounds =
            rounds.iter().map(|&ms| Timing { median_ms: ms, min_ms: ms, runs: 1, isa: Some("scalar".to_owned()) }).collect();
        measurement.median_ms = round_median(&measurement.rounds);
        measurement
    }

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        use Engine::{OnnxRuntime, OpenVino, Quaver};
        use Precision::{Fp32, Int8};
        // A machine that is ten times slower in the second round changes no ratio.
        let all = [
            measured("net", OnnxRuntime, Fp32, 1, &[8.0, 80.0, 8.0]),
            measured("net", OnnxRuntime, Int8, 1, &[3.0, 30.0, 3.0]),
            measured("net", OpenVino, Fp32, 1, &[9.0, 9.0, 9.0]),
            measured("net", OpenVino, Int8, 1, &[2.0, 20.0, 2.0]),
            measured("net", Quaver, Int8, 1, &[1.0, 10.0, 1.0]),
            measured("net", Quaver, Int8, 16, &[15.0, 150.0, 15.0]),
        ];
        let summary = summarize(&all.iter().collect::<Vec<_>>(), 1);
        let figures = summary.map(|s| (s.best_fp32, s.best_int8, s.quaver, s.ratio, s.speedup, s.batch_ratio));
        assert_eq!(figures, Some((Some((OnnxRuntime, 8.0)), Some(OpenVino), Some(1.0), Some(0.5), Some(8.0), Some(15.0))));
    }

    #[test]
    fn minima_are_of_all_rounds_and_all_peers() {
        use Engine::{OnnxRuntime, OpenVino, Quaver};
        // By medians OpenVINO is ahead, by minima ONNX Runtime.
        let all = [
            measured("net", OnnxRuntime, Precision::Int8, 1, &[2.0, 9.0, 9.0]),
            measured("net", OpenVino, Precision::Int8, 1, &[4.0, 4.0, 4.0]),
            measured("net", Quaver, Precision::Int8, 1, &[3.0, 2.0, 1.0]),
        ];
        let summary = summarize(&all.iter().collect::<Vec<_>>(), 1);
        assert_eq!(summary.map(|s| (s.best_int8, s.ratio_of_minima)), Some((Some(OpenVino), Some(0.5))));
    }

    #[test]
    fn what_is_missing_leaves_the_rest() {
        let mut failed = measured("net", Engine::OpenVino, Precision::Int8, 1, &[]);
        failed.reason = Some("no".to_owned());
        let all = [failed, measured("net", Engine::Quaver, Precision::Int8, 1, &[2.0])];
        let summary = summarize(&all.iter().collect::<Vec<_>>(), 1);
        let figures = summary.map(|s| (s.int8, s.quaver, s.ratio, s.speedup, s.batch_ratio));
        assert_eq!(figures, Some((vec![(Engine::OpenVino, None)], Some(2.0), None, None, None)));
        assert!(summarize(&[], 1).is_none());
    }

    #[test]
    fn geometric_means_leave_out_what_is_missing() {
        let line = |threads, ratio| Summary {
            network: String::new(),
            threads,
            best_fp32: None,
            int8: Vec::new(),
            quaver: None,
            best_int8: None,
            ratio,
            ratio_of_minima: None,
            speedup: None,
            peers_speedup: None,
            batches: Vec::new(),
            batch_ratio: None,
        };
        let mean = geomeans(&[line(1, Some(0.5)), line(1, Some(2.0)), line(1, None), line(2, Some(9.0))], 1);
        assert!(mean.ratio.is_some_and(|ratio| (ratio - 1.0).abs() < 1e-12));
        assert_eq!((mean.networks, mean.speedup), (2, None));
    }
}
