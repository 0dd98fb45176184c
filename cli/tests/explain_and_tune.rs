//! `explain`, `tune` and `bench --profile` on the demo network, as a user would call them.

use std::path::Path;
use std::process::{Command, Output};

use quaver::Isa;
use serde_json::Value;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/fashion.onnx");

fn quaver(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quaver")).args(arguments).current_dir(folder).output().expect("the command starts")
}

/// What a call that succeeds prints.
fn prints(folder: &Path, arguments: &[&str]) -> String {
    let output = quaver(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&prints(folder, arguments)).expect("JSON")
}

/// What a call that fails says.
fn refuses(folder: &Path, arguments: &[&str], remedy: &str) {
    let output = quaver(folder, arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.starts_with("error"), "{arguments:?}: {message}");
    assert!(message.contains(remedy), "{arguments:?} should say '{remedy}': {message}");
}

#[test]
fn the_demo_network_is_explained_tuned_and_profiled() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    prints(folder, &["convert", DEMO, "-o", "demo.qvr", "--calibrate-random", "4"]);

    // On this machine, with times.
    let here = json(folder, &["explain", "demo.qvr", "--measure", "--json"]);
    let nodes = here["nodes"].as_array().expect("nodes");
    assert!(nodes.iter().all(|n| n["measured_us"].is_number() && n["predicted_us"].is_number()), "{here}");
    assert_eq!(here["peaks"], "measured");

    // On one that has AMX, which takes more products of a sum than there are here.
    let amx = json(folder, &["explain", "demo.qvr", "--isa", "amx", "--json"]);
    let nodes = amx["nodes"].as_array().expect("nodes");
    let could = |name: &str| nodes.iter().any(|n| n["others"].as_array().is_some_and(|others| others.iter().any(|other| other == name)));
    assert!(could("gemm_u8s8u8_32x32c64__amx"), "{amx}");
    let text = prints(folder, &["explain", "demo.qvr", "--isa", "amx"]);
    assert!(text.contains("gemm_u8s8u8_14x32c4__avx512vnni"), "{text}");
    if !Isa::available().contains(&Isa::Amx) {
        refuses(folder, &["explain", "demo.qvr", "--isa", "amx", "--measure"], "leave --measure out");
        refuses(folder, &["bench", "demo.qvr", "--isa", "amx"], "this machine has scalar");
    }

    // The side file is where it is said to be, and is taken.
    let text = prints(folder, &["tune", "demo.qvr", "--seconds", "0.2"]);
    assert!(text.contains("--tuning demo.qvr.tune.json"), "{text}");
    let arguments = ["bench", "demo.qvr", "--tuning", "demo.qvr.tune.json", "--seconds", "0.05", "--profile", "--trace", "t.json"];
    let text = prints(folder, &arguments);
    assert!(text.contains("QConv") && text.contains("t.json"), "{text}");
    let trace: Value = serde_json::from_slice(&std::fs::read(folder.join("t.json")).expect("written")).expect("JSON");
    assert!(trace["traceEvents"].as_array().is_some_and(|events| events.len() > nodes.len()));
    let profile = json(folder, &["bench", "demo.qvr", "--seconds", "0.05", "--profile", "--json"]);
    assert_eq!(profile["nodes"].as_array().map(Vec::len), Some(nodes.len()));

    refuses(folder, &["explain", "demo.qvr", "--isa", "sse9"], "one of scalar, avx2");
    refuses(folder, &["explain", "demo.qvr", "--batch", "0"], "at least one sample");
    refuses(folder, &["bench", "demo.qvr", "--trace", "t.json"], "--profile");
    refuses(folder, &["bench", "demo.qvr", "--tuning", "missing.json"], "missing.json");
    refuses(folder, &["tune", "demo.qvr", "--seconds", "0"], "between 0 and 3600");
    refuses(folder, &["tune", "demo.qvr", "--seconds", "0.1", "-o", "missing/t.json"], "missing/t.json");
}
