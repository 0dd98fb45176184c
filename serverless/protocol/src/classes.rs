//! From scores to the most probable classes.

use serde::Serialize;

/// Classes that are named where a request doesn't say how many.
pub const TOP: usize = 5;

/// A class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Class {
    /// Its place among the scores.
    pub class: usize,
    /// Its name; `class N` where there is none.
    pub label: String,
    /// Its probability.
    pub probability: f32,
}

/// The `top` most probable classes, falling; of equal ones the first goes first.
pub fn top(scores: &[f32], labels: &[String], top: usize) -> Vec<Class> {
    let probabilities = probabilities(scores);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
    let label = |class: usize| labels.get(class).cloned().unwrap_or_else(|| format!("class {class}"));
    order.into_iter().take(top).map(|class| Class { class, label: label(class), probability: probabilities[class] }).collect()
}

/// The scores themselves where they are a distribution already, else their softmax. The same numbers on every machine: sums go from
/// the first to the last, and the exponential is not the platform's.
fn probabilities(scores: &[f32]) -> Vec<f32> {
    let sum: f32 = scores.iter().sum();
    if scores.iter().all(|&s| (0.0..=1.0).contains(&s)) && (sum - 1.0).abs() < 0.05 {
        return scores.to_vec();
    }
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps: Vec<f32> = scores.iter().map(|s| libm::expf(s - max)).collect();
    let sum: f32 = exps.iter().sum();
    exps.into_iter().map(|e| e / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_go_first() {
        let labels = ["a", "b"].map(str::to_owned);
        let found = top(&[0.25, 0.5, 0.25], &labels, 2);
        let names: Vec<&str> = found.iter().map(|class| class.label.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
        assert_eq!(found[0].probability, 0.5);
        assert_eq!(top(&[0.25, 0.25, 0.5], &labels, 9)[0].label, "class 2");
    }

    #[test]
    fn scores_that_are_no_distribution_become_one() {
        let found = top(&[0.0, f32::ln(3.0)], &[], 2);
        assert!((found[0].probability - 0.75).abs() < 1e-6 && (found[1].probability - 0.25).abs() < 1e-6);
        assert!(top(&[], &[], 5).is_empty());
    }
}
