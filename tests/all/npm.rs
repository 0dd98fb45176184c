//! The packed npm package, installed as its users install it: in a Node script, and in pages that Chromium shows. What is checked is
//! in `tests/web`; here are the fixtures, whose expected bytes come from the native session and from the converter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use image::RgbaImage;
use quaver::{Model, Session, SessionOptions, Tensor};
use quaver_convert::calibrate::data::{ImageOptions, image_sample};
use quaver_convert::quantize::qconfig::QConfigMapping;
use quaver_core::graph::op::UnaryFn;
use quaver_core::graph::{Dim, Network, Op};
use quaver_core::tensor::DType;
use quaver_tests::chromium::browser;
use quaver_tests::hosts;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::same_bytes::{demo, quantize, random};

#[test]
fn the_package_works_in_a_node_script() {
    run("node.test.js", fixtures(), None);
}

#[test]
fn the_package_works_in_pages() {
    in_pages("browser.test.js");
}

#[test]
fn the_package_copes_with_what_breaks_down_or_is_forbidden() {
    in_pages("trouble.test.js");
}

fn in_pages(script: &str) {
    let Some(browser) = browser() else {
        return skip("no Chromium is installed; `cargo xtask setup` does it");
    };
    run(script, fixtures(), Some(&browser));
}

/// Runs tests that Node's runner knows, with the folder of what they read.
pub fn run(script: &str, fixtures: &Path, browser: Option<&Path>) {
    let web = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("web");
    let Some(tarball) = tarball() else {
        return skip("the package isn't packed; `cargo xtask wasm` does it");
    };
    if !web.join("node_modules").is_dir() {
        return skip("tests/web has no npm packages; `cargo xtask setup` installs them");
    }
    let mut command = Command::new("node");
    command.current_dir(&web).args(["--test-reporter=spec", "--test-timeout=240000", "--test", script]);
    // Each file of Node's runner is a process, which has the options of this one.
    command.env("NODE_OPTIONS", "--expose-gc --no-warnings");
    command.env("QUAVER_FIXTURES", fixtures).env("QUAVER_TARBALL", tarball);
    if let Some(browser) = browser {
        command.env("QUAVER_CHROMIUM", browser);
    }
    let output = command.output().expect("node starts");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{script} failed: {}", String::from_utf8_lossy(&output.stderr));
}

/// Says that a test is skipped, which may be forbidden.
pub fn skip(why: &str) {
    assert!(!hosts::required(), "{why}");
    println!("skipped: {why}");
}

/// What `cargo xtask wasm` has packed.
fn tarball() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/npm");
    let mut files = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.find(|file| file.extension().is_some_and(|e| e == "tgz"))
}

/// The folder of all that the scripts read, made once.
fn fixtures() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut manifest = model(folder.path());
        manifest["image"] = picture(folder.path());
        write(folder.path(), "manifest.json", manifest.to_string().as_bytes());
        // Each value has addresses at the first size, but not all have at once; at the others, not even one.
        for (name, rows) in [("large.qvr", 16_000), ("larger.qvr", 20_000), ("largest.qvr", 40_000)] {
            write(folder.path(), name, &image_of(rows));
        }
        folder
    });
    FOLDER.get().expect("made").path()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(folder.join(name), bytes).expect("it can be written");
}

/// The demo network, inputs, and the outputs that the native session gives.
fn model(folder: &Path) -> Value {
    let file = quantize(&demo(), &QConfigMapping::default());
    write(folder, "model.qvr", &file);
    let model = Model::from_bytes(&file).expect("valid");
    let mut session = Session::new(&model, SessionOptions::default()).expect("it can run");
    let mut tensors = Vec::new();
    let mut inputs = Vec::new();
    for (i, port) in model.inputs().iter().enumerate() {
        let (shape, data) = random(&port.shape, 16, i as u64);
        let tensor = Tensor::from_vec(shape.clone(), data).expect("sized");
        let name = format!("input{i}.bin");
        write(folder, &name, tensor.bytes());
        inputs.push(json!({ "name": port.name, "dims": shape, "file": name }));
        tensors.push((port.name.as_str(), tensor));
    }
    let results = session.run(&tensors).expect("it runs");
    let mut outputs = Vec::new();
    for (i, (name, tensor)) in results.iter().enumerate() {
        let file = format!("output{i}.bin");
        write(folder, &file, tensor.bytes());
        outputs.push(json!({ "name": name, "dims": tensor.shape(), "file": file }));
    }
    json!({ "inputs": inputs, "outputs": outputs })
}

/// A picture, and the inputs that the converter makes of it.
fn picture(folder: &Path) -> Value {
    let (width, height) = (97u32, 61u32);
    let mut state = 1u32;
    let picture = RgbaImage::from_fn(width, height, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgba([(state >> 24) as u8, (x * 2) as u8, (y * 4) as u8, 255])
    });
    write(folder, "image.rgba", picture.as_raw());
    let path = folder.join("image.png");
    image::DynamicImage::ImageRgba8(picture).to_rgb8().save(&path).expect("it can be written");

    let normalised = ImageOptions { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], ..ImageOptions::default() };
    let cases = [
        ([3, 40, 40], ImageOptions::default(), json!({})),
        ([3, 32, 50], normalised.clone(), json!({ "mean": normalised.mean, "std": normalised.std })),
        ([40, 90, 3], ImageOptions { stretch: true, scale: 1.0, ..ImageOptions::default() }, json!({ "fit": "stretch", "scale": 1 })),
        ([3, 130, 200], ImageOptions { bgr: true, mean: [0.5; 3], ..ImageOptions::default() }, json!({ "channels": "BGR", "mean": 0.5 })),
        ([1, 28, 28], ImageOptions::default(), json!({ "channels": "GRAY" })),
    ];
    let mut expected = Vec::new();
    for (i, (shape, options, mut given)) in cases.into_iter().enumerate() {
        let mut net = Network::new("image");
        net.input("x", DType::F32, std::iter::once(Dim::BATCH).chain(shape.map(Dim::from)).collect());
        let sample = image_sample(&path, &net.graph, &options).expect("it is an image");
        let (layout, [height, width]) = if shape[2] == 3 { ("NHWC", [shape[0], shape[1]]) } else { ("NCHW", [shape[1], shape[2]]) };
        (given["layout"], given["width"], given["height"]) = (layout.into(), width.into(), height.into());
        let bytes: Vec<u8> = sample.data.iter().flat_map(|x| x.to_le_bytes()).collect();
        let file = format!("image{i}.bin");
        write(folder, &file, &bytes);
        expected.push(json!({ "options": given, "dims": sample.shape, "file": file }));
    }
    json!({ "width": width, "height": height, "expected": expected })
}

/// A small file of a network that takes a square image of that many rows, for which 32-bit addresses are not enough.
fn image_of(rows: usize) -> Vec<u8> {
    let mut net = Network::new("large");
    let abs = || Op::Unary { function: UnaryFn::Abs };
    let mut last = net.input("x", DType::F32, vec![Dim::BATCH, rows.into(), rows.into()]);
    for name in ["a", "b", "c"] {
        last = net.push(abs(), &[last], name, name).expect("valid");
        net.output(last);
    }
    quaver_core::format::write(&net, &BTreeMap::new()).expect("valid")
}
