//! Quantized models against ONNX Runtime: the files of `tests/peers/quantized.py`, every scheme of `onnxruntime.quantization`.
//!
//! Needs a Python with numpy, onnx and onnxruntime: `QUAVER_PYTHON`, or `python3`. `QUAVER_QUANTIZED` is a folder of cases that is
//! there already. Without either the test is skipped and says so; with `QUAVER_REQUIRE_PYTHON` it fails.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message;
use quaver_convert::agreement::Agreement;
use quaver_convert::import::ImportOptions;
use quaver_convert::import::onnx::proto::TensorProto;
use quaver_convert::quantize::qconfig::{ActivationScheme, Global, QConfigMapping, Scheme};
use quaver_convert::{brings_parameters, convert_as_given, is_dynamic, load};
use quaver_core::exec::Executor;
use quaver_core::graph::{Network, Op};
use quaver_core::plan::Plan;
use quaver_core::reference::Reference;
use quaver_core::tensor::TensorView;

/// What the results of a scheme's cases have in common.
#[derive(Default)]
struct Row {
    cases: usize,
    elements: usize,
    equal: usize,
    worst: f32,
    agreement: Agreement,
    float_nodes: usize,
}

#[test]
fn results_are_those_of_onnx_runtime() {
    let made;
    let folder = match std::env::var_os("QUAVER_QUANTIZED") {
        Some(folder) => PathBuf::from(folder),
        None => {
            made = tempfile::tempdir().expect("a temporary folder");
            if let Err(why) = make(made.path()) {
                assert!(std::env::var_os("QUAVER_REQUIRE_PYTHON").is_none(), "{why}");
                println!("skipped: {why}");
                return;
            }
            made.path().to_owned()
        }
    };
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&folder).expect("readable").map(|e| e.expect("readable").path()).collect();
    cases.sort();
    let mut table: BTreeMap<String, Row> = BTreeMap::new();
    let mut failures = Vec::new();
    for case in &cases {
        let name = case.file_name().expect("a folder").to_string_lossy().into_owned();
        let row = table.entry(name.split_once('.').expect("network.scheme").1.to_owned()).or_default();
        row.cases += 1;
        // Weights whose zero point is far from the middle reach beyond 8 bits; such channels are rounded anew.
        let limit = if ["u8u8", "u8s8-asymmetric"].iter().any(|s| name.ends_with(s)) { 2.1 } else { 1.001 };
        if let Err(error) = check(case, limit, row) {
            failures.push(format!("{name}: {error}"));
        }
    }
    println!(
        "{:28} {:>5} {:>8} {:>8} {:>10} {:>8} {:>11}",
        "scheme", "cases", "elements", "equal %", "worst step", "SQNR dB", "float nodes"
    );
    for (scheme, row) in &table {
        let share = 100.0 * row.equal as f64 / row.elements.max(1) as f64;
        let (worst, sqnr) = (row.worst, row.agreement.figures().sqnr_db);
        println!("{scheme:28} {:>5} {:>8} {share:>8.2} {worst:>10.3} {sqnr:>8.1} {:>11}", row.cases, row.elements, row.float_nodes);
    }
    assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n"));
    assert!(!cases.is_empty(), "no case ran");
}

fn make(folder: &Path) -> Result<(), String> {
    let python = std::env::var_os("QUAVER_PYTHON").unwrap_or_else(|| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/quantized.py");
    let ready = Command::new(&python).args(["-c", "import numpy, onnx, onnxruntime.quantization"]).output();
    match ready {
        Ok(output) if output.status.success() => {}
        _ => return Err("no Python with numpy, onnx and onnxruntime; QUAVER_PYTHON names one".to_owned()),
    }
    let output = Command::new(&python).arg(script).arg(folder).output().map_err(|e| e.to_string())?;
    // ONNX Runtime is there, so what fails now is a failure.
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Compares one case; no element may be off by more than `limit` steps.
fn check(case: &Path, limit: f32, row: &mut Row) -> Result<(), String> {
    let (shape, input) = tensor(&case.join("input.pb"))?;
    let (_, expected) = tensor(&case.join("output.pb"))?;
    let step = tensor(&case.join("step.pb"))?.1[0];
    let options = ImportOptions { fixed_batch: true, ..ImportOptions::default() };
    let float = load(&case.join("model.onnx"), &options).map_err(|e| e.to_string())?;
    let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    let (given, dynamic) = (brings_parameters(&float), is_dynamic(&float));
    let convolves = float.graph.nodes.iter().any(|node| matches!(node.op, Op::Conv(_)));
    let unit = match (given, step) {
        (true, step) if step > 0.0 => step,
        // Convolutions are not quantized dynamically: what they would round is what the results differ by.
        (false, _) if convolves || !dynamic => largest * 0.05,
        _ => largest / 255.0,
    };
    let network = if given || dynamic {
        let mut mapping = QConfigMapping::default();
        if dynamic {
            mapping.global = Global { scheme: Scheme::Dynamic, activations: ActivationScheme::PerTensor, ..mapping.global };
        }
        let converted = convert_as_given(&float, &mapping).map_err(|e| e.to_string())?;
        if dynamic && !converted.decisions.iter().any(|d| d.scheme == Scheme::Dynamic) {
            return Err("no product is quantized dynamically".to_owned());
        }
        let heavy = |op: &str| ["Conv", "ConvTranspose", "Gemm"].contains(&op);
        let exported = case.extension().is_some_and(|e| e == "exported");
        if let Some(d) = converted.decisions.iter().find(|d| exported && heavy(&d.op) && d.scheme == Scheme::Float) {
            return Err(format!("{} stays float: {}", d.node, d.reason.as_deref().unwrap_or_default()));
        }
        row.float_nodes += converted.decisions.iter().filter(|d| d.reason.is_some()).count();
        if std::env::var_os("QUAVER_VERBOSE").is_some() {
            for d in converted.decisions.iter().filter(|d| d.reason.is_some()) {
                println!("{}: {} {}: {}", case.display(), d.op, d.node, d.reason.as_deref().unwrap_or_default());
            }
        }
        converted.network
    } else {
        float
    };
    let got = run(&network, &shape, &input)?;
    if got.len() != expected.len() {
        return Err(format!("{} elements instead of {}", got.len(), expected.len()));
    }
    row.elements += got.len();
    row.agreement.add(&expected, &got);
    let mut worst = (0, 0f32);
    for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
        let off = (g - e).abs() / unit;
        row.equal += usize::from(off < 0.01);
        worst = if off > worst.1 { (i, off) } else { worst };
    }
    row.worst = row.worst.max(worst.1);
    let (i, off) = worst;
    if off <= limit { Ok(()) } else { Err(format!("element {i} is {} instead of {}: {off:.2} steps of {unit}", got[i], expected[i])) }
}

fn run(network: &Network, shape: &[usize], input: &[f32]) -> Result<Vec<f32>, String> {
    let plan = Plan::new(&network.graph, 1, 1 << 30).map_err(|e| e.to_string())?;
    let mut executor = Executor::new(plan, 0).map_err(|e| e.to_string())?;
    let view = TensorView::from_slice(shape, input).ok_or("an input's size")?;
    executor.run(&network.graph, network, &Reference, &[view], None).map_err(|e| e.to_string())?;
    let output = executor.output(&network.graph, 0).ok_or("no output")?;
    Ok(output.as_slice::<f32>().ok_or("an output that is not real")?.to_vec())
}

fn tensor(path: &Path) -> Result<(Vec<usize>, Vec<f32>), String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let tensor = TensorProto::decode(&*bytes).map_err(|e| e.to_string())?;
    let data = tensor.raw_data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Ok((tensor.dims.iter().map(|&d| d as usize).collect(), data))
}
