//! `quaver inspect`: what is in a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use quaver::Model;
use quaver_core::format::{METADATA_DECISIONS, METADATA_EQUALIZED};
use quaver_core::graph::dim::display;
use quaver_core::graph::{Graph, Op, ValueId};
use quaver_core::tensor::DType;
use serde::Serialize;

use crate::ui;

/// Show what is in a .qvr or .onnx file
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  quaver inspect net.onnx\n  quaver inspect net.qvr --json | jq .nodes")]
pub struct Args {
    /// A .qvr or .onnx file
    file: PathBuf,
    #[command(flatten)]
    inputs: crate::data::InputArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Summary {
    file: String,
    format: &'static str,
    name: String,
    bytes: u64,
    parameters: u64,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    operations: BTreeMap<String, usize>,
    nodes: Vec<NodeRow>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Port {
    name: String,
    dtype: &'static str,
    shape: String,
}

#[derive(Debug, Serialize)]
struct NodeRow {
    name: String,
    op: &'static str,
    output: String,
    dtype: &'static str,
    shape: String,
    weight_bytes: u64,
    quantized: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let bytes = crate::data::file_size(&args.file)?;
    let summary = match crate::data::kind(&args.file) {
        crate::data::Kind::Qvr => {
            let model = Model::open(&args.file)?;
            let reasons = decisions(model.metadata());
            let metadata = model
                .metadata()
                .iter()
                .filter(|(k, _)| ![METADATA_DECISIONS, METADATA_EQUALIZED].contains(&k.as_str()))
                .map(|(k, v)| (k.clone(), v.clone()));
            summarise(&args.file, "qvr", bytes, model.graph(), &reasons, metadata.collect())
        }
        crate::data::Kind::Onnx => {
            let options = args.inputs.options()?;
            let network = quaver_convert::load(&args.file, &options)?;
            summarise(&args.file, "onnx (simplified)", bytes, &network.graph, &BTreeMap::new(), BTreeMap::new())
        }
        crate::data::Kind::Other => bail!("'{}' is neither a .qvr nor an .onnx file", args.file.display()),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        print(&summary);
    }
    Ok(())
}

/// Why nodes stayed float, by name, as the converter wrote it into the file.
fn decisions(metadata: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    metadata.get(METADATA_DECISIONS).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

fn summarise(
    path: &Path,
    format: &'static str,
    bytes: u64,
    graph: &Graph,
    reasons: &BTreeMap<String, String>,
    metadata: BTreeMap<String, String>,
) -> Summary {
    let port = |id: &ValueId| {
        let v = graph.value(*id);
        Port { name: v.name.clone(), dtype: v.dtype.name(), shape: display(&v.shape) }
    };
    let size = |id: &ValueId| {
        let v = graph.value(*id);
        let elements: usize = v.shape.iter().filter_map(|d| d.fixed()).product();
        if v.constant.is_some() { (elements as u64, (elements * v.dtype.size()) as u64) } else { (0, 0) }
    };
    let mut operations = BTreeMap::new();
    let nodes = graph.nodes.iter().map(|node| {
        *operations.entry(node.op.name().to_owned()).or_insert(0) += 1;
        let output = graph.value(node.outputs[0]);
        let integer = graph.value(node.inputs[0]).dtype == DType::U8 || output.dtype == DType::U8;
        NodeRow {
            name: node.name.clone(),
            op: node.op.name(),
            output: output.name.clone(),
            dtype: output.dtype.name(),
            shape: display(&output.shape),
            weight_bytes: node.inputs.iter().map(|id| size(id).1).sum(),
            quantized: integer,
            reason: if integer || matches!(node.op, Op::Dequantize) { None } else { reasons.get(&node.name).cloned() },
        }
    });
    let nodes: Vec<NodeRow> = nodes.collect();
    let parameters = (0..graph.values.len()).map(|i| size(&ValueId(i as u32)).0).sum();
    Summary {
        file: path.display().to_string(),
        format,
        name: graph.name.clone(),
        bytes,
        parameters,
        inputs: graph.inputs.iter().map(port).collect(),
        outputs: graph.outputs.iter().map(port).collect(),
        operations,
        nodes,
        metadata,
    }
}

fn print(s: &Summary) {
    println!("{}  {}, {}, {} constants' elements", s.file, s.format, ui::bytes(s.bytes), s.parameters);
    let mut ports = ui::listing(&["", "name", "type", "shape"]);
    for (kind, list) in [("input", &s.inputs), ("output", &s.outputs)] {
        for p in list {
            ports.add_row([kind, &p.name, p.dtype, &p.shape]);
        }
    }
    println!("{ports}");
    let mut nodes = ui::listing(&["node", "operation", "output", "weights", "why float"]);
    for n in &s.nodes {
        let weights = if n.weight_bytes > 0 { ui::bytes(n.weight_bytes) } else { String::new() };
        let why = n.reason.clone().unwrap_or_default();
        nodes.add_row([n.name.clone(), n.op.to_owned(), format!("{}{}", n.dtype, n.shape), weights, why]);
    }
    println!("{nodes}");
    let counts: Vec<String> = s.operations.iter().map(|(op, n)| format!("{op} ×{n}")).collect();
    println!("{} nodes: {}", s.nodes.len(), counts.join(", "));
    if s.format == "qvr" {
        println!("{} of {} nodes work on integers", s.nodes.iter().filter(|n| n.quantized).count(), s.nodes.len());
    }
    for (key, value) in &s.metadata {
        println!("{key}: {value}");
    }
}
