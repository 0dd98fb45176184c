//! The depthwise kernel: `cargo bench -p quaver --bench depthwise [-- FILTER]`. Prints, for shapes of well-known networks and
//! three epilogues, multiplications and additions a second, and their share of what the dot product alone reaches on
//! registers in the same run. Rounds are interleaved, the least of each counts.
//!
//! `relu`: limits of a byte and zero point 0, as behind ReLU6. `clip`: any zero point and limits. `table`: that with a fused
//! table.

use std::env;
use std::hint::black_box;
use std::time::{Duration, Instant};

use quaver::isa::avx512vnni::Avx512Vnni;
use quaver_core::graph::op::Window;
use quaver_core::kernel::depthwise::Depthwise;
use quaver_core::kernel::epilogue::{Finish, Requantize, SliceRows};
use quaver_core::kernel::simd::{Kernel, Simd};

const ROUNDS: usize = 15;
const TIME: Duration = Duration::from_micros(1000);

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
    let mut peak = f64::INFINITY;
    for _ in 0..ROUNDS {
        peak = peak.min(least(|| isa.vectorize(Peak)));
        for case in &mut cases {
            for how in 0..3 {
                case.best[how] = case.best[how].min(least(|| case.run.run(isa, how)));
            }
        }
    }
    let peak = (PEAK_STEPS * PEAK_SUMS * 64) as f64 / peak;
    println!("dot product alone: {peak:.1} G MAC/s");
    println!("{:>16} {:>9} {:>7} {:>9} {:>7} {:>9} {:>7}", "", "relu", "", "clip", "", "table", "");
    for case in &cases {
        print!("{:>16}", case.name());
        for best in case.best {
            let speed = case.run.work() as f64 / best;
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

const PEAK_STEPS: usize = 20_000;
const PEAK_SUMS: usize = 12;

/// Dot products of registers.
struct Peak;

impl Kernel for Peak {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (x, w) = (s.load_b(black_box(&[3; 64])), s.weights(black_box(&[-5; 64])));
        let mut sums = [s.splat_i32(0); PEAK_SUMS];
        for _ in 0..PEAK_STEPS {
            for sum in &mut sums {
                *sum = s.dot4_lanes(*sum, x, w);
            }
        }
        let mut all = sums[0];
        for &sum in &sums {
            all = s.add_i32(all, sum);
        }
        let mut to = [0; 16];
        s.store_i32(all, &mut to);
        black_box(to);
    }
}

struct Case {
    shape: [usize; 4],
    run: Run,
    best: [f64; 3],
}

impl Case {
    fn new(shape: [usize; 4]) -> Self {
        Self { shape, run: Run::new(shape), best: [f64::INFINITY; 3] }
    }

    fn name(&self) -> String {
        let [extent, channels, kernel, stride] = self.shape;
        format!("{extent}x{channels} {kernel}x{kernel}s{stride}")
    }
}

/// The operands.
struct Run {
    extents: [usize; 3],
    output: [usize; 2],
    window: Window,
    input: Vec<u8>,
    weights: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    table: [u8; 256],
    to: Vec<u8>,
}

impl Run {
    fn new([extent, channels, kernel, stride]: [usize; 4]) -> Self {
        let (pad, padded) = (kernel / 2, channels.next_multiple_of(16));
        let window = Window { kernel: [kernel; 2], strides: [stride; 2], dilations: [1; 2], pads_begin: [pad; 2], pads_end: [pad; 2] };
        let output = [(extent + 2 * pad - kernel) / stride + 1; 2];
        Self {
            extents: [extent, extent, channels],
            output,
            window,
            input: (0..extent * extent * channels).map(|i| (i * 37 % 251) as u8).collect(),
            weights: (0..kernel * kernel * padded).map(|i| (i * 29 % 255) as i8).collect(),
            bias: vec![900; padded],
            multiplier: vec![1e-3; padded],
            table: std::array::from_fn(|i| 255 - i as u8),
            to: vec![0; output[0] * output[1] * channels],
        }
    }

    fn work(&self) -> usize {
        self.to.len() * self.window.kernel[0] * self.window.kernel[1]
    }

    fn run(&mut self, isa: Avx512Vnni, how: usize) {
        let (zero_point, lo, hi) = if how == 0 { (0, 0, 255) } else { (90, 20, 230) };
        let table = (how == 2).then_some(&self.table);
        isa.vectorize(Depthwise {
            input: &self.input,
            extents: self.extents,
            window: self.window,
            output: self.output,
            weights: &self.weights,
            bias: &self.bias,
            multiplier: &self.multiplier,
            finish: Finish::U8(Requantize { zero_point, lo, hi, residual: None, table }),
            pad: 5,
            lines: 0..self.output[0],
            blocks: 0..self.extents[2].div_ceil(16),
            to: SliceRows { bytes: &mut self.to, pitch: self.extents[2] },
        });
    }
}
