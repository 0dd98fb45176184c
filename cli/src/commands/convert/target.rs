//! Conversion until a target is met: what is measured of each trial, and the table of what each choice bought.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use quaver::{Model, Session, SessionOptions};
use quaver_convert::Converted;
use quaver_convert::agreement::{Agreement, arg_max};
use quaver_convert::calibrate::burn_exec::FloatRunner;
use quaver_convert::calibrate::data::{Samples, read_npz_array};
use quaver_convert::calibrate::{HostTensor, Sample};
use quaver_convert::quantize::qconfig::QConfigMapping;
use quaver_convert::search::{Event, Loss, Trial, search};
use quaver_convert::weigh::Weight;
use quaver_core::format::Metadata;
use quaver_core::graph::Network;

use crate::{data, ui};

/// The array of an `--eval` archive that holds classes.
const LABELS: &str = "labels";

/// Calibration samples on which SQNR is measured, evenly spread.
const MEASURED: usize = 64;

/// A share as `0.5%`, or as `0.005`.
pub fn percent(text: &str) -> Result<f64, String> {
    let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    match number.trim().parse::<f64>() {
        Ok(share) if (0.0..=unit).contains(&share) => Ok(share / unit),
        _ => Err(format!("'{text}' is no share; give one as 0.5%")),
    }
}

/// Layers that are listed, of those that outputs lose most by.
const LISTED: usize = 12;

/// What to reach, and the float network's results to measure it by.
pub struct Goal {
    samples: Vec<Sample>,
    reals: Vec<Vec<HostTensor>>,
    names: Vec<String>,
    kind: Kind,
}

enum Kind {
    /// Top-1 accuracy of the first output may drop by `drop` from the float network's.
    Drop { labels: Vec<usize>, float: f64, drop: f64 },
    /// Least SQNR of any output, in decibels.
    Sqnr { least: f64 },
}

impl Goal {
    /// What the options ask for; `None` if they ask for nothing.
    pub fn new(float: &Network, calibration: &Samples, drop: Option<(f64, &Path)>, sqnr: Option<f64>) -> Result<Option<Self>> {
        let (samples, labels) = match (drop, sqnr) {
            (Some((_, path)), _) => {
                let samples = Samples::from_npz(path, &float.graph)?.iter().collect::<Result<Vec<_>, _>>()?;
                let labels = read_npz_array(path, LABELS)?;
                ensure!(
                    labels.len() == samples.len(),
                    "'{}' has {} samples, but {} labels; give one for each",
                    path.display(),
                    samples.len(),
                    labels.len()
                );
                (samples, labels.into_iter().map(|class| class as usize).collect())
            }
            (None, Some(_)) => (calibration.spread(MEASURED)?, Vec::new()),
            (None, None) => return Ok(None),
        };
        ensure!(!samples.is_empty(), "there are no samples to measure accuracy on");
        let runner = FloatRunner::new(float)?;
        let bar = ui::progress("float network", samples.len());
        let mut reals = Vec::with_capacity(samples.len());
        for sample in &samples {
            reals.push(runner.run(sample, &mut |_, _, _| {})?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let names = float.graph.outputs.iter().map(|&id| float.graph.value(id).name.clone()).collect();
        let kind = match (drop, sqnr) {
            (Some((drop, _)), _) => {
                let right = reals.iter().zip(&labels).filter(|(real, label)| arg_max(&real[0].data) == **label).count();
                Kind::Drop { float: right as f64 / labels.len() as f64, labels, drop }
            }
            (_, least) => Kind::Sqnr { least: least.unwrap_or_default() },
        };
        Ok(Some(Self { samples, reals, names, kind }))
    }

    /// Converts until the goal is met, and prints what each choice bought.
    pub fn search(&self, float: &Network, calibration: &Samples, mapping: &QConfigMapping) -> Result<Converted> {
        let (target, unit) = match &self.kind {
            Kind::Drop { drop, .. } => (*drop, "accuracy"),
            Kind::Sqnr { least } => (-least, "SQNR"),
        };
        let mut table = ui::table(&["choice", unit, "SQNR dB", "in integers", ""]);
        if let Kind::Drop { float, .. } = self.kind {
            table.add_row(["float".to_owned(), format!("{:.2} %", 100.0 * float), String::new(), String::new(), String::new()]);
        }
        let bar = ui::trials("search");
        let mut add = |trial: &Trial| {
            let value = match &self.kind {
                Kind::Drop { float, .. } => format!("{:.2} %", 100.0 * (float - trial.loss.value)),
                Kind::Sqnr { .. } => format!("{:.2} dB", -trial.loss.value),
            };
            let (integers, all) = trial.integers;
            let kept = if trial.kept { "kept" } else { "" };
            table.add_row([trial.what.clone(), value, format!("{:.2}", -trial.loss.tie), format!("{integers} of {all}"), kept.to_owned()]);
        };
        let found = search(float, calibration, mapping, target, &mut |converted| self.measure(converted), &mut |event| match event {
            Event::Tried(trial) => {
                bar.inc(1);
                bar.set_message(trial.what.clone());
                add(trial);
            }
            Event::Weighing(done, of) => bar.set_message(format!("{done} of {of} layers weighed")),
        })?;
        bar.finish_and_clear();
        println!("{table}");
        print_weights(&found.weights);
        if !found.met {
            bail!("the target is not met by any choice; ask for less, or give more calibration samples");
        }
        Ok(found.converted)
    }

    fn measure(&self, converted: &Converted) -> Result<Loss> {
        let model = Model::from_bytes(converted.to_qvr(&Metadata::new())?)?;
        let mut session = Session::new(&model, SessionOptions::default())?;
        let mut agreements = vec![Agreement::default(); self.names.len()];
        let mut right = 0;
        for (i, (sample, reals)) in self.samples.iter().zip(&self.reals).enumerate() {
            let values = data::native_values(&model, &mut session, sample, false)?;
            for ((name, real), agreement) in self.names.iter().zip(reals).zip(&mut agreements) {
                let other = values.get(name).with_context(|| format!("the converted network has no output '{name}'"))?;
                agreement.add(&real.data, other);
            }
            if let Kind::Drop { labels, .. } = &self.kind
                && let Some(first) = self.names.first().and_then(|name| values.get(name))
            {
                right += usize::from(arg_max(first) == labels[i]);
            }
        }
        let sqnr = agreements.iter().map(|a| a.figures().sqnr_db).fold(f64::INFINITY, f64::min);
        Ok(match &self.kind {
            Kind::Drop { labels, float, .. } => Loss { value: float - right as f64 / labels.len() as f64, tie: -sqnr },
            Kind::Sqnr { .. } => Loss { value: -sqnr, tie: -sqnr },
        })
    }
}

/// The layers that the outputs lose most by.
fn print_weights(weights: &[Weight]) {
    let total: f64 = weights.iter().map(|w| w.noise).sum();
    if total <= 0.0 {
        return;
    }
    let mut table = ui::table(&["outputs lose most by", "SQNR by it alone", "of the noise", "with those above"]);
    let mut sum = 0.0;
    for weight in weights.iter().take(LISTED).filter(|w| w.noise > 0.0) {
        sum += weight.noise;
        let share = |noise: f64| format!("{:.1} %", 100.0 * noise / total);
        table.add_row([weight.node.clone(), format!("{:.2} dB", weight.sqnr_db()), share(weight.noise), share(sum)]);
    }
    println!("{table}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read() {
        assert_eq!((percent("0.5%"), percent("0.02"), percent("100 %")), (Ok(0.005), Ok(0.02), Ok(1.0)));
        assert!(percent("5").is_err() && percent("-1%").is_err() && percent("much").is_err());
    }
}
