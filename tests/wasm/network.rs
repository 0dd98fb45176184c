//! Guests, and pages of Chromium, on a network of one operation.

use std::ops::Range;

use quaver::{Isa, Model, Session, SessionOptions, Tensor};
use quaver_core::tensor::DType;
use quaver_tests::chromium::{self, Page};
use quaver_tests::guest::{Build as WasmBuild, Guest};
use quaver_tests::hosts::required;

pub use crate::build::{Build, Node};
use crate::build::{extent, files, sizes};
use crate::common::difference;

/// Batch sizes of each network, in one session.
const BATCHES: [usize; 2] = [1, 3];
/// Every so many seeds are enough: the cases are natively tested too.
const STEP: usize = 4;
/// Of these, every so many in pages, whose code is the same, compiled by another engine.
const PAGES_STEP: usize = 20;

/// Whether a module isn't built, which is said.
///
/// # Panics
/// Where `QUAVER_REQUIRE_WASM` or `CI` is set: then it must not be skipped.
pub fn is_skipped() -> bool {
    let Some(missing) = [WasmBuild::Base, WasmBuild::Sat, WasmBuild::Relaxed].into_iter().map(WasmBuild::path).find(|path| !path.exists())
    else {
        return false;
    };
    assert!(!required(), "there is no build at '{}'; run `cargo xtask wasm`", missing.display());
    println!("skipped: '{}' isn't built; `cargo xtask wasm` does it", missing.display());
    true
}

/// A page for each build in each browser; none where there is no browser, which is said.
fn pages() -> Vec<Page> {
    let Some(why) = chromium::missing() else { return chromium::fastest_pages() };
    assert!(!required(), "{why}");
    println!("skipped: Chromium, as {why}");
    Vec::new()
}

/// Compares guests and pages on a network for each seed. How many of them are to have a kernel is natively tested.
pub fn check(seeds: Range<u64>, _kernels: usize, node: impl Fn(&mut Build) -> Node) {
    if is_skipped() {
        return;
    }
    let guest = |(build, class)| (build, class, Guest::new(build, class).unwrap_or_else(|error| panic!("{build:?}, {class}: {error}")));
    let mut guests: Vec<_> = WasmBuild::CLASSES.into_iter().map(guest).collect();
    let pages = pages();
    for (number, (seed, file, mut rng)) in files(seeds, node).step_by(STEP).enumerate() {
        let model = Model::from_bytes(&file[..]).expect("what was written is valid");
        let options = SessionOptions { threads: 1, isa: Some(Isa::Scalar), ..SessionOptions::default() };
        let mut definition = Session::new(&model, options).expect("it is there");
        let mut sessions = Vec::new();
        for (_, _, guest) in &mut guests {
            sessions.push(guest.open(&file).unwrap_or_else(|error| panic!("seed {seed}: {error}")));
        }
        for batch in BATCHES {
            let tensor = |shape: Vec<usize>, dtype: DType, rng: &mut crate::common::Rng| {
                let len = shape.iter().product();
                let tensor = match dtype {
                    DType::U8 => Tensor::from_vec(shape, rng.bytes(len, u8::MAX)),
                    _ => Tensor::from_vec(shape, rng.floats(len)),
                };
                tensor.expect("sized")
            };
            let sizes = sizes(model.graph(), batch);
            let mut inputs = Vec::new();
            for port in model.inputs() {
                let shape = port.shape.iter().map(|dim| extent(dim, &sizes)).collect();
                inputs.push((port.name.as_str(), tensor(shape, port.dtype, &mut rng)));
            }
            let expected = definition.run(&inputs).expect("valid inputs");
            let expected = expected.first().expect("an output");
            let bytes: Vec<(&[u8], &[usize])> = inputs.iter().map(|(_, tensor)| (tensor.bytes(), tensor.shape())).collect();
            let check = |host: &str, got: Result<Vec<u8>, String>| {
                let got = got.unwrap_or_else(|error| panic!("seed {seed}, batch {batch}, {host}: {error}"));
                assert_eq!(got.len(), expected.bytes().len(), "seed {seed}, batch {batch}, {host}");
                if let Some(at) = difference(expected.dtype(), &got, expected.bytes()) {
                    panic!(
                        "seed {seed}, batch {batch}, {host}: element {at} of {:?} is wrong; {:?} of {:?}",
                        expected.shape(),
                        model.graph().nodes.last(),
                        inputs.iter().map(|(_, tensor)| tensor.shape()).collect::<Vec<_>>(),
                    );
                }
            };
            for ((build, class, guest), &session) in guests.iter_mut().zip(&sessions) {
                let run = guest.set(session, &bytes).and_then(|()| guest.run(session)).and_then(|()| guest.output(session, 0));
                check(&format!("{build:?}, {class}"), run);
            }
            for page in pages.iter().filter(|_| number % PAGES_STEP == 0) {
                let outputs = page.run(&file, &bytes);
                check(&page.name(), outputs.and_then(|outputs| outputs.into_iter().next().ok_or("it has no output".to_owned())));
            }
        }
        for ((_, _, guest), session) in guests.iter_mut().zip(sessions) {
            guest.close(session).expect("it is open");
        }
    }
}
