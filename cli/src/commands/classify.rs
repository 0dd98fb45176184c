//! `quaver classify`: what is in photos.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use quaver::{Model, Session, SessionOptions};
use serde::Serialize;

use crate::{data, ui};

/// Say what is in photos
///
/// Preprocessing is what the file was calibrated with (`convert --calibrate-images` records it); options override it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  quaver classify net.qvr dog.jpg cat.png --labels imagenet.txt --top 3")]
pub struct Args {
    /// The .qvr file; its first input is an image, its first output one score a class
    file: PathBuf,
    /// Photos (JPEG, PNG, WebP, BMP, GIF)
    #[arg(required = true)]
    photos: Vec<PathBuf>,
    /// Class names, one a line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How many classes to show
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    #[command(flatten)]
    images: data::ImageArgs,
    /// Print JSON, with the digest of each photo's scores
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Guess {
    class: usize,
    label: String,
    probability: f32,
}

#[derive(Debug, Serialize)]
struct Answer {
    photo: String,
    guesses: Vec<Guess>,
    /// SHA-256 of the scores' bytes, by which hosts can be compared.
    digest: String,
    /// The instruction set that computed them.
    isa: &'static str,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let model = Model::open(&args.file)?;
    let labels: Vec<String> = match &args.labels {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the labels '{}'", path.display()))?;
            text.lines().map(str::to_owned).collect()
        }
        None => Vec::new(),
    };
    let options = args.images.or_recorded(model.metadata())?;
    let mut session = Session::new(&model, SessionOptions::default())?;
    let mut answers = Vec::new();
    for photo in &args.photos {
        let (name, input) = data::images::image_input(&model, photo, &options)?;
        let outputs = session.run(&[(&name, input)])?;
        let Some(first) = model.outputs().first() else { bail!("'{}' has no output", args.file.display()) };
        let output = outputs.get(&first.name).with_context(|| format!("the model has no output '{}'", first.name))?;
        let scores = output.as_slice::<f32>().context("the first output is not f32, so it holds no scores")?;
        answers.push(Answer {
            photo: photo.display().to_string(),
            guesses: guesses(scores, &labels, args.top),
            digest: data::wasm::digest(output.bytes()),
            isa: session.isa(),
        });
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&answers)?);
        return Ok(());
    }
    let mut table = ui::listing(&["photo", "class", "probability", ""]);
    for answer in &answers {
        for (i, g) in answer.guesses.iter().enumerate() {
            let photo = if i == 0 { answer.photo.as_str() } else { "" };
            table.add_row([
                photo,
                &g.label,
                &format!("{:5.1} %", 100.0 * g.probability),
                &"█".repeat((20.0 * g.probability).round() as usize),
            ]);
        }
    }
    println!("{table}");
    Ok(())
}

fn guesses(scores: &[f32], labels: &[String], top: usize) -> Vec<Guess> {
    let probabilities = probabilities(scores);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
    let label = |class: usize| labels.get(class).cloned().unwrap_or_else(|| format!("class {class}"));
    order.into_iter().take(top).map(|class| Guess { class, label: label(class), probability: probabilities[class] }).collect()
}

/// The scores themselves where they are a distribution already, else their softmax.
fn probabilities(scores: &[f32]) -> Vec<f32> {
    let sum: f32 = scores.iter().sum();
    if scores.iter().all(|&s| (0.0..=1.0).contains(&s)) && (sum - 1.0).abs() < 0.05 {
        return scores.to_vec();
    }
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps: Vec<f32> = scores.iter().map(|s| (s - max).exp()).collect();
    let sum: f32 = exps.iter().sum();
    exps.into_iter().map(|e| e / sum).collect()
}
