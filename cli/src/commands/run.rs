//! `quaver run`: arrays in, arrays out.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use quaver::{Model, Session, Tensor};

use super::engine::Engine;
use crate::{data, ui};

/// Run a .qvr file on .npy arrays
///
/// Each input is an array of the model's shape; its first extent is the batch. Writes NAME.npy for each output.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  quaver run net.qvr --input images=batch.npy --output-dir out/\n  quaver run net.qvr --input images=batch.npy --output-dir out/ --isa avx2"
)]
pub struct Args {
    /// The .qvr file
    file: PathBuf,
    /// An input array (may be repeated)
    #[arg(long, value_name = "NAME=FILE.npy", required = true)]
    input: Vec<String>,
    /// Where NAME.npy is written for each output; made if it isn't there
    #[arg(long, value_name = "DIR")]
    output_dir: PathBuf,
    /// Largest batch that runs at once; a longer array is cut, and the results are joined
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch: usize,
    #[command(flatten)]
    engine: Engine,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let model = Model::open(&args.file)?;
    let mut session = Session::new(&model, args.engine.options())?;
    let mut inputs = Vec::new();
    for pair in &args.input {
        let Some((name, file)) = pair.split_once('=') else {
            bail!("--input '{pair}' should be NAME=FILE.npy");
        };
        inputs.push((name.to_owned(), data::read_npy(file.as_ref())?));
    }
    let names: Vec<String> = model.outputs().iter().map(|o| o.name.clone()).collect();
    let mut results: Vec<Vec<Tensor>> = vec![Vec::new(); names.len()];
    let chunks = data::chunks(&model, &inputs, args.batch)?;
    let bar = ui::progress("run", chunks.len());
    for chunk in &chunks {
        let named: Vec<(&str, Tensor)> = chunk.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
        let outputs = session.run(&named)?;
        for (slot, name) in results.iter_mut().zip(&names) {
            slot.push(outputs.get(name).with_context(|| format!("the model has no output '{name}'"))?.clone());
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    std::fs::create_dir_all(&args.output_dir)
        .with_context(|| format!("cannot make '{}'; choose a folder that you may write to", args.output_dir.display()))?;
    let mut table = ui::listing(&["output", "type", "shape", "file"]);
    for (name, parts) in names.iter().zip(&results) {
        let whole = data::join(parts)?;
        let path = args.output_dir.join(format!("{}.npy", data::file_name(name)));
        ui::write_file(&path, &data::npy_bytes(&whole)?)?;
        table.add_row([name.clone(), whole.dtype().to_string(), format!("{:?}", whole.shape()), path.display().to_string()]);
    }
    println!("{table}");
    Ok(())
}
