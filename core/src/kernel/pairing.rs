//! Orders of weights in which the sum of two products fits into 16 bits, for dot products that saturate there.
//!
//! Such a dot product adds neighbours: x₀·w₀ + x₁·w₁ and x₂·w₂ + x₃·w₃ of a quad. For activations of 8 bits these fit where
//! neither sum of neighbouring weights is beyond ±128, which holds for most quads of a trained layer, since large weights are
//! rare. A quad has three orders with different neighbours, and its activations can be had in each of them. So of the weights of
//! a block mostly one order will do. Where none does, its weights are *wide*: they and their activations have 16 bits, of which
//! two products a lane are added in 32, in two steps for a quad.
//!
//! Everything here is exact: see `kernel/paired.rs`, which computes with it.

use std::ops::Range;

use super::simd::{Kernel, Simd};

/// Most quads of a run.
pub const RUN: usize = 48;
/// Words from one order of a run's activations to the next: there is room for sixteen words that begin in a run.
pub const ORDER: usize = 64;
/// The places that an order gives to the weights of a quad.
pub const ORDERS: [[usize; 4]; 3] = [[0, 1, 2, 3], [0, 2, 1, 3], [0, 3, 1, 2]];
/// The order of wide weights. Its words are bytes 0 and 2 of a quad, those of the one behind it bytes 1 and 3.
pub const WIDE: usize = ORDERS.len();

/// A run of a row's activations, in each order. A byte tells the words apart but for those of the last order.
pub type Staged = [i32; (WIDE + 2) * ORDER];

/// 255 times as much is 32 640.
const LIMIT: i32 = 128;

/// The orders of an operation's weights.
#[derive(Debug, Clone)]
pub struct Pairing {
    /// Quads of a block.
    quads: usize,
    /// Of each quad of each run, the word of the activations that its weights meet: its order, and its place in the run. Wide ones
    /// are a run's last.
    at: Vec<u8>,
    /// Of each run of each block, how many quads are not wide.
    paired: Vec<u8>,
    /// And which orders it has, a bit for each.
    used: Vec<u8>,
}

/// The orders of a group's weights.
#[derive(Debug, Clone, Copy)]
pub struct Orders<'a> {
    at: &'a [u8],
    paired: &'a [u8],
    used: &'a [u8],
    quads: usize,
}

/// The steps of a run: the words of the activations that weights meet.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Of each quad whose weights have an order.
    pub paired: &'a [u8],
    /// Of each wide one, the first word; the other is [`ORDER`] behind it.
    pub wide: &'a [u8],
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
            paired: &self.paired[blocks.start * runs..blocks.end * runs],
            used: &self.used[blocks.start * runs..blocks.end * runs],
            quads: self.quads,
        }
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
        let at = &self.at[block * self.quads..][quads(self.quads, run)];
        let (paired, wide) = at.split_at(usize::from(self.paired[block * runs(self.quads) + run]));
        Run { paired, wide }
    }

    /// Those of some blocks, at most `N`; behind them there are none.
    pub fn of_blocks<const N: usize>(&self, blocks: Range<usize>, run: usize) -> [Run<'a>; N] {
        let mut runs = [Run { paired: &[], wide: &[] }; N];
        for (to, block) in runs.iter_mut().zip(blocks) {
            *to = self.run(block, run);
        }
        runs
    }

    /// The orders that some blocks' run has, a bit for each.
    pub fn used(&self, blocks: Range<usize>, run: usize) -> u8 {
        blocks.fold(0, |used, block| used | self.used[block * runs(self.quads) + run])
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
        let mut found = Pairing { quads: of_block, at: Vec::with_capacity(packed.len()), paired: Vec::new(), used: Vec::new() };
        for block in packed.chunks_exact(of_block.max(1)) {
            for run in 0..runs(of_block) {
                let mut orders = [0; RUN];
                let weights = &block[quads(of_block, run)];
                for (order, weights) in orders.iter_mut().zip(weights) {
                    *order = best_order(weights);
                }
                let orders = &orders[..weights.len()];
                let paired = orders.iter().filter(|&&order| order != WIDE).count();
                let words = orders.iter().enumerate().map(|(k, order)| (order * ORDER + k) as u8);
                let is_wide = |at: &u8| usize::from(*at) / ORDER == WIDE;
                found.at.extend(words.clone().filter(|at| !is_wide(at)));
                found.at.extend(words.filter(is_wide));
                found.paired.push(paired as u8);
                found.used.push(orders.iter().fold(0, |used, order| used | 1 << order));
            }
        }
        found
    }
}

/// The first order that does for a vector of weights, or [`WIDE`].
#[inline(always)]
fn best_order(weights: &[i8; 64]) -> usize {
    let mut most = [0; ORDERS.len()];
    for w in weights.as_chunks::<4>().0 {
        let w = w.map(i32::from);
        for (most, [a, b, c, d]) in most.iter_mut().zip(ORDERS) {
            // Of different signs, the sum is smaller than the larger of them.
            *most = (w[a] + w[b]).abs().max((w[c] + w[d]).abs()).max(*most);
        }
    }
    most.iter().position(|&most| most <= LIMIT).unwrap_or(WIDE)
}

/// The weights of a run's steps: one of each quad whose weights have an order, then two of each wide one.
#[derive(Debug)]
#[repr(align(64))]
pub struct Weights([[i8; 64]; 2 * RUN]);

impl Weights {
    /// None yet.
    pub const NONE: Self = Self([[0; 64]; _]);

    /// Puts a run's weights in their orders.
    #[inline(always)]
    pub fn fill<S: Simd>(&mut self, s: S, packed: &[[i8; 64]], run: &Run<'_>) {
        let (paired, wide) = self.0.split_at_mut(run.paired.len());
        for (to, &at) in paired.iter_mut().zip(run.paired) {
            *to = s.ordered(&packed[usize::from(at) % ORDER], at);
        }
        for (to, &at) in wide.as_chunks_mut().0.iter_mut().zip(run.wide) {
            s.widen_weights(&packed[usize::from(at) % ORDER], to);
        }
    }

    /// Of each quad whose weights have an order, its place in the activations, and they.
    #[inline(always)]
    pub fn paired<'a>(&'a self, run: &Run<'a>) -> impl Iterator<Item = (u8, &'a [i8; 64])> {
        run.paired.iter().copied().zip(&self.0)
    }

    /// The same of each wide one: 0 and 2 of each channel as integers of 16 bits, and 1 and 3.
    #[inline(always)]
    pub fn wide<'a>(&'a self, run: &Run<'a>) -> impl Iterator<Item = (u8, &'a [[i8; 64]; 2])> {
        run.wide.iter().copied().zip(self.0[run.paired.len()..].as_chunks().0)
    }
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
            ([100, 100, 100, 0], WIDE),
            ([-128, -1, -1, -1], WIDE),
        ] {
            assert_eq!(best_order(&weights(quad)), best, "{quad:?}");
        }
        let mut both = weights([100, 29, 90, -3]);
        both[..4].copy_from_slice(&[100, 0, 29, 0]);
        assert_eq!(best_order(&both), 2);
        both[60..].copy_from_slice(&[1, 100, 29, -1]);
        assert_eq!(best_order(&both), WIDE);
    }

    #[test]
    fn wide_weights_come_last() {
        let packed = [weights([-128, -1, -2, -3]), weights([1, 2, 3, 4]), weights([100, 29, -128, 90])];
        let pairing = Pairing::of(Soft::<0>, &packed, 3);
        let orders = pairing.orders(0..1);
        let run = orders.run(0, 0);
        assert_eq!((run.paired, run.wide), (&[1, ORDER as u8 + 2][..], &[(WIDE * ORDER) as u8][..]));
        assert_eq!(orders.used(0..1, 0), 0b1011);
        let mut filled = Weights::NONE;
        filled.fill(Soft::<0>, &packed, &run);
        let paired: Vec<_> = filled.paired(&run).collect();
        assert_eq!(paired, [(1, &weights([1, 2, 3, 4])), (ORDER as u8 + 2, &weights([100, -128, 29, 90]))]);
        let wide: Vec<_> = filled.wide(&run).collect();
        assert_eq!(wide, [((WIDE * ORDER) as u8, &[weights([-128, -1, -2, -1]), weights([-1, -1, -3, -1])])]);
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
}
