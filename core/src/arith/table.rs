//! Functions of one number: on f32 element by element, on u8 as tables of 256 bytes that the converter builds in f64.

use super::float::{erf, exp, ln, sigmoid, tanh};
use crate::graph::op::UnaryFn;
use crate::quant::Affine;

/// The function on f32: what every backend computes for a real tensor.
#[inline(always)]
pub fn unary_f32(function: UnaryFn, x: f32) -> f32 {
    use UnaryFn as F;
    match function {
        F::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        F::LeakyRelu { alpha } => {
            if x < 0.0 {
                alpha * x
            } else {
                x
            }
        }
        F::Clip { lo, hi } => {
            let x = if x < lo { lo } else { x };
            if x > hi { hi } else { x }
        }
        F::Sigmoid => sigmoid(x),
        F::HardSigmoid { alpha, beta } => hard_sigmoid(x, alpha, beta),
        F::HardSwish => x * hard_sigmoid(x, 1.0 / 6.0, 0.5),
        F::Silu => x * sigmoid(x),
        F::Tanh => tanh(x),
        F::Gelu => 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)),
        F::GeluTanh => 0.5 * x * (1.0 + tanh(0.797_884_6 * (x + 0.044_715 * (x * x * x)))),
        F::Mish => x * tanh(softplus(x)),
        F::Elu { alpha } => {
            if x < 0.0 {
                alpha * (exp(x) - 1.0)
            } else {
                x
            }
        }
        F::Selu { alpha, gamma } => gamma * if x < 0.0 { alpha * (exp(x) - 1.0) } else { x },
        F::Celu { alpha } => {
            if x < 0.0 {
                alpha * (exp(x / alpha) - 1.0)
            } else {
                x
            }
        }
        F::Softplus => softplus(x),
        F::Softsign => x / (1.0 + x.abs()),
        F::ThresholdedRelu { alpha } => {
            if x > alpha {
                x
            } else {
                0.0
            }
        }
        F::Shrink { lambda, bias } => {
            if x < -lambda {
                x + bias
            } else if x > lambda {
                x - bias
            } else {
                0.0
            }
        }
        F::Exp => exp(x),
        F::Log => ln(x),
        F::Sqrt => libm::sqrtf(x),
        F::Reciprocal => 1.0 / x,
        F::Abs => x.abs(),
        F::Neg => -x,
        F::Sign => {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x
            }
        }
        F::Floor => libm::floorf(x),
        F::Ceil => libm::ceilf(x),
        F::Round => libm::rintf(x),
        F::Erf => erf(x),
        F::Sin => libm::sinf(x),
        F::Cos => libm::cosf(x),
        F::Tan => libm::tanf(x),
        F::Asin => libm::asinf(x),
        F::Acos => libm::acosf(x),
        F::Atan => libm::atanf(x),
        F::Sinh => libm::sinhf(x),
        F::Cosh => libm::coshf(x),
        F::Asinh => libm::asinhf(x),
        F::Acosh => libm::acoshf(x),
        F::Atanh => libm::atanhf(x),
    }
}

#[inline(always)]
fn hard_sigmoid(x: f32, alpha: f32, beta: f32) -> f32 {
    let t = alpha * x + beta;
    let t = if t < 0.0 { 0.0 } else { t };
    if t > 1.0 { 1.0 } else { t }
}

/// max(x, 0) + ln(1 + e^−|x|), which neither overflows nor loses small results.
fn softplus(x: f32) -> f32 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive + libm::log1pf(exp(-x.abs()))
}

/// The function in f64, for the converter's tables.
pub fn unary_f64(function: UnaryFn, x: f64) -> f64 {
    use UnaryFn as F;
    let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x));
    let softplus = |x: f64| x.max(0.0) + libm::log1p(libm::exp(-x.abs()));
    let hard_sigmoid = |x: f64, a: f64, b: f64| (a * x + b).clamp(0.0, 1.0);
    match function {
        F::Relu => x.max(0.0),
        F::LeakyRelu { alpha } => {
            if x < 0.0 {
                f64::from(alpha) * x
            } else {
                x
            }
        }
        F::Clip { lo, hi } => x.max(f64::from(lo)).min(f64::from(hi)),
        F::Sigmoid => sigmoid(x),
        F::HardSigmoid { alpha, beta } => hard_sigmoid(x, f64::from(alpha), f64::from(beta)),
        F::HardSwish => x * hard_sigmoid(x, 1.0 / 6.0, 0.5),
        F::Silu => x * sigmoid(x),
        F::Tanh => libm::tanh(x),
        F::Gelu => 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        F::GeluTanh => 0.5 * x * (1.0 + libm::tanh((2.0 * std::f64::consts::FRAC_1_PI).sqrt() * (x + 0.044_715 * x * x * x))),
        F::Mish => x * libm::tanh(softplus(x)),
        F::Elu { alpha } => {
            if x < 0.0 {
                f64::from(alpha) * libm::expm1(x)
            } else {
                x
            }
        }
        F::Selu { alpha, gamma } => f64::from(gamma) * if x < 0.0 { f64::from(alpha) * libm::expm1(x) } else { x },
        F::Celu { alpha } => {
            if x < 0.0 {
                f64::from(alpha) * libm::expm1(x / f64::from(alpha))
            } else {
                x
            }
        }
        F::Softplus => softplus(x),
        F::Softsign => x / (1.0 + x.abs()),
        F::ThresholdedRelu { alpha } => {
            if x > f64::from(alpha) {
                x
            } else {
                0.0
            }
        }
        F::Shrink { lambda, bias } => {
            let (lambda, bias) = (f64::from(lambda), f64::from(bias));
            if x < -lambda {
                x + bias
            } else if x > lambda {
                x - bias
            } else {
                0.0
            }
        }
        F::Exp => libm::exp(x),
        F::Log => libm::log(x),
        F::Sqrt => libm::sqrt(x),
        F::Reciprocal => 1.0 / x,
        F::Abs => x.abs(),
        F::Neg => -x,
        F::Sign => {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x
            }
        }
        F::Floor => libm::floor(x),
        F::Ceil => libm::ceil(x),
        F::Round => libm::rint(x),
        F::Erf => libm::erf(x),
        F::Sin => libm::sin(x),
        F::Cos => libm::cos(x),
        F::Tan => libm::tan(x),
        F::Asin => libm::asin(x),
        F::Acos => libm::acos(x),
        F::Atan => libm::atan(x),
        F::Sinh => libm::sinh(x),
        F::Cosh => libm::cosh(x),
        F::Asinh => libm::asinh(x),
        F::Acosh => libm::acosh(x),
        F::Atanh => libm::atanh(x),
    }
}

/// The table of y = f(x) between two affine encodings: rounded to nearest even, saturated, the zero point where f is NaN.
///
/// Every byte has its entry, those above `from.q_max` too.
pub fn build(f: impl Fn(f64) -> f64, from: Affine, to: Affine) -> [u8; 256] {
    std::array::from_fn(|q| {
        let x = f64::from(from.scale) * (q as f64 - f64::from(from.zero_point));
        let y = libm::rint(f(x) / f64::from(to.scale)) + f64::from(to.zero_point);
        if y.is_nan() { to.zero_point } else { y.clamp(0.0, f64::from(to.q_max)) as u8 }
    })
}

/// The table of a unary function.
pub fn build_unary(function: UnaryFn, from: Affine, to: Affine) -> [u8; 256] {
    build(|x| unary_f64(function, x), from, to)
}

/// The table that changes affine parameters.
pub fn build_requantize(from: Affine, to: Affine) -> [u8; 256] {
    build(|x| x, from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f32_and_f64_agree() {
        use UnaryFn as F;
        let functions = [
            F::Relu,
            F::LeakyRelu { alpha: 0.1 },
            F::Clip { lo: -1.0, hi: 2.0 },
            F::Sigmoid,
            F::HardSigmoid { alpha: 0.2, beta: 0.5 },
            F::HardSwish,
            F::Silu,
            F::Tanh,
            F::Gelu,
            F::GeluTanh,
            F::Mish,
            F::Elu { alpha: 1.5 },
            F::Selu { alpha: 1.67, gamma: 1.05 },
            F::Celu { alpha: 2.0 },
            F::Softplus,
            F::Softsign,
            F::ThresholdedRelu { alpha: 1.0 },
            F::Shrink { lambda: 0.5, bias: 0.25 },
            F::Exp,
            F::Abs,
            F::Neg,
            F::Sign,
            F::Floor,
            F::Ceil,
            F::Round,
            F::Erf,
            F::Sin,
            F::Cos,
            F::Atan,
            F::Sinh,
            F::Cosh,
            F::Asinh,
        ];
        for f in functions {
            for i in -700..700 {
                let x = i as f32 / 100.0 + 0.0012;
                let (a, b) = (f64::from(unary_f32(f, x)), unary_f64(f, f64::from(x)));
                assert!((a - b).abs() <= 2e-6 * b.abs().max(1.0), "{} of {x}: {a} {b}", f.name());
            }
        }
    }

    #[test]
    fn functions_of_a_part_of_the_numbers_agree_there() {
        use UnaryFn as F;
        let domains: [(&[F], f32, f32); 4] = [
            (&[F::Log, F::Sqrt, F::Reciprocal], 0.01, 90.0),
            (&[F::Asin, F::Acos, F::Atanh], -0.999, 0.999),
            (&[F::Acosh], 1.0, 90.0),
            (&[F::Tan], -1.5, 1.5),
        ];
        for (functions, from, to) in domains {
            for (&f, i) in functions.iter().flat_map(|f| (0..1000).map(move |i| (f, i))) {
                let x = from + (to - from) * (i as f32 / 1000.0);
                let (a, b) = (f64::from(unary_f32(f, x)), unary_f64(f, f64::from(x)));
                assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{} of {x}: {a} {b}", f.name());
            }
        }
    }

    #[test]
    fn known_values() {
        use UnaryFn as F;
        let known = [
            (F::LeakyRelu { alpha: 0.25 }, -2.0, -0.5),
            (F::Clip { lo: -1.0, hi: 6.0 }, 7.0, 6.0),
            (F::Sigmoid, 2.0, 0.880_797_077_977_882),
            (F::HardSigmoid { alpha: 0.25, beta: 0.5 }, 1.0, 0.75),
            (F::HardSwish, 1.0, 2.0 / 3.0),
            (F::Silu, -1.0, -0.268_941_421_369_995),
            (F::Gelu, 1.0, 0.841_344_746_068_543),
            (F::GeluTanh, 1.0, 0.841_191_990_608_276),
            (F::Mish, 1.0, 0.865_098_388_267_310),
            (F::Elu { alpha: 2.0 }, -1.0, -1.264_241_117_657_115),
            (F::Selu { alpha: 2.0, gamma: 0.5 }, -1.0, -0.632_120_558_828_558),
            (F::Celu { alpha: 2.0 }, -2.0, -1.264_241_117_657_115),
            (F::Softplus, 0.0, std::f64::consts::LN_2),
            (F::Softsign, -3.0, -0.75),
            (F::ThresholdedRelu { alpha: 1.0 }, 1.0, 0.0),
            (F::Shrink { lambda: 0.5, bias: 0.25 }, -0.75, -0.5),
            (F::Sign, -3.0, -1.0),
            (F::Round, 2.5, 2.0),
            (F::Erf, 0.5, 0.520_499_877_813_047),
        ];
        for (f, x, y) in known {
            assert!((unary_f64(f, x) - y).abs() < 1e-14, "{}: {}", f.name(), unary_f64(f, x));
            assert!((f64::from(unary_f32(f, x as f32)) - y).abs() < 3e-7, "{}: {}", f.name(), unary_f32(f, x as f32));
        }
    }

    #[test]
    fn nan_stays_and_large_numbers_have_limits() {
        use UnaryFn as F;
        let kept = [F::Relu, F::Clip { lo: 0.0, hi: 6.0 }, F::HardSwish, F::Silu, F::Gelu, F::Mish, F::Elu { alpha: 1.0 }, F::Softplus];
        assert!(kept.iter().all(|&f| unary_f32(f, f32::NAN).is_nan()));
        for (f, low, high) in [(F::Sigmoid, 0.0, 1.0), (F::Tanh, -1.0, 1.0), (F::Softplus, 0.0, 200.0), (F::Gelu, 0.0, 200.0)] {
            assert_eq!((unary_f32(f, -200.0), unary_f32(f, 200.0)), (low, high), "{}", f.name());
        }
    }

    #[test]
    fn tables_saturate_and_keep_zero() {
        let from = Affine { scale: 0.1, zero_point: 100, q_max: 255 };
        let to = Affine { scale: 0.05, zero_point: 10, q_max: 255 };
        let table = build_requantize(from, to);
        assert_eq!((table[100], table[101], table[0], table[255]), (10, 12, 0, 255));
        let log = build_unary(UnaryFn::Log, from, to);
        assert_eq!((log[50], log[100]), (10, 0), "NaN is the zero point, −∞ saturates");
        let reduced = build_requantize(from, Affine { q_max: 127, ..to });
        assert_eq!(reduced[255], 127);
    }
}
