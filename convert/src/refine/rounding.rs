//! Rounding of weights with feedback of errors: a weight takes up what the rounding of those before it has cost.
//!
//! Weights of one output are rounded one after the other. The error of each is handed on to those that are left, in the shares that
//! least change the layer's output on the calibration rows, which the inverse of H = XᵀX gives. (Frantar et al. 2022, "GPTQ: Accurate
//! Post-Training Quantization for Generative Pre-trained Transformers", after Hassibi and Stork 1993, "Optimal Brain Surgeon".) It
//! does what AdaRound does by gradient descent, in closed form. Each output keeps the better of the nearest and these integers.

use quaver_core::graph::Network;

use super::rows::Rows;
use super::{Product, replace};

/// Weights whose errors are handed on to each other; longer rows are cut into parts.
const PART: usize = 512;

/// Rows for each weight of a part, below which H says too little about data that calibration has not seen.
const LEAST_ROWS: usize = 4;

/// What is added to the diagonal of H, as a share of its mean: keeps it invertible, and weights near their real values.
const DAMPING: f64 = 0.01;

/// Rounds the weights of `node` anew, and folds the zero point into its bias anew.
pub(super) fn round(float: &Network, network: &mut Network, node: usize, product: &Product, rows: &Rows) {
    let entry = &network.graph.nodes[node];
    let shape = product.shape;
    let channels = shape.groups * shape.output_channels;
    let Some(real) = float.elements::<f32>(product.weights) else { return };
    let Some(mut integers) = network.elements::<i8>(entry.inputs[1]).and_then(|packed| shape.unpack(packed)) else { return };
    let Some(bias) = network.elements::<i32>(entry.inputs[2]) else { return };
    let mut bias = bias.to_vec();
    let group_channels = channels / rows.groups;
    let scale_of = |n: usize| product.scales[shape.channel(n / shape.output_channels, n % shape.output_channels)];
    let before = sums(&integers, channels);
    for group in 0..rows.groups {
        for start in (0..rows.k).step_by(PART) {
            let k = PART.min(rows.k - start);
            if rows.count() < LEAST_ROWS * k {
                continue;
            }
            let Some(hessian) = Hessian::new(rows, group, start, k) else { continue };
            for n in group * group_channels..(group + 1) * group_channels {
                let scale = scale_of(n);
                if scale <= 0.0 {
                    continue;
                }
                let index = |i: usize| (start + i) * channels + n;
                let weights: Vec<f64> = (0..k).map(|i| f64::from(real[index(i)]) / scale).collect();
                let nearest: Vec<i8> = (0..k).map(|i| integers[index(i)]).collect();
                let fed = hessian.round(&weights);
                if hessian.error(&weights, &fed) < hessian.error(&weights, &nearest) {
                    (0..k).for_each(|i| integers[index(i)] = fed[i]);
                }
            }
        }
    }
    for (n, (before, after)) in before.iter().zip(sums(&integers, channels)).enumerate() {
        let at = shape.channel(n / shape.output_channels, n % shape.output_channels);
        bias[at] -= ((after - before) * i64::from(product.from.zero_point)) as i32;
    }
    if let Some(packed) = shape.pack(&integers) {
        replace(network, node, 1, &packed);
        replace(network, node, 2, &bias);
    }
}

/// Sums of the weights of each output.
fn sums(integers: &[i8], channels: usize) -> Vec<i64> {
    let mut sums = vec![0i64; channels];
    integers.iter().enumerate().for_each(|(i, &q)| sums[i % channels] += i64::from(q));
    sums
}

/// H of a part of K, in the order in which weights are rounded: those that matter most first, while others can still take up errors.
struct Hessian {
    k: usize,
    order: Vec<usize>,
    /// H itself, `[k][k]`, in order.
    h: Vec<f64>,
    /// Upper factor U of the inverse: H⁻¹ = UᵀU.
    u: Vec<f64>,
}

impl Hessian {
    /// Of the columns `start .. start + k` of a group; `None` where it has no inverse, as where the operand is always zero.
    fn new(rows: &Rows, group: usize, start: usize, k: usize) -> Option<Self> {
        let width = rows.groups * rows.k;
        let columns = group * rows.k + start;
        let mut plain = vec![0f32; k * k];
        let mut h = vec![0f64; k * k];
        // Sums of a few hundred rows are exact enough in f32, and quick; they are gathered in f64.
        for part in rows.data.chunks(256 * width) {
            plain.fill(0.0);
            for row in part.chunks_exact(width) {
                let x = &row[columns..columns + k];
                for (i, &a) in x.iter().enumerate().filter(|(_, a)| **a != 0.0) {
                    let line = &mut plain[i * k..][..k];
                    line[i..].iter_mut().zip(&x[i..]).for_each(|(sum, b)| *sum += a * b);
                }
            }
            h.iter_mut().zip(&plain).for_each(|(h, &p)| *h += f64::from(p));
        }
        let mean = (0..k).map(|i| h[i * k + i]).sum::<f64>() / k as f64;
        if mean <= 0.0 {
            return None;
        }
        (0..k).for_each(|i| h[i * k + i] += DAMPING * mean);
        let mut order: Vec<usize> = (0..k).collect();
        order.sort_by(|&a, &b| h[b * k + b].total_cmp(&h[a * k + a]).then(a.cmp(&b)));
        let at = |i: usize, j: usize| h[i.min(j) * k + i.max(j)];
        let h: Vec<f64> = (0..k * k).map(|ij| at(order[ij / k], order[ij % k])).collect();
        let u = upper_of_inverse(&h, k)?;
        Some(Self { k, order, h, u })
    }

    /// Integers for weights in units of their scale.
    fn round(&self, weights: &[f64]) -> Vec<i8> {
        let k = self.k;
        let mut w: Vec<f64> = self.order.iter().map(|&i| weights[i]).collect();
        let mut out = vec![0i8; k];
        for i in 0..k {
            let q = libm::rint(w[i]).clamp(-127.0, 127.0);
            out[self.order[i]] = q as i8;
            let error = (w[i] - q) / self.u[i * k + i];
            let line = &self.u[i * k..][..k];
            w[i + 1..].iter_mut().zip(&line[i + 1..]).for_each(|(w, u)| *w -= error * u);
        }
        out
    }

    /// The squared error of the output, (w − q)ᵀ·H·(w − q).
    fn error(&self, weights: &[f64], integers: &[i8]) -> f64 {
        let k = self.k;
        let d: Vec<f64> = self.order.iter().map(|&i| weights[i] - f64::from(integers[i])).collect();
        (0..k).map(|i| d[i] * self.h[i * k..][..k].iter().zip(&d).map(|(h, d)| h * d).sum::<f64>()).sum()
    }
}

/// The upper triangular U with UᵀU = H⁻¹. From the Cholesky factors of H with its order reversed: H = V·Vᵀ with V upper, so
/// H⁻¹ = V⁻ᵀ·V⁻¹ and U = V⁻¹.
fn upper_of_inverse(h: &[f64], k: usize) -> Option<Vec<f64>> {
    let mut v = vec![0f64; k * k];
    for j in (0..k).rev() {
        for i in (0..=j).rev() {
            let rest: f64 = v[i * k + j + 1..(i + 1) * k].iter().zip(&v[j * k + j + 1..(j + 1) * k]).map(|(a, b)| a * b).sum();
            let left = h[i * k + j] - rest;
            v[i * k + j] = if i == j { (left > 0.0).then(|| left.sqrt())? } else { left / v[j * k + j] };
        }
    }
    let mut u = vec![0f64; k * k];
    for i in (0..k).rev() {
        u[i * k + i] = 1.0 / v[i * k + i];
        // Row i of U from the rows below: V·U = 1.
        for l in i + 1..k {
            let factor = v[i * k + l] / v[i * k + i];
            let (above, below) = u.split_at_mut(l * k);
            above[i * k + l..(i + 1) * k].iter_mut().zip(&below[l..k]).for_each(|(a, b)| *a -= factor * b);
        }
    }
    Some(u)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows whose columns go together, by a small generator.
    fn rows(k: usize, count: usize) -> Rows {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let mut data = Vec::new();
        for _ in 0..count {
            let common = 100.0 * next();
            data.extend((0..k).map(|_| (common + 20.0 * next()).round()));
        }
        Rows { groups: 1, k, data, checked: Vec::new() }
    }

    #[test]
    fn the_factor_is_that_of_the_inverse() {
        let hessian = Hessian::new(&rows(12, 200), 0, 0, 12).expect("regular");
        let k = hessian.k;
        for i in 0..k {
            for j in 0..k {
                // (UᵀU)·H = 1.
                let inverse = |i: usize, l: usize| (0..k).map(|m| hessian.u[m * k + i] * hessian.u[m * k + l]).sum::<f64>();
                let product: f64 = (0..k).map(|l| inverse(i, l) * hessian.h[l * k + j]).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-6, "{i} {j} {product}");
            }
        }
    }

    #[test]
    fn fed_errors_cost_less_than_nearest_ones() {
        let rows = rows(24, 400);
        let hessian = Hessian::new(&rows, 0, 0, 24).expect("regular");
        // All are rounded down if each is by itself, and operands go together: so errors add up.
        let weights: Vec<f64> = (0..24).map(|i| f64::from(i * 37 % 100) - 49.7).collect();
        let nearest: Vec<i8> = weights.iter().map(|w| w.round() as i8).collect();
        let fed = hessian.round(&weights);
        // By the rows themselves, not by H.
        let error = |q: &[i8]| -> f64 {
            let of = |row: &[f32]| row.iter().zip(&weights).zip(q).map(|((&x, w), &q)| f64::from(x) * (w - f64::from(q))).sum::<f64>();
            rows.data.chunks_exact(24).map(|row| of(row).powi(2)).sum()
        };
        assert!(error(&fed) < 0.5 * error(&nearest), "{} {}", error(&fed), error(&nearest));
        assert!(fed.iter().zip(&weights).all(|(&q, w)| (f64::from(q) - w).abs() < 4.0), "{fed:?}");
    }

    #[test]
    fn a_dead_operand_has_no_factor() {
        let mut dead = rows(4, 50);
        dead.data.fill(0.0);
        assert!(Hessian::new(&dead, 0, 0, 4).is_none());
    }
}
