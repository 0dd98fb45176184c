//! Preprocessing options of images, on the command line and recorded in the file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use quaver::{Model, Tensor};
use quaver_convert::calibrate::data::{ImageOptions, image_sample};
use quaver_core::format::{METADATA_PREPROCESSING, Metadata};

/// How photos become input: value = (pixel · scale − mean) / std
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Image options (value = (pixel · scale − mean) / std)")]
pub struct ImageArgs {
    /// Size of the input, which must be the network's
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<(u32, u32)>,
    /// Subtracted from each channel after scaling: one number, or three in the network's order [default: 0]
    #[arg(long, value_name = "M,M,M", value_delimiter = ',', allow_hyphen_values = true)]
    mean: Option<Vec<f32>>,
    /// What each channel is divided by [default: 1]
    #[arg(long, value_name = "S,S,S", value_delimiter = ',')]
    std: Option<Vec<f32>>,
    /// What a pixel of 0 to 255 is multiplied by [default: 1/255]
    #[arg(long, value_name = "X")]
    scale: Option<f32>,
    /// Channels in the order blue, green, red
    #[arg(long)]
    bgr: bool,
    /// Squeeze photos to the size instead of cropping their middle
    #[arg(long)]
    stretch: bool,
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    parsed.ok_or_else(|| format!("'{text}' should be WIDTHxHEIGHT, e.g. 224x224"))
}

impl ImageArgs {
    /// The options, with defaults for what isn't given.
    pub fn options(&self) -> Result<ImageOptions> {
        self.over(ImageOptions::default())
    }

    /// The options that the file records, overridden by what is given.
    pub fn or_recorded(&self, metadata: &BTreeMap<String, String>) -> Result<ImageOptions> {
        let recorded = match metadata.get(METADATA_PREPROCESSING) {
            Some(json) => {
                serde_json::from_str(json).context("the file's record of its preprocessing is damaged; give --mean, --std and --scale")?
            }
            None => ImageOptions::default(),
        };
        self.over(recorded)
    }

    /// What to record in the file where it was calibrated on images.
    pub fn metadata(&self, images: bool) -> Result<Metadata> {
        let mut metadata = Metadata::new();
        if images || self.mean.is_some() || self.std.is_some() || self.scale.is_some() || self.bgr {
            metadata.insert(METADATA_PREPROCESSING.to_owned(), serde_json::to_string(&self.options()?)?);
        }
        Ok(metadata)
    }

    fn over(&self, base: ImageOptions) -> Result<ImageOptions> {
        let three = |name: &str, given: &Option<Vec<f32>>, base: [f32; 3]| match given.as_deref() {
            None => Ok(base),
            Some([one]) => Ok([*one; 3]),
            Some([a, b, c]) => Ok([*a, *b, *c]),
            Some(other) => Err(anyhow::anyhow!("--{name} takes one number or three, not {}", other.len())),
        };
        let options = ImageOptions {
            size: self.size.or(base.size),
            mean: three("mean", &self.mean, base.mean)?,
            std: three("std", &self.std, base.std)?,
            scale: self.scale.unwrap_or(base.scale),
            bgr: self.bgr || base.bgr,
            stretch: self.stretch || base.stretch,
        };
        let finite = options.mean.iter().chain([&options.scale]).all(|x| x.is_finite());
        ensure!(finite && options.std.iter().all(|s| s.is_normal()), "--mean, --std and --scale should be numbers, --std not 0");
        Ok(options)
    }
}

/// A photo as the model's first input, with that input's name.
pub fn image_input(model: &Model, photo: &Path, options: &ImageOptions) -> Result<(String, Tensor)> {
    let port = model.inputs().first().context("the model has no input")?;
    let sample = image_sample(photo, model.graph(), options)?;
    Ok((port.name.clone(), Tensor::from_vec(sample.shape, sample.data)?))
}
