//! Weights and biases as integers: scales, rounding, folding, packing.

use quaver_core::format::weights::PackedShape;

use super::qconfig::WeightScheme;

/// What an integer operation needs besides its input.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedWeights {
    /// Packed weights.
    pub packed: Vec<i8>,
    /// Folded bias, padded as the weights' channels are.
    pub bias: Vec<i32>,
    /// Scale of each accumulator, s_x · s_w, padded with zeros; in f64 for the final division by the output's scale.
    pub scales: Vec<f64>,
}

/// The bound of [`quantize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// Products summed by one accumulator.
    pub k: usize,
}

/// Scales of symmetric weights, s_w = max|w| / 127; 0 for a channel that is zero. Channel of element i: i mod `channels`.
pub fn symmetric(hwio: &[f32], channels: usize, scheme: WeightScheme) -> Vec<f64> {
    let mut largest = vec![0f64; channels];
    for (i, &w) in hwio.iter().enumerate() {
        let slot = &mut largest[i % channels];
        *slot = slot.max(f64::from(w.abs()));
    }
    if scheme == WeightScheme::PerTensor {
        let most = largest.iter().copied().fold(0.0, f64::max);
        largest.fill(most);
    }
    largest.into_iter().map(|most| most / 127.0).collect()
}

/// Quantizes HWIO weights `[kh·kw][ic of a group][oc]`, of a scale s_w each output channel, and a bias `[oc]` for an input of
/// scale `x_scale` and zero point `x_zero`.
///
/// Weights: q = rne(w / s_w). Bias: rne(b / (s_x·s_w)) − z_x·Σq. A channel whose
/// bias would not fit (weights near zero, bias not) gets a larger s_w: its weights then round to less, its bias is kept.
///
/// # Errors
/// [`TooLong`] where K products of 8-bit numbers and the bias could overflow i32.
pub fn quantize(
    shape: PackedShape,
    hwio: &[f32],
    bias: Option<&[f32]>,
    x_scale: f32,
    x_zero: u8,
    mut scales: Vec<f64>,
) -> Result<QuantizedWeights, TooLong> {
    let channels = shape.groups * shape.output_channels;
    let k = shape.taps * shape.input_channels;
    let padded_k = shape.k_blocks() * 4;
    // The bound that FORMAT.md states: K · 255 · 128 + |bias| fits i32. Half of what remains is for the bias itself,
    // half for the folded zero point.
    let products = padded_k as i64 * 255 * 128;
    let room = i64::from(i32::MAX) - 2 * products;
    if room < 1 << 24 {
        return Err(TooLong { k });
    }
    let x_scale = f64::from(x_scale);
    let bias_of = |n: usize| bias.map_or(0.0, |b| f64::from(b[n]));
    for (n, scale) in scales.iter_mut().enumerate() {
        *scale = scale.max(bias_of(n).abs() / (x_scale * room as f64));
        if *scale == 0.0 {
            *scale = 1.0;
        }
    }
    let integers: Vec<i8> =
        hwio.iter().enumerate().map(|(i, &w)| libm::rint(f64::from(w) / scales[i % channels]).clamp(-128.0, 127.0) as i8).collect();
    let mut sums = vec![0i64; channels];
    for (i, &q) in integers.iter().enumerate() {
        sums[i % channels] += i64::from(q);
    }
    let padded = shape.padded_channels();
    let mut out = QuantizedWeights { packed: shape.pack(&integers).unwrap_or_default(), bias: vec![0; padded], scales: vec![0.0; padded] };
    for n in 0..channels {
        let at = shape.channel(n / shape.output_channels, n % shape.output_channels);
        let own = libm::rint(bias_of(n) / (x_scale * scales[n])) as i64;
        out.bias[at] = (own - i64::from(x_zero) * sums[n]) as i32;
        out.scales[at] = x_scale * scales[n];
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_stand_for_the_weights() {
        let shape = PackedShape::conv([1, 1], 3, 2, 1).expect("small");
        let w = [0.5, -1.0, 0.25, 2.0, -0.125, 0.0];
        let q = quantize(shape, &w, Some(&[1.0, -2.0]), 0.1, 3, symmetric(&w, 2, WeightScheme::PerChannel)).expect("short");
        let unpacked = shape.unpack(&q.packed).expect("length");
        for (i, &w) in w.iter().enumerate() {
            let scale = q.scales[i % 2] / f64::from(0.1f32);
            assert!((f64::from(unpacked[i]) * scale - f64::from(w)).abs() <= scale / 2.0 + 1e-12);
        }
        let sum: i32 = unpacked.iter().step_by(2).map(|&w| i32::from(w)).sum();
        assert!((f64::from(q.bias[0] + 3 * sum) * q.scales[0] - 1.0).abs() <= q.scales[0] / 2.0);
        assert_eq!((q.bias.len(), q.bias[2], q.scales[2]), (16, 0, 0.0));
    }

    #[test]
    fn a_dead_channel_keeps_its_bias() {
        let shape = PackedShape::conv([1, 1], 1, 1, 1).expect("small");
        let q = quantize(shape, &[1e-30], Some(&[5.0]), 0.01, 128, vec![1e-30 / 127.0]).expect("short");
        assert!((f64::from(q.bias[0]) * q.scales[0] - 5.0).abs() < 1e-5);
    }

    #[test]
    fn overflow_is_refused() {
        let shape = PackedShape::conv([1, 1], 40_000, 1, 1).expect("fits");
        let w = vec![1.0; 40_000];
        assert_eq!(quantize(shape, &w, None, 1.0, 0, vec![1.0 / 127.0]), Err(TooLong { k: 40_000 }));
    }
}
