//! Sessions on a network of one operation.

use std::ops::Range;

use quaver::dispatch::kernel::Kind;
use quaver::dispatch::query::Query;
use quaver::dispatch::tune::Change;
use quaver::dispatch::{candidates, choose};
use quaver::{Isa, Model, Session, SessionOptions, Tensor};
use quaver_core::plan::Plan;
use quaver_core::tensor::DType;
use serde_json::json;
use tempfile::NamedTempFile;

pub use crate::build::{Build, Node};
use crate::build::{extent, files, sizes};
use crate::common::{Rng, difference, skip};

/// Batch sizes of each network, in one session.
const BATCHES: [usize; 3] = [1, 2, 5];
/// Threads of sessions.
const THREADS: [usize; 3] = [1, 2, 3];

/// Compares sessions on a network for each seed. Of every five choices of a kernel, at least `kernels` must not be the
/// definition, or nothing would have been tested.
pub fn check(seeds: Range<u64>, kernels: usize, node: impl Fn(&mut Build) -> Node) {
    let (mut chosen, mut all) = (0, 0);
    for (seed, file, mut rng) in files(seeds, node) {
        let model = Model::from_bytes(file).expect("what was written is valid");
        compare(&model, &mut rng, seed);
        for isas in available() {
            all += 1;
            chosen += usize::from(has_kernel(&model, isas));
        }
    }
    assert!(chosen * 5 >= all * kernels, "of {all} choices, only {chosen} are kernels");
}

/// The instruction sets up to each that the processor has, but the definition.
fn available() -> impl Iterator<Item = &'static [Isa]> {
    let isas = Isa::available();
    Isa::ALL.into_iter().filter(|isa| !isas.contains(isa)).for_each(|isa| skip(isa.name()));
    (2..=isas.len()).map(|count| &isas[..count])
}

/// Whether the last node runs by a kernel.
fn has_kernel(model: &Model, isas: &[Isa]) -> bool {
    let graph = &*model.graph().sized(&sizes(model.graph(), 1)).expect("such sizes can be");
    let plan = Plan::new(graph, 1, usize::MAX).expect("small");
    let node = graph.nodes.last().expect("there is one");
    choose(&Query::new(graph, &plan, node, 1), isas).kernel.kind != Kind::Reference
}

/// A side file by which nodes run on tiles that the rules give to vectors, as they do with all that is small.
fn on_tiles(model: &Model) -> Option<NamedTempFile> {
    let isas = Isa::available();
    let graph = &*model.graph().sized(&sizes(model.graph(), 1)).expect("such sizes can be");
    let plan = Plan::new(graph, 1, usize::MAX).expect("small");
    let changes = graph.nodes.iter().enumerate().filter_map(|(i, node)| {
        let choices = candidates(&Query::new(graph, &plan, node, 1), isas);
        let tiles = choices[1..].iter().find(|choice| choice.kernel.isa == Isa::Amx)?;
        let (from, to) = (choices[0].kernel.name.to_owned(), tiles.kernel.name.to_owned());
        Some(Change { node: i, name: node.name.clone(), from, to, before_ns: 2, after_ns: 1 })
    });
    let changes: Vec<_> = changes.collect();
    let nodes = graph.nodes.len();
    let tuning = json!({ "version": 1, "model": model.name(), "nodes": nodes, "batch": 1, "threads": 1, "changes": changes });
    let file = NamedTempFile::new().expect("a temporary file");
    serde_json::to_writer(&file, &tuning).expect("writes");
    (!changes.is_empty()).then_some(file)
}

fn compare(model: &Model, rng: &mut Rng, seed: u64) {
    let session = |isa: Isa, threads: usize| {
        let options = SessionOptions { threads, isa: Some(isa), ..SessionOptions::default() };
        (isa, threads, Session::new(model, options).expect("it is there"))
    };
    let (_, _, mut definition) = session(Isa::Scalar, 1);
    let isas = available().filter_map(|isas| isas.last());
    let mut sessions: Vec<_> = isas.flat_map(|&isa| THREADS.map(|threads| session(isa, threads))).collect();
    if let Some(file) = on_tiles(model) {
        sessions.extend(THREADS.map(|threads| {
            let options = SessionOptions { threads, tuning: Some(file.path().to_owned()), ..SessionOptions::default() };
            (Isa::Amx, threads, Session::new(model, options).expect("the side file is about the model"))
        }));
    }
    for batch in BATCHES {
        let sizes = sizes(model.graph(), batch);
        let inputs: Vec<(&str, Tensor)> = model
            .inputs()
            .iter()
            .map(|port| {
                let shape: Vec<usize> = port.shape.iter().map(|dim| extent(dim, &sizes)).collect();
                let len = shape.iter().product();
                let tensor = match port.dtype {
                    DType::U8 => Tensor::from_vec(shape, rng.bytes(len, u8::MAX)),
                    _ => Tensor::from_vec(shape, rng.floats(len)),
                };
                (port.name.as_str(), tensor.expect("sized"))
            })
            .collect();
        let expected = definition.run(&inputs).expect("valid inputs");
        let expected = expected.first().expect("an output");
        for (isa, threads, session) in &mut sessions {
            let got = session.run(&inputs).expect("valid inputs");
            let got = got.first().expect("an output");
            if let Some(at) = difference(expected.dtype(), got.bytes(), expected.bytes()) {
                panic!(
                    "seed {seed}, batch {batch}, {isa}, {threads} threads: element {at} of {:?} is wrong; {:?} of {:?}",
                    expected.shape(),
                    model.graph().nodes.last(),
                    inputs.iter().map(|(_, tensor)| tensor.shape()).collect::<Vec<_>>(),
                );
            }
        }
    }
}
