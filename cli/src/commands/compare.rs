//! `quaver compare`: a `.qvr` file beside the float network that it came from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use quaver::{Model, Session, SessionOptions};
use quaver_convert::agreement::{Agreement, Figures, top1};
use quaver_convert::calibrate::burn_exec::FloatRunner;
use quaver_convert::equalize::scaled::Scaled;
use quaver_convert::layers;
use serde::Serialize;

use crate::{chart, data, ui};

/// Measure how well a .qvr file agrees with its float network
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quaver compare net.onnx net.qvr --data samples.npz
  quaver compare net.onnx net.qvr --images photos/ --layers --chart sqnr.svg

SQNR is the signal to quantization noise ratio: above 20 dB a classifier hardly changes its mind. A layer's SQNR alone is what it
has where its operands are those of the float network, rounded: the layer with the least is where the error comes from (a qconfig
entry can keep it in float). Values whose channels were scaled by equalization have no counterpart, and are left out. Shapes are
those of the .qvr file where no --input-shape says otherwise.")]
pub struct Args {
    /// The float network
    float: PathBuf,
    /// The quantized file
    quantized: PathBuf,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    images: data::ImageArgs,
    /// Use at most this many samples
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Also compare every layer, in the whole and alone, the worst first
    #[arg(long)]
    layers: bool,
    /// Draw the SQNR along the network
    #[arg(long, value_name = "FILE.svg")]
    chart: Option<PathBuf>,
    #[command(flatten)]
    inputs: data::InputArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Samples: one array for each input, samples along the first axis
    #[arg(long, value_name = "FILE.npz")]
    data: Option<PathBuf>,
    /// A folder of images
    #[arg(long = "images", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Random samples
    #[arg(long, value_name = "N")]
    random: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Comparison {
    samples: usize,
    outputs: Vec<OutputRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<LayerRow>,
}

#[derive(Debug, Serialize)]
struct OutputRow {
    name: String,
    top1_agreement: f64,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Debug, Serialize)]
struct LayerRow {
    node: String,
    op: &'static str,
    #[serde(flatten)]
    figures: Figures,
    /// SQNR where operands are the float network's.
    #[serde(skip_serializing_if = "Option::is_none")]
    alone_db: Option<f64>,
}

/// Samples on which layers are looked at alone, which takes much longer.
const ALONE: usize = 4;

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let model = Model::open(&args.quantized)?;
    let mut options = args.inputs.options()?;
    for port in model.inputs() {
        options.input_shapes.entry(port.name.clone()).or_insert_with(|| port.shape.clone());
    }
    let float = quaver_convert::load(&args.float, &options)?;
    let runner = FloatRunner::new(&float)?;
    let scaled = Scaled::read(model.metadata());
    let mut session = Session::new(&model, SessionOptions::default())?;

    let samples = data::samples(
        &float.graph,
        args.source.data.as_deref(),
        args.source.folder.as_deref(),
        args.source.random,
        &args.images,
        args.limit,
    )?;
    let samples = samples.iter().collect::<Result<Vec<_>, _>>()?;
    if samples.is_empty() {
        bail!("there are no samples to compare on");
    }
    let outputs: Vec<(String, usize)> = float
        .graph
        .outputs
        .iter()
        .map(|&id| (float.graph.value(id).name.clone(), float.graph.value(id).shape.last().and_then(|d| d.fixed()).unwrap_or(1)))
        .collect();
    let mut agreements: BTreeMap<String, Agreement> = BTreeMap::new();
    let mut same: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    if let Some(path) = &args.chart {
        data::check_writable(path)?;
    }
    let by_layer = args.layers || args.chart.is_some();
    let mut alone: BTreeMap<String, Agreement> = BTreeMap::new();
    let bar = ui::progress("compare", samples.len());
    for (i, sample) in samples.iter().enumerate() {
        if by_layer && i < ALONE {
            layers::alone(&float, &runner, (model.graph(), model.constants(), &scaled), sample, &mut alone)?;
        }
        let mut values = data::native_values(&model, &mut session, sample, by_layer)?;
        scaled.restore_all(&mut values);
        let results = runner.run(sample, &mut |id, data, _| {
            let name = &float.graph.value(id).name;
            if by_layer && let Some(other) = values.get(name) {
                agreements.entry(name.clone()).or_default().add(data, other);
            }
        })?;
        for ((name, columns), result) in outputs.iter().zip(&results) {
            let Some(other) = values.get(name) else {
                bail!("'{}' has no output '{name}'; was it converted from '{}'?", args.quantized.display(), args.float.display())
            };
            if !by_layer {
                agreements.entry(name.clone()).or_default().add(&result.data, other);
            }
            let (s, n) = top1(&result.data, other, *columns);
            let slot = same.entry(name.clone()).or_default();
            *slot = (slot.0 + s, slot.1 + n);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();

    let rows = outputs.iter().filter_map(|(name, _)| {
        let (s, n) = same.get(name)?;
        Some(OutputRow { name: name.clone(), top1_agreement: *s as f64 / (*n).max(1) as f64, figures: agreements.get(name)?.figures() })
    });
    let layers = float.graph.nodes.iter().filter(|_| by_layer).filter_map(|node| {
        let name = &float.graph.value(node.outputs[0]).name;
        let figures = agreements.get(name).filter(|_| !name.is_empty())?.figures();
        let alone_db = alone.get(name).map(|a| a.figures().sqnr_db);
        Some(LayerRow { node: node.name.clone(), op: node.op.name(), figures, alone_db })
    });
    let mut comparison = Comparison { samples: samples.len(), outputs: rows.collect(), layers: layers.collect() };
    if let Some(path) = &args.chart {
        let points: Vec<chart::Point<'_>> =
            comparison.layers.iter().map(|l| chart::Point { name: &l.node, db: l.figures.sqnr_db, alone_db: l.alone_db }).collect();
        ui::write_file(path, chart::sqnr(&float.graph.name, &points)?.as_bytes())?;
    }
    if !args.layers {
        comparison.layers.clear();
    }
    comparison.layers.sort_by(|a, b| a.alone_db.unwrap_or(f64::MAX).total_cmp(&b.alone_db.unwrap_or(f64::MAX)));
    if args.json {
        println!("{}", serde_json::to_string_pretty(&comparison)?);
    } else {
        print(&comparison);
    }
    Ok(())
}

fn print(c: &Comparison) {
    let figures = |f: &Figures| [format!("{:.2}", f.sqnr_db), format!("{:.6}", f.cosine), format!("{:.4}", f.largest_difference)];
    if !c.layers.is_empty() {
        let mut table = ui::table(&["layer", "operation", "SQNR dB alone", "SQNR dB", "cosine", "largest difference"]);
        for row in &c.layers {
            let alone = row.alone_db.map_or("".to_owned(), |db| format!("{db:.2}"));
            table.add_row([row.node.clone(), row.op.to_owned(), alone].into_iter().chain(figures(&row.figures)));
        }
        println!("{table}");
    }
    let mut table = ui::table(&["output", "top-1 agreement", "SQNR dB", "cosine", "largest difference"]);
    for row in &c.outputs {
        table.add_row([row.name.clone(), format!("{:.2} %", 100.0 * row.top1_agreement)].into_iter().chain(figures(&row.figures)));
    }
    println!("{table}\n{} samples", c.samples);
}
