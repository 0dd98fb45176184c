//! The smallest and largest element seen.

use super::Observer;

/// PyTorch's `MinMaxObserver`.
#[derive(Debug, Clone, Copy, Default)]
pub struct MinMax(Option<(f32, f32)>);

/// Smallest and largest of `data`; `None` if it is empty.
pub(super) fn extent(data: &[f32]) -> Option<(f32, f32)> {
    let first = *data.first()?;
    Some(data.iter().fold((first, first), |(lo, hi), &x| (lo.min(x), hi.max(x))))
}

impl Observer for MinMax {
    fn observe(&mut self, data: &[f32]) {
        let Some((lo, hi)) = extent(data) else { return };
        self.0 = Some(self.0.map_or((lo, hi), |(a, b)| (a.min(lo), b.max(hi))));
    }

    fn range(&self, _q_max: u8) -> (f32, f32) {
        self.0.unwrap_or((0.0, 0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_every_sample() {
        let mut o = MinMax::default();
        o.observe(&[1.0, -2.0]);
        o.observe(&[]);
        o.observe(&[5.0]);
        assert_eq!(o.range(255), (-2.0, 5.0));
    }
}
