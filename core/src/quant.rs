//! Affine quantization of activations: real = scale · (q − zero_point), q in 0 ..= q_max.

use serde::Serialize;

use crate::arith::round::{clamp, rne};

/// Per-tensor affine parameters of a u8 tensor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Affine {
    /// Real distance of two neighbouring integers; finite and positive.
    #[serde(rename = "s")]
    pub scale: f32,
    /// The integer that stands for real zero; at most `q_max`.
    #[serde(rename = "z")]
    pub zero_point: u8,
    /// Largest integer in use: 255, or 127 in a model of reduced range.
    #[serde(rename = "max", skip_serializing_if = "is_full_range")]
    pub q_max: u8,
}

fn is_full_range(q_max: &u8) -> bool {
    *q_max == 255
}

impl Affine {
    /// Parameters that cover `min ..= max` (widened to hold zero) with the integers `0 ..= q_max`.
    ///
    /// This is PyTorch's `_calculate_qparams` for `quint8`, `per_tensor_affine`: scale = (max − min) / q_max,
    /// zero_point = rne(−min / scale). A range without extent gets scale 1 (an all-zero tensor).
    pub fn from_range(min: f32, max: f32, q_max: u8) -> Self {
        let (min, max) = (f64::from(min.min(0.0)), f64::from(max.max(0.0)));
        let scale = ((max - min) / f64::from(q_max)) as f32;
        if !(scale.is_finite() && scale >= f32::MIN_POSITIVE) {
            return Self { scale: 1.0, zero_point: 0, q_max };
        }
        let zero = libm::rint(-min / f64::from(scale)).clamp(0.0, f64::from(q_max));
        Self { scale, zero_point: zero as u8, q_max }
    }

    /// Parameters that cover `−most ..= most` with as many integers above the zero point as below it, which leaves 0 unused.
    pub fn centred(most: f32, q_max: u8) -> Self {
        let zero_point = q_max.div_ceil(2);
        let scale = most / f32::from(q_max - zero_point).max(1.0);
        let scale = if scale.is_finite() && scale >= f32::MIN_POSITIVE { scale } else { 1.0 };
        Self { scale, zero_point, q_max }
    }

    /// Whether the parameters obey their documentation.
    pub fn is_valid(&self) -> bool {
        self.scale.is_finite() && self.scale >= f32::MIN_POSITIVE && self.zero_point <= self.q_max && self.q_max > 0
    }

    /// ONNX `QuantizeLinear`: q = clamp(rne(x / scale) + zero_point, 0, q_max); NaN becomes 0.
    pub fn quantize(&self, x: f32) -> u8 {
        let z = f32::from(self.zero_point);
        let t = clamp(x / self.scale, -z, f32::from(self.q_max) - z);
        (rne(t) + i32::from(self.zero_point)) as u8
    }

    /// ONNX `DequantizeLinear`: (q − zero_point) · scale.
    pub fn dequantize(&self, q: u8) -> f32 {
        (i32::from(q) - i32::from(self.zero_point)) as f32 * self.scale
    }

    /// The smallest and the largest real number that can be represented.
    pub fn range(&self) -> (f32, f32) {
        (self.dequantize(0), self.dequantize(self.q_max))
    }
}

/// Scale and zero point of the integers that cover some numbers and 0, as ONNX's DynamicQuantizeLinear has them:
/// s = (max − min) / 255, z = rne(clamp(−min / s, 0, 255)); 1 and 0 where s is no positive normal number. NaN is passed over.
pub fn choose_qparams(x: &[f32]) -> [f32; 2] {
    let lesser = |a: f32, &b: &f32| if b < a { b } else { a };
    let greater = |a: f32, &b: &f32| if b > a { b } else { a };
    qparams_of(x.iter().fold(0.0, lesser), x.iter().fold(0.0, greater))
}

/// The same of the least and the greatest, of which 0 is one if all others are on one side of it.
pub fn qparams_of(min: f32, max: f32) -> [f32; 2] {
    let scale = (max - min) / 255.0;
    if !(scale.is_finite() && scale >= f32::MIN_POSITIVE) {
        return [1.0, 0.0];
    }
    [scale, rne(clamp(-min / scale, 0.0, 255.0)) as f32]
}

/// A pair of [`choose_qparams`] as affine parameters. Of a pair that it doesn't give, the zero point is the byte next to it, and 0
/// of NaN.
#[inline(always)]
pub fn affine_of(&[scale, zero_point]: &[f32; 2]) -> Affine {
    Affine { scale, zero_point: rne(clamp(zero_point, 0.0, 255.0)) as u8, q_max: u8::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_holds_zero_exactly() {
        for (min, max) in [(-1.0, 3.0), (0.5, 2.0), (-7.0, -1.0), (0.0, 6.0)] {
            let a = Affine::from_range(min, max, 255);
            assert!(a.is_valid());
            assert_eq!(a.dequantize(a.quantize(0.0)), 0.0);
            assert_eq!(a.quantize(f32::INFINITY), 255);
            assert_eq!(a.quantize(f32::NEG_INFINITY), 0);
            assert_eq!(a.quantize(f32::NAN), 0);
        }
    }

    #[test]
    fn empty_range_is_harmless() {
        assert_eq!(Affine::from_range(0.0, 0.0, 255), Affine { scale: 1.0, zero_point: 0, q_max: 255 });
    }
}
