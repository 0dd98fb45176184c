//! ONNX's own node tests: import and float execution give the expected outputs.
//!
//! The cases are those of Debian's `libonnx-testdata`, or of the folder that `QUAVER_ONNX_NODE_TESTS` names. Every case whose
//! operation types are all supported has to pass, on the definition in `core::reference` and on burn; those left out stand in
//! `onnx_nodes_excluded.toml` with the reason, and have to fail. Integers are compared as numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use prost::Message;
use quaver_convert::calibrate::HostTensor;
use quaver_convert::calibrate::burn_exec::FloatRunner;
use quaver_convert::import::onnx::proto::{ModelProto, TensorProto, tensor_proto::DataType};
use quaver_convert::import::onnx::{parse, supported_operations};
use quaver_convert::import::{ImportError, ImportOptions};
use quaver_core::exec::Executor;
use quaver_core::graph::Network;
use quaver_core::plan::Plan;
use quaver_core::reference::Reference;
use quaver_core::tensor::{DType, TensorView};
use serde::Deserialize;

#[derive(Deserialize)]
struct Exclusions {
    exclude: Vec<Exclusion>,
    unsupported: Vec<Missing>,
}

/// Operations that are not supported.
#[derive(Deserialize)]
struct Missing {
    reason: String,
    operations: Vec<String>,
}

#[derive(Deserialize)]
struct Exclusion {
    reason: String,
    /// Whether its cases are of no tensor operation of inference.
    #[serde(default)]
    outside: bool,
    cases: Vec<String>,
}

/// Operations that are of no concern to inference on tensors: losses and optimizers; sequences, optionals and text; random numbers.
#[rustfmt::skip]
const OUTSIDE: &[&str] = &[
    "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss", "Adagrad", "Adam", "Momentum",
    "Optional", "OptionalGetElement", "OptionalHasElement", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceInsert",
    "SequenceLength", "SequenceMap", "StringNormalizer", "TfIdfVectorizer",
    "Bernoulli", "RandomUniformLike",
];

/// The share of all cases of tensor operations that passes at least.
const SHARE: f64 = 0.85;

#[test]
fn every_case_of_a_supported_operation_passes() {
    let Some(folder) = folder() else {
        println!("skipped: no ONNX node tests; `cargo xtask setup` installs them");
        return;
    };
    let text = include_str!("../onnx_nodes_excluded.toml");
    let exclusions: Exclusions = toml::from_str(text).expect("the list of exclusions is TOML");
    let excluded: BTreeMap<&str, &Exclusion> =
        exclusions.exclude.iter().flat_map(|e| e.cases.iter().map(move |c| (c.as_str(), e))).collect();
    let mut table: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    let (mut outside, mut missing) = (0, BTreeMap::<String, usize>::new());
    let mut failures = Vec::new();
    let mut seen = BTreeSet::new();
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&folder).expect("readable").map(|e| e.expect("readable").path()).collect();
    cases.sort();
    for case in cases {
        let name = case.file_name().expect("a folder").to_string_lossy().into_owned();
        let Ok(bytes) = std::fs::read(case.join("model.onnx")) else { continue };
        let model = ModelProto::decode(&*bytes).expect("ONNX's own models are valid");
        let ops: BTreeSet<String> = model.graph.iter().flat_map(|g| &g.node).map(|n| n.op_type.clone()).collect();
        if ops.iter().any(|op| OUTSIDE.contains(&op.as_str())) {
            outside += 1;
            continue;
        }
        if let Some(op) = ops.iter().find(|op| !supported_operations().contains(&op.as_str())) {
            *missing.entry(op.clone()).or_default() += 1;
            continue;
        }
        seen.insert(name.clone());
        let row = table.entry(ops.into_iter().collect::<Vec<_>>().join("+")).or_default();
        row[0] += 1;
        match (run(&case, &model, false), excluded.get(name.as_str())) {
            (Ok(known), None) => {
                row[1] += 1;
                row[3] += usize::from(known);
            }
            (Err(_), Some(exclusion)) => {
                row[2] += 1;
                outside += usize::from(exclusion.outside);
            }
            (Ok(_), Some(exclusion)) => failures.push(format!("{name} passes, but is excluded ({})", exclusion.reason)),
            (Err(error), None) => failures.push(format!("{name}: {error}")),
        }
    }
    for name in excluded.keys().filter(|n| !seen.contains(**n)) {
        failures.push(format!("{name} is excluded, but is no case of a supported operation"));
    }
    println!("{:40} {:>6} {:>6} {:>8} {:>15}", "operation", "cases", "passed", "excluded", "known at import");
    for (op, [cases, passed, excluded, known]) in &table {
        println!("{op:40} {cases:>6} {passed:>6} {excluded:>8} {known:>15}");
    }
    let total = |i: usize| table.values().map(|r| r[i]).sum::<usize>();
    println!("{:40} {:>6} {:>6} {:>8} {:>15}", "all", total(0), total(1), total(2), total(3));
    let unsupported = missing.values().sum::<usize>();
    println!("not supported, {unsupported} cases: {missing:?}");
    let listed = || exclusions.unsupported.iter().filter(|m| !m.reason.is_empty()).flat_map(|m| &m.operations);
    failures.extend(missing.keys().filter(|op| !listed().any(|o| o == *op)).map(|op| format!("{op} is not supported, without a reason")));
    failures.extend(listed().filter(|op| !missing.contains_key(*op)).map(|op| format!("{op} is listed as not supported")));
    println!("of no tensor operation of inference: {outside} cases");
    let all = total(0) + unsupported + outside - excluded_outside(&excluded, &seen);
    let share = total(1) as f64 / (all - outside) as f64;
    println!("{} of {} cases of tensor operations pass: {:.1} %", total(1), all - outside, 100.0 * share);
    assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n"));
    assert!(share >= SHARE, "too few cases pass");
}

/// NonMaxSuppression has as many rows as there can be boxes; those of boxes are ONNX's.
#[test]
fn boxes_are_those_of_onnx() {
    let Some(folder) = folder() else {
        println!("skipped: no ONNX node tests; `cargo xtask setup` installs them");
        return;
    };
    let mut count = 0;
    for case in std::fs::read_dir(&folder).expect("readable").map(|e| e.expect("readable").path()) {
        if case.file_name().is_some_and(|name| name.to_string_lossy().starts_with("test_nonmaxsuppression_")) {
            let model = ModelProto::decode(&*std::fs::read(case.join("model.onnx")).expect("readable")).expect("valid");
            run(&case, &model, true).unwrap_or_else(|error| panic!("{}: {error}", case.display()));
            count += 1;
        }
    }
    assert!(count > 0, "no case ran");
}

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("QUAVER_ONNX_NODE_TESTS").map_or(PathBuf::from("/usr/share/libonnx-testdata/data/node"), PathBuf::from);
    folder.is_dir().then_some(folder)
}

fn read(path: &Path) -> Option<TensorProto> {
    TensorProto::decode(&*std::fs::read(path).ok()?).ok()
}

/// Excluded cases that count as being of no tensor operation; they are among those of supported operations.
fn excluded_outside(excluded: &BTreeMap<&str, &Exclusion>, seen: &BTreeSet<String>) -> usize {
    excluded.iter().filter(|(name, e)| e.outside && seen.contains(**name)).count()
}

/// Runs a case on every data set that it has; whether it passes only where all of its operands are known at import.
fn run(case: &Path, model: &ModelProto, boxes: bool) -> Result<bool, String> {
    let mut sets = 0;
    let mut known = false;
    while case.join(format!("test_data_set_{sets}")).is_dir() {
        known |= run_set(&case.join(format!("test_data_set_{sets}")), model, boxes)?;
        sets += 1;
    }
    if sets == 0 { Err("no data".to_owned()) } else { Ok(known) }
}

fn run_set(set: &Path, model: &ModelProto, boxes: bool) -> Result<bool, String> {
    let inputs: Vec<TensorProto> = (0..).map_while(|i| read(&set.join(format!("input_{i}.pb")))).collect();
    let outputs: Vec<TensorProto> = (0..).map_while(|i| read(&set.join(format!("output_{i}.pb")))).collect();
    // Weights, shapes and the like are inputs in these models; in real ones they are constants. Integers always are; where
    // that doesn't do, everything but the first input, or everything.
    let whole = |t: &TensorProto| {
        t.data_type != DataType::Float as i32 && t.data_type != DataType::Double as i32 && t.data_type != DataType::Float16 as i32
    };
    let attempts = [bind(model, &inputs, |_, t| whole(t)), bind(model, &inputs, |i, _| i > 0), bind(model, &inputs, |_, _| true)];
    let mut last = String::new();
    for model in attempts {
        match parse(&model.encode_to_vec(), None, &ImportOptions { fixed_batch: true, ..ImportOptions::default() }) {
            Ok(network) => return compare(&network, &model, &inputs, &outputs, boxes).map(|()| network.graph.inputs.is_empty()),
            Err(error @ ImportError::Unsupported(_)) => last = error.to_string(),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(last)
}

/// The model with some of its inputs as constants.
fn bind(model: &ModelProto, inputs: &[TensorProto], constant: impl Fn(usize, &TensorProto) -> bool) -> ModelProto {
    let mut model = model.clone();
    // Some operations have not changed since opset 1; the importer's lowest is 7.
    model.opset_import.iter_mut().for_each(|o| o.version = o.version.max(7));
    let Some(graph) = &mut model.graph else { return model };
    let names: Vec<String> = graph.input.iter().map(|v| v.name.clone()).collect();
    for (i, (name, tensor)) in names.iter().zip(inputs).enumerate() {
        if constant(i, tensor) {
            graph.initializer.push(TensorProto { name: name.clone(), ..tensor.clone() });
            graph.input.retain(|v| &v.name != name);
        }
    }
    model
}

fn floats(tensor: &TensorProto) -> Option<HostTensor> {
    let shape = tensor.dims.iter().map(|&d| d as usize).collect();
    let data = match DataType::try_from(tensor.data_type).ok()? {
        DataType::Float if tensor.raw_data.is_empty() => tensor.float_data.clone(),
        DataType::Float => tensor.raw_data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        DataType::Double => tensor.raw_data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        DataType::Uint8 => tensor.raw_data.iter().map(|&q| f32::from(q)).collect(),
        DataType::Int8 => tensor.raw_data.iter().map(|&q| f32::from(q as i8)).collect(),
        DataType::Int32 => tensor.raw_data.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b) as f32).collect(),
        DataType::Int16 => tensor.raw_data.as_chunks::<2>().0.iter().map(|b| f32::from(i16::from_le_bytes(*b))).collect(),
        DataType::Uint16 => tensor.raw_data.as_chunks::<2>().0.iter().map(|b| f32::from(u16::from_le_bytes(*b))).collect(),
        DataType::Uint32 => tensor.raw_data.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b) as f32).collect(),
        DataType::Uint64 => tensor.raw_data.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b) as f32).collect(),
        DataType::Bool => tensor.raw_data.iter().map(|&b| f32::from(b)).collect(),
        DataType::Int64 => tensor.raw_data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as f32).collect(),
        DataType::Float16 => tensor.raw_data.as_chunks::<2>().0.iter().map(|b| half(u16::from_le_bytes(*b))).collect(),
        _ => return None,
    };
    Some(HostTensor { shape, data })
}

/// A finite, normal number of half precision; the cases have no other.
fn half(bits: u16) -> f32 {
    let magnitude = f32::from_bits((u32::from(bits & 0x7fff) << 13) + (112 << 23));
    if bits & 0x7fff == 0 {
        0.0
    } else if bits & 0x8000 != 0 {
        -magnitude
    } else {
        magnitude
    }
}

/// With `boxes`, rows of −1 at the end of a result are no part of it.
fn compare(network: &Network, model: &ModelProto, inputs: &[TensorProto], outputs: &[TensorProto], boxes: bool) -> Result<(), String> {
    let graph = &network.graph;
    let original = model.graph.as_ref().map(|g| &g.input).ok_or("no graph")?;
    let mut feeds = Vec::new();
    for &id in &graph.inputs {
        let name = &graph.value(id).name;
        // `bind` took the constants out, so the remaining inputs are found by name.
        let index = original.iter().position(|v| &v.name == name).ok_or("an unknown input")?;
        let tensor = inputs.iter().filter(|t| !t.name.is_empty()).find(|t| &t.name == name).or(inputs.get(index)).ok_or("no data")?;
        feeds.push(floats(tensor).ok_or("an input of integers")?);
    }
    let bytes: Vec<Vec<u8>> = feeds.iter().map(|t| t.data.iter().map(|&x| x as u8).collect()).collect();
    let mut views = Vec::with_capacity(feeds.len());
    let whole: Vec<Vec<i64>> = feeds.iter().map(HostTensor::whole).collect();
    for (((&id, feed), bytes), whole) in graph.inputs.iter().zip(&feeds).zip(&bytes).zip(&whole) {
        let view = match graph.value(id).dtype {
            DType::F32 => TensorView::from_slice(&feed.shape, &feed.data),
            DType::U8 => TensorView::from_slice(&feed.shape, bytes),
            DType::I64 => TensorView::from_slice(&feed.shape, whole),
            _ => return Err("an input of integers".to_owned()),
        };
        views.push(view.ok_or("an input's size")?);
    }
    let plan = Plan::new(graph, 1, 1 << 30).map_err(|e| e.to_string())?;
    let mut executor = Executor::new(plan, 0).map_err(|e| e.to_string())?;
    executor.run(graph, network, &Reference, &views, None).map_err(|e| e.to_string())?;
    for (i, expected) in outputs.iter().enumerate() {
        let view = executor.output(graph, i).ok_or("an output is missing")?;
        let got = match view.dtype() {
            DType::F32 => view.as_slice::<f32>().unwrap_or_default().to_vec(),
            DType::U8 => view.as_slice::<u8>().unwrap_or_default().iter().map(|&q| f32::from(q)).collect(),
            DType::I64 => view.as_slice::<i64>().unwrap_or_default().iter().map(|&n| n as f32).collect(),
            other => return Err(format!("an output of {other}")),
        };
        let expected = floats(expected).ok_or("an output of integers")?;
        let mut got = HostTensor { shape: view.shape().to_vec(), data: got };
        trim(&mut got, boxes);
        close(&got.data, &got.shape, &expected).map_err(|e| format!("reference, output {i}: {e}"))?;
    }
    let runner = FloatRunner::new(network).map_err(|e| e.to_string())?;
    let mut results = runner.run(&feeds, &mut |_, _, _| {}).map_err(|e| e.to_string())?;
    for (i, (result, expected)) in results.iter_mut().zip(outputs).enumerate() {
        trim(result, boxes);
        let expected = floats(expected).ok_or("an output of integers")?;
        close(&result.data, &result.shape, &expected).map_err(|e| format!("burn, output {i}: {e}"))?;
    }
    Ok(())
}

fn trim(result: &mut HostTensor, boxes: bool) {
    while boxes && result.data.len() > 3 && result.data.ends_with(&[-1.0; 3]) {
        result.data.truncate(result.data.len() - 3);
        result.shape[0] -= 1;
    }
}

/// The tolerance of ONNX's own runner.
fn close(got: &[f32], shape: &[usize], expected: &HostTensor) -> Result<(), String> {
    if shape != expected.shape {
        return Err(format!("shape {shape:?} instead of {:?}", expected.shape));
    }
    for (i, (&g, &e)) in got.iter().zip(&expected.data).enumerate() {
        let same = g == e || (g.is_nan() && e.is_nan()) || (g - e).abs() <= 1e-5 + 1e-3 * e.abs();
        if !same {
            return Err(format!("element {i} is {g} instead of {e}"));
        }
    }
    Ok(())
}
