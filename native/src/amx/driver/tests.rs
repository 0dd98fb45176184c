//! The driver against loops over single bytes, on software tiles everywhere and on the processor's where there are some.

use std::collections::HashSet;
use std::ops::Range;

use quaver_core::arith::requant::{requantize, requantize_swished, scale};
use quaver_core::graph::op;
use quaver_core::kernel::epilogue::{Finish, HardSwish, Requantize, Residual, SliceRows};
use quaver_core::kernel::gemm::Bases;

use super::*;
use crate::amx::hardware::Hardware;
use crate::amx::machine::Extents;
use crate::amx::soft::Soft;
use crate::amx::{Amx, scratch};
use crate::isa::avx512vnni::Avx512Vnni;

/// An output of which no place may be asked for twice: rows that two tiles share are written by one of them. A table is
/// looked up where the bytes are, so there it doesn't hold.
struct Once<'a> {
    rows: SliceRows<'a>,
    asked: Option<HashSet<(usize, usize)>>,
}

impl Rows for Once<'_> {
    fn at(&mut self, row: usize, from: usize, len: usize) -> &mut [u8] {
        assert!(self.asked.as_mut().is_none_or(|asked| asked.insert((row, from))), "{row}, {from} is written twice");
        self.rows.at(row, from, len)
    }

    fn lines<const N: usize>(
        &mut self,
        row: usize,
        count: usize,
        from: usize,
        len: usize,
    ) -> impl Iterator<Item = impl Iterator<Item = &mut [u8]>> {
        for row in row..row + count * N {
            assert!(self.asked.as_mut().is_none_or(|asked| asked.insert((row, from))), "{row}, {from} is written twice");
        }
        self.rows.lines::<N>(row, count, from, len)
    }

    fn piece(&mut self, row: usize, rows: usize, columns: Range<usize>) -> Option<&mut [u8]> {
        self.rows.piece(row, rows, columns)
    }
}

/// Numbers without a pattern, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = self.0 ^ (self.0 >> 29);
        x.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 24
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn within(&mut self, range: Range<usize>) -> usize {
        range.start + self.below(range.len())
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    Plain,
    Residual,
    Swished,
    Table,
    Real,
}

/// A product: its shape, and where its activations lie.
#[derive(Debug)]
struct Case {
    channels: usize,
    segments: Vec<usize>,
    quads: usize,
    bases: Bases,
    rows: Range<usize>,
    blocks: Range<usize>,
    ending: Ending,
}

impl Case {
    fn whole(rows: usize, channels: usize, segments: Vec<usize>, quads: usize, bases: Bases, ending: Ending) -> Self {
        Self { channels, segments, quads, bases, rows: 0..rows, blocks: 0..channels.div_ceil(16), ending }
    }

    /// Anything.
    fn random(random: &mut Random) -> Self {
        let (count, channels) = (random.within(1..71), random.within(1..101));
        let segments = random.within(1..10);
        let quads = random.within(1..76).div_ceil(segments) * [1, 1, 1, 4][random.below(4)];
        let gap = random.below(3) * 4 * random.below(9);
        let segments: Vec<usize> = (0..segments).map(|i| i * (quads * 4 + gap)).collect();
        // Lines of any length at distances of any kind, and rows that overlap as those of convolutions do.
        let width = if random.below(3) == 0 { count } else { random.within(1..20) };
        let height = random.within(1..6);
        let column = 4 * random.within(1..quads + 8);
        let line = if random.below(4) == 0 { column * width } else { column * width + 4 * random.below(40) };
        let bases = Bases { start: random.below(50), extents: [height, width], steps: [line * height + random.below(99), line, column] };
        let blocks = channels.div_ceil(16);
        let (from, first) = (random.below(3).min(count - 1), random.below(2).min(blocks - 1));
        let ending = [Ending::Plain, Ending::Residual, Ending::Swished, Ending::Table, Ending::Real][random.below(5)];
        Self { channels, segments, quads, bases, rows: from..count, blocks: first..random.within(first..blocks) + 1, ending }
    }

    fn base(&self, row: usize) -> usize {
        let Bases { start, extents: [height, width], steps } = self.bases;
        start + row / (height * width) * steps[0] + row / width % height * steps[1] + row % width * steps[2]
    }

    fn check<M: TileMachine>(&self, vectors: impl Simd, proof: M::Proof, random: &mut Random) {
        let Case { channels, quads, ending, .. } = *self;
        let k = self.segments.len() * quads;
        let blocks = channels.div_ceil(16);
        // The bytes end where the last row does, so that a load behind them is found.
        let reach = self.segments.iter().max().expect("at least one") + quads * 4;
        let len = (0..self.rows.end).map(|row| self.base(row)).max().expect("at least one") + reach;
        let extreme = random.below(4) == 0;
        let bytes: Vec<u8> = (0..len).map(|_| if extreme { 255 } else { random.next() as u8 }).collect();
        let packed: Vec<[i8; 64]> =
            (0..blocks * k).map(|_| std::array::from_fn(|_| if extreme { -128 } else { random.next() as i8 })).collect();
        let bias: Vec<[i32; 16]> = (0..blocks).map(|_| std::array::from_fn(|_| random.next() as i32 % 100_000)).collect();
        let multiplier: Vec<[f32; 16]> =
            (0..blocks).map(|_| std::array::from_fn(|_| (1 + random.below(1000)) as f32 * 1e-3 / (k as f32 * 300.0))).collect();
        let slope: Vec<[f32; 16]> = (0..blocks).map(|_| std::array::from_fn(|_| (1 + random.below(100)) as f32 * 2e-4)).collect();
        let shift: Vec<[f32; 16]> = (0..blocks).map(|_| std::array::from_fn(|_| random.below(100) as f32 / 16.0 - 3.0)).collect();
        let (before, after) = (random.below(2) * 7, random.below(2) * 9);
        let width = before + channels + after;
        let residual: Vec<u8> = (0..self.rows.end * width).map(|_| random.next() as u8).collect();
        let table: [u8; 256] = std::array::from_fn(|i| (i as u8).wrapping_mul(77).wrapping_add(5));
        let fused = op::Residual { zero_point: 113, multiplier: 0.37 };
        // With limits on both sides, as behind a ReLU, and as behind one whose zero is above 0.
        let [zero_point, lo, hi] = [[97, 3, 249], [0, 0, 255], [20, 20, 255]][random.below(3)];
        let epilogue = op::Epilogue {
            zero_point,
            lo,
            hi,
            residual: (ending == Ending::Residual).then_some(fused),
            hard_swish: ending == Ending::Swished,
            table: ending == Ending::Table,
        };
        let finish = match ending {
            Ending::Real => Finish::F32,
            _ => Finish::U8(Requantize {
                zero_point: epilogue.zero_point,
                lo: epilogue.lo,
                hi: epilogue.hi,
                residual: epilogue.residual.map(|r| Residual { bytes: &residual, zero_point: r.zero_point, multiplier: r.multiplier }),
                hard_swish: epilogue.hard_swish.then_some(HardSwish { slope: &slope, shift: &shift }),
                table: epilogue.table.then_some(&table),
            }),
        };
        let size = finish.size();
        let mut got = vec![0xa5; self.rows.end * width * size];
        let mut expected = got.clone();
        for row in self.rows.clone() {
            for n in self.blocks.start * 16..(self.blocks.end * 16).min(channels) {
                let mut acc = bias[n / 16][n % 16];
                for (i, segment) in self.segments.iter().enumerate() {
                    for j in 0..quads * 4 {
                        let x = bytes[self.base(row) + segment + j];
                        let w = packed[n / 16 * k + i * quads + j / 4][n % 16 * 4 + j % 4];
                        acc += i32::from(x) * i32::from(w);
                    }
                }
                let (m, at) = (multiplier[n / 16][n % 16], row * width + before + n);
                if ending == Ending::Real {
                    expected[at * 4..][..4].copy_from_slice(&scale(acc, m).to_le_bytes());
                } else if ending == Ending::Swished {
                    expected[at] = requantize_swished(acc, m, [&slope, &shift].map(|of| of[n / 16][n % 16]), &epilogue);
                } else {
                    let q = requantize(acc, m, Some(residual[at]), &epilogue);
                    expected[at] = if epilogue.table { table[usize::from(q)] } else { q };
                }
            }
        }
        let source = Source { bytes: &bytes, segments: &self.segments, quads, bases: self.bases };
        // What is in the scratch before must not matter.
        let mut room = vec![0xee; scratch(&source, &self.rows, self.blocks.len())];
        let gemm = Gemm {
            source,
            weights: Weights { packed: &packed, bias: &bias, multiplier: &multiplier, orders: None, quads: k, channels },
            finish,
            rows: self.rows.clone(),
            blocks: self.blocks.clone(),
            channel: before,
            width,
            to: Once { rows: SliceRows { bytes: &mut got, pitch: width * size }, asked: (ending != Ending::Table).then(HashSet::new) },
        };
        vectors.vectorize(OnTiles::<_, M>(Product { gemm, after: &packed, proof, scratch: &mut room }));
        let wrong = got.iter().zip(&expected).position(|(got, expected)| got != expected);
        let place = wrong.map(|at| (at / size / width, (at / size % width) as isize - before as isize));
        assert_eq!(place, None, "first difference (row, channel) in {self:?}");
    }
}

fn check_all<M: TileMachine>(vectors: impl Simd, proof: M::Proof) {
    let mut random = Random(1);
    // Every height of a tile and both parities, K on both sides of a step's end, with a row of its own or within one.
    for rows in 1..71 {
        let quads = [1, 15, 16, 17, 31, 33, 48, 75][rows % 8];
        let pitch = quads * 4 + [0, 4, 64][rows % 3];
        Case::whole(rows, 33, vec![0], quads, Bases::matrix(rows, pitch), Ending::Plain).check::<M>(vectors, proof, &mut random);
    }
    for channels in 1..101 {
        let segments = vec![0, 100, 200];
        let bases = Bases { start: 0, extents: [4, 5], steps: [1000, 100, 8] };
        Case::whole(35, channels, segments, 24, bases, Ending::Residual).check::<M>(vectors, proof, &mut random);
    }
    // Lines of convolutions, where tiles end too, and lines too short for that.
    for width in [7, 14, 16, 28, 30, 33] {
        for quads in [16, 32] {
            let segments = vec![0, (width + 2) * quads * 4, (width + 2) * quads * 8];
            let bases = Bases { start: 0, extents: [5, width], steps: [0, (width + 2) * quads * 4, quads * 4] };
            for rows in [0..5 * width, width..3 * width, width - 1..4 * width] {
                let case = Case { rows, ..Case::whole(5 * width, 70, segments.clone(), quads, bases, Ending::Residual) };
                case.check::<M>(vectors, proof, &mut random);
            }
        }
    }
    // Windows of a group of channels among others, in images one behind the other.
    for (width, stride) in [(14, 1), (14, 2), (28, 1), (12, 3), (7, 1)] {
        for (window, quads) in [([3, 3], 30), ([2, 4], 9), ([1, 3], 16)] {
            let pixel = quads * 4 * 3;
            let line = (width * stride + 4) * pixel;
            let segments: Vec<usize> = (0..window[0] * window[1]).map(|i| i / window[1] * line + i % window[1] * pixel).collect();
            let bases = Bases { start: quads * 4, extents: [5, width], steps: [(5 * stride + 3) * line, stride * line, stride * pixel] };
            let source = Source { bytes: &[], segments: &segments, quads, bases };
            let staged = Staging::of(&source, &(0..5 * width), 8).is_some();
            assert!(staged || (width, window) != (14, [3, 3]), "the case is for pixels that are staged");
            for rows in [0..5 * width, width..3 * width, width - 1..4 * width + 1, 0..10 * width, 5 * width + 1..8 * width] {
                let case = Case { rows, ..Case::whole(10 * width, 120, segments.clone(), quads, bases, Ending::Residual) };
                case.check::<M>(vectors, proof, &mut random);
            }
        }
    }
    for _ in 0..600 {
        Case::random(&mut random).check::<M>(vectors, proof, &mut random);
    }
    // K in parts, which end within segments; rows in place and gathered.
    for quads in [112, 113, 160] {
        for (rows, channels) in [(20, 70), (7, 16), (33, 33)] {
            let segments = vec![0, 10 * quads * 4, 20 * quads * 4];
            let bases = Bases { start: 0, extents: [2, 20], steps: [0, 20 * quads * 4, quads * 4] };
            let plan = Plan::new(&Source { bytes: &[], segments: &segments, quads, bases }, &(0..rows), channels / 16 + 1);
            assert!(plan.part < plan.steps && !plan.far && !plan.part.is_multiple_of(plan.cut.steps));
            Case::whole(rows, channels, segments, quads, bases, Ending::Residual).check::<M>(vectors, proof, &mut random);
        }
    }
    // Weights beyond what stays in L2: blocks of several tiles, and a second one with fewer.
    let bases = Bases { start: 0, extents: [5, 9], steps: [9 * 5 * 8, 9 * 8, 8] };
    let case = Case::whole(145, 129, vec![0], 2050, bases, Ending::Plain);
    let plan = Plan::new(&Source { bytes: &[], segments: &[0], quads: 2050, bases }, &(0..145), 9);
    assert!(plan.block > 2 && plan.tiles_of_a_block() < plan.tiles);
    case.check::<M>(vectors, proof, &mut random);
}

#[test]
fn software_tiles_give_the_sums_of_loops() {
    match Avx512Vnni::detect() {
        Some(vectors) => check_all::<Soft>(vectors, ()),
        None => skip("avx512vnni"),
    }
}

#[test]
fn hardware_tiles_give_the_sums_of_loops() {
    match Amx::detect() {
        Some(amx) => check_all::<Hardware>(amx.vectors(), amx),
        None => skip("amx"),
    }
}

#[test]
fn tiles_of_a_thread_are_given_back() {
    let Some(amx) = Amx::detect() else { return skip("amx") };
    let extents = Extents::new(16, 16, 0);
    for _ in 0..2 {
        let machine = Hardware::configure(amx, extents);
        assert!(std::panic::catch_unwind(|| Hardware::configure(amx, extents)).is_err());
        drop(machine);
    }
}

/// Says that the processor lacks an instruction set, and fails where it must not.
fn skip(isa: &str) {
    let required = std::env::var("QUAVER_REQUIRE_ISA").unwrap_or_default();
    assert!(!required.split(',').any(|name| name.trim() == isa), "{isa} is required, and not there");
    println!("skipped: the processor has no {isa}");
}
