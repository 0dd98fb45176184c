//! The matrix kernel of each instruction set, with its epilogue, beside the peak of its dot product measured in the same
//! rounds: `cargo bench -p quaver --bench gemm -- [FILTER…]`, where a line is run if its label contains all filters.
//!
//! Each result is checked first. Rounds are interleaved, and the median of this thread's time on a processor counts, so that
//! the share of the peak holds on a machine that is not quiet.

mod common {
    pub mod clock;
    pub mod product;
}

use std::hint::black_box;
use std::time::Instant;

use common::clock::seconds;
use common::product::Problem;
use quaver::amx::{self, Amx};
use quaver::isa::peak::Peak;
use quaver::isa::{Visitor, each};
use quaver::pool::{Pool, rectangles, split};
use quaver_core::graph::op::{self, Epilogue};
use quaver_core::kernel::epilogue::Rows;
use quaver_core::kernel::gemm::Gemm;
use quaver_core::kernel::simd::Simd;
use quaver_core::tensor::AlignedBytes;

/// Rows, channels and products of a sum.
const SHAPES: [[usize; 3]; 8] = [
    [784, 256, 1152],
    [3136, 64, 576],
    [196, 256, 2304],
    [49, 512, 4608],
    [3136, 64, 64],
    [12544, 96, 16],
    [3136, 24, 144],
    [12544, 16, 32],
];
/// Rounds of a line, at least and while there is time.
const ROUNDS: usize = 15;
/// Seconds of a line.
const SECONDS: f64 = 0.4;
/// Products of one measurement of the peak.
const PRODUCTS: u64 = 10_000_000;

fn main() {
    let filters: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    println!("{:40} {:>12} {:>12} {:>8}", "gemm (M, N, K)", "peak GMAC/s", "GMAC/s", "share");
    for shape in SHAPES {
        let problem = Problem::new(shape);
        let limited = Epilogue { zero_point: 120, lo: 3, hi: 250, residual: None, hard_swish: false, table: false };
        let relu = Epilogue { zero_point: 0, lo: 0, hi: 255, ..limited };
        let residual = Epilogue { residual: Some(op::Residual { zero_point: 100, multiplier: 0.37 }), ..limited };
        let swish = Epilogue { hard_swish: true, lo: 0, hi: 255, ..limited };
        for (epilogue, name) in [(relu, " relu"), (limited, ""), (residual, " residual"), (swish, " swish")] {
            let mut bench = Bench { filters: &filters, problem: &problem, epilogue, name, expected: None };
            each(&mut bench);
            // It is no set of vectors, so it is not among them.
            bench.measure("amx", Amx::detect());
        }
    }
}

/// One shape with one epilogue.
struct Bench<'a> {
    filters: &'a [String],
    problem: &'a Problem,
    epilogue: Epilogue,
    name: &'static str,
    expected: Option<Vec<u8>>,
}

/// An instruction set's matrix kernel, and its peak.
trait Engine: Copy + Sync {
    fn peak(self, products: u64) -> u64;
    fn gemm<R: Rows>(self, gemm: Gemm<'_, R>, scratch: &mut [u8]);
}

/// An instruction set of vectors.
#[derive(Clone, Copy)]
struct Vectors<S>(S);

impl<S: Simd + Peak + Sync> Engine for Vectors<S> {
    fn peak(self, products: u64) -> u64 {
        self.0.peak(products)
    }

    fn gemm<R: Rows>(self, gemm: Gemm<'_, R>, _: &mut [u8]) {
        self.0.vectorize(gemm);
    }
}

impl Engine for Amx {
    fn peak(self, products: u64) -> u64 {
        Peak::peak(self, products)
    }

    fn gemm<R: Rows>(self, gemm: Gemm<'_, R>, scratch: &mut [u8]) {
        Amx::gemm(self, gemm, &[], scratch);
    }
}

impl Visitor for Bench<'_> {
    fn visit<S: Simd + Peak>(&mut self, name: &'static str, isa: Option<S>) {
        self.measure(name, isa.map(Vectors));
    }
}

impl Bench<'_> {
    fn measure<E: Engine>(&mut self, name: &'static str, isa: Option<E>) {
        let [m, n, k] = self.problem.shape;
        let label = format!("{name} ({m}, {n}, {k}){}", self.name);
        if !self.filters.iter().all(|filter| label.contains(filter)) {
            return;
        }
        let Some(isa) = isa else {
            println!("{label:40} skipped: the processor lacks it");
            return;
        };
        let epilogue = self.epilogue;
        let expected = self.expected.get_or_insert_with(|| (0..m).flat_map(|row| self.problem.expected(row, &epilogue)).collect());
        // From a cache line's start on, as in a session: a store across two lines takes several times as long.
        let mut y = AlignedBytes::zeroed(m * n).expect("memory");
        let pool = Pool::new(1).expect("needs no thread");
        // Into a rectangle, as a session does.
        let whole = self.problem.product(&epilogue);
        let mut scratch = AlignedBytes::zeroed(amx::scratch(&whole.source, &whole.rows, whole.blocks.len())).expect("memory");
        let mut run = |epilogue: &Epilogue, y: &mut [u8]| {
            rectangles(&pool, y, n, split(m, 1, m), (split(1, 1, 1), n), &mut scratch, &|_, _, to, scratch| {
                isa.gemm(self.problem.product(epilogue).onto(to), scratch);
            });
        };
        run(&epilogue, &mut y);
        assert!(*y == **expected, "{label}: wrong bytes");

        let (mut peaks, mut products) = (Vec::new(), Vec::new());
        let begin = Instant::now();
        while peaks.len() < ROUNDS || begin.elapsed().as_secs_f64() < SECONDS {
            // In turns, since clocks change; twice, since the first product brings its operands back into cache.
            for _ in 0..2 {
                let start = seconds();
                let count = isa.peak(PRODUCTS);
                let peak = (seconds() - start) / count as f64;
                let start = seconds();
                run(black_box(&epilogue), black_box(&mut y));
                peaks.push(peak);
                products.push((seconds() - start) / (m * n * k) as f64);
            }
        }
        let (peak, gemm) = (median(peaks), median(products));
        println!("{label:40} {:12.1} {:12.1} {:7.1} %", 1e-9 / peak, 1e-9 / gemm, 100.0 * peak / gemm);
    }
}

/// The clock of a thread's time jumps now and then, so neither extreme says anything.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}
