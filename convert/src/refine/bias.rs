//! Empirical bias correction: the bias of each output channel takes up the mean of its error on the calibration samples.
//!
//! Rounded weights meet operands whose mean is not zero, and ranges cut off one side more than the other, so errors have a mean
//! that the next layers add up. (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
//! section 4.2, where the mean is measured; here layer by layer, on operands of the layers corrected before.)

use quaver_core::graph::Network;

use super::rows::Rows;
use super::walk::Walk;
use super::{Product, Reals, replace};

/// Least share of the error's power that its mean has to be. Where a few positions are far off, as those of a transformer's massive
/// activations are when a range cuts them off, a shift of all others would do harm.
const LEAST_SHARE: f64 = 0.03;

/// Sets the bias such that the mean of each channel, before clamp and table, is the float network's. A channel whose bias would not fit is left as it is.
pub(super) fn correct(network: &mut Network, walk: &Walk, node: usize, product: &Product, rows: &Rows, reals: &Reals) {
    let entry = &network.graph.nodes[node];
    let shape = product.shape;
    let channels = shape.groups * shape.output_channels;
    let Some(real) = reals.get(&product.output).filter(|r| r.mean.len() == channels) else { return };
    let Some(integers) = network.elements::<i8>(entry.inputs[1]).and_then(|packed| shape.unpack(packed)) else { return };
    let Some(bias) = network.elements::<i32>(entry.inputs[2]) else { return };
    let mut bias = bias.to_vec();
    let drift = product.residual.map(|id| residual_drift(network, walk, node, reals.get(&id).map(|r| &r.mean)));
    let room = i64::from(i32::MAX) - (shape.k_blocks() * 4) as i64 * 255 * 128;
    let group_channels = channels / rows.groups;
    for n in 0..channels {
        let at = shape.channel(n / shape.output_channels, n % shape.output_channels);
        let scale = f64::from(product.from.scale) * product.scales[at];
        if scale <= 0.0 {
            continue;
        }
        let mean = &rows.mean[n / group_channels * rows.k..][..rows.k];
        let column = || integers.iter().skip(n).step_by(channels);
        let products: f64 = mean.iter().zip(column()).map(|(m, &q)| m * f64::from(q)).sum();
        let sum: i64 = column().map(|&q| i64::from(q)).sum();
        let drift = drift.as_ref().and_then(|d| d.get(n)).copied().unwrap_or(0.0);
        let zero = i64::from(product.from.zero_point) * sum;
        let before = (i64::from(bias[at]) + zero) as f64;
        let error = (before + products) * scale - real.mean[n] + drift;
        let column: Vec<f32> = column().map(|&q| f32::from(q)).collect();
        let group = n / group_channels;
        let errors = rows.checked.chunks_exact(rows.groups * rows.k).zip(real.rows.chunks_exact(channels)).map(|(x, real)| {
            let sum: f32 = x[group * rows.k..][..rows.k].iter().zip(&column).map(|(x, w)| x * w).sum();
            (f64::from(sum) + before) * scale - f64::from(real[n])
        });
        let (count, power) = errors.fold((0, 0.0), |(count, power), e| (count + 1, power + e * e));
        if count == 0 || error * error < LEAST_SHARE * (power / f64::from(count)) {
            continue;
        }
        let folded = libm::rint(before - error / scale) as i64 - zero;
        if folded.abs() <= room {
            bias[at] = folded as i32;
        }
    }
    replace(network, node, 2, &bias);
}

/// By how much the mean of the residual operand lies above the float network's, by channel.
fn residual_drift(network: &Network, walk: &Walk, node: usize, wanted: Option<&Vec<f64>>) -> Vec<f64> {
    let entry = &network.graph.nodes[node];
    let (Some(wanted), Some(&id)) = (wanted, entry.inputs.get(4)) else { return Vec::new() };
    let Some(affine) = network.graph.value(id).quant else { return Vec::new() };
    let channels = wanted.len();
    let (mut sums, mut count) = (vec![0i64; channels], 0);
    for sample in 0..walk.samples() {
        let Some((_, bytes)) = walk.bytes(sample, id) else { return Vec::new() };
        for row in bytes.chunks_exact(channels) {
            sums.iter_mut().zip(row).for_each(|(s, &q)| *s += i64::from(q) - i64::from(affine.zero_point));
        }
        count += bytes.len() / channels;
    }
    let mean = |s: i64| s as f64 / count.max(1) as f64 * f64::from(affine.scale);
    sums.into_iter().zip(wanted).map(|(s, w)| mean(s) - w).collect()
}
