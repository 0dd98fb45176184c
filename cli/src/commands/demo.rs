//! `quaver demo`: the whole way on the small network in `cli/assets`, offline.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use quaver::{Model, Session, SessionOptions, Tensor};
use quaver_convert::agreement::arg_max;
use quaver_convert::calibrate::burn_exec::FloatRunner;
use quaver_convert::calibrate::data::Samples;
use quaver_convert::calibrate::{HostTensor, Sample};
use quaver_convert::import::ImportOptions;
use quaver_convert::quantize::qconfig::QConfigMapping;
use quaver_core::format::Metadata;

use crate::data::fashion::{self, Images};
use crate::data::wasm;
use crate::ui;

/// Convert and run the small network that comes with Quaver, and compare it with float
///
/// A residual, depthwise network that was trained with burn on Fashion-MNIST: convert it to INT8, measure accuracy, size
/// and time beside float, and run the same file on the WebAssembly build where there is one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder with Fashion-MNIST's idx files: test on all 10 000 images instead of the 1 000 that come along
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Keep the converted file here
    #[arg(long, value_name = "OUT.qvr")]
    output: Option<PathBuf>,
}

const NETWORK: &[u8] = include_bytes!("../../assets/fashion.onnx");

/// Images of the run whose output digests are compared between backends.
const DIGEST_IMAGES: usize = 25;

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let test = match &args.data {
        Some(folder) => Images::from_idx(folder)?,
        None => Images::test()?,
    };
    let calibration = Images::calibration()?;

    let float = quaver_convert::load_bytes(NETWORK, &ImportOptions::default())?;
    let bar = ui::progress("calibrate", calibration.len());
    let samples: Vec<Sample> = (0..calibration.len()).map(|i| vec![host(&calibration, i..i + 1)]).collect();
    let converted =
        quaver_convert::convert(&float, &Samples::given(samples), &QConfigMapping::default(), &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let bytes = converted.to_qvr(&Metadata::new())?;
    let model = Model::from_bytes(&bytes)?;

    let runner = FloatRunner::new(&float)?;
    let bar = ui::progress("float network", test.len());
    let mut float_right = 0;
    const BATCH: usize = 50;
    for start in (0..test.len()).step_by(BATCH) {
        let range = start..(start + BATCH).min(test.len());
        let outputs = runner.run(&[host(&test, range.clone())], &mut |_, _, _| {})?;
        let logits = outputs.first().context("the network has an output")?;
        float_right += right(&logits.data, &test.labels[range]);
        bar.inc(BATCH as u64);
    }
    bar.finish_and_clear();

    let input = model.inputs().first().context("the model has an input")?.name.clone();
    let output = model.outputs().first().context("the model has an output")?.name.clone();
    let mut session = Session::new(&model, SessionOptions::default())?;
    let bar = ui::progress("INT8, native", test.len());
    let mut right8 = 0;
    for i in 0..test.len() {
        let results = session.run(&[(&input, tensor(&test, i..i + 1)?)])?;
        let logits = results.get(&output).and_then(|t| t.as_slice::<f32>()).context("logits are f32")?;
        right8 += right(logits, &test.labels[i..i + 1]);
        bar.inc(1);
    }
    bar.finish_and_clear();

    let one = tensor(&test, 0..1)?;
    let native_ms = median(&super::bench::measure(&mut session, &[(input.as_str(), one.view())], Duration::from_millis(500))?);
    let float_ms = float_time(&runner, &host(&test, 0..1))?;

    let percent = |right: usize| format!("{:.2} %", 100.0 * right as f64 / test.len() as f64);
    let mut table = ui::table(&["Fashion-MNIST", "float (burn)", "INT8 (quaver)"]);
    table.add_row([format!("top-1 on {} images", test.len()), percent(float_right), percent(right8)]);
    table.add_row(["file".into(), ui::bytes(NETWORK.len() as u64), ui::bytes(bytes.len() as u64)]);
    table.add_row(["one image, one thread".into(), format!("{float_ms:.3} ms"), format!("{native_ms:.3} ms ({})", session.isa())]);
    println!("{table}");

    if let Some(path) = &args.output {
        ui::write_file(path, &bytes)?;
        println!("written to {}", path.display());
    }
    same_bits(&bytes, &mut session, &input, &output, &test)
}

/// Runs the same file natively and on the WebAssembly build, and prints both digests.
fn same_bits(bytes: &[u8], session: &mut Session, input: &str, output: &str, test: &Images) -> Result<()> {
    let batch = tensor(test, 0..DIGEST_IMAGES.min(test.len()))?;
    let results = session.run(&[(input, batch.clone())])?;
    let native = wasm::digest(results.get(output).context("the model has this output")?.bytes());
    let mut table = ui::listing(&["the same bits", &format!("SHA-256 of the logits of {} images", batch.shape()[0])]);
    table.add_row(["native", &native]);
    let (label, web) = match wasm::run(bytes, input, &batch, output)? {
        wasm::Outcome::Digest(digest) => ("WebAssembly (Node)", digest),
        wasm::Outcome::Absent(why) => ("WebAssembly", why),
    };
    table.add_row([label, &web]);
    println!("{table}");
    if label != "WebAssembly" {
        anyhow::ensure!(web == native, "the WebAssembly build gives other bytes than the native one; this is a bug of Quaver");
        println!("identical");
    }
    Ok(())
}

fn host(images: &Images, range: std::ops::Range<usize>) -> HostTensor {
    HostTensor { shape: vec![range.len(), 1, fashion::EDGE, fashion::EDGE], data: images.pixels(range) }
}

fn tensor(images: &Images, range: std::ops::Range<usize>) -> Result<Tensor> {
    let shape = vec![range.len(), 1, fashion::EDGE, fashion::EDGE];
    Ok(Tensor::from_vec(shape, images.pixels(range))?)
}

fn right(logits: &[f32], labels: &[u8]) -> usize {
    logits.chunks_exact(10).zip(labels).filter(|(row, label)| arg_max(row) == usize::from(**label)).count()
}

fn float_time(runner: &FloatRunner, input: &HostTensor) -> Result<f64> {
    let input = std::slice::from_ref(input);
    runner.run(input, &mut |_, _, _| {})?;
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.is_empty() || begin.elapsed() < Duration::from_millis(500) {
        let start = Instant::now();
        runner.run(input, &mut |_, _, _| {})?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(median(&times))
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
