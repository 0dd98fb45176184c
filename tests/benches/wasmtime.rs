//! Measures the module in wasmtime, with each class of instructions: see `wasm/bench/README.md`.
//!
//!     cargo bench -p quaver-tests --bench wasmtime -- SECONDS MODEL.qvr...

use std::path::Path;
use std::time::{Duration, Instant};

use quaver::Model;
use quaver_core::tensor::DType;
use quaver_tests::guest::{Build, Guest};

fn main() {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let Some((Ok(seconds), paths)) = words.split_first().map(|(seconds, paths)| (seconds.parse(), paths)) else {
        // What `cargo test` does with benchmarks: nothing to measure.
        return println!("usage: cargo bench -p quaver-tests --bench wasmtime -- SECONDS MODEL.qvr...");
    };
    for path in paths {
        for (build, class) in Build::CLASSES.into_iter().filter(|&(build, class)| class != "scalar" && build != Build::Deterministic) {
            match measure(Path::new(path), build, class, Duration::from_secs_f64(seconds)) {
                Ok(row) => println!("{row}"),
                Err(error) => println!("{path}: {build:?}, {class}: {error}"),
            }
        }
    }
}

fn measure(path: &Path, build: Build, class: &str, time: Duration) -> Result<String, String> {
    let file = std::fs::read(path).map_err(|error| error.to_string())?;
    let model = Model::from_bytes(&file[..]).map_err(|error| error.to_string())?;
    let mut guest = Guest::new(build, class)?;
    let session = guest.open(&file)?;
    let inputs: Vec<(Vec<u8>, Vec<usize>)> = model
        .inputs()
        .iter()
        .map(|port| {
            let shape: Vec<usize> = port.shape.iter().map(|dim| dim.at(1).unwrap_or(1)).collect();
            let count = shape.iter().product();
            (if port.dtype == DType::U8 { (0..count).map(|i| (i * 37 % 128) as u8).collect() } else { noise(count) }, shape)
        })
        .collect();
    guest.set(session, &inputs.iter().map(|(bytes, shape)| (&bytes[..], &shape[..])).collect::<Vec<_>>())?;
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < 2 * time {
        let run = Instant::now();
        guest.run(session)?;
        // The first half warms up.
        if start.elapsed() > time || times.is_empty() {
            times.push(run.elapsed().as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    let milliseconds = times[times.len() / 2];
    let sum = guest.output(session, 0)?.iter().fold(0u32, |sum, &byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let product = name.strip_prefix("product_").map(|extents| extents.split('x').filter_map(|n| n.parse::<f64>().ok()).product::<f64>());
    let speed = product.map_or(String::new(), |macs| format!("{:.1} GMAC/s", macs / milliseconds / 1e6));
    Ok(format!("{name:28} {class:8} {milliseconds:9.3} ms  {sum:08x}  {speed} ({build:?})"))
}

/// What `measure.mjs` gives a model.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((f64::from(state) / 4_294_967_296.0) * 4.0 - 2.0) as f32
    };
    (0..count).map(next).flat_map(f32::to_le_bytes).collect()
}
