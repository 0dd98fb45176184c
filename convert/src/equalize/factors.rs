//! By how much each channel of a value is divided, and the weights that read it multiplied.
//!
//! One scale serves all channels of a value, so a channel of small range has few integers. Dividing channel c by s_c and
//! multiplying its weights by it changes no result, but both roundings. As in SmoothQuant (Xiao et al. 2023),
//! s_c = max|x_c|^α / max|w_c|^(1−α); α is the one with the least noise by the usual model of rounding, Δ²/12 an element.

use crate::calibrate::channels::Channel;

/// The weights of one product that reads the value.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    /// `[taps][channels][outputs]`, or `[taps][channels]` where each channel has an output of its own.
    pub weights: &'a [f32],
    /// Output channels; 0 where each channel has its own.
    pub outputs: usize,
}

/// Steps of α from 0 to 1.
const STEPS: usize = 8;

/// A channel counts as reaching at least this share of the farthest one. What stayed near zero on the samples need not do so on
/// others, and amplified without a bound it would then take up the whole range.
const LEAST_REACH: f64 = 1.0 / 16.0;

/// How far a factor may be from the others' geometric mean.
const FARTHEST: f64 = 16.0;

/// A choice of factors.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Factors {
    /// s of each channel.
    pub divide: Vec<f32>,
    /// By how many decibels the noise gets less.
    pub gain_db: f64,
}

/// The best factors for a value of such channels, read by `readers`; `None` if it is best as it is.
pub(super) fn search(channels: &[Channel], readers: &[Reader<'_>]) -> Option<Factors> {
    let reach: Vec<f64> = channels.iter().map(|c| f64::from(c.max.max(-c.min))).collect();
    let farthest = reach.iter().copied().fold(0.0, f64::max);
    let reach: Vec<f64> = reach.into_iter().map(|x| x.max(farthest * LEAST_REACH)).collect();
    let weight: Vec<f64> = (0..channels.len()).map(|c| largest_weight(readers, channels.len(), c)).collect();
    let before = noise(channels, readers, &vec![1.0; channels.len()]);
    let mut best: Option<(f64, Vec<f64>)> = None;
    for step in 0..=STEPS {
        let alpha = step as f64 / STEPS as f64;
        let mut logs: Vec<Option<f64>> =
            reach.iter().zip(&weight).map(|(&x, &w)| (x > 0.0 && w > 0.0).then(|| alpha * x.ln() - (1.0 - alpha) * w.ln())).collect();
        let known = logs.iter().flatten().count();
        let mean = logs.iter().flatten().sum::<f64>() / known.max(1) as f64;
        let limit = FARTHEST.ln();
        logs.iter_mut().flatten().for_each(|l| *l = (*l - mean).clamp(-limit, limit));
        // As f32, which the network will hold.
        let factors: Vec<f64> = logs.into_iter().map(|l| l.map_or(1.0, |l| f64::from(l.exp() as f32))).collect();
        let after = noise(channels, readers, &factors);
        if after < best.as_ref().map_or(before, |b| b.0) {
            best = Some((after, factors));
        }
    }
    let (after, factors) = best?;
    let gain_db = 10.0 * (before / after).log10();
    Some(Factors { divide: factors.into_iter().map(|s| s as f32).collect(), gain_db })
}

fn largest_weight(readers: &[Reader<'_>], channels: usize, c: usize) -> f64 {
    let mut largest = 0f32;
    for reader in readers {
        let width = reader.outputs.max(1);
        for tap in reader.weights.chunks_exact(channels * width) {
            largest = tap[c * width..][..width].iter().fold(largest, |m, w| m.max(w.abs()));
        }
    }
    f64::from(largest)
}

/// Noise at the outputs over their signal, summed over the readers, with channels divided by `s`.
fn noise(channels: &[Channel], readers: &[Reader<'_>], s: &[f64]) -> f64 {
    let lo = channels.iter().zip(s).fold(0f64, |lo, (c, s)| lo.min(f64::from(c.min) / s));
    let hi = channels.iter().zip(s).fold(0f64, |hi, (c, s)| hi.max(f64::from(c.max) / s));
    let step = (hi - lo) / 255.0;
    let count = channels.len();
    readers
        .iter()
        .map(|reader| {
            let width = reader.outputs.max(1);
            let mut steps = vec![0f64; if reader.outputs == 0 { count } else { width }];
            let (mut signal, mut activations, mut power) = (0.0, 0.0, 0.0);
            for (i, row) in reader.weights.chunks_exact(width).enumerate() {
                let c = i % count;
                let square: f64 = row.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
                signal += square * channels[c].mean_square;
                activations += square * s[c] * s[c];
                power += channels[c].mean_square / (s[c] * s[c]);
                for (j, &w) in row.iter().enumerate() {
                    let slot = &mut steps[if reader.outputs == 0 { c } else { j }];
                    *slot = slot.max(f64::from(w.abs()) * s[c] / 127.0);
                }
            }
            let weights = if reader.outputs == 0 {
                // One scale a channel: what it is divided by goes into the scale.
                0.0
            } else {
                steps.iter().map(|d| d * d).sum::<f64>() * power
            };
            if signal > 0.0 { (step * step * activations + weights) / 12.0 / signal } else { 0.0 }
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(reach: f32) -> Channel {
        Channel { min: -reach, max: reach, mean_square: f64::from(reach * reach) / 9.0 }
    }

    #[test]
    fn a_channel_that_stands_out_is_divided() {
        let mut channels = vec![channel(1.0); 16];
        channels[3] = channel(40.0);
        let weights: Vec<f32> = (0..16 * 8).map(|i| ((i * 37 % 17) as f32 - 8.0) / 8.0).collect();
        let factors = search(&channels, &[Reader { weights: &weights, outputs: 8 }]).expect("something to gain");
        assert!(factors.gain_db > 6.0, "{}", factors.gain_db);
        let others = factors.divide.iter().enumerate().filter(|(c, _)| *c != 3).map(|(_, s)| *s).fold(0f32, f32::max);
        assert!(factors.divide[3] > 4.0 * others, "{:?}", factors.divide);
    }

    #[test]
    fn depthwise_readers_let_every_channel_have_the_whole_range() {
        // All of them reach farther than LEAST_REACH of the farthest.
        let channels: Vec<Channel> = (0..8).map(|c| channel(1.4f32.powi(c))).collect();
        let factors = search(&channels, &[Reader { weights: &[0.5; 8 * 9], outputs: 0 }]).expect("something to gain");
        let reach: Vec<f32> = channels.iter().zip(&factors.divide).map(|(c, s)| c.max / s).collect();
        assert!(reach.iter().all(|r| (r / reach[0] - 1.0).abs() < 1e-3), "{reach:?}");
    }

    #[test]
    fn a_channel_of_which_nothing_was_seen_is_hardly_amplified() {
        let mut channels = vec![channel(1.0); 16];
        channels[5] = channel(1e-6);
        channels[9] = channel(0.0);
        let factors = search(&channels, &[Reader { weights: &[0.5; 16 * 9], outputs: 0 }]).expect("something to gain");
        let most = factors.divide.iter().copied().fold(0f32, f32::max);
        assert!(factors.divide.iter().all(|s| *s * 17.0 > most), "{:?}", factors.divide);
    }

    #[test]
    fn what_is_even_stays() {
        let weights: Vec<f32> = (0..8 * 4).map(|i| if i % 3 == 0 { 0.5 } else { -0.5 }).collect();
        let found = search(&[channel(1.0); 8], &[Reader { weights: &weights, outputs: 4 }]);
        assert!(found.is_none_or(|f| f.gain_db < 0.01));
    }
}
