//! Whether batches pay: by what runs of the model took here.
//!
//! They do where weights are read once for many samples, as in layers of few rows. Where a sample has work enough for each weight, they
//! only make requests wait for each other, and fill the caches with more activations.

use std::time::Duration;

/// Times of a sample, of the last runs.
#[derive(Debug, Default)]
pub struct Pace {
    alone: Option<Duration>,
    together: Option<Duration>,
    /// Decisions so far.
    asked: u32,
}

/// How much less a sample in a batch must take.
const GAIN: f64 = 0.9;
/// One decision of so many goes against what is known, which may be old.
const TRIAL: u32 = 256;

impl Pace {
    /// Learns of a run of so many requests with so many samples.
    pub fn ran(&mut self, requests: usize, samples: usize, took: Duration) {
        let known = if requests == 1 { &mut self.alone } else { &mut self.together };
        let new = took / u32::try_from(samples).unwrap_or(u32::MAX).max(1);
        *known = Some(known.map_or(new, |old| (old * 7 + new) / 8));
    }

    /// Whether requests that wait should share a run. What isn't known is tried.
    pub fn batches(&mut self) -> bool {
        self.asked = self.asked.wrapping_add(1);
        match (self.alone, self.together) {
            (None, _) => false,
            (_, None) => true,
            (Some(alone), Some(together)) => (together < alone.mul_f64(GAIN)) != self.asked.is_multiple_of(TRIAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taught(alone: u64, together: u64) -> Pace {
        let mut pace = Pace::default();
        assert!(!pace.batches(), "nothing is known, so one runs alone");
        pace.ran(1, 1, Duration::from_micros(alone));
        assert!(pace.batches(), "and then some together");
        pace.ran(4, 8, Duration::from_micros(8 * together));
        pace
    }

    #[test]
    fn batches_are_for_what_they_gain() {
        let decisions = |mut pace: Pace| (0..TRIAL).filter(|_| pace.batches()).count();
        assert_eq!(decisions(taught(1000, 980)), 1);
        assert_eq!(decisions(taught(1000, 500)), TRIAL as usize - 1);
    }

    #[test]
    fn what_is_known_follows_what_happens() {
        let mut pace = taught(1000, 500);
        for _ in 0..20 {
            pace.ran(2, 2, Duration::from_millis(4));
        }
        assert!(!pace.batches());
    }
}
