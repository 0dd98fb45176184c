//! What `web-demo/assets/fetch.py` brings: float networks, and pictures to calibrate with and to show.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::bench::environment::Environment;
use crate::bench::networks::Network;
use crate::process::{root, run as run_program};

/// What the program needs, relative to the repository.
pub const REQUIREMENTS: &str = "web-demo/assets/requirements.txt";
/// The programs' folder; what they made is made anew where they have changed.
const PROGRAMS: &str = "web-demo/assets";

/// A network that names what it sees, before it is converted.
#[derive(Debug)]
pub struct Classifier {
    /// What the page's files of it begin with.
    pub name: &'static str,
    /// What the page calls it.
    pub title: &'static str,
    /// How `quaver convert` makes its input of a picture.
    pub preprocessing: &'static [&'static str],
    /// The float network.
    pub network: PathBuf,
    /// A folder of pictures to find ranges with.
    pub calibration: PathBuf,
    /// The folder of those to show.
    pub samples: PathBuf,
    /// What is to be seen on each.
    pub titles: Vec<Title>,
    /// The names of its classes.
    pub labels: Vec<String>,
}

/// A picture to show.
#[derive(Debug, Clone, Deserialize)]
pub struct Title {
    /// Its file in the folder of samples.
    pub file: String,
    /// What is to be seen.
    pub title: String,
}

/// Everything.
#[derive(Debug)]
pub struct Assets {
    /// For photos.
    pub photo: Classifier,
    /// For digits.
    pub digit: Classifier,
    /// Where all of it comes from, as the page shows it.
    pub sources: serde_json::Value,
}

/// Brings what isn't there.
pub fn fetch(environment: &Environment, folder: &Path) -> Result<Assets> {
    let stamp = folder.join("made-by");
    let programs = programs()?;
    if fs::read(&stamp).ok().as_deref() != Some(programs.as_slice()) {
        let mut command = Command::new(&environment.python);
        // Without this, Python would leave compiled files among the sources.
        command.arg("-B").arg(root().join(PROGRAMS).join("fetch.py")).arg(folder);
        run_program(&mut command)?;
        fs::write(&stamp, programs).with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    let classifier = |name, title, preprocessing, labels| -> Result<Classifier> {
        let samples = folder.join(name).join("samples");
        Ok(Classifier {
            name,
            title,
            preprocessing,
            network: folder.join(format!("{name}.onnx")),
            calibration: folder.join(name).join("calibration"),
            titles: read(&samples.join("titles.json"))?,
            samples,
            labels,
        })
    };
    Ok(Assets {
        photo: classifier(
            "photo",
            "EfficientNet-Lite0",
            &["--scale", "1", "--mean", "127", "--std", "128"],
            read(&folder.join("photo/labels.json"))?,
        )?,
        // A digit fills its picture: nothing is cut off.
        digit: classifier("digit", "MNIST digits", &["--scale", "1", "--stretch"], (0..10).map(|digit| digit.to_string()).collect())?,
        sources: read(&folder.join("sources.json"))?,
    })
}

impl Assets {
    /// The float networks, for the benchmark.
    pub fn networks(&self) -> Vec<Network> {
        [&self.photo, &self.digit].map(|c| Network { name: c.title.to_owned(), path: c.network.clone() }).into()
    }
}

/// The programs' text.
fn programs() -> Result<Vec<u8>> {
    let folder = root().join(PROGRAMS);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()).collect();
    files.sort();
    let texts: Vec<Vec<u8>> = files.iter().map(fs::read).collect::<Result<_, _>>()?;
    Ok(texts.concat())
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| file.display().to_string())
}
