//! What an engine makes of a relaxed dot product: asked once, with operands that no compiler knows.

use core::arch::wasm32::*;
use std::hint::black_box;
use std::sync::OnceLock;

/// The ways that engines have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lowering {
    /// Signed by unsigned, exactly.
    Unsigned,
    /// Signed by signed, exactly.
    Signed,
    /// Any other, such as one that saturates.
    Other,
}

/// Weights −128 in all places.
const WEIGHTS: [i8; 16] = [-128; 16];
/// All pairs of a byte whose two readings differ most, and one whose product saturates least.
const ACTIVATIONS: [u8; 16] = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0xff, 0xff, 0xff, 0xff, 0x80, 0x80, 0xff, 0xff, 0xff, 0xff];

/// The engine's way.
pub fn probe() -> Lowering {
    static FOUND: OnceLock<Lowering> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // Tools that fold constants compute this as one of the engines would, and not as this one does. So the operands come
        // from memory that they must take for written to.
        let (mut weights, mut activations) = (Box::new(WEIGHTS), Box::new(ACTIVATIONS));
        let (weights, activations) = (black_box(&mut *weights), black_box(&mut *activations));
        let sums = sums(weights, activations);
        let exact = |of: fn(u8) -> i32| {
            let mut expected = [0; 4];
            for (i, (&w, &x)) in weights.iter().zip(activations.iter()).enumerate() {
                expected[i / 4] += i32::from(w) * of(x);
            }
            sums == expected
        };
        if exact(i32::from) {
            Lowering::Unsigned
        } else if exact(|x| i32::from(x as i8)) {
            Lowering::Signed
        } else {
            Lowering::Other
        }
    })
}

#[target_feature(enable = "relaxed-simd")]
#[inline(never)]
fn sums(weights: &[i8; 16], activations: &[u8; 16]) -> [i32; 4] {
    // SAFETY: the references cover 16 bytes each.
    let (w, x) = unsafe { (v128_load(weights.as_ptr().cast()), v128_load(activations.as_ptr().cast())) };
    let v = i32x4_relaxed_dot_i8x16_i7x16_add(w, x, i32x4_splat(0));
    [i32x4_extract_lane::<0>(v), i32x4_extract_lane::<1>(v), i32x4_extract_lane::<2>(v), i32x4_extract_lane::<3>(v)]
}
