//! A running average of each sample's smallest and largest element.

use super::Observer;
use super::min_max::extent;

/// Weight of a new sample, PyTorch's default.
const WEIGHT: f32 = 0.01;

/// PyTorch's `MovingAverageMinMaxObserver`.
#[derive(Debug, Clone, Copy, Default)]
pub struct MovingAverage(Option<(f32, f32)>);

impl Observer for MovingAverage {
    fn observe(&mut self, data: &[f32]) {
        let Some((lo, hi)) = extent(data) else { return };
        self.0 = Some(self.0.map_or((lo, hi), |(a, b)| (a + WEIGHT * (lo - a), b + WEIGHT * (hi - b))));
    }

    fn range(&self, _q_max: u8) -> (f32, f32) {
        self.0.unwrap_or((0.0, 0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_moves_it_by_its_weight() {
        let mut o = MovingAverage::default();
        o.observe(&[0.0, 1.0]);
        o.observe(&[0.0, 101.0]);
        assert_eq!(o.range(255), (0.0, 2.0));
    }
}
