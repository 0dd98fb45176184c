//! The matrix kernel of each instruction set, with its epilogue, beside the peak of its dot product measured in the same
//! rounds: `cargo bench -p quaver --bench gemm -- [FILTER…]`, where a line is run if its label contains all filters.
//!
//! Each result is checked first. Rounds are interleaved, and the least time of this thread on a processor counts, so that the
//! share of the peak holds on a machine that is not quiet.

mod common {
    pub mod clock;
    pub mod product;
}

use std::hint::black_box;
use std::time::Instant;

use common::clock::seconds;
use common::product::Problem;
use quaver::isa::peak::Peak;
use quaver::isa::{Visitor, each};
use quaver::pool::{Pool, rectangles, split};
use quaver_core::graph::op::{self, Epilogue};
use quaver_core::kernel::simd::Simd;

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
        let expected = self.expected.get_or_insert_with(|| (0..m).flat_map(|row| self.problem.expected(row, &epilogue)).collect());
        let mut y = vec![0; m * n];
        let pool = Pool::new(1).expect("needs no thread");
        // Into a rectangle, as a session does.
        let run = |epilogue: &Epilogue, y: &mut [u8]| {
            rectangles(&pool, y, n, split(m, 1, m), (split(1, 1, 1), n), &mut [], &|_, _, to, _| {
                isa.vectorize(self.problem.product(epilogue).onto(to));
            });
        };
        run(&epilogue, &mut y);
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
                run(black_box(&epilogue), black_box(&mut y));
                gemm = gemm.min((seconds() - start) / (m * n * k) as f64);
            }
            round += 1;
        }
        println!("{label:40} {:12.1} {:12.1} {:7.1} %", 1e-9 / peak, 1e-9 / gemm, 100.0 * peak / gemm);
    }
}
