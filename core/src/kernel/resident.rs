//! The matrix kernel for little K: weights stay in registers while rows pass by.
//!
//! A tile's set-up and its way from sums to bytes take as long as some twenty steps of K. Here there is no set-up: a panel's
//! weights are loaded once, and rows follow each other without a break. It needs 32 registers; `Q`·`NB` of them are weights,
//! 8 are sums.

use super::edge;
use super::epilogue::{Bounds, Finish, Fixed, LIFTS, ROUNDS, Requantize, Residual, Rows, Sums, look_up, store};
use super::gemm::Gemm;
use super::simd::{Kernel, Simd};

/// Most quads of K.
pub(super) const QUADS: usize = 9;
/// Rows whose bases are computed at once.
const BASES: usize = 64;
/// Vectors of sums that are computed together: enough to hide the latency of a dot product.
const SUMS: usize = 8;

/// Some rows of a panel.
#[derive(Clone, Copy)]
struct Part<'a> {
    /// The panel's first block.
    block: usize,
    /// The first row, and how many.
    first: usize,
    count: usize,
    /// Of each row, its base. Behind the last one: the last one's, so that there are always whole steps to compute.
    base: &'a [usize; BASES],
}

impl<R: Rows> Gemm<'_, R> {
    /// Computes everything, if the operation is one for this way; `false` where it isn't, and nothing is written.
    #[inline(always)]
    pub(super) fn resident<S: Simd>(&mut self, s: S) -> bool {
        let Finish::U8(how) = self.finish else { return false };
        let bounds = self.bounds();
        if bounds == Bounds::None {
            return false;
        }
        match (self.weights.quads, self.source.quads) {
            (1, 1) => self.panels::<S, 1, 1, 4>(s, &how, bounds),
            (2, 2) => self.panels::<S, 2, 2, 4>(s, &how, bounds),
            (3, 3) => self.panels::<S, 3, 3, 4>(s, &how, bounds),
            (4, 4) => self.panels::<S, 4, 4, 4>(s, &how, bounds),
            (5, 5) => self.panels::<S, 5, 5, 2>(s, &how, bounds),
            (6, 6) => self.panels::<S, 6, 6, 2>(s, &how, bounds),
            (7, 7) => self.panels::<S, 7, 7, 2>(s, &how, bounds),
            (8, 8) => self.panels::<S, 8, 8, 2>(s, &how, bounds),
            // The first layer of most networks: 3×3 pixels of three channels.
            (9, 3) => self.panels::<S, 9, 3, 2>(s, &how, bounds),
            _ => return false,
        }
        true
    }

    /// Some rows after the other, and of these all panels of `NB` blocks, then what is left over: so the output is written
    /// while it is at hand.
    #[inline(always)]
    fn panels<S: Simd, const Q: usize, const RUN: usize, const NB: usize>(&mut self, s: S, how: &Requantize<'_>, bounds: Bounds) {
        let mut base = [0; BASES];
        let rows = self.rows.clone();
        for first in rows.clone().step_by(BASES) {
            let count = BASES.min(rows.end - first);
            self.source.bases.fill(first, &mut base[..count]);
            let last = base[count - 1];
            base[count..].fill(last);
            let mut block = self.blocks.start;
            while block < self.blocks.end {
                let left = self.blocks.end - block;
                if left >= NB {
                    self.ways::<S, Q, RUN, NB>(s, how, bounds, Part { block, first, count, base: &base });
                    block += NB;
                } else if left >= 2 {
                    self.ways::<S, Q, RUN, 2>(s, how, bounds, Part { block, first, count, base: &base });
                    block += 2;
                } else {
                    self.ways::<S, Q, RUN, 1>(s, how, bounds, Part { block, first, count, base: &base });
                    block += 1;
                }
            }
            look_up(s, &self.finish, first..first + count, self.channels(), &mut self.to);
        }
    }

    #[inline(always)]
    fn ways<S: Simd, const Q: usize, const RUN: usize, const NB: usize>(
        &mut self,
        s: S,
        how: &Requantize<'_>,
        bounds: Bounds,
        part: Part<'_>,
    ) {
        let none = Residual { bytes: &[], zero_point: 0, multiplier: 0.0 };
        // Each is compiled by itself: in one large function, registers are not all there for one loop.
        match (how.residual, bounds) {
            (Some(residual), _) => s.vectorize(Panel::<R, Q, RUN, NB, ROUNDS, true> { gemm: self, how, residual, part }),
            (None, Bounds::Lifts) => s.vectorize(Panel::<R, Q, RUN, NB, LIFTS, false> { gemm: self, how, residual: none, part }),
            (None, _) => s.vectorize(Panel::<R, Q, RUN, NB, ROUNDS, false> { gemm: self, how, residual: none, part }),
        }
    }
}

/// A part of a panel: rows × `NB` blocks, over `Q` quads of K in segments of `RUN`.
struct Panel<'a, 'g, R, const Q: usize, const RUN: usize, const NB: usize, const BOUNDS: u8, const RESIDUAL: bool> {
    gemm: &'a mut Gemm<'g, R>,
    how: &'a Requantize<'a>,
    residual: Residual<'a>,
    part: Part<'a>,
}

impl<R: Rows, const Q: usize, const RUN: usize, const NB: usize, const BOUNDS: u8, const RESIDUAL: bool> Kernel
    for Panel<'_, '_, R, Q, RUN, NB, BOUNDS, RESIDUAL>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { gemm, how, residual, part } = self;
        let Part { block, first, count, base } = part;
        let quads = gemm.weights.quads;
        let mut weights = [[s.weights(&gemm.weights.packed[block * quads]); NB]; Q];
        let lift = s.splat_i32(if BOUNDS == LIFTS { S::LIFT } else { 0 });
        let mut bias = [lift; NB];
        for n in 0..NB {
            bias[n] = s.add_i32(s.load_i32(&gemm.weights.bias[block + n]), lift);
            for q in 0..Q {
                weights[q][n] = s.weights(&gemm.weights.packed[(block + n) * quads + q]);
            }
        }
        let channel = block * 16;
        let mut sums = Sums {
            acc: &[],
            row: 0,
            rows: 0,
            channel: gemm.channel + channel,
            channels: (gemm.weights.channels - channel).min(NB * 16),
            multiplier: &gemm.weights.multiplier[block..block + NB],
            width: gemm.width,
            bounds: Bounds::Rounds,
        };
        let fixed = Fixed::<S, NB>::new(s, &sums, how, &residual);
        for from in (0..count).step_by(SUMS / NB) {
            (sums.row, sums.rows) = (first + from, (count - from).min(SUMS / NB));
            let acc = gemm.sums_of::<S, Q, RUN, NB>(s, &base[from..], &bias, &weights);
            macro_rules! groups {
                ($($group:literal)*) => {
                    $(
                        // Written out, since sums stay in registers only where every index is a constant.
                        let v = [acc[$group * 4], acc[$group * 4 + 1], acc[$group * 4 + 2], acc[$group * 4 + 3]];
                        let row = $group * 4 / NB;
                        if row < sums.rows {
                            let bytes = fixed.bytes::<BOUNDS, false, RESIDUAL>(s, v, row, &sums);
                            gemm.write::<S, NB>(s, bytes, row, &sums);
                        }
                    )*
                };
            }
            groups!(0 1);
        }
    }
}

impl<R: Rows> Gemm<'_, R> {
    /// `SUMS` vectors of sums: rows, and in each the blocks.
    #[inline(always)]
    fn sums_of<S: Simd, const Q: usize, const RUN: usize, const NB: usize>(
        &self,
        s: S,
        base: &[usize],
        bias: &[S::I; NB],
        weights: &[[S::W; NB]; Q],
    ) -> [S::I; SUMS] {
        let mut acc = [bias[0]; SUMS];
        for i in 0..SUMS {
            acc[i] = bias[i % NB];
        }
        let mut rows = [&[[0; 4]; RUN]; SUMS];
        macro_rules! steps {
            ($($q:literal)*) => {
                $(if const { $q < Q } {
                    if $q % RUN == 0 {
                        let segment = self.source.segments[$q / RUN];
                        for m in 0..SUMS / NB {
                            rows[m] = run_at(self.source.bytes, base[m] + segment);
                        }
                    }
                    for m in 0..SUMS / NB {
                        let quad = s.quad(rows[m][$q % RUN]);
                        for n in 0..NB {
                            acc[m * NB + n] = s.dot4(acc[m * NB + n], quad, weights[$q % Q][n]);
                        }
                    }
                })*
            };
        }
        steps!(0 1 2 3 4 5 6 7 8);
        acc
    }

    /// Stores the bytes of the rows from `row` on.
    #[inline(always)]
    fn write<S: Simd, const NB: usize>(&mut self, s: S, bytes: S::B, row: usize, sums: &Sums<'_, NB>) {
        if sums.channels == NB * 16 && row + 4 / NB <= sums.rows {
            return store::<S, R, NB>(s, bytes, row, sums, &mut self.to);
        }
        let mut parts = [0; 64];
        s.store_b(bytes, &mut parts);
        let rows = (4 / NB).min(sums.rows - row);
        for (i, part) in parts.chunks_exact(NB * 16).enumerate().take(rows) {
            edge::copy(&part[..sums.channels], self.to.at(sums.row + row + i, sums.channel, sums.channels));
        }
    }
}

/// `RUN` quads from `at` on.
#[inline(always)]
fn run_at<const RUN: usize>(bytes: &[u8], at: usize) -> &[[u8; 4]; RUN] {
    match bytes[at..].as_chunks::<4>().0.first_chunk() {
        Some(run) => run,
        None => unreachable!("the source ends behind its last quad"),
    }
}
