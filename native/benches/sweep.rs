//! The sweep over shapes that the dispatcher's rules come from: every product of a grid, and depthwise convolutions, on each
//! instruction set that the processor has. `cargo bench -p quaver --bench sweep -- [FILTER…] [--csv FILE]`, where a shape is
//! measured if its label, such as `gemm 49 256 1152`, contains all filters. The table goes to `FILE`, which appears when it is
//! complete and is relative to `native`, or else to the standard output.
//!
//! | column | meaning |
//! |---|---|
//! | `op` | `gemm`, or `depthwise_<window>s<stride>` |
//! | `m`, `n`, `k` | rows, channels and products of a sum; for depthwise pixels of the output, channels and taps |
//! | `isa` | the instruction set; `avx2reduced` and no other needs activations of 7 bits |
//! | `ns` | the time of the whole kernel, epilogue included |
//! | `share_of_peak` | multiplications and additions a second, as a part of what the dot product reaches on registers |
//! | `fastest` | `Y` for the least time of a shape |
//!
//! All run on one thread, with operands in cache as far as they fit. Instruction sets take turns, and the least time of this
//! thread on a processor counts. Results are checked first: some rows by the definition, all bytes between instruction sets.

mod common {
    pub mod clock;
    pub mod image;
    pub mod product;
}

use std::error::Error;
use std::hint::black_box;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::clock::seconds;
use common::{image, product};
use quaver::amx::{self, Amx};
use quaver::isa::Token;
use quaver::isa::avx2::{Avx2, Avx2Reduced};
use quaver::isa::avx512vnni::Avx512Vnni;
use quaver::isa::avxvnni::AvxVnni;
use quaver::isa::peak::Peak;
use quaver_core::graph::op::Epilogue;
use quaver_core::kernel::epilogue::SliceRows;
use serde::Serialize;
use tempfile::NamedTempFile;

const M: [usize; 8] = [1, 4, 8, 16, 49, 196, 784, 3136];
const N: [usize; 7] = [16, 24, 32, 64, 128, 256, 1000];
const K: [usize; 8] = [16, 32, 64, 144, 256, 576, 1152, 2304];
/// Larger products take long and say nothing new.
const MOST_PRODUCTS: usize = 500_000_000;

const CHANNELS: [usize; 8] = [16, 32, 64, 96, 144, 240, 480, 960];
const EXTENTS: [usize; 4] = [7, 14, 28, 56];
const WINDOWS: [usize; 2] = [3, 5];
const STRIDES: [usize; 2] = [1, 2];

/// Rounds of a shape, at least and while there is time.
const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_millis(100);
/// Seconds of one measurement at least, beside which reading the clock is nothing.
const LEAST: f64 = 200e-6;
/// Products whose time tells how many a measurement of the peak needs.
const PROBE: u64 = 5_000_000;
/// Products that a check by the definition may cost.
const CHECKED: usize = 2_000_000;

/// As behind a ReLU.
const RELU: Epilogue = Epilogue { zero_point: 0, lo: 0, hi: 255, residual: None, hard_swish: false, table: false };

fn main() -> Result<(), Box<dyn Error>> {
    let (filters, csv) = arguments(std::env::args().skip(1))?;
    let tokens = tokens();
    let mut lines = Vec::new();
    for shape in shapes() {
        let label = shape.label();
        if filters.iter().all(|filter| label.contains(filter)) {
            lines.extend(shape.measure(&tokens));
        }
    }
    match csv {
        Some(path) => write_file(&lines, &path),
        None => write(&lines, io::stdout().lock()),
    }
}

/// Filters, and the file of `--csv`.
fn arguments(mut args: impl Iterator<Item = String>) -> Result<(Vec<String>, Option<PathBuf>), Box<dyn Error>> {
    let (mut filters, mut csv) = (Vec::new(), None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--csv" => csv = Some(args.next().ok_or("--csv needs a file")?.into()),
            // Cargo adds it.
            "--bench" => {}
            option if option.starts_with('-') => return Err(format!("unknown option {option}").into()),
            _ => filters.push(arg),
        }
    }
    Ok((filters, csv))
}

/// What the processor has, ascending. AMX is among them: it is no set of vectors, so [`quaver::isa::each`] does not show it.
fn tokens() -> Vec<(&'static str, Token)> {
    let all = [
        ("avx2", Avx2::detect().map(Token::Avx2)),
        ("avx2reduced", Avx2Reduced::detect().map(Token::Avx2Reduced)),
        ("avxvnni", AvxVnni::detect().map(Token::AvxVnni)),
        ("avx512vnni", Avx512Vnni::detect().map(Token::Avx512Vnni)),
        ("amx", Amx::detect().map(Token::Amx)),
    ];
    let mut found = Vec::new();
    for (name, token) in all {
        match token {
            Some(token) => found.push((name, token)),
            None => eprintln!("{name} skipped: the processor lacks it"),
        }
    }
    found
}

/// Seconds of one of about that many products in registers; nothing where that can't be measured.
fn peak(token: Token, products: u64) -> Option<f64> {
    let start = seconds();
    let products = match token {
        Token::Avx2(isa) => isa.peak(products),
        Token::Avx2Reduced(isa) => isa.peak(products),
        Token::AvxVnni(isa) => isa.peak(products),
        Token::Avx512Vnni(isa) => isa.peak(products),
        Token::Amx(_) => return None,
    };
    Some((seconds() - start) / products as f64)
}

/// What is measured.
enum Shape {
    /// Rows, channels and products of a sum.
    Product([usize; 3]),
    /// Extent of the image, channels, extent of the window, stride.
    Depthwise([usize; 4]),
}

fn shapes() -> Vec<Shape> {
    let mut all = Vec::new();
    for m in M {
        for n in N {
            all.extend(K.into_iter().filter(|k| m * n * k <= MOST_PRODUCTS).map(|k| Shape::Product([m, n, k])));
        }
    }
    for window in WINDOWS {
        for stride in STRIDES {
            for extent in EXTENTS {
                all.extend(CHANNELS.map(|channels| Shape::Depthwise([extent, channels, window, stride])));
            }
        }
    }
    all
}

impl Shape {
    fn op(&self) -> String {
        match self {
            Self::Product(_) => "gemm".into(),
            Self::Depthwise([_, _, window, stride]) => format!("depthwise_{window}x{window}s{stride}"),
        }
    }

    /// The first columns of the table.
    fn sizes(&self) -> [usize; 3] {
        match *self {
            Self::Product(sizes) => sizes,
            Self::Depthwise([extent, channels, window, stride]) => [extent.div_ceil(stride).pow(2), channels, window * window],
        }
    }

    fn label(&self) -> String {
        let [m, n, k] = self.sizes();
        format!("{} {m} {n} {k}", self.op())
    }

    /// The lines of the table.
    fn measure(&self, tokens: &[(&'static str, Token)]) -> Vec<Line> {
        match *self {
            Self::Product(shape @ [m, n, k]) => {
                let problem = product::Problem::new(shape);
                let gemm = problem.product(&RELU);
                let mut scratch = vec![0; amx::scratch(&gemm.source, &gemm.rows, gemm.blocks.len())];
                // Rows of all tiles: the step is odd, and tiles differ in where they end.
                let step = (m * n * k / CHECKED) | 1;
                let expected = |got: &[u8]| (0..m).step_by(step).all(|row| got[row * n..][..n] == problem.expected(row, &RELU));
                self.time(tokens, expected, |token, y| {
                    token.gemm(problem.product(&RELU).onto(SliceRows { bytes: y, pitch: n }), &[], &mut scratch)
                })
            }
            Self::Depthwise(shape) => {
                let problem = image::Problem::new(shape);
                assert_eq!(self.sizes()[0], problem.output[0] * problem.output[1], "pixels of {}", self.label());
                // What has no tiles runs on the vectors that come with them.
                let vectors: Vec<_> = tokens.iter().copied().filter(|(_, token)| !matches!(token, Token::Amx(_))).collect();
                self.time(&vectors, |got| got == problem.expected(&RELU), |token, y| token.vectorize(problem.depthwise(&RELU, None, y)))
            }
        }
    }

    /// Checks, then times on each instruction set in turns.
    fn time(&self, tokens: &[(&'static str, Token)], expected: impl Fn(&[u8]) -> bool, mut run: impl FnMut(Token, &mut [u8])) -> Vec<Line> {
        let [m, n, k] = self.sizes();
        let mut first: Option<Vec<u8>> = None;
        let mut y = vec![0; m * n];
        let (mut repeats, mut products) = (Vec::new(), Vec::new());
        for &(name, token) in tokens {
            y.fill(77);
            run(token, &mut y);
            let right = first.get_or_insert_with(|| y.clone());
            assert!(y == *right, "{name} {}: not the bytes of {}", self.label(), tokens[0].0);
            let start = seconds();
            run(token, &mut y);
            repeats.push((LEAST / (seconds() - start)).ceil().max(1.0) as usize);
            products.push(peak(token, PROBE).map_or(0, |time| (LEAST / time) as u64));
        }
        assert!(expected(&y), "{}: wrong bytes", self.label());

        let mut times = vec![f64::INFINITY; tokens.len()];
        let mut peaks = vec![None; tokens.len()];
        let start = Instant::now();
        let mut round = 0;
        while round < ROUNDS || start.elapsed() < TIME {
            for (i, &(_, token)) in tokens.iter().enumerate() {
                if let Some(now) = peak(token, products[i]) {
                    peaks[i] = Some(peaks[i].map_or(now, |least: f64| least.min(now)));
                }
                let start = seconds();
                for _ in 0..repeats[i] {
                    run(token, black_box(&mut y));
                }
                times[i] = times[i].min((seconds() - start) / repeats[i] as f64);
            }
            round += 1;
        }
        let least = times.iter().copied().fold(f64::INFINITY, f64::min);
        let line = |((&(isa, _), &time), peak): ((&(&'static str, Token), &f64), &Option<f64>)| Line {
            op: self.op(),
            m,
            n,
            k,
            isa,
            ns: rounded(1e9 * time, 10.0),
            share_of_peak: peak.map(|peak| rounded(peak * (m * n * k) as f64 / time, 1000.0)),
            fastest: if time == least { 'Y' } else { 'N' },
        };
        tokens.iter().zip(&times).zip(&peaks).map(line).collect()
    }
}

fn rounded(x: f64, parts: f64) -> f64 {
    (x * parts).round() / parts
}

/// A line of the table.
#[derive(Serialize)]
struct Line {
    op: String,
    m: usize,
    n: usize,
    k: usize,
    isa: &'static str,
    ns: f64,
    share_of_peak: Option<f64>,
    fastest: char,
}

/// Under another name until it is complete.
fn write_file(lines: &[Line], path: &Path) -> Result<(), Box<dyn Error>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = NamedTempFile::new_in(folder)?;
    write(lines, file.as_file())?;
    file.persist(path)?;
    Ok(())
}

fn write(lines: &[Line], to: impl Write) -> Result<(), Box<dyn Error>> {
    let mut table = csv::Writer::from_writer(to);
    for line in lines {
        table.serialize(line)?;
    }
    table.flush()?;
    Ok(())
}
