//! A histogram that grows with its data, and the range of least squared quantization error.

use super::Observer;
use super::min_max::extent;

/// Bins of a histogram, PyTorch's default.
pub const BINS: usize = 2048;

/// Counts over `lo ..= hi` in [`BINS`] equal bins; zero always lies inside.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// Lower edge of the first bin.
    pub lo: f64,
    /// Upper edge of the last bin.
    pub hi: f64,
    /// Elements of each bin.
    pub counts: Vec<f64>,
    /// The smallest element seen.
    pub min: f32,
    /// The largest element seen.
    pub max: f32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { lo: 0.0, hi: 0.0, counts: vec![0.0; BINS], min: 0.0, max: 0.0 }
    }
}

impl Histogram {
    /// Width of a bin.
    pub fn width(&self) -> f64 {
        (self.hi - self.lo) / BINS as f64
    }

    /// Middle of bin `i`.
    pub fn centre(&self, i: usize) -> f64 {
        self.lo + (i as f64 + 0.5) * self.width()
    }

    /// Counts the elements of `data`.
    pub fn add(&mut self, data: &[f32]) {
        let Some((min, max)) = extent(data) else { return };
        (self.min, self.max) = (self.min.min(min), self.max.max(max));
        if f64::from(self.min) < self.lo || f64::from(self.max) > self.hi {
            self.grow(f64::from(self.min), f64::from(self.max));
        }
        let scale = if self.hi > self.lo { BINS as f64 / (self.hi - self.lo) } else { 0.0 };
        for &x in data {
            let bin = ((f64::from(x) - self.lo) * scale) as usize;
            self.counts[bin.min(BINS - 1)] += 1.0;
        }
    }

    /// Widens the range, and deals the counts out to the new bins that the old ones overlap.
    fn grow(&mut self, min: f64, max: f64) {
        let old = std::mem::take(self);
        // A margin, so that growth is rare.
        let span = (max - min).max(f64::MIN_POSITIVE);
        let had = old.hi > old.lo;
        self.lo = if min < old.lo { if had { min - 0.1 * span } else { min } } else { old.lo };
        self.hi = if max > old.hi { if had { max + 0.1 * span } else { max } } else { old.hi };
        (self.min, self.max) = (old.min, old.max);
        let (from, to) = (old.width(), self.width());
        for (i, &count) in old.counts.iter().enumerate().filter(|(_, c)| **c > 0.0) {
            let (a, b) = (old.lo + i as f64 * from, old.lo + (i + 1) as f64 * from);
            let bin = |x: f64| (((x - self.lo) / to) as usize).min(BINS - 1);
            let (first, last) = (bin(a), bin(b));
            for at in first..=last {
                let edge = self.lo + at as f64 * to;
                let overlap = (b.min(edge + to) - a.max(edge)).max(0.0);
                let share = if first == last || from == 0.0 { 1.0 } else { overlap / from };
                self.counts[at] += count * share;
                if from == 0.0 {
                    break;
                }
            }
        }
    }
}

/// Chooses the range whose quantization to q_max + 1 levels has the least squared error, as PyTorch's
/// `HistogramObserver` does: rounding inside costs Δ²/12 an element, what is cut off costs its distance squared.
#[derive(Debug, Clone, Default)]
pub struct LeastError(Histogram);

/// Candidates for each end of the range.
const STEPS: usize = 128;

impl Observer for LeastError {
    fn observe(&mut self, data: &[f32]) {
        self.0.add(data);
    }

    fn range(&self, q_max: u8) -> (f32, f32) {
        let h = &self.0;
        let (min, max) = (f64::from(h.min.min(0.0)), f64::from(h.max.max(0.0)));
        if max <= min {
            return (h.min, h.max);
        }
        let error = Errors::new(h);
        let mut best = (f64::INFINITY, min, max);
        // Both ends shrink towards zero, each by its own number of steps; coordinate descent from the full range, then
        // the same again, since the ends share one step width.
        let (mut lo, mut hi) = (min, max);
        for _ in 0..3 {
            for end in [false, true] {
                for i in 0..STEPS {
                    let shrink = 1.0 - i as f64 / STEPS as f64;
                    let (a, b) = if end { (lo, max * shrink) } else { (min * shrink, hi) };
                    if b <= a {
                        continue;
                    }
                    let e = error.of(a, b, q_max);
                    if e < best.0 {
                        best = (e, a, b);
                    }
                }
                (lo, hi) = (best.1, best.2);
            }
        }
        (lo as f32, hi as f32)
    }
}

/// Moments of a histogram, summed up from its start, so that the error of a range takes a few look-ups.
struct Errors<'a> {
    h: &'a Histogram,
    /// Before each bin: Σn, Σn·x, Σn·x².
    sums: Vec<[f64; 3]>,
    /// Elements in the bin of zero: exactly representable, they cost nothing.
    zeros: f64,
}

impl<'a> Errors<'a> {
    fn new(h: &'a Histogram) -> Self {
        let mut sums = vec![[0.0; 3]];
        let mut total = [0.0; 3];
        for (i, &n) in h.counts.iter().enumerate() {
            let x = h.centre(i);
            total = [total[0] + n, total[1] + n * x, total[2] + n * x * x];
            sums.push(total);
        }
        let zero = ((-h.lo / h.width()) as usize).min(BINS - 1);
        Self { h, sums, zeros: h.counts[zero] }
    }

    /// Σ (x − edge)² over the bins `from .. to`.
    fn beyond(&self, from: usize, to: usize, edge: f64) -> f64 {
        let d = [0, 1, 2].map(|m| self.sums[to][m] - self.sums[from][m]);
        (d[2] - 2.0 * edge * d[1] + edge * edge * d[0]).max(0.0)
    }

    fn of(&self, lo: f64, hi: f64, q_max: u8) -> f64 {
        let bin = |x: f64| (((x - self.h.lo) / self.h.width()).round().max(0.0) as usize).min(BINS);
        let (a, b) = (bin(lo), bin(hi));
        let step = (hi - lo) / f64::from(q_max);
        let inside = (self.sums[b.max(a)][0] - self.sums[a][0] - self.zeros).max(0.0);
        inside * step * step / 12.0 + self.beyond(0, a, lo) + self.beyond(b, BINS, hi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(n: usize) -> Vec<f32> {
        // Sums of uniform numbers from a small generator are near enough to normal.
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        (0..n).map(|_| (0..12).map(|_| next()).sum::<f32>() - 6.0).collect()
    }

    #[test]
    fn counts_survive_growth() {
        let mut h = Histogram::default();
        h.add(&[0.5, 0.25, 0.75]);
        h.add(&[-3.0, 10.0]);
        h.add(&[-40.0]);
        assert!((h.counts.iter().sum::<f64>() - 6.0).abs() < 1e-9);
        let mean: f64 = (0..BINS).map(|i| h.counts[i] * h.centre(i)).sum();
        assert!((mean - -31.5).abs() < 6.0 * h.width());
    }

    #[test]
    fn a_lone_outlier_is_cut_off() {
        let mut o = LeastError::default();
        let mut data = normal(100_000);
        data.push(100.0);
        o.observe(&data);
        let (lo, hi) = o.range(15);
        assert!(lo < -1.0 && (1.0..60.0).contains(&hi), "{lo} {hi}");
    }

    #[test]
    fn the_chosen_range_is_the_best_of_all() {
        let data: Vec<f32> = normal(20_000).into_iter().map(|x| if x < 0.0 { 0.0 } else { x * x }).collect();
        let mut o = LeastError::default();
        o.observe(&data);
        let mse = |lo: f32, hi: f32| -> f64 {
            let a = quaver_core::quant::Affine::from_range(lo, hi, 15);
            data.iter().map(|&x| f64::from(x - a.dequantize(a.quantize(x))).powi(2)).sum()
        };
        let (lo, hi) = o.range(15);
        let max = data.iter().copied().fold(0.0, f32::max);
        let best = (1..=100).map(|i| mse(0.0, max * i as f32 / 100.0)).fold(f64::INFINITY, f64::min);
        assert!(mse(lo, hi) <= 1.15 * best, "{} {best}", mse(lo, hi));
    }
}
