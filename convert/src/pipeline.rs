//! The whole way as three calls: [`load`], [`convert`], and the bytes of the file.

use std::collections::BTreeMap;
use std::path::Path;

use quaver_core::format::{self, METADATA_DECISIONS, Metadata};
use quaver_core::graph::{Network, ValueId};
use thiserror::Error;

use crate::calibrate::data::Samples;
use crate::calibrate::{self, CalibrateError, Calibration, Sample};
use crate::equalize::scaled::Scaled;
use crate::equalize::{self, Equalized};
use crate::import::{self, ImportError, ImportOptions};
pub use crate::quantize::given::{brings_parameters, is_dynamic};
use crate::quantize::qconfig::{NodeConfig, QConfigMapping, Scheme};
use crate::quantize::{self, Decision, QuantizeError};
use crate::refine::{self, Product};
use crate::simplify::{self, SimplifyError};

/// Why a conversion failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// Reading the float model.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Rewriting it.
    #[error(transparent)]
    Simplify(#[from] SimplifyError),
    /// Running it on the calibration data.
    #[error(transparent)]
    Calibrate(#[from] CalibrateError),
    /// Making integers of it.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// Writing the file.
    #[error(transparent)]
    Format(#[from] format::FormatError),
}

/// Reads an ONNX file and simplifies it: the float network that is calibrated, compared with, and quantized.
///
/// # Errors
/// [`ConvertError::Import`] or [`ConvertError::Simplify`].
pub fn load(path: &Path, options: &ImportOptions) -> Result<Network, ConvertError> {
    Ok(simplify::simplify(import::onnx::open(path, options)?)?)
}

/// A quantized network with everything that is known about its making.
#[derive(Debug, Clone)]
pub struct Converted {
    /// The quantized network.
    pub network: Network,
    /// What became of each node of the float network.
    pub decisions: Vec<Decision>,
    /// Samples that calibration saw.
    pub samples: usize,
    /// Values whose channels were scaled.
    pub equalized: Vec<Equalized>,
    /// Its products, where they have been refined.
    pub products: Vec<Product>,
}

/// Samples that refinement looks at: it needs less than ranges do, and costs more.
const REFINED_ON: usize = 32;

/// Samples that equalization looks at: a channel that is rarely far from zero must be seen there.
const EQUALIZED_ON: usize = 128;

/// Quantizes a network that brings its own parameters ([`brings_parameters`]), or of which the mapping leaves everything float.
///
/// # Errors
/// [`ConvertError::Quantize`], where calibration would be needed among others.
pub fn convert_as_given(float: &Network, mapping: &QConfigMapping) -> Result<Converted, ConvertError> {
    let quantized = quantize::quantize(float, mapping, &|_| None)?;
    Ok(Converted { network: quantized.network, decisions: quantized.decisions, samples: 0, equalized: Vec::new(), products: Vec::new() })
}

/// Calibrates and quantizes a float network. `progress` is called with the number of samples done. Parameters that the
/// model brings itself hold; `samples` are then not looked at.
///
/// # Errors
/// [`ConvertError`] of calibration or quantization.
pub fn convert(
    float: &Network,
    samples: &Samples,
    mapping: &QConfigMapping,
    progress: &mut dyn FnMut(usize),
) -> Result<Converted, ConvertError> {
    if brings_parameters(float) {
        return convert_as_given(float, mapping);
    }
    Calibrated::new(float, samples, mapping, progress)?.convert(mapping)
}

/// A float network that is equalized and whose ranges are known, to be quantized by mappings that ask for the same of both.
#[derive(Debug)]
pub struct Calibrated {
    float: Network,
    equalized: Vec<Equalized>,
    calibration: Calibration,
    /// Samples for refinement.
    kept: Vec<Sample>,
}

impl Calibrated {
    /// Equalizes and calibrates. `progress` is called with the number of samples done.
    ///
    /// # Errors
    /// [`ConvertError::Calibrate`]; [`ConvertError::Quantize`] where `mapping` doesn't fit.
    pub fn new(
        float: &Network,
        samples: &Samples,
        mapping: &QConfigMapping,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self, ConvertError> {
        mapping.check(&float.graph).map_err(QuantizeError::from)?;
        let kept = samples.spread(REFINED_ON).map_err(CalibrateError::from)?;
        let configs: Vec<NodeConfig> = float.graph.nodes.iter().map(|n| mapping.of(n)).collect();
        let (float, equalized) = equalize::equalize(float, &configs, &samples.spread(EQUALIZED_ON).map_err(CalibrateError::from)?)
            .map_err(CalibrateError::from)?;
        let producers = float.graph.producers();
        let observer = |id: ValueId| match producers[id.index()] {
            Some(node) => mapping.of(&float.graph.nodes[node]).observer,
            None => mapping.global.observer,
        };
        let q_max = if mapping.global.reduce_range { 127 } else { 255 };
        let calibration = calibrate::calibrate(&float, samples.iter(), &observer, q_max, progress)?;
        Ok(Self { float, equalized, calibration, kept })
    }

    /// Quantizes, and refines weights and biases.
    ///
    /// # Errors
    /// [`ConvertError::Quantize`], [`ConvertError::Calibrate`].
    pub fn convert(&self, mapping: &QConfigMapping) -> Result<Converted, ConvertError> {
        let range = |value: usize| self.calibration.range(ValueId(value as u32));
        let mut quantized = quantize::quantize(&self.float, mapping, &range)?;
        refine::refine(&self.float, &mut quantized.network, &quantized.products, &self.kept, &mut |_| {}).map_err(CalibrateError::from)?;
        // Agreements are known by the float network's names.
        let scaled = Scaled::of(&self.equalized);
        for decision in &mut quantized.decisions {
            decision.output = scaled.original(&decision.output).to_owned();
        }
        Ok(Converted {
            network: quantized.network,
            decisions: quantized.decisions,
            samples: self.calibration.samples,
            equalized: self.equalized.clone(),
            products: quantized.products,
        })
    }

    /// The equalized float network.
    pub fn float(&self) -> &Network {
        &self.float
    }
}

impl Converted {
    /// Which values of the network hold their channels divided.
    pub fn scaled(&self) -> Scaled {
        Scaled::of(&self.equalized)
    }

    /// The `.qvr` file's bytes. `extra` is metadata to keep beside the converter's own.
    ///
    /// # Errors
    /// [`ConvertError::Format`].
    pub fn to_qvr(&self, extra: &Metadata) -> Result<Vec<u8>, ConvertError> {
        let mut metadata = extra.clone();
        let float: BTreeMap<&str, &str> = self
            .decisions
            .iter()
            .filter(|d| d.scheme == Scheme::Float)
            .map(|d| (d.node.as_str(), d.reason.as_deref().unwrap_or_default()))
            .collect();
        if let Ok(json) = serde_json::to_string(&float) {
            metadata.insert(METADATA_DECISIONS.to_owned(), json);
        }
        self.scaled().write(&self.network.graph, &mut metadata);
        let network = quantize::phases::split(&self.network).map_err(QuantizeError::from)?;
        Ok(format::write(&network, &metadata)?)
    }
}

/// Reads an ONNX model from memory and simplifies it; data in external files is refused.
///
/// # Errors
/// [`ConvertError::Import`] or [`ConvertError::Simplify`].
pub fn load_bytes(bytes: &[u8], options: &ImportOptions) -> Result<Network, ConvertError> {
    Ok(simplify::simplify(import::onnx::parse(bytes, None, options)?)?)
}
