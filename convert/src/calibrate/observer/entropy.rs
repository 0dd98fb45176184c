//! The range whose quantized distribution diverges least from the true one.

use super::Observer;
use super::histogram::{BINS, Histogram};

/// TensorRT's calibration, for asymmetric ranges: both ends shrink towards zero by the same share of their length; of these
/// candidates that with the least Kullback-Leibler divergence D(p‖q) is taken. p is the histogram with what lies outside
/// added to its outermost bins, q is p averaged over q_max + 1 levels, where p is not zero.
#[derive(Debug, Clone, Default)]
pub struct Entropy(Histogram);

/// Candidates.
const STEPS: usize = 96;

impl Observer for Entropy {
    fn observe(&mut self, data: &[f32]) {
        self.0.add(data);
    }

    fn range(&self, q_max: u8) -> (f32, f32) {
        let h = &self.0;
        let (min, max) = (f64::from(h.min.min(0.0)), f64::from(h.max.max(0.0)));
        if max <= min {
            return (h.min, h.max);
        }
        let bin = |x: f64| (((x - h.lo) / h.width()).round().max(0.0) as usize).min(BINS);
        let mut best = (f64::INFINITY, (min, max));
        for step in 0..STEPS {
            let share = 1.0 - step as f64 / STEPS as f64;
            let (a, b) = (bin(min * share), bin(max * share));
            if b - a.min(b) <= usize::from(q_max) {
                break;
            }
            let divergence = divergence(&h.counts, a, b, usize::from(q_max) + 1);
            if divergence < best.0 {
                best = (divergence, (min * share, max * share));
            }
        }
        (best.1.0 as f32, best.1.1 as f32)
    }
}

fn divergence(counts: &[f64], a: usize, b: usize, levels: usize) -> f64 {
    let mut p = counts[a..b].to_vec();
    let (below, above): (f64, f64) = (counts[..a].iter().sum(), counts[b..].iter().sum());
    let inside = p.clone();
    if let Some(first) = p.first_mut() {
        *first += below;
    }
    if let Some(last) = p.last_mut() {
        *last += above;
    }
    let total: f64 = p.iter().sum();
    let inner: f64 = inside.iter().sum();
    let mut sum = 0.0;
    for level in 0..levels {
        let (from, to) = (level * p.len() / levels, (level + 1) * p.len() / levels);
        let filled = p[from..to].iter().filter(|&&n| n > 0.0).count();
        let q = inside[from..to].iter().sum::<f64>() / filled.max(1) as f64 / inner.max(1.0);
        for &n in p[from..to].iter().filter(|&&n| n > 0.0) {
            let p = n / total;
            // A level that only holds what was cut off has no mass in q: as improbable as one element.
            sum += p * (p / q.max(1.0 / (total * 10.0))).ln();
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_outlier_is_cut_off() {
        let mut data: Vec<f32> = (0..100_000).map(|i| ((i * 7919) % 10_007) as f32 / 10_007.0).collect();
        data.push(20.0);
        let mut o = Entropy::default();
        o.observe(&data);
        let (lo, hi) = o.range(255);
        assert!(lo == 0.0 && hi < 15.0 && hi > 0.9, "{lo} {hi}");
    }
}
