//! From a network in Rust to INT8 in one program: burn trains it, `burn::capture` takes it, quaver quantizes and runs it.
//!
//! ```sh
//! cargo run --release -p quaver-convert --example train_and_quantize -- shapes.qvr
//! ```
//!
//! The task is drawn here: which of six shapes a noisy image shows. Prints how many images the float network and the INT8 one get
//! right, and writes the latter.

mod model;
mod shapes;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData};
use clap::Parser;
use quaver::{Model, Session, SessionOptions};
use quaver_convert::burn::{CaptureOptions, capture};
use quaver_convert::calibrate::HostTensor;
use quaver_convert::calibrate::data::Samples;
use quaver_convert::quantize::qconfig::QConfigMapping;

use model::Network;
use shapes::{CLASSES, EDGE, Shapes};

#[derive(Parser)]
struct Args {
    /// Where the quantized network goes
    out: PathBuf,
    /// Images to learn from
    #[arg(long, default_value_t = 4096)]
    images: usize,
    /// Passes over them
    #[arg(long, default_value_t = 3)]
    epochs: usize,
}

const BATCH: usize = 64;
const TEST_IMAGES: usize = 1000;
const CALIBRATION_IMAGES: usize = 128;

fn main() -> Result<()> {
    let args = Args::parse();
    let [float, int8] = run(&args)?;
    println!("of {TEST_IMAGES} images, the float network gets {float} right, the INT8 one {int8}; it is in {}", args.out.display());
    Ok(())
}

/// Images that the float network and the quantized one get right.
fn run(args: &Args) -> Result<[usize; 2]> {
    let (train, test) = (Shapes::draw(args.images, 1), Shapes::draw(TEST_IMAGES, 2));
    let network = train_on(&train, args.epochs);

    // The captured graph takes any number of images, whatever the example has.
    let example = Tensor::<4>::zeros([1, 1, EDGE, EDGE], &Device::flex());
    let options =
        CaptureOptions { name: "shapes".into(), inputs: vec!["image".into()], outputs: vec!["logits".into()], ..Default::default() };
    let float = quaver_convert::simplify::simplify(capture(&network, example, Network::forward, &options)?)?;
    let calibration = (0..CALIBRATION_IMAGES.min(args.images))
        .map(|i| vec![HostTensor { shape: vec![1, 1, EDGE, EDGE], data: train.image(i).to_vec() }])
        .collect();
    let converted = quaver_convert::convert(&float, &Samples::given(calibration), &QConfigMapping::default(), &mut |_| {})?;
    std::fs::write(&args.out, converted.to_qvr(&Default::default())?).with_context(|| args.out.display().to_string())?;

    let logits = network.forward(tensor(&test, 0..TEST_IMAGES, &Device::flex())).into_data();
    Ok([test.right(&logits.iter::<f32>().collect::<Vec<_>>()), test.right(&run_quantized(&args.out, &test)?)])
}

fn train_on(train: &Shapes, epochs: usize) -> Network {
    let device = Device::flex().autodiff();
    device.seed(1);
    let mut network = Network::new(&device);
    let mut optimizer = AdamWConfig::new().init();
    let loss = CrossEntropyLossConfig::new().init(&device);
    let steps = train.labels.len() / BATCH;
    for epoch in 0..epochs {
        let mut sum = 0.0;
        for step in 0..steps {
            let batch = step * BATCH..(step + 1) * BATCH;
            let labels: Vec<i64> = train.labels[batch.clone()].iter().map(|&label| label as i64).collect();
            let y = Tensor::<1, Int>::from_data(TensorData::new(labels, [BATCH]), &device);
            let loss = loss.forward(network.forward(tensor(train, batch, &device)), y);
            sum += loss.clone().into_scalar::<f32>();
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            // Down to zero, in a line.
            let rate = 6e-3 * (1.0 - (epoch * steps + step) as f64 / (epochs * steps) as f64);
            network = optimizer.step(rate, network, gradients);
        }
        println!("epoch {}: loss {:.4}", epoch + 1, sum / steps as f32);
    }
    network.valid()
}

/// Logits of the network in a file.
fn run_quantized(file: &Path, test: &Shapes) -> Result<Vec<f32>> {
    let mut session = Session::new(&Model::open(file)?, SessionOptions::default())?;
    let mut logits = Vec::with_capacity(TEST_IMAGES * CLASSES);
    for batch in test.pixels.chunks(BATCH * EDGE * EDGE) {
        let images = quaver::Tensor::from_vec([batch.len() / (EDGE * EDGE), 1, EDGE, EDGE], batch.to_vec())?;
        let outputs = session.run(&[("image", images)])?;
        logits.extend_from_slice(outputs.get("logits").and_then(|t| t.as_slice::<f32>()).context("the network has no logits")?);
    }
    Ok(logits)
}

fn tensor(images: &Shapes, range: std::ops::Range<usize>, device: &Device) -> Tensor<4> {
    let pixels = images.pixels[range.start * EDGE * EDGE..range.end * EDGE * EDGE].to_vec();
    Tensor::from_data(TensorData::new(pixels, [range.len(), 1, EDGE, EDGE]), device)
}

#[test]
fn int8_is_as_good_as_float() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let args = Args { out: folder.path().join("shapes.qvr"), images: 1536, epochs: 2 };
    let [float, int8] = run(&args).expect("runs");
    assert!(float > TEST_IMAGES / 2, "it should have learnt something: {float}");
    assert!(float.abs_diff(int8) <= TEST_IMAGES / 100, "{int8} instead of {float}");
}
