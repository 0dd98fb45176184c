//! One file, the same bytes from every host, at batch 1 and 3: the demo network always, and every network of the folder that
//! `QUAVER_MODELS` names.

use std::path::{Path, PathBuf};

use quaver::Model;
use quaver_convert::ConvertError;
use quaver_convert::calibrate::data::Samples;
use quaver_convert::import::{ImportError, ImportOptions};
use quaver_convert::quantize::qconfig::QConfigMapping;
use quaver_core::format::Metadata;
use quaver_core::graph::{Dim, Network};
use quaver_tests::hosts::{Input, hosts};

#[test]
fn the_demo_network_gives_the_same_bytes_everywhere() {
    let float = demo();
    for reduce_range in [false, true] {
        let mut mapping = QConfigMapping::default();
        mapping.global.reduce_range = reduce_range;
        check("fashion", &quantize(&float, &mapping));
    }
}

#[test]
fn real_networks_give_the_same_bytes_everywhere() {
    let Some(folder) = std::env::var_os("QUAVER_MODELS") else {
        println!("skipped: QUAVER_MODELS names no folder of ONNX networks");
        return;
    };
    let entries = std::fs::read_dir(&folder).expect("QUAVER_MODELS is a folder");
    let mut paths: Vec<PathBuf> =
        entries.map(|e| e.expect("readable").path()).filter(|p| p.extension().is_some_and(|e| e == "onnx")).collect();
    paths.sort();
    let mut ran = 0;
    for path in paths {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        match open(&path) {
            Ok(float) => {
                check(&name, &quantize(&float, &QConfigMapping::default()));
                ran += 1;
            }
            Err(ConvertError::Import(ImportError::Unsupported(nodes))) => {
                println!("{name:24} skipped: {} nodes are not supported", nodes.len())
            }
            Err(ConvertError::Import(error @ ImportError::OpenShape { .. })) => println!("{name:24} skipped: {error}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    assert!(ran > 0, "no network ran");
}

/// The demo network.
pub fn demo() -> Network {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../cli/assets/fashion.onnx");
    quaver_convert::load(&path, &ImportOptions::default()).expect("the demo network imports")
}

/// Imports a network; a text-line classifier of open extents gets those it was trained with.
fn open(path: &Path) -> Result<Network, ConvertError> {
    match quaver_convert::load(path, &ImportOptions::default()) {
        Err(ConvertError::Import(ImportError::OpenShape { input, .. })) => {
            let shape = vec![Dim::BATCH, Dim::Fixed(3), Dim::Fixed(48), Dim::Fixed(192)];
            quaver_convert::load(path, &ImportOptions { input_shapes: [(input, shape)].into(), ..ImportOptions::default() })
        }
        result => result,
    }
}

/// A network's file, calibrated with random samples.
pub fn quantize(float: &Network, mapping: &QConfigMapping) -> Vec<u8> {
    let samples = Samples::random(2, &float.graph);
    let converted = quaver_convert::convert(float, &samples, mapping, &mut |_| {}).expect("it converts");
    converted.to_qvr(&Metadata::new()).expect("it can be written")
}

fn check(name: &str, file: &[u8]) {
    let model = Model::from_bytes(file).expect("the converter writes valid files");
    let hosts = hosts();
    for batch in [1, 3] {
        let inputs: Vec<Input> = model.inputs().iter().enumerate().map(|(i, port)| random(&port.shape, batch, i as u64)).collect();
        let mut first: Option<Vec<Vec<u8>>> = None;
        for (host, run) in &hosts {
            let outputs = run(file, &inputs).unwrap_or_else(|error| panic!("{name}, batch {batch}, {host}: {error}"));
            assert!(outputs.iter().all(|o| !o.is_empty()), "{name}, batch {batch}, {host}: an empty output");
            match &first {
                None => first = Some(outputs),
                Some(native) => assert!(*native == outputs, "{name}, batch {batch}: {host} differs from native"),
            }
        }
        println!("{name:24} batch {batch}: {} hosts, identical", hosts.len());
    }
}

/// An input of numbers in −1 .. 1, the same everywhere.
pub fn random(shape: &[Dim], batch: usize, seed: u64) -> Input {
    let shape: Vec<usize> = shape.iter().map(|d| d.at(batch).expect("small")).collect();
    let mut state = seed + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let data = (0..shape.iter().product()).map(|_| next()).collect();
    (shape, data)
}
