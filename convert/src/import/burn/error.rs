//! Why a burn module cannot be captured.

use burn_capture::CaptureError;
use thiserror::Error;

use crate::import::ImportError;

/// Why a burn module cannot be captured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BurnError {
    /// Names or shapes of inputs and outputs that don't fit.
    #[error("{0}")]
    Ports(String),
    /// The closure gave up at a batch size other than the example's.
    #[error(
        "it runs at the example's batch size, but not at {batch}: {what}; let it take the batch size from its input, or keep the example's with `Batch::Fixed`"
    )]
    Batch {
        /// The batch size.
        batch: usize,
        /// What it said.
        what: String,
    },
    /// What no formula says for all batch sizes.
    #[error("'{node}' cannot be had at any batch size: {what}; compute it from an input, or keep the example's with `Batch::Fixed`")]
    NoFormula {
        /// The node or the constant.
        node: String,
        /// Why.
        what: String,
    },
    /// burn's own check of what was recorded.
    #[error(
        "burn cannot close the capture: {0}; an output has to be computed on the captured device, and every other tensor has to come from the module or the inputs"
    )]
    Capture(CaptureError),
    /// Operations without a counterpart, all of them, or ones that don't fit together.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// As [`BurnError::Import`], of a network whose batch size is open, which may be why.
    #[error("{0}\n(some operations need to know the batch size: `Batch::Fixed` keeps the example's)")]
    Open(#[source] ImportError),
}

impl From<CaptureError> for BurnError {
    fn from(error: CaptureError) -> Self {
        Self::Capture(error)
    }
}
