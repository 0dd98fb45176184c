//! Empirical bias correction: the bias of each output channel takes up the mean of its error on the calibration samples.
//!
//! Rounded weights meet operands whose mean is not zero, and ranges cut off one side more than the other, so errors have a mean
//! that the next layers add up. (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
//! section 4.2, where the mean is measured; here layer by layer, on operands of the layers corrected before, and without the errors
//! farthest out.) Samples are few, and positions of one resemble each other: so a mean is taken over only as far as samples agree
//! on it, or what is particular to them would be taken over too.

use quaver_core::graph::Network;

use super::rows::Rows;
use super::walk::Walk;
use super::{Product, Real, Reals, replace};

/// Errors that are left out, as a share at each end. Where a range cuts off what is far out, as the massive activations of transformers
/// are, a few positions have errors that would shift the bias of all others.
const CUT: f64 = 0.1;

/// Rows below which a mean says too little about data that calibration has not seen.
const LEAST_ROWS: usize = 64;

/// Takes the mean error of each channel, before clamp and table, off its bias. A channel whose bias would not fit is left as it is.
pub(super) fn correct(network: &mut Network, walk: &Walk, node: usize, product: &Product, rows: &Rows, reals: &Reals) {
    let entry = &network.graph.nodes[node];
    let shape = product.shape;
    let channels = shape.groups * shape.output_channels;
    let Some(real) = reals.get(&product.output).filter(|r| r.channels == channels) else { return };
    let Some(integers) = network.elements::<i8>(entry.inputs[1]).and_then(|packed| shape.unpack(packed)) else { return };
    let Some(bias) = network.elements::<i32>(entry.inputs[2]) else { return };
    let mut bias = bias.to_vec();
    // What the residual operand is off by counts too, as nothing else would make up for it.
    let drift = match product.residual.map(|id| residual_errors(network, walk, node, real.step, reals.get(&id))) {
        Some(Some(drift)) => drift,
        Some(None) => return,
        None => vec![0.0; real.rows.len()],
    };
    // The rows of one sample alone stand for samples.
    let ends: &Vec<usize> = if real.ends.len() < 2 { &(1..=real.rows.len() / channels).collect() } else { &real.ends };
    let room = i64::from(i32::MAX) - (shape.k_blocks() * 4) as i64 * 255 * 128;
    let group_channels = channels / rows.groups;
    for n in 0..channels {
        let at = shape.channel(n / shape.output_channels, n % shape.output_channels);
        let scale = f64::from(product.from.scale) * product.scales[at];
        if scale <= 0.0 {
            continue;
        }
        let column: Vec<f32> = integers.iter().skip(n).step_by(channels).map(|&q| f32::from(q)).collect();
        let sum: f64 = column.iter().map(|&q| f64::from(q)).sum();
        let zero = f64::from(product.from.zero_point) * sum;
        let before = f64::from(bias[at]) + zero;
        let group = n / group_channels;
        let real_rows = real.rows.chunks_exact(channels).zip(drift.chunks_exact(channels));
        let errors = rows.checked.chunks_exact(rows.groups * rows.k).zip(real_rows).map(|(x, (real, drift))| {
            let sum: f32 = x[group * rows.k..][..rows.k].iter().zip(&column).map(|(x, w)| x * w).sum();
            (f64::from(sum) + before) * scale - f64::from(real[n]) + f64::from(drift[n])
        });
        let Some(error) = mean(&errors.collect::<Vec<_>>(), ends) else { continue };
        let folded = libm::rint(before - error / scale) - zero;
        if folded.abs() <= room as f64 {
            bias[at] = folded as i32;
        }
    }
    replace(network, node, 2, &bias);
}

/// The mean of errors, without those farthest out, shrunk by how much it would differ from one choice of samples to another: the
/// positive part of m·(1 − σ²/m²), with σ² the variance of m by what each sample's errors are (James and Stein 1961). Errors of a
/// sample lie one after the other up to its end. `None` where nothing is left, or there are too few.
fn mean(errors: &[f64], ends: &[usize]) -> Option<f64> {
    if errors.len() < LEAST_ROWS {
        return None;
    }
    let mut sorted = errors.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = (sorted.len() as f64 * CUT) as usize;
    let middle = &sorted[cut..sorted.len() - cut];
    let (least, most) = (middle[0], middle[middle.len() - 1]);
    let inside = |e: &&f64| (least..=most).contains(*e);
    let count = errors.iter().filter(inside).count() as f64;
    let mean = errors.iter().filter(inside).sum::<f64>() / count;
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let squares = starts.zip(ends).filter_map(|(start, &end)| {
        let deviation = errors.get(start..end)?.iter().filter(inside).map(|e| e - mean).sum::<f64>();
        Some(deviation * deviation)
    });
    let samples = ends.len() as f64;
    let variance = squares.sum::<f64>() / (count * count) * (samples / (samples - 1.0));
    (mean * mean > variance).then(|| mean * (1.0 - variance / (mean * mean)))
}

/// By how much the residual operand is off at each `step`th row.
fn residual_errors(network: &Network, walk: &Walk, node: usize, step: usize, real: Option<&Real>) -> Option<Vec<f32>> {
    let id = *network.graph.nodes[node].inputs.get(4)?;
    let affine = network.graph.value(id).quant?;
    let real = real.filter(|r| r.step == step)?;
    let channels = real.channels;
    let mut errors = Vec::with_capacity(real.rows.len());
    let mut seen = 0;
    for sample in 0..walk.samples() {
        for row in walk.bytes(sample, id)?.1.chunks_exact(channels) {
            if seen % step == 0 {
                let real = &real.rows[errors.len()..];
                errors.extend(row.iter().zip(real).map(|(&q, real)| affine.dequantize(q) - real));
            }
            seen += 1;
        }
    }
    Some(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_errors_far_out_move_nothing() {
        let noise = |i: usize| ((i * 7919) % 1009) as f64 / 1009.0 - 0.5;
        let ends: Vec<usize> = (1..=10).map(|i| i * 50).collect();
        let even: Vec<f64> = (0..500).map(noise).collect();
        let small = |errors: &[f64]| mean(errors, &ends).is_none_or(|m| m.abs() < 0.02);
        assert!(small(&even));
        let mut far = even.clone();
        far.iter_mut().step_by(25).for_each(|e| *e = 40.0);
        assert!(small(&far));
        let shifted = mean(&even.iter().map(|e| e + 0.3).collect::<Vec<_>>(), &ends).expect("a mean");
        assert!((shifted - 0.3).abs() < 0.02, "{shifted}");
        assert_eq!(mean(&[1.0; LEAST_ROWS - 1], &ends), None);
    }

    #[test]
    fn what_samples_don_t_agree_on_moves_nothing() {
        // Each of four samples is off by something else: the mean of 0.25 says nothing.
        let errors: Vec<f64> = (0..400).map(|i| [2.0, -1.5, 1.5, -1.0][i / 100] + (i % 7) as f64 * 0.01).collect();
        assert_eq!(mean(&errors, &[100, 200, 300, 400]), None);
        // Where they nearly agree, most of it is taken over.
        let errors: Vec<f64> = (0..400).map(|i| [0.9, 1.1, 1.0, 1.0][i / 100] + (i % 7) as f64 * 0.01).collect();
        let shrunk = mean(&errors, &[100, 200, 300, 400]).expect("a mean");
        assert!((0.95..1.06).contains(&shrunk), "{shrunk}");
    }
}
