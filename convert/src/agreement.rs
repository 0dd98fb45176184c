//! How well two tensors agree: SQNR, cosine, largest difference, top-1.

use serde::Serialize;

/// Sums over pairs of a float tensor and its quantized counterpart.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Agreement {
    signal: f64,
    other: f64,
    noise: f64,
    dot: f64,
    largest: f64,
    count: usize,
}

/// The figures of an [`Agreement`], for reports.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// Signal to quantization noise ratio in decibels, 10·log₁₀(Σf² / Σ(f − q)²); 200 where there is no noise.
    pub sqnr_db: f64,
    /// Cosine of the angle between both.
    pub cosine: f64,
    /// Largest |f − q|.
    pub largest_difference: f64,
}

/// SQNR that stands for "no difference".
const EXACT_DB: f64 = 200.0;

impl Agreement {
    /// Adds pairs; what is longer than the other is left out.
    pub fn add(&mut self, float: &[f32], quantized: &[f32]) {
        for (&f, &q) in float.iter().zip(quantized) {
            let (f, q) = (f64::from(f), f64::from(q));
            self.signal += f * f;
            self.other += q * q;
            self.noise += (f - q) * (f - q);
            self.dot += f * q;
            self.largest = self.largest.max((f - q).abs());
        }
        self.count += float.len().min(quantized.len());
    }

    /// Noise over signal; 0 without noise.
    pub fn noise_to_signal(&self) -> f64 {
        if self.noise == 0.0 { 0.0 } else { self.noise / self.signal.max(f64::MIN_POSITIVE) }
    }

    /// The figures.
    pub fn figures(&self) -> Figures {
        let ratio = self.noise_to_signal();
        let norms = self.signal.sqrt() * self.other.sqrt();
        Figures {
            sqnr_db: if ratio == 0.0 { EXACT_DB } else { (-10.0 * ratio.log10()).min(EXACT_DB) },
            cosine: if norms > 0.0 { self.dot / norms } else { 1.0 },
            largest_difference: self.largest,
        }
    }

    /// Number of pairs.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// For each row of `columns` numbers, whether both have their largest at the same place; returns (same, rows).
pub fn top1(float: &[f32], quantized: &[f32], columns: usize) -> (usize, usize) {
    let rows = float.chunks_exact(columns.max(1)).zip(quantized.chunks_exact(columns.max(1)));
    rows.fold((0, 0), |(same, all), (f, q)| (same + usize::from(arg_max(f) == arg_max(q)), all + 1))
}

/// Index of the largest number, the first of several; 0 for an empty row.
pub fn arg_max(row: &[f32]) -> usize {
    row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, &x)| if x > best.1 { (i, x) } else { best }).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_known_pairs() {
        let mut a = Agreement::default();
        a.add(&[3.0, 4.0], &[3.0, 4.5]);
        let f = a.figures();
        assert!((f.sqnr_db - 20.0).abs() < 1e-9 && f.largest_difference == 0.5);
        assert!((f.cosine - 27.0 / (5.0 * 29.25f64.sqrt())).abs() < 1e-12);
        let mut same = Agreement::default();
        same.add(&[1.0], &[1.0]);
        assert_eq!(same.figures().sqnr_db, 200.0);
    }

    #[test]
    fn top1_counts_rows() {
        assert_eq!(top1(&[1.0, 2.0, 5.0, 0.0], &[0.0, 9.0, 1.0, 2.0], 2), (1, 2));
    }
}
