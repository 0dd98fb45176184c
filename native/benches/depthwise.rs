//! The depthwise kernel of each instruction set: `cargo bench -p quaver --bench depthwise [-- FILTER…]`, where a line is run if its
//! label contains all filters. Prints, for shapes of well-known networks and three epilogues, each checked first, multiplications
//! and additions a second, and their share of what the dot product alone reaches on registers in the same run. Rounds are
//! interleaved, the least of each counts.
//!
//! `relu`: limits of a byte and zero point 0, as behind ReLU6. `clip`: any zero point and limits. `table`: that with a fused
//! table.

mod common {
    pub mod image;
}

use std::array::from_fn;
use std::env;
use std::time::{Duration, Instant};

use common::image::Problem;
use quaver::isa::peak::Peak;
use quaver::isa::{Visitor, each};
use quaver_core::graph::op::Epilogue;
use quaver_core::kernel::simd::Simd;
use quaver_core::tensor::AlignedBytes;

const ROUNDS: usize = 15;
const TIME: Duration = Duration::from_micros(1000);
/// Products of one measurement of the peak.
const PRODUCTS: u64 = 15_000_000;

/// Extent of the image, channels, kernel, stride.
const SHAPES: [[usize; 4]; 15] = [
    [56, 144, 3, 1],
    [112, 32, 3, 1],
    [112, 96, 3, 2],
    [28, 240, 5, 1],
    [14, 480, 5, 1],
    [14, 672, 3, 1],
    [7, 960, 3, 1],
    [7, 1152, 5, 1],
    [56, 58, 3, 2],
    [28, 384, 7, 1],
    [56, 128, 1, 1],
    [14, 64, 3, 1],
    [14, 16, 3, 1],
    [14, 64, 3, 2],
    [14, 64, 5, 1],
];

fn main() {
    each(&mut Bench { filters: env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect() });
}

/// Measures the shapes whose labels have all filters.
struct Bench {
    filters: Vec<String>,
}

impl Visitor for Bench {
    fn visit<S: Simd + Peak>(&mut self, name: &'static str, isa: Option<S>) {
        let Some(isa) = isa else { return println!("{name}: skipped, the processor lacks it") };
        let cases = SHAPES.iter().map(|&shape| Case::new(name, shape));
        let mut cases: Vec<Case> = cases.filter(|case| self.filters.iter().all(|filter| case.label.contains(filter))).collect();
        if cases.is_empty() {
            return;
        }
        cases.iter_mut().for_each(|case| case.check(isa));
        let products = isa.peak(PRODUCTS);
        let mut peak = f64::INFINITY;
        for _ in 0..ROUNDS {
            peak = peak.min(least(|| _ = isa.peak(PRODUCTS)));
            for case in &mut cases {
                for how in 0..3 {
                    case.best[how] = case.best[how].min(least(|| case.run(isa, how)));
                }
            }
        }
        let peak = products as f64 / peak;
        println!("{name}, dot product alone: {peak:.1} G MAC/s");
        println!("{:>27} {:>9} {:>7} {:>9} {:>7} {:>9} {:>7}", "", "relu", "", "clip", "", "table", "");
        for case in &cases {
            print!("{:>27}", case.label);
            for best in case.best {
                let speed = case.work() as f64 / best;
                print!(" {speed:>9.1} {:>6.1}%", 100.0 * speed / peak);
            }
            println!();
        }
    }
}

/// Nanoseconds of a call, the least of some.
fn least(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut least = f64::INFINITY;
    while start.elapsed() < TIME {
        let call_start = Instant::now();
        call();
        least = least.min(call_start.elapsed().as_nanos() as f64);
    }
    least
}

struct Case {
    label: String,
    shape: [usize; 4],
    problem: Problem,
    table: [u8; 256],
    to: AlignedBytes,
    best: [f64; 3],
}

impl Case {
    fn new(isa: &str, shape: [usize; 4]) -> Self {
        let [extent, channels, kernel, stride] = shape;
        let label = format!("{isa} {extent}x{channels} {kernel}x{kernel}s{stride}");
        let problem = Problem::new(shape);
        let to = AlignedBytes::zeroed(problem.len()).expect("memory");
        Self { label, shape, problem, table: from_fn(|i| 255 - i as u8), to, best: [f64::INFINITY; 3] }
    }

    fn work(&self) -> usize {
        self.to.len() * self.shape[2].pow(2)
    }

    fn run(&mut self, isa: impl Simd, how: usize) {
        let table = (how == 2).then_some(&self.table);
        isa.vectorize(self.problem.depthwise(&epilogue(how), table, &mut self.to));
    }

    fn check(&mut self, isa: impl Simd) {
        for how in 0..3 {
            self.run(isa, how);
            let mut expected = self.problem.expected(&epilogue(how));
            if how == 2 {
                expected.iter_mut().for_each(|byte| *byte = self.table[usize::from(*byte)]);
            }
            assert!(*self.to == *expected, "{}: wrong bytes", self.label);
        }
    }
}

fn epilogue(how: usize) -> Epilogue {
    let (zero_point, lo, hi) = if how == 0 { (0, 0, 255) } else { (90, 20, 230) };
    Epilogue { zero_point, lo, hi, residual: None, hard_swish: false, table: how == 2 }
}
