//! The matrix kernel of each instruction set, with its epilogue, beside the peak of its dot product measured in the same
//! rounds: `cargo bench -p quaver --bench gemm -- [FILTER…]`, where a line is run if its label contains all filters.
//!
//! Each result is checked first. Rounds are interleaved, and the least time of this thread on a processor counts, so that the
//! share of the peak holds on a machine that is not quiet.

use std::hint::black_box;
use std::time::Instant;

use quaver::isa::peak::Peak;
use quaver::isa::{Visitor, each};
use quaver_core::arith::requant::requantize;
use quaver_core::graph::op::{self, Epilogue};
use quaver_core::kernel::epilogue::{Finish, Requantize, Residual, SliceRows};
use quaver_core::kernel::gemm::{Bases, Gemm, Source, Weights};
use quaver_core::kernel::simd::Simd;
use rustix::time::{ClockId, clock_gettime};

/// Rows, channels and products of a sum.
const SHAPES: [[usize; 3]; 5] = [[784, 256, 1152], [3136, 64, 576], [196, 256, 2304], [49, 512, 4608], [3136, 64, 64]];
/// Rounds of a line, at least and while there is time.
const ROUNDS: usize = 15;
/// Seconds of a line.
const SECONDS: f64 = 0.4;
/// Products of one measurement of the peak.
const PRODUCTS: u64 = 50_000_000;

fn main() {
    let filters: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    println!("{:40} {:>12} {:>12} {:>8}", "gemm (M, N, K)", "peak GMAC/s", "GMAC/s", "share");
    for shape in SHAPES {
        let problem = Problem::new(shape);
        for residual in [false, true] {
            let mut bench = Bench { filters: &filters, problem: &problem, residual, expected: None };
            each(&mut bench);
        }
    }
}

/// What this thread has spent on a processor.
fn seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + 1e-9 * now.tv_nsec as f64
}

/// Operands of a product.
struct Problem {
    shape: [usize; 3],
    x: Vec<u8>,
    residual: Vec<u8>,
    weights: Vec<[i8; 64]>,
    bias: Vec<[i32; 16]>,
    multiplier: Vec<[f32; 16]>,
}

impl Problem {
    fn new(shape: [usize; 3]) -> Self {
        let [m, n, k] = shape;
        // Reduced range, which all instruction sets take.
        let mut state = 1u32;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        Self {
            shape,
            x: (0..m * k).map(|_| next() & 127).collect(),
            residual: (0..m * n).map(|_| next()).collect(),
            weights: (0..n / 16 * k / 4).map(|_| [0; 64].map(|_: i8| next() as i8)).collect(),
            bias: (0..n / 16).map(|_| [0; 16].map(|_: i32| i32::from(next()) * 64)).collect(),
            multiplier: (0..n / 16).map(|_| [0.0; 16].map(|_: f32| f32::from(next()) / (256.0 * 64.0 * k as f32))).collect(),
        }
    }

    fn run<S: Simd>(&self, isa: S, epilogue: &Epilogue, y: &mut [u8]) {
        let [m, n, k] = self.shape;
        let residual = epilogue.residual.map(|r| Residual { bytes: &self.residual, zero_point: r.zero_point, multiplier: r.multiplier });
        isa.vectorize(Gemm {
            source: Source { bytes: &self.x, segments: &[0], quads: k / 4, bases: Bases::matrix(m, k) },
            weights: Weights { packed: &self.weights, bias: &self.bias, multiplier: &self.multiplier, quads: k / 4, channels: n },
            finish: Finish::U8(Requantize { zero_point: epilogue.zero_point, lo: epilogue.lo, hi: epilogue.hi, residual, table: None }),
            rows: 0..m,
            blocks: 0..n / 16,
            channel: 0,
            width: n,
            to: SliceRows { bytes: y, pitch: n },
        });
    }

    /// The product by its definition.
    fn expected(&self, epilogue: &Epilogue) -> Vec<u8> {
        let [m, n, k] = self.shape;
        let mut y = Vec::with_capacity(m * n);
        for row in self.x.chunks_exact(k) {
            for c in 0..n {
                let mut acc = self.bias[c / 16][c % 16];
                for (quad, w) in row.as_chunks::<4>().0.iter().zip(&self.weights[c / 16 * k / 4..]) {
                    for j in 0..4 {
                        acc += i32::from(quad[j]) * i32::from(w[c % 16 * 4 + j]);
                    }
                }
                let residual = epilogue.residual.map(|_| self.residual[y.len()]);
                y.push(requantize(acc, self.multiplier[c / 16][c % 16], residual, epilogue));
            }
        }
        y
    }
}

/// One shape with one epilogue.
struct Bench<'a> {
    filters: &'a [String],
    problem: &'a Problem,
    residual: bool,
    expected: Option<Vec<u8>>,
}

impl Visitor for Bench<'_> {
    fn visit<S: Simd + Peak>(&mut self, name: &'static str, isa: Option<S>) {
        let [m, n, k] = self.problem.shape;
        let label = format!("{name} ({m}, {n}, {k}){}", if self.residual { " residual" } else { "" });
        if !self.filters.iter().all(|filter| label.contains(filter)) {
            return;
        }
        let Some(isa) = isa else {
            println!("{label:40} skipped: the processor lacks it");
            return;
        };
        let residual = self.residual.then_some(op::Residual { zero_point: 100, multiplier: 0.37 });
        let epilogue = Epilogue { zero_point: 120, lo: 3, hi: 250, residual, table: false };
        let expected = self.expected.get_or_insert_with(|| self.problem.expected(&epilogue));
        let mut y = vec![0; m * n];
        self.problem.run(isa, &epilogue, &mut y);
        assert!(y == *expected, "{label}: wrong bytes");

        let (mut peak, mut gemm) = (f64::MAX, f64::MAX);
        let begin = Instant::now();
        let mut round = 0;
        while round < ROUNDS || begin.elapsed().as_secs_f64() < SECONDS {
            // In turns, since clocks change; twice, since the first product brings its operands back into cache.
            for _ in 0..2 {
                let start = seconds();
                let products = isa.peak(PRODUCTS);
                peak = peak.min((seconds() - start) / products as f64);
                let start = seconds();
                self.problem.run(isa, black_box(&epilogue), black_box(&mut y));
                gemm = gemm.min((seconds() - start) / (m * n * k) as f64);
            }
            round += 1;
        }
        println!("{label:40} {:12.1} {:12.1} {:7.1} %", 1e-9 / peak, 1e-9 / gemm, 100.0 * peak / gemm);
    }
}
