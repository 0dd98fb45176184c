//! Orders of weights in which the sum of two products fits into 16 bits, for dot products that saturate there.
//!
//! Such a dot product adds neighbours: x₀·w₀ + x₁·w₁ and x₂·w₂ + x₃·w₃ of a quad. For activations of 8 bits these fit where
//! neither sum of neighbouring weights is beyond ±128, which holds for most quads of a trained layer, since large weights are
//! rare. A quad has three orders with different neighbours, and its activations can be had in each of them. So of the weights of
//! a block nearly always one order will do; where none does, the excess goes into a step of its own.
//!
//! Everything here is exact: see [`super::paired`], which computes with it.

use std::ops::Range;

use super::simd::{Kernel, Simd};

/// Most quads of a run.
pub const RUN: usize = 48;
/// Words from one order of a run's activations to the next: there is room for sixteen words that begin in a run.
pub const ORDER: usize = 64;
/// The places that an order gives to the weights of a quad.
pub const ORDERS: [[usize; 4]; 3] = [[0, 1, 2, 3], [0, 2, 1, 3], [0, 3, 1, 2]];

/// A run of a row's activations, in each order: as many words as a byte can tell apart.
pub type Staged = [i32; 4 * ORDER];

/// 255 times as much is 32 640.
const LIMIT: i32 = 128;
/// So many tenths as many vectors of excess as of weights are the most that pay: widened operands take 1.4 to 1.7 times as long.
const WORTH: usize = 6;
/// No weights of a half.
const NONE: u8 = u8::MAX;

/// The orders of an operation's weights.
#[derive(Debug, Clone)]
pub struct Pairing {
    /// Quads of a block.
    quads: usize,
    /// Of each vector of weights, the word of the activations that it meets: its order, and its place in the run.
    at: Vec<u8>,
    /// Of each run of each block, where its excess begins; and where the last one's ends.
    starts: Vec<u32>,
    /// The words of what is in excess, of channels 0–7 and of 8–15.
    excess: Vec<[u8; 2]>,
}

/// The orders of a group's weights.
#[derive(Debug, Clone, Copy)]
pub struct Orders<'a> {
    at: &'a [u8],
    starts: &'a [u32],
    excess: &'a [[u8; 2]],
    quads: usize,
}

/// The steps of a run: the words of the activations that weights meet, and those that each half of an excess meets.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Of each quad.
    pub at: &'a [u8],
    /// Of each excess.
    pub excess: &'a [[u8; 2]],
}

impl Pairing {
    /// For weights as a file holds them, so many vectors a block.
    #[inline(always)]
    pub fn of<S: Simd>(s: S, packed: &[[i8; 64]], quads: usize) -> Self {
        s.vectorize(Find { packed, quads })
    }

    /// Those of some blocks.
    pub fn orders(&self, blocks: Range<usize>) -> Orders<'_> {
        let runs = runs(self.quads);
        Orders {
            at: &self.at[blocks.start * self.quads..blocks.end * self.quads],
            starts: &self.starts[blocks.start * runs..=blocks.end * runs],
            excess: &self.excess,
            quads: self.quads,
        }
    }

    /// Whether the excess is so little that it does.
    pub fn pays(&self) -> bool {
        self.excess.len() * 10 <= self.at.len() * WORTH
    }
}

impl<'a> Orders<'a> {
    /// Runs of a block.
    pub fn runs(&self) -> usize {
        runs(self.quads)
    }

    /// The quads of a run.
    pub fn quads(&self, run: usize) -> Range<usize> {
        quads(self.quads, run)
    }

    /// The steps of a block's run.
    #[inline(always)]
    pub fn run(&self, block: usize, run: usize) -> Run<'a> {
        let range = quads(self.quads, run);
        let index = block * runs(self.quads) + run;
        let excess = self.starts[index] as usize..self.starts[index + 1] as usize;
        Run { at: &self.at[block * self.quads..][range], excess: &self.excess[excess] }
    }
}

/// Runs of so many quads.
fn runs(quads: usize) -> usize {
    quads.div_ceil(RUN)
}

/// The quads of a run: all are about as long.
fn quads(quads: usize, run: usize) -> Range<usize> {
    let runs = runs(quads);
    quads * run / runs..quads * (run + 1) / runs
}

struct Find<'a> {
    packed: &'a [[i8; 64]],
    quads: usize,
}

impl Kernel for Find<'_> {
    type Output = Pairing;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Pairing {
        let Self { packed, quads: of_block } = self;
        let mut found = Pairing { quads: of_block, at: Vec::with_capacity(packed.len()), starts: vec![0], excess: Vec::new() };
        for block in packed.chunks_exact(of_block.max(1)) {
            for run in 0..runs(of_block) {
                let start = found.excess.len();
                let mut ends = [start; 2];
                for (k, weights) in block[quads(of_block, run)].iter().enumerate() {
                    let (order, beyond) = order(weights);
                    let at = (order * ORDER + k) as u8;
                    found.at.push(at);
                    for (half, end) in ends.iter_mut().enumerate().filter(|&(half, _)| beyond[half]) {
                        if *end == found.excess.len() {
                            found.excess.push([NONE; 2]);
                        }
                        found.excess[*end][half] = at;
                        *end += 1;
                    }
                }
                found.starts.push(found.excess.len() as u32);
            }
        }
        found
    }
}

/// The best order for a vector of weights, and whether even so there is an excess in channels 0–7 and in 8–15.
#[inline(always)]
fn order(weights: &[i8; 64]) -> (usize, [bool; 2]) {
    let mut most = [[0; 2]; ORDERS.len()];
    for (half, weights) in weights.as_chunks::<32>().0.iter().enumerate() {
        for w in weights.as_chunks::<4>().0 {
            let w = w.map(i32::from);
            for (most, [a, b, c, d]) in most.iter_mut().zip(ORDERS) {
                // Of different signs, the sum is smaller than the larger of them.
                most[half] = (w[a] + w[b]).abs().max((w[c] + w[d]).abs()).max(most[half]);
            }
        }
    }
    let beyond = most.map(|most| most.map(|most| most > LIMIT));
    let count = beyond.map(|[a, b]| u8::from(a) + u8::from(b));
    let best = (1..ORDERS.len()).fold(0, |best, order| if count[order] < count[best] { order } else { best });
    (best, beyond[best])
}

/// The weights of a run's steps.
#[derive(Debug)]
#[repr(align(64))]
pub struct Weights {
    ordered: [[i8; 64]; RUN],
    excess: [[i8; 64]; RUN],
}

impl Weights {
    /// None yet.
    pub const NONE: Self = Self { ordered: [[0; 64]; RUN], excess: [[0; 64]; RUN] };

    /// Puts a run's weights in their orders.
    #[inline(always)]
    pub fn fill<S: Simd>(&mut self, s: S, packed: &[[i8; 64]], run: &Run<'_>) {
        for ((to, packed), &at) in self.ordered.iter_mut().zip(packed).zip(run.at) {
            *to = s.ordered(packed, at);
        }
        for (to, at) in self.excess.iter_mut().zip(run.excess) {
            for (half, to) in to.as_chunks_mut().0.iter_mut().enumerate() {
                let weights = self.ordered.get_mut(usize::from(at[half]) % ORDER).filter(|_| at[half] != NONE);
                *to = weights.map_or([0; 32], |weights| take_excess(&mut weights.as_chunks_mut().0[half]));
            }
        }
    }

    /// Of each quad.
    #[inline(always)]
    pub fn ordered(&self) -> &[[i8; 64]; RUN] {
        &self.ordered
    }

    /// Of each excess.
    #[inline(always)]
    pub fn excess(&self) -> &[[i8; 64]; RUN] {
        &self.excess
    }
}

/// Takes what is too much from eight channels of weights in their order.
#[inline(always)]
fn take_excess(weights: &mut [i8; 32]) -> [i8; 32] {
    // Words of two weights, so that compilers see that all is alike.
    let mut words = [0i16; 16];
    for (word, w) in words.iter_mut().zip(weights.as_chunks::<2>().0) {
        *word = i16::from_le_bytes(w.map(|w| w as u8));
    }
    let mut excess = [0i16; 16];
    for (word, excess) in words.iter_mut().zip(&mut excess) {
        let sum = (*word << 8 >> 8) + (*word >> 8);
        let mask = if sum.abs() > LIMIT as i16 { !0xff } else { 0 };
        *excess = *word & mask;
        *word &= !mask;
    }
    *weights = bytes(words);
    bytes(excess)
}

#[inline(always)]
fn bytes(words: [i16; 16]) -> [i8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes().map(|byte| byte as i8);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::soft::Soft;
    use super::*;

    /// Zeros, but for a quad of channel 9.
    fn weights(quad: [i8; 4]) -> [i8; 64] {
        let mut weights = [0; _];
        weights[36..40].copy_from_slice(&quad);
        weights
    }

    #[test]
    fn the_order_parts_large_neighbours() {
        for (quad, best) in [
            ([100, 28, -128, 127], 0),
            ([-100, -28, -128, 0], 0),
            ([100, 29, -128, 90], 1),
            ([100, 29, 90, -3], 2),
            ([0, 0, 127, 2], 1),
            ([127, 2, 100, 1], 2),
        ] {
            assert_eq!(order(&weights(quad)), (best, [false; 2]), "{quad:?}");
        }
        assert_eq!(order(&weights([100, 100, 100, 0])), (0, [false, true]));
        assert_eq!(order(&weights([-128, -1, -1, -1])), (0, [false, true]));
    }

    #[test]
    fn excess_is_what_is_too_much() {
        let packed = [weights([1, 2, 3, 4]), weights([-128, -1, -2, -3]), weights([100, 29, -128, 90])];
        let pairing = Pairing::of(Soft::<0>, &packed, 3);
        let run = pairing.orders(0..1).run(0, 0);
        assert_eq!((run.at, run.excess), (&[0, 1, ORDER as u8 + 2][..], &[[NONE, 1]][..]));
        let mut filled = Weights::NONE;
        filled.fill(Soft::<0>, &packed, &run);
        assert_eq!(filled.ordered[..3], [weights([1, 2, 3, 4]), weights([-128, 0, -2, -3]), weights([100, -128, 29, 90])]);
        assert_eq!(filled.excess[0], weights([0, -1, 0, 0]));
    }

    #[test]
    fn runs_are_of_about_one_length() {
        for (of, expected) in [(1, 1..2), (48, 1..2), (49, 2..3), (97, 3..4)] {
            assert!(expected.contains(&runs(of)));
            let lengths: Vec<usize> = (0..runs(of)).map(|run| quads(of, run).len()).collect();
            assert_eq!(lengths.iter().sum::<usize>(), of);
            assert!(lengths.iter().all(|&length| length <= RUN && length + 1 >= of / runs(of)), "{lengths:?}");
        }
    }

    #[test]
    fn it_has_to_pay() {
        let (good, bad) = ([1; 64], [127; 64]);
        assert!(Pairing::of(Soft::<0>, &[good, bad, bad, good], 2).pays());
        assert!(!Pairing::of(Soft::<0>, &[bad, bad, bad, good], 2).pays());
    }
}
