//! The page's data: converted networks, pictures with what the native build makes of them, and the list of it all,
//! `catalogue.json`, whose form `web-demo/src/catalogue.ts` describes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::assets::{Assets, Classifier};
use crate::bench::environment::Environment;
use crate::bench::networks::{self, Form, Network};
use crate::machine;
use crate::process::{output, run as run_program};
use crate::site::Site;
use crate::wasm;

/// What `quaver classify --json` says of a picture.
#[derive(Debug, Deserialize)]
struct Answer {
    digest: String,
    isa: String,
}

/// A file of the page's.
#[derive(Debug, Serialize)]
struct DataFile {
    file: String,
    bytes: u64,
}

/// Fills the folder `data`.
pub fn make(
    assets: &Assets,
    networks: &[Network],
    environment: &Environment,
    quaver: &Path,
    site: &Site,
    cache: &Path,
    data: &Path,
) -> Result<()> {
    let (photo, isa) = classifier(&assets.photo, quaver, data)?;
    let (digit, _) = classifier(&assets.digit, quaver, data)?;
    let bar = ProgressBar::new(networks.len() as u64);
    let mut benchmark = Vec::new();
    for network in networks {
        println!("demo: {} for the benchmark", network.name);
        let ours = [&assets.photo, &assets.digit].into_iter().find(|c| c.network == network.path);
        benchmark.push(compared(network, ours, environment, quaver, cache, data)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let catalogue = json!({
        "recorded": { "cpu": machine::cpu(), "isa": isa, "version": machine::version(), "date": environment.info.date },
        "runtimes": { "quaver": runtimes(&wasm::modules())?, "onnxruntime": runtimes(&[("(its WebAssembly alone)", site.peer_files()[0].clone())])? },
        "photo": photo,
        "digit": digit,
        "benchmark": benchmark,
        "sources": assets.sources,
    });
    let file = data.join("catalogue.json");
    fs::write(&file, serde_json::to_vec_pretty(&catalogue)?).with_context(|| format!("cannot write {}", file.display()))
}

/// Converts a classifier, and classifies its samples; returns the catalogue's entry, and the instruction set that was used.
fn classifier(classifier: &Classifier, quaver: &Path, data: &Path) -> Result<(Value, String)> {
    let name = classifier.name;
    let model = data.join(format!("{name}.qvr"));
    println!("demo: convert {}", classifier.title);
    let mut convert = Command::new(quaver);
    convert.arg("convert").arg(&classifier.network).arg("-o").arg(&model);
    run_program(convert.arg("--calibrate-images").arg(&classifier.calibration).args(classifier.preprocessing))?;

    let pictures: Vec<_> = classifier.titles.iter().map(|title| classifier.samples.join(&title.file)).collect();
    let said = output(Command::new(quaver).arg("classify").arg(&model).args(&pictures).arg("--json"))?;
    let answers: Vec<Answer> = serde_json::from_str(&said).context("`quaver classify --json` says something else")?;
    ensure!(answers.len() == pictures.len(), "`quaver classify` answered {} of {} pictures", answers.len(), pictures.len());

    fs::create_dir_all(data.join(name))?;
    let mut samples = Vec::new();
    for ((title, picture), answer) in classifier.titles.iter().zip(&pictures).zip(&answers) {
        let file = format!("{name}/{}", title.file);
        copy(picture, &data.join(&file))?;
        samples.push(json!({ "file": file, "title": title.title, "digest": answer.digest }));
    }
    let isa = answers.first().map(|answer| answer.isa.clone()).unwrap_or_default();
    let model = stored(&model, data)?;
    Ok((json!({ "title": classifier.title, "model": model, "labels": classifier.labels, "samples": samples }), isa))
}

/// A network in the forms that both libraries run. Of `ours` the page has a `.qvr` already.
fn compared(
    network: &Network,
    ours: Option<&Classifier>,
    environment: &Environment,
    quaver: &Path,
    cache: &Path,
    data: &Path,
) -> Result<Value> {
    let prepared = networks::prepare(network, environment, quaver, cache, 1, false)?;
    let slug: String = network.name.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let qvr = match ours {
        Some(classifier) => data.join(format!("{}.qvr", classifier.name)),
        None => {
            let file = data.join(format!("{slug}.qvr"));
            copy(prepared.qvr.as_deref().map_err(|reason| anyhow::anyhow!("{}: {reason}", network.name))?, &file)?;
            file
        }
    };
    let onnx = |form: Form| -> Result<Option<DataFile>> {
        match prepared.onnx(form) {
            Ok(from) => {
                let file = data.join(format!("{slug}.{}.onnx", form.name()));
                copy(&from, &file)?;
                Ok(Some(stored(&file, data)?))
            }
            Err(reason) => {
                println!("demo: {} has no {} form for onnxruntime-web: {reason}", network.name, form.name());
                Ok(None)
            }
        }
    };
    Ok(json!({ "name": network.name, "quaver": stored(&qvr, data)?, "float": onnx(Form::Float)?, "int8": onnx(Form::Int8)? }))
}

fn runtimes(files: &[(&str, std::path::PathBuf)]) -> Result<Vec<Value>> {
    let entry = |(name, file): &(&str, std::path::PathBuf)| {
        let [bytes, gzip] = wasm::size(file)?;
        Ok(json!({ "name": name, "bytes": bytes, "gzip": gzip }))
    };
    files.iter().map(entry).collect()
}

/// A file of the folder `data`, as the page finds it.
fn stored(file: &Path, data: &Path) -> Result<DataFile> {
    let bytes = file.metadata().with_context(|| format!("cannot read {}", file.display()))?.len();
    Ok(DataFile { file: file.strip_prefix(data).unwrap_or(file).display().to_string(), bytes })
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
