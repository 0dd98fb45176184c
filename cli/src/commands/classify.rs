//! `quaver classify`: what is in photos.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use quaver::{Model, Session, SessionOptions};
use quaver_protocol::classes::{self, Class};
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
struct Answer {
    photo: String,
    guesses: Vec<Class>,
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
            guesses: classes::top(scores, &labels, args.top),
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
