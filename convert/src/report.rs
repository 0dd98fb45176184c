//! What conversion did: for each layer its scheme, SQNR and share of the error; for the model its agreement with float.

use std::collections::BTreeMap;

use quaver_core::graph::Network;
use quaver_core::graph::dim::display;
use serde::Serialize;

use crate::agreement::{Agreement, Figures};
use crate::calibrate::HostTensor;
use crate::calibrate::burn_exec::{FloatRunner, RunError};
use crate::quantize::Decision;
use crate::quantize::qconfig::Scheme;

/// The report, as `--report` writes it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// Samples that calibration saw.
    pub calibration_samples: usize,
    /// Samples that the figures below were measured on.
    pub measured_samples: usize,
    /// Each of the model's outputs.
    pub outputs: Vec<Output>,
    /// Each node of the simplified network.
    pub layers: Vec<Layer>,
}

/// One output's agreement with the float network.
#[derive(Debug, Clone, Serialize)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: String,
    /// How well it agrees.
    #[serde(flatten)]
    pub figures: Figures,
}

/// One node.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    /// What became of it.
    #[serde(flatten)]
    pub decision: Decision,
    /// Agreement of its output, where the quantized network still has it.
    #[serde(flatten)]
    pub figures: Option<Figures>,
    /// What it adds to the noise, as a share of what all layers add: its noise-to-signal ratio less its noisiest input's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_error: Option<f64>,
}

/// Real values of a quantized run, by name.
pub type NamedValues = BTreeMap<String, Vec<f32>>;

/// Compares every named value of the float network with a quantized run on the same samples.
///
/// `quantized` runs one sample and returns its values as real numbers, by name; names that only one side has are left
/// out.
///
/// # Errors
/// What the float run or `quantized` reports.
pub fn compare<E: From<RunError>>(
    float: &Network,
    runner: &FloatRunner,
    samples: &[Vec<HostTensor>],
    quantized: &mut dyn FnMut(&[HostTensor]) -> Result<NamedValues, E>,
) -> Result<BTreeMap<String, Agreement>, E> {
    let mut agreements: BTreeMap<String, Agreement> = BTreeMap::new();
    for sample in samples {
        let values = quantized(sample)?;
        runner.run(sample, &mut |id, data, _shape| {
            let name = &float.graph.value(id).name;
            if let Some(other) = values.get(name) {
                agreements.entry(name.clone()).or_default().add(data, other);
            }
        })?;
    }
    Ok(agreements)
}

impl Report {
    /// Puts decisions and measured agreements together.
    pub fn new(
        float: &Network,
        decisions: &[Decision],
        agreements: &BTreeMap<String, Agreement>,
        calibration_samples: usize,
        measured_samples: usize,
    ) -> Self {
        let graph = &float.graph;
        let noise = |name: &str| agreements.get(name).map(Agreement::noise_to_signal);
        // By name: a network with its own parameters has nodes that the quantizer takes out before it decides.
        let added: BTreeMap<&str, f64> = graph
            .nodes
            .iter()
            .filter_map(|node| {
                let name = &graph.value(node.outputs[0]).name;
                let own = noise(name)?;
                let before = node.inputs.iter().filter_map(|&v| noise(&graph.value(v).name)).fold(0.0, f64::max);
                Some((name.as_str(), (own - before).max(0.0)))
            })
            .collect();
        let total: f64 = added.values().sum();
        let layers = decisions.iter().map(|decision| Layer {
            decision: decision.clone(),
            figures: agreements.get(&decision.output).map(Agreement::figures),
            share_of_error: added.get(decision.output.as_str()).filter(|_| total > 0.0).map(|a| a / total),
        });
        let outputs = graph.outputs.iter().filter_map(|&id| {
            let value = graph.value(id);
            let figures = agreements.get(&value.name)?.figures();
            Some(Output { name: value.name.clone(), shape: display(&value.shape), figures })
        });
        Self { model: graph.name.clone(), calibration_samples, measured_samples, outputs: outputs.collect(), layers: layers.collect() }
    }

    /// Number of nodes of 8 bits, and of all.
    pub fn quantized_nodes(&self) -> (usize, usize) {
        (self.layers.iter().filter(|l| l.decision.scheme != Scheme::Float).count(), self.layers.len())
    }
}
