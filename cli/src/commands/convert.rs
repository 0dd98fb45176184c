//! `quaver convert`: a float ONNX network becomes a `.qvr` file.

mod target;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use quaver_convert::calibrate::Sample;
use quaver_convert::calibrate::burn_exec::FloatRunner;
use quaver_convert::calibrate::observer::ObserverKind;
use quaver_convert::quantize::qconfig::{ActivationScheme, Equalization, QConfigMapping, Rounding, Scheme};
use quaver_convert::report::{self, Report};
use quaver_core::format::Metadata;

use crate::{data, ui};

/// Quantize an ONNX network into a .qvr file
///
/// Calibration runs the float network on samples like those it will see, and chooses the range of every activation from
/// what it observes; a few dozen to a few hundred samples do. Random samples only serve to measure speed. A network that is
/// quantized already (QDQ or QOperator) keeps its own parameters and needs no samples; samples then only serve to measure.
/// Nor does a dynamic scheme, under which each run quantizes the activations of matrix products by what they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  quaver convert net.onnx -o net.qvr --calibrate samples.npz
  quaver convert net.onnx -o net.qvr --calibrate-images photos/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
  quaver convert net.onnx -o net.qvr --calibrate samples.npz --qconfig mapping.toml --report report.json
  quaver convert net.onnx -o net.qvr --calibrate samples.npz --target-drop 0.5% --eval labelled.npz
  quaver convert quantized.onnx -o net.qvr
  quaver convert transformer.onnx -o net.qvr --scheme dynamic

A qconfig mapping (TOML) says what holds globally, by operation type, by regular expression, by name:
  [global]
  scheme = \"static\"            # dynamic, weight_only, float
  observer = \"auto\"            # minmax, moving_average, histogram, percentile, entropy
  weights = \"per_channel\"      # per_tensor
  rounding = \"feedback\"        # nearest
  bias_correction = true
  equalization = \"smooth\"      # all, none
  [types.Add]
  scheme = \"float\"             # static
  [[regex]]
  pattern = \"^head/\"
  scheme = \"float\"
  [names.\"features/0/conv\"]
  observer = \"minmax\"")]
pub struct Args {
    /// The network, float or quantized
    input: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "OUT.qvr")]
    output: PathBuf,
    #[command(flatten)]
    calibration: Calibration,
    #[command(flatten)]
    images: data::ImageArgs,
    /// Use at most this many calibration samples
    #[arg(long, value_name = "N", default_value_t = 512)]
    calibrate_limit: usize,
    /// Which node is quantized how (TOML)
    #[arg(long, value_name = "FILE.toml")]
    qconfig: Option<PathBuf>,
    /// How ranges are found, where the mapping doesn't say: auto, minmax, moving_average, histogram, percentile, entropy
    #[arg(long, value_name = "NAME")]
    observer: Option<ObserverKind>,
    /// How arithmetic is done, where the mapping doesn't say: static, dynamic, weight_only, float
    #[arg(long, value_name = "NAME")]
    scheme: Option<Scheme>,
    /// How weights are rounded, where the mapping doesn't say: feedback (errors cancel on the calibration samples), nearest
    #[arg(long, value_name = "NAME")]
    rounding: Option<Rounding>,
    /// Leave biases as they are, instead of letting them take up mean errors
    #[arg(long)]
    no_bias_correction: bool,
    /// Which scales of channels move between layers, where the mapping doesn't say: smooth (out of normalizations and HardSwish), all, none
    #[arg(long, value_name = "NAME")]
    equalization: Option<Equalization>,
    /// Find observers, passes and layers to keep in float by trying, until accuracy drops by no more, e.g. 0.5%; needs --eval
    #[arg(long, value_name = "DROP", requires = "eval", value_parser = target::percent)]
    target_drop: Option<f64>,
    /// Labelled data: an array for each input, and `labels`, the class of each sample
    #[arg(long, value_name = "FILE.npz", requires = "target_drop")]
    eval: Option<PathBuf>,
    /// The same without labels: until the outputs' SQNR on the calibration samples is as many decibels
    #[arg(long, value_name = "DB", conflicts_with = "target_drop")]
    target_sqnr: Option<f64>,
    /// 7-bit activations, for machines without VNNI instructions
    #[arg(long)]
    reduce_range: bool,
    #[command(flatten)]
    inputs: data::InputArgs,
    /// Write what was done to each layer, and what it cost, as JSON
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Calibration {
    /// Samples: one array for each input, samples along the first axis; or a folder of such files, each one sample as it is, of
    /// any size
    #[arg(long, value_name = "FILE.npz|DIR")]
    calibrate: Option<PathBuf>,
    /// A folder of images
    #[arg(long, value_name = "DIR")]
    calibrate_images: Option<PathBuf>,
    /// Random samples, for measuring speed only
    #[arg(long, value_name = "N")]
    calibrate_random: Option<usize>,
}

impl Calibration {
    fn is_given(&self) -> bool {
        self.calibrate.is_some() || self.calibrate_images.is_some() || self.calibrate_random.is_some()
    }
}

/// Samples on which the report's figures are measured.
const MEASURED: usize = 4;

/// Decibels below which an output's answers are likely to differ from the float network's now and then.
const LOW_DB: f64 = 25.0;

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let mut mapping = match &args.qconfig {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read '{}'", path.display()))?;
            QConfigMapping::from_toml(&text).with_context(|| path.display().to_string())?
        }
        None => QConfigMapping::default(),
    };
    if let Some(observer) = args.observer {
        mapping.global.observer = observer;
    }
    if let Some(scheme) = args.scheme {
        mapping.global.scheme = scheme;
    }
    if let Some(rounding) = args.rounding {
        mapping.global.rounding = rounding;
    }
    mapping.global.bias_correction &= !args.no_bias_correction;
    if let Some(equalization) = args.equalization {
        mapping.global.equalization = equalization;
    }
    mapping.global.reduce_range |= args.reduce_range;
    data::check_writable(&args.output)?;

    let spinner = ui::spinner("read and simplify");
    let options = args.inputs.options()?;
    let options = data::shapes_from_npz(options, args.calibration.calibrate.as_deref(), &args.input)?;
    let float = quaver_convert::load(&args.input, &options).with_context(|| format!("cannot read '{}'", args.input.display()))?;
    spinner.finish_and_clear();

    if args.scheme.is_none() && args.qconfig.is_none() && !args.calibration.is_given() && quaver_convert::is_dynamic(&float) {
        // What the model says of itself.
        mapping.global.scheme = Scheme::Dynamic;
        mapping.global.activations = ActivationScheme::PerTensor;
    }

    let mut kept: Vec<Sample> = Vec::new();
    let converted = if args.calibration.is_given() {
        let samples = data::samples(
            &float.graph,
            args.calibration.calibrate.as_deref(),
            args.calibration.calibrate_images.as_deref(),
            args.calibration.calibrate_random,
            &args.images,
            args.calibrate_limit,
        )?;
        kept = samples.spread(MEASURED)?;
        let goal = target::Goal::new(&float, &samples, args.target_drop.zip(args.eval.as_deref()), args.target_sqnr)?;
        match goal {
            Some(goal) if !quaver_convert::brings_parameters(&float) => goal.search(&float, &samples, &mapping)?,
            Some(_) => {
                bail!("the network keeps its own parameters, so there is nothing to search; leave --target-drop and --target-sqnr out")
            }
            None => {
                let bar = ui::progress("calibrate", samples.len());
                let converted = quaver_convert::convert(&float, &samples, &mapping, &mut |done| bar.set_position(done as u64))?;
                bar.finish_and_clear();
                converted
            }
        }
    } else {
        if !quaver_convert::brings_parameters(&float) && mapping.global.scheme == Scheme::Static {
            bail!(
                "the network is float, and a static scheme needs samples: give some with --calibrate, --calibrate-images or \
                 --calibrate-random, or choose another scheme (--scheme dynamic, weight_only or float)"
            );
        }
        quaver_convert::convert_as_given(&float, &mapping)?
    };

    let mut metadata = Metadata::new();
    metadata.extend(args.images.metadata(args.calibration.calibrate_images.is_some())?);
    let bytes = converted.to_qvr(&metadata)?;

    let spinner = ui::spinner("measure agreement");
    let runner = FloatRunner::new(&float)?;
    let (scaled, mut run) = (converted.scaled(), data::reference_values(&converted.network));
    let agreements = report::compare(&float, &runner, &kept, &mut |sample| {
        let mut values = run(sample)?;
        scaled.restore_all(&mut values);
        anyhow::Ok(values)
    })?;
    let report = Report::new(&float, &converted.decisions, &agreements, converted.samples, kept.len());
    spinner.finish_and_clear();

    if let Some(path) = &args.report {
        ui::write_file(path, serde_json::to_string_pretty(&report)?.as_bytes())?;
    }
    ui::write_file(&args.output, &bytes)?;
    print(args, &report, bytes.len() as u64, data::file_size(&args.input)?);
    let searches = args.target_drop.is_some() || args.target_sqnr.is_some() || quaver_convert::brings_parameters(&float);
    // Of random samples nobody knows what answers would be right.
    if !searches && converted.samples > 0 && args.calibration.calibrate_random.is_none() {
        advise(&report);
    }
    Ok(())
}

/// Says what to try where an output has lost much.
fn advise(report: &Report) {
    let low = report.outputs.iter().filter(|output| output.figures.sqnr_db < LOW_DB);
    let Some(worst) = low.min_by(|a, b| a.figures.sqnr_db.total_cmp(&b.figures.sqnr_db)) else { return };
    let sqnr = worst.figures.sqnr_db;
    // So much more that it isn't met by what there is already, on whatever samples.
    let target = (sqnr + 5.0).max(LOW_DB).ceil();
    println!(
        "output '{}' has an SQNR of {sqnr:.1} dB, so some answers will change; --target-sqnr {target} looks for a choice that loses less \
         (also --scheme dynamic, and layers that stay float), and `quaver compare --layers` shows where it is lost",
        worst.name
    );
}

fn print(args: &Args, report: &Report, written: u64, read: u64) {
    let (quantized, all) = report.quantized_nodes();
    let mut table = ui::table(&["", args.input.display().to_string().as_str(), args.output.display().to_string().as_str()]);
    table.add_row(["size".to_owned(), ui::bytes(read), format!("{} ({:.1} %)", ui::bytes(written), 100.0 * written as f64 / read as f64)]);
    table.add_row(["nodes".to_owned(), all.to_string(), format!("{quantized} of 8 bits, {} float", all - quantized)]);
    for output in &report.outputs {
        let figures = format!("SQNR {:.1} dB, cosine {:.5}", output.figures.sqnr_db, output.figures.cosine);
        table.add_row([format!("output {}", output.name), output.shape.clone(), figures]);
    }
    println!("{table}");
    let float: Vec<_> = report.layers.iter().filter(|l| l.decision.scheme == Scheme::Float).collect();
    if !float.is_empty() {
        let mut table = ui::listing(&["stays float", "operation", "because"]);
        for layer in float {
            table.add_row([layer.decision.node.as_str(), &layer.decision.op, layer.decision.reason.as_deref().unwrap_or_default()]);
        }
        println!("{table}");
    }
    match (report.calibration_samples, report.measured_samples) {
        (0, 0) => println!("nothing was calibrated; give samples (--calibrate, …) to measure agreement"),
        (0, measured) => println!("nothing was calibrated; figures measured on {measured} samples"),
        (samples, measured) => println!("calibrated on {samples} samples, figures measured on {measured} of them"),
    }
}
