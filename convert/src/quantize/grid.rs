//! Weights that were quantized already: their scales, found in the real numbers.
//!
//! A quantized model's weights reach the quantizer as real numbers on a grid: each is its channel's scale times an integer.
//! Whatever simplification does to a channel as a whole (a folded BatchNorm, a factor) leaves them on one, which a list of
//! the model's own scales would not survive. So the grid is looked for in the numbers, and only believed where it holds all of them.

/// How far from an integer a weight may be, in steps. Rounding to f32 moves it by less than 2·10⁻⁵; a number that is on no grid
/// of up to 255 steps is at least 1/255 away from one.
const TOLERANCE: f64 = 1e-4;

/// Most steps from zero: u8 weights with a zero point at an end.
const FARTHEST: u32 = 255;

/// A scale for each channel of HWIO weights (channel of element i: i mod `channels`) by which they are integers of 8 bits;
/// `None` if some channel is on no grid of up to 255 steps.
///
/// Such a channel of −127 ..= 127 (−128 ..= 127 if need be) keeps its integers, or a multiple of them, whose finer scale keeps the
/// bias exact as well. Where they reach farther, as weights with a zero point other than the middle can, they are either cut
/// off or rounded anew to the scale of the largest, whichever moves them less.
pub(super) fn scales(hwio: &[f32], channels: usize) -> Option<Vec<f64>> {
    (0..channels).map(|n| scale(&mut hwio.iter().skip(n).step_by(channels).map(|&w| f64::from(w)))).collect()
}

fn scale<'a>(weights: &mut (dyn Iterator<Item = f64> + 'a)) -> Option<f64> {
    let weights: Vec<f64> = weights.collect();
    let (lowest, highest) = weights.iter().fold((0f64, 0f64), |(lo, hi), &w| (lo.min(w), hi.max(w)));
    let largest = highest.max(-lowest);
    if largest == 0.0 {
        return Some(0.0);
    }
    let on_grid = |steps: u32| {
        let scale = largest / f64::from(steps);
        weights.iter().all(|w| (w / scale - libm::rint(w / scale)).abs() < TOLERANCE)
    };
    let steps = (1..=FARTHEST).find(|&steps| on_grid(steps))?;
    let own = largest / f64::from(steps);
    if steps <= 127 {
        return Some(own / f64::from(127 / steps));
    }
    if highest / own < 127.5 && -lowest / own < 128.5 {
        return Some(own);
    }
    let moved = |scale: f64| {
        let error = |w: &f64| libm::rint(w / scale).clamp(-128.0, 127.0) * scale - w;
        weights.iter().map(error).map(|e| e * e).sum::<f64>()
    };
    let wide = largest / 127.0;
    Some(if moved(own) < moved(wide) { own } else { wide })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integers(weights: &[f32], scale: f64) -> Vec<f64> {
        weights.iter().map(|&w| f64::from(w) / scale).collect()
    }

    #[test]
    fn integers_are_found_again() {
        let step = 0.003_712_f32;
        for q in [vec![-127i32, 3, 64, 0, 126], vec![-128, 7, 127, 55], vec![90, -11, 3], vec![-5, 1, 2]] {
            let weights: Vec<f32> = q.iter().map(|&q| q as f32 * step).collect();
            let scale = scales(&weights, 1).expect("on a grid")[0];
            let factor = libm::rint(f64::from(step) / scale);
            for (found, q) in integers(&weights, scale).iter().zip(&q) {
                assert!((found - f64::from(*q) * factor).abs() < 1e-3 && found.abs() < 128.5, "{found} {q}");
            }
        }
    }

    #[test]
    fn channels_have_scales_of_their_own() {
        // Interleaved: [3, -127]·0.5, [1, 100]·0.01, and one that is zero.
        let found = scales(&[1.5, 0.01, 0.0, -63.5, 1.0, 0.0], 3).expect("on grids");
        assert!((found[0] - 0.5).abs() < 1e-9 && (found[1] - 0.01).abs() < 1e-9 && found[2] == 0.0, "{found:?}");
    }

    #[test]
    fn what_does_not_fit_moves_little_and_other_numbers_have_no_grid() {
        let step = 0.01f32;
        // A hundred weights around zero and one at 140 steps: that one is cut off.
        let mut weights: Vec<f32> = (-50..50).map(|q| q as f32 * step).collect();
        weights.push(129.0 * step);
        assert!((scales(&weights, 1).expect("on a grid")[0] - f64::from(step)).abs() < 1e-8);
        weights.push(255.0 * step);
        assert!((scales(&weights, 1).expect("on a grid")[0] - 255.0 * f64::from(step) / 127.0).abs() < 1e-7);
        assert_eq!(scales(&[0.1234, 0.4567, -0.78901, 1.0], 1), None);
    }
}
