//! The demo's page, built on the packed npm package and clicked through in Chromium. What is checked is in `tests/web`; here are the
//! fixtures: Fashion-MNIST's network in the place of those that the page shows, with the digests that the native session gives.

use std::path::Path;
use std::sync::OnceLock;

use image::RgbImage;
use quaver::{Model, Session, SessionOptions, Tensor};
use quaver_convert::calibrate::data::{ImageOptions, Samples, image_sample};
use quaver_convert::quantize::qconfig::QConfigMapping;
use quaver_core::format::{METADATA_PREPROCESSING, Metadata};
use quaver_tests::chromium::browser;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::npm;
use crate::same_bytes::demo;

/// What the network tells apart.
const LABELS: [&str; 10] = ["T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"];

#[test]
fn the_demo_works_in_a_browser() {
    let Some(browser) = browser() else {
        return npm::skip("no Chromium is installed; `cargo xtask setup` does it");
    };
    if !Path::new(env!("CARGO_MANIFEST_DIR")).join("../web-demo/node_modules").is_dir() {
        return npm::skip("web-demo has no npm packages; `cargo xtask setup` installs them");
    }
    npm::run("demo.test.js", fixtures(), Some(&browser));
}

/// The folder of the page's data, made once, as `cargo xtask demo` makes it.
fn fixtures() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().expect("a folder");
            write(folder.path()).expect("it can be written");
            folder
        })
        .path()
}

fn write(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let photo = ImageOptions { mean: [0.3; 3], std: [0.4; 3], ..ImageOptions::default() };
    let digit = ImageOptions { scale: 1.0, stretch: true, ..ImageOptions::default() };
    // Photos are larger than the network's input, and coloured; digits have its size.
    let photo = classifier(folder, "photo", &photo, &[(90, 61), (40, 70), (224, 224)])?;
    let digit = classifier(folder, "digit", &digit, &[(28, 28); 4])?;
    let float = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/assets/fashion.onnx");
    let bytes = std::fs::copy(float, folder.join("float.onnx"))?;
    let runtime = |name: &str, gzip: u64| json!({ "name": name, "bytes": 3 * gzip, "gzip": gzip });
    let catalogue = json!({
        "recorded": { "cpu": "a processor", "isa": "an instruction set", "version": "0", "date": "2026-01-01" },
        "runtimes": { "quaver": [runtime("relaxed", 100_000), runtime("base", 90_000)], "onnxruntime": [runtime("all of it", 3_000_000)] },
        "photo": photo,
        "digit": digit,
        "benchmark": [{ "name": "Fashion", "quaver": photo["model"], "float": { "file": "float.onnx", "bytes": bytes }, "int8": null }],
        "sources": [{ "what": "pictures", "package": "none" }],
    });
    std::fs::write(folder.join("catalogue.json"), catalogue.to_string())?;
    Ok(())
}

/// The network with a record of its preprocessing, and pictures with the digests of what it gives.
fn classifier(folder: &Path, name: &str, options: &ImageOptions, sizes: &[(u32, u32)]) -> Result<Value, Box<dyn std::error::Error>> {
    let float = demo();
    let samples = Samples::random(2, &float.graph);
    let converted = quaver_convert::convert(&float, &samples, &QConfigMapping::default(), &mut |_| {})?;
    let mut metadata = Metadata::new();
    metadata.insert(METADATA_PREPROCESSING.to_owned(), serde_json::to_string(options)?);
    let file = converted.to_qvr(&metadata)?;
    std::fs::write(folder.join(format!("{name}.qvr")), &file)?;

    let model = Model::from_bytes(&file)?;
    let mut session = Session::new(&model, SessionOptions::default())?;
    let (input, output) = (&model.inputs()[0].name, &model.outputs()[0].name);
    std::fs::create_dir_all(folder.join(name))?;
    let mut shown = Vec::new();
    for (i, &(width, height)) in sizes.iter().enumerate() {
        let picture = format!("{name}/{i}.png");
        let grey = name == "digit";
        let pixel = |x: u32, y: u32| {
            let [a, b, c] = [x * 5 + 31 * i as u32, y * 7, (x ^ y) * 3].map(|value| (value % 256) as u8);
            image::Rgb(if grey { [a; 3] } else { [a, b, c] })
        };
        RgbImage::from_fn(width, height, pixel).save(folder.join(&picture))?;
        let sample = image_sample(&folder.join(&picture), model.graph(), options)?;
        let results = session.run(&[(input.as_str(), Tensor::from_vec(sample.shape, sample.data)?)])?;
        let bytes = results.get(output).ok_or("the model has this output")?.bytes();
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        shown.push(json!({ "file": picture, "title": format!("pattern {i}"), "digest": digest }));
    }
    let model = json!({ "file": format!("{name}.qvr"), "bytes": file.len() });
    Ok(json!({ "title": name, "model": model, "labels": LABELS, "samples": shown }))
}
