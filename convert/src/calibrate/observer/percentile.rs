//! The range that holds almost every element.

use super::Observer;
use super::histogram::{BINS, Histogram};

/// Share of the elements that lie inside, counted from each end by half of the rest.
const INSIDE: f64 = 0.9999;

/// Cuts the outermost elements off, however far out they lie.
#[derive(Debug, Clone, Default)]
pub struct Percentile(Histogram);

impl Observer for Percentile {
    fn observe(&mut self, data: &[f32]) {
        self.0.add(data);
    }

    fn range(&self, _q_max: u8) -> (f32, f32) {
        let h = &self.0;
        let cut = h.counts.iter().sum::<f64>() * (1.0 - INSIDE) / 2.0;
        // Bins to leave out, counted from one end.
        let outside = |from_end: bool| {
            let mut sum = 0.0;
            let at = |i: usize| if from_end { BINS - 1 - i } else { i };
            (0..BINS)
                .take_while(|&i| {
                    sum += h.counts[at(i)];
                    sum <= cut
                })
                .count()
        };
        let lo = h.lo + outside(false) as f64 * h.width();
        let hi = h.hi - outside(true) as f64 * h.width();
        ((lo as f32).max(h.min), (hi as f32).min(h.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_thousand_is_cut_off() {
        let mut data: Vec<f32> = (0..100_000).map(|i| i as f32 / 100_000.0).collect();
        data.push(50.0);
        let mut o = Percentile::default();
        o.observe(&data);
        let (lo, hi) = o.range(255);
        assert!(lo <= 0.03 && (0.99..1.1).contains(&hi), "{lo} {hi}");
    }
}
