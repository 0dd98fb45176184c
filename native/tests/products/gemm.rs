//! The matrix kernel, with every tile and on every instruction set, equals a plain loop over integers, on odd shapes and the
//! full range of values; and it writes nothing else.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use quaver_core::arith::requant::{requantize, requantize_swished, scale};
use quaver_core::graph::op::{self, Epilogue};
use quaver_core::kernel::epilogue::{Finish, HardSwish, Requantize, Residual, SliceRows};
use quaver_core::kernel::gemm::{Bases, Gemm, Source, Weights};
use quaver_core::kernel::pairing::Pairing;
use quaver_core::kernel::simd::Simd;

use crate::common::isas::{Test, on_isas, on_tiles};
use crate::common::{GUARD, Rng};

/// A product in small.
#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    channels: usize,
    /// Products of a sum, and segments they are in.
    k: usize,
    segments: usize,
    /// Rows of an output image; 1 where rows are a matrix.
    height: usize,
    /// Elements of an output row that are not computed, before and behind.
    around: [usize; 2],
    kind: Kind,
    zero_point: u8,
    limits: [u8; 2],
    values: Values,
    seed: u64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Bytes { residual: bool, table: bool },
    Swished,
    Numbers,
}

#[derive(Debug, Clone, Copy)]
enum Values {
    Any,
    /// Activations at their limit, weights at one.
    Extreme,
}

fn case() -> impl Strategy<Value = Case> {
    let kind = prop_oneof![
        4 => any::<[bool; 2]>().prop_map(|[residual, table]| Kind::Bytes { residual, table }),
        1 => Just(Kind::Swished),
        1 => Just(Kind::Numbers),
    ];
    // Kernels have ways of their own for what needs no shift and no limits.
    let zero_point = prop_oneof![Just(0), any::<u8>()];
    let limits = prop_oneof![Just([0, 255]), any::<[u8; 2]>()];
    let values = prop_oneof![3 => Just(Values::Any), 1 => Just(Values::Extreme)];
    // Small ones, and such as have bands of tiles of four blocks and something left over.
    let extents = prop_oneof![4 => [1..=30usize, 1..=70usize], 1 => [31..=100usize, 1..=70usize], 1 => [84..=300usize, 64..=160usize]];
    // Weights that are paired have runs of up to 192 products.
    let k = prop_oneof![4 => 4..=200usize, 1 => 200..=600usize];
    ((extents, k, 1..=9usize, 1..=4usize), ([0..5usize, 0..5usize], kind, zero_point, limits, values, any::<u64>())).prop_map(
        |(([rows, channels], k, segments, height), (around, kind, zero_point, limits, values, seed))| {
            let limits = [limits[0].min(limits[1]), limits[0].max(limits[1])];
            Case { rows, channels, k, segments, height, around, kind, zero_point, limits, values, seed }
        },
    )
}

/// Operands of a case.
struct Operands {
    x: Vec<u8>,
    segments: Vec<usize>,
    /// Quads of a segment.
    run: usize,
    bases: Bases,
    weights: Vec<[i8; 64]>,
    bias: Vec<[i32; 16]>,
    multiplier: Vec<[f32; 16]>,
    swish: Vec<[f32; 16]>,
    residual: Vec<u8>,
    table: [u8; 256],
    epilogue: Epilogue,
    width: usize,
}

impl Operands {
    fn new(case: &Case, max_activation: u8) -> Self {
        let mut rng = Rng(case.seed);
        let run = case.k.div_ceil(4).div_ceil(case.segments);
        let quads = run * case.segments;
        // Segments in any order and overlapping; images of `height` rows of few columns or more than a tile has rows, whose
        // distances are odd.
        let segments: Vec<usize> = (0..case.segments).map(|_| rng.below(100)).collect();
        let (steps, columns) = ([41, 17, 5], [3, 14, 40][rng.below(3)]);
        let bases = if case.height == 1 {
            Bases::matrix(case.rows, 4 * run + 1)
        } else {
            Bases { start: 3, extents: [case.height, columns], steps }
        };
        let end = (0..case.rows).map(|row| base(&bases, row)).max().unwrap_or_default() + segments.iter().max().unwrap_or(&0) + 4 * run;
        let mut x = rng.bytes(end, max_activation);
        let blocks = case.channels.div_ceil(16);
        let mut weights = vec![[0; 64]; blocks * quads];
        for (i, row) in weights.iter_mut().enumerate() {
            // Of half of the vectors only two weights are large, so that products may be added in pairs, in some order.
            let paired = rng.below(2) == 0;
            for (j, w) in row.iter_mut().enumerate() {
                // What is behind K meets zeros.
                if i % quads * 4 + j % 4 < case.k {
                    *w = rng.next() as i8 >> u8::from(paired && j >= 2);
                }
            }
        }
        if let Values::Extreme = case.values {
            x.iter_mut().for_each(|x| *x = max_activation);
            let channel = rng.bytes(16, 255);
            for row in &mut weights {
                for (j, w) in row.iter_mut().enumerate() {
                    *w = if *w == 0 || channel[j / 4] < 64 { *w } else { [-128, 127][usize::from(channel[j / 4] % 2)] };
                }
            }
        }
        let width = case.around[0] + case.channels + case.around[1];
        let residual = matches!(case.kind, Kind::Bytes { residual: true, .. }).then(|| {
            // Kernels have a way of their own for 0.
            let zero_point = if rng.below(2) == 0 { 0 } else { rng.next() as u8 };
            op::Residual { zero_point, multiplier: rng.below(2000) as f32 / 700.0 - 1.0 }
        });
        let mut table = [0; 256];
        table.copy_from_slice(&rng.bytes(256, 255));
        let mut blocks_of = |n: usize| (0..n * 16).map(|_| rng.next() as u32).collect::<Vec<_>>();
        let bias = blocks_of(blocks).as_chunks::<16>().0.iter().map(|b| b.map(|v| v as i32 >> 12)).collect();
        // Most outputs within a byte's range, some far from it.
        let typical = 2.0 / (case.k as f32).sqrt() / 4096.0;
        let multiplier = blocks_of(blocks)
            .as_chunks::<16>()
            .0
            .iter()
            .map(|m| m.map(|v| typical * f32::from((v >> 16) as u16) / 4096.0 * if v % 16 == 0 { 1000.0 } else { 1.0 }))
            .collect();
        let swish = rng.hard_swish(16 * blocks).as_chunks().0.to_vec();
        Self {
            segments,
            run,
            bases,
            weights,
            bias,
            multiplier,
            swish,
            residual: rng.bytes(case.rows * width, 255),
            table,
            epilogue: Epilogue {
                zero_point: case.zero_point,
                lo: case.limits[0],
                hi: case.limits[1],
                residual,
                hard_swish: matches!(case.kind, Kind::Swished),
                table: matches!(case.kind, Kind::Bytes { table: true, .. }),
            },
            width,
            x,
        }
    }

    /// The output by its definition, within guards.
    fn expected(&self, case: &Case) -> Vec<u8> {
        let quads = self.run * self.segments.len();
        let mut y = self.blank(case);
        for row in 0..case.rows {
            for c in 0..case.channels {
                let mut acc = self.bias[c / 16][c % 16];
                for k in 0..case.k {
                    let x = self.x[base(&self.bases, row) + self.segments[k / (4 * self.run)] + k % (4 * self.run)];
                    acc += i32::from(x) * i32::from(self.weights[c / 16 * quads + k / 4][c % 16 * 4 + k % 4]);
                }
                let at = row * self.width + case.around[0] + c;
                let m = self.multiplier[c / 16][c % 16];
                if let Kind::Numbers = case.kind {
                    y[4 * at..][..4].copy_from_slice(&scale(acc, m).to_le_bytes());
                    continue;
                }
                if self.epilogue.hard_swish {
                    let parameters = [0, self.multiplier.len()].map(|from| self.swish[from + c / 16][c % 16]);
                    y[at] = requantize_swished(acc, m, parameters, &self.epilogue);
                    continue;
                }
                let residual = self.epilogue.residual.map(|_| self.residual[at]);
                let q = requantize(acc, m, residual, &self.epilogue);
                y[at] = if self.epilogue.table { self.table[usize::from(q)] } else { q };
            }
        }
        y
    }

    fn blank(&self, case: &Case) -> Vec<u8> {
        let size = if let Kind::Numbers = case.kind { 4 } else { 1 };
        vec![GUARD; case.rows * self.width * size]
    }

    /// The kernel's output, in parts: two ranges of rows × two of blocks.
    fn actual<S: Simd>(&self, case: &Case, isa: S) -> Vec<u8> {
        let mut y = self.blank(case);
        let blocks = case.channels.div_ceil(16);
        let mut rng = Rng(!case.seed);
        let (row, block) = (rng.below(case.rows + 1), rng.below(blocks + 1));
        let pitch = y.len() / case.rows;
        // Both ways, where there are two; many of such weights are wide.
        let pairing = Pairing::of(isa, &self.weights, self.run * self.segments.len());
        let orders = (S::PAIRS && !case.seed.is_multiple_of(3)).then(|| pairing.orders(0..case.channels.div_ceil(16)));
        for rows in [0..row, row..case.rows] {
            for blocks in [0..block, block..blocks] {
                let finish = match case.kind {
                    Kind::Numbers => Finish::F32,
                    Kind::Bytes { .. } | Kind::Swished => Finish::U8(Requantize {
                        zero_point: self.epilogue.zero_point,
                        lo: self.epilogue.lo,
                        hi: self.epilogue.hi,
                        residual: self.epilogue.residual.map(|r| Residual {
                            bytes: &self.residual,
                            zero_point: r.zero_point,
                            multiplier: r.multiplier,
                        }),
                        hard_swish: self.epilogue.hard_swish.then(|| {
                            let (slope, shift) = self.swish.split_at(self.multiplier.len());
                            HardSwish { slope, shift }
                        }),
                        table: self.epilogue.table.then_some(&self.table),
                    }),
                };
                isa.vectorize(Gemm {
                    source: Source { bytes: &self.x, segments: &self.segments, quads: self.run, bases: self.bases },
                    weights: Weights {
                        packed: &self.weights,
                        bias: &self.bias,
                        multiplier: &self.multiplier,
                        orders,
                        quads: self.run * self.segments.len(),
                        channels: case.channels,
                    },
                    finish,
                    rows: rows.clone(),
                    blocks,
                    channel: case.around[0],
                    width: self.width,
                    to: SliceRows { bytes: &mut y, pitch },
                });
            }
        }
        y
    }
}

/// Where a row begins: images, then their rows, then columns.
fn base(bases: &Bases, row: usize) -> usize {
    let [height, width] = bases.extents;
    bases.start + row / width / height * bases.steps[0] + row / width % height * bases.steps[1] + row % width * bases.steps[2]
}

/// The first difference: row, byte of the row, what is expected, what is there.
fn difference<S: Simd>(case: &Case, isa: S) -> Option<(usize, usize, u8, u8)> {
    let operands = Operands::new(case, S::MAX_ACTIVATION);
    let (expected, actual) = (operands.expected(case), operands.actual(case, isa));
    let pitch = expected.len() / case.rows;
    let at = expected.iter().zip(&actual).position(|(expected, actual)| expected != actual)?;
    Some((at / pitch, at % pitch, expected[at], actual[at]))
}

/// Random cases, so many.
struct Cases(u32);

impl Test for Cases {
    fn on<S: Simd>(&mut self, name: &str, isa: S) {
        check(name, isa, self.0);
    }
}

fn check<S: Simd>(name: &str, isa: S, cases: u32) {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    let outcome = runner.run(&case(), |case| {
        prop_assert_eq!(difference(&case, isa), None);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{name}: {failure}");
    }
    // So many weights, and rows, that of two parts one walks over channels first.
    let case = Case {
        rows: 67,
        channels: 400,
        k: 4093,
        segments: 3,
        height: 1,
        around: [1, 2],
        kind: Kind::Bytes { residual: true, table: false },
        zero_point: 120,
        limits: [3, 250],
        values: Values::Any,
        seed: 1,
    };
    assert_eq!(difference(&case, isa), None, "{name}: {case:?}");
}

#[test]
fn every_instruction_set_equals_a_plain_loop() {
    on_isas(&mut Cases(1500));
}

#[test]
fn every_tile_equals_a_plain_loop() {
    on_tiles(&mut Cases(200));
}
