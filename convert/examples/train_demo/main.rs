//! Trains the demo network on Fashion-MNIST with burn, and writes it as ONNX with the images that come along.
//!
//! ```sh
//! cargo run --release -p quaver-convert --example train_demo -- DATA_DIR OUT_DIR
//! ```
//!
//! `DATA_DIR` holds the data set's idx.gz files (Debian: `dataset-fashion-mnist`); `OUT_DIR` gets `fashion.onnx`,
//! `fashion-test.png`, `fashion-test-labels.txt` and `fashion-calibration.png`. The epoch is chosen on images held out of
//! the training set; the test set is only looked at once, at the end.

mod data;
mod export;
mod model;

use std::path::PathBuf;

use anyhow::{Context, Result};
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use data::{EDGE, Images};
use model::Network;

#[derive(Parser)]
struct Args {
    /// Folder with Fashion-MNIST's idx.gz files
    data: PathBuf,
    /// Where the network and the images go
    out: PathBuf,
    /// Passes over the training set
    #[arg(long, default_value_t = 8)]
    epochs: usize,
    /// Images in one step
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Largest learning rate
    #[arg(long, default_value_t = 4e-3)]
    rate: f64,
    /// Seed of everything that is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Training images kept aside to choose the epoch.
const HELD_OUT: usize = 2_000;
const TEST_IMAGES: usize = 1_000;
const CALIBRATION_IMAGES: usize = 256;

fn main() -> Result<()> {
    let args = Args::parse();
    let train = Images::read(&args.data, "train")?;
    let test = Images::read(&args.data, "t10k")?;
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    write_images(&args, &train, &test)?;

    let device = Device::flex().autodiff();
    device.seed(args.seed);
    let mut rng = fastrand::Rng::with_seed(args.seed);
    let mut network = Network::new(&device);
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.02).init();
    let loss = CrossEntropyLossConfig::new().with_smoothing(Some(0.05)).init(&device);
    let mut order: Vec<usize> = (HELD_OUT..train.labels.len()).collect();
    let steps = order.len() / args.batch;
    let total = args.epochs * steps;
    let mut best = (0, network.valid());
    for epoch in 0..args.epochs {
        rng.shuffle(&mut order);
        let bar = ProgressBar::new(steps as u64);
        bar.set_style(ProgressStyle::with_template("epoch {msg} {bar:40} {pos}/{len} {eta}")?);
        bar.set_message(format!("{}/{}", epoch + 1, args.epochs));
        let mut sum = 0.0;
        for (step, batch) in order.chunks_exact(args.batch).enumerate() {
            let pixels: Vec<f32> = batch.iter().flat_map(|&i| train.augmented(i, &mut rng).collect::<Vec<_>>()).collect();
            let targets: Vec<i64> = batch.iter().map(|&i| i64::from(train.labels[i])).collect();
            let x = Tensor::<4>::from_data(TensorData::new(pixels, [batch.len(), 1, EDGE, EDGE]), &device);
            let y = Tensor::<1, Int>::from_data(TensorData::new(targets, [batch.len()]), &device);
            let loss = loss.forward(network.forward(x), y);
            sum += loss.clone().into_data().iter::<f32>().next().unwrap_or(f32::NAN);
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = optimizer.step(rate(&args, epoch * steps + step, total), network, gradients);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let validated = network.valid();
        let right = accuracy(&validated, &train, 0..HELD_OUT);
        println!("epoch {:2}: loss {:.4}, {right} of {HELD_OUT} held-out images right", epoch + 1, sum / steps as f32);
        if right >= best.0 {
            best = (right, validated);
            std::fs::write(args.out.join("fashion.onnx"), export::onnx(&best.1))?;
        }
    }
    let right = accuracy(&best.1, &test, 0..test.labels.len());
    println!("test: {right} of {} right", test.labels.len());
    Ok(())
}

/// Linear warm-up over the first fifth, then a cosine to zero.
fn rate(args: &Args, step: usize, total: usize) -> f64 {
    let at = step as f64 / total as f64;
    let factor = if at < 0.2 { at / 0.2 } else { 0.5 * (1.0 + (std::f64::consts::PI * (at - 0.2) / 0.8).cos()) };
    (args.rate * factor).max(1e-6)
}

fn accuracy(network: &Network, images: &Images, range: std::ops::Range<usize>) -> usize {
    let device = Device::flex();
    let indices: Vec<usize> = range.collect();
    let mut right = 0;
    for batch in indices.chunks(200) {
        let pixels: Vec<f32> = batch.iter().flat_map(|&i| images.plain(i)).collect();
        let x = Tensor::<4>::from_data(TensorData::new(pixels, [batch.len(), 1, EDGE, EDGE]), &device);
        let logits: Vec<f32> = network.forward(x).into_data().iter::<f32>().collect();
        let classes = logits.chunks_exact(10).map(|row| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |m| m.0));
        right += classes.zip(batch).filter(|(class, i)| *class == usize::from(images.labels[**i])).count();
    }
    right
}

fn write_images(args: &Args, train: &Images, test: &Images) -> Result<()> {
    let first: Vec<usize> = (0..TEST_IMAGES).collect();
    test.mosaic(&first, 40, &args.out.join("fashion-test.png"))?;
    let labels: Vec<String> =
        test.labels[..TEST_IMAGES].chunks(40).map(|row| row.iter().map(u8::to_string).collect::<Vec<_>>().join(" ")).collect();
    std::fs::write(args.out.join("fashion-test-labels.txt"), labels.join("\n") + "\n")?;
    // Every class in turn, so that calibration sees each about equally often.
    let mut queues: Vec<_> = (0..10u8).map(|class| (0..train.labels.len()).filter(move |&i| train.labels[i] == class)).collect();
    let chosen: Vec<usize> = (0..CALIBRATION_IMAGES).filter_map(|i| queues[i % 10].next()).collect();
    train.mosaic(&chosen, 32, &args.out.join("fashion-calibration.png"))
}
