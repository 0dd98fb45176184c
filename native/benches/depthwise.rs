//! The depthwise kernel: `cargo bench -p quaver --bench depthwise [-- FILTER]`. Prints, for shapes of well-known networks and
//! three epilogues, each checked first, multiplications and additions a second, and their share of what the dot product alone reaches on
//! registers in the same run. Rounds are interleaved, the least of each counts.
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
use quaver::isa::avx512vnni::Avx512Vnni;
use quaver::isa::peak::Peak;
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
    let filter = env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let Some(isa) = Avx512Vnni::detect() else { return println!("this processor has no AVX-512 VNNI") };
    let mut cases: Vec<Case> = SHAPES.iter().map(|&shape| Case::new(shape)).filter(|c| c.name().contains(&filter)).collect();
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
    println!("dot product alone: {peak:.1} G MAC/s");
    println!("{:>16} {:>9} {:>7} {:>9} {:>7} {:>9} {:>7}", "", "relu", "", "clip", "", "table", "");
    for case in &cases {
        print!("{:>16}", case.name());
        for best in case.best {
            let speed = case.work() as f64 / best;
            print!(" {speed:>9.1} {:>6.1}%", 100.0 * speed / peak);
        }
        println!();
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
    shape: [usize; 4],
    problem: Problem,
    table: [u8; 256],
    to: AlignedBytes,
    best: [f64; 3],
}

impl Case {
    fn new(shape: [usize; 4]) -> Self {
        let problem = Problem::new(shape);
        let to = AlignedBytes::zeroed(problem.len()).expect("memory");
        Self { shape, problem, table: from_fn(|i| 255 - i as u8), to, best: [f64::INFINITY; 3] }
    }

    fn name(&self) -> String {
        let [extent, channels, kernel, stride] = self.shape;
        format!("{extent}x{channels} {kernel}x{kernel}s{stride}")
    }

    fn work(&self) -> usize {
        self.to.len() * self.shape[2].pow(2)
    }

    fn run(&mut self, isa: Avx512Vnni, how: usize) {
        let table = (how == 2).then_some(&self.table);
        isa.vectorize(self.problem.depthwise(&epilogue(how), table, &mut self.to));
    }

    fn check(&mut self, isa: Avx512Vnni) {
        for how in 0..3 {
            self.run(isa, how);
            let mut expected = self.problem.expected(&epilogue(how));
            if how == 2 {
                expected.iter_mut().for_each(|byte| *byte = self.table[usize::from(*byte)]);
            }
            assert!(*self.to == *expected, "{}: wrong bytes", self.name());
        }
    }
}

fn epilogue(how: usize) -> Epilogue {
    let (zero_point, lo, hi) = if how == 0 { (0, 0, 255) } else { (90, 20, 230) };
    Epilogue { zero_point, lo, hi, residual: None, hard_swish: false, table: how == 2 }
}
