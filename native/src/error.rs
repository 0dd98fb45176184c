//! What can go wrong, from opening a file to running it.

use std::path::PathBuf;

use quaver_core::exec::ExecError;
use quaver_core::format::FormatError;
use quaver_core::graph::check::GraphError;
use quaver_core::plan::PlanError;
use quaver_core::tensor::DType;
use thiserror::Error;

/// Why a model can't be opened or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The file can't be opened or mapped.
    #[error("cannot open '{}': {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file is no valid `.qvr` file.
    #[error("'{}' is not a valid .qvr file: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// Bytes are no valid `.qvr` file.
    #[error("these bytes are not a valid .qvr file: {0}")]
    Bytes(#[source] FormatError),
    /// A tensor's elements don't fit its shape.
    #[error("a tensor of shape {shape:?} has {expected} elements, but {got} were given")]
    Elements {
        /// The shape.
        shape: Vec<usize>,
        /// Elements that it takes (`usize::MAX` where they can't be counted).
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// An input that the model doesn't take.
    #[error("the model has no input '{name}'; it takes {known}")]
    UnknownInput {
        /// The name given.
        name: String,
        /// The model's inputs.
        known: String,
    },
    /// An input that is given twice.
    #[error("input '{name}' is given twice")]
    DuplicateInput {
        /// The input.
        name: String,
    },
    /// An input that is not given.
    #[error("input '{name}' ({expected}) is not given")]
    MissingInput {
        /// The input.
        name: String,
        /// Type and shape that it takes, N being the batch size.
        expected: String,
    },
    /// An input of another type.
    #[error("input '{name}' should be of type {expected}, but is {got}")]
    InputType {
        /// The input.
        name: String,
        /// The type that it takes.
        expected: DType,
        /// The type given.
        got: DType,
    },
    /// An input of another shape.
    #[error("input '{name}' should have shape {expected} (N is the batch size; names are numbers from 1 on), but has {got:?}")]
    InputShape {
        /// The input.
        name: String,
        /// The shape that it takes.
        expected: String,
        /// The shape given.
        got: Vec<usize>,
    },
    /// Inputs of different batch sizes.
    #[error("input '{name}' has batch size {got}, but '{other}' has {expected}; give all inputs the same number of samples")]
    Batch {
        /// The input.
        name: String,
        /// Its batch size.
        got: usize,
        /// An input before it.
        other: String,
        /// That one's batch size.
        expected: usize,
    },
    /// Inputs that disagree about an extent which the model leaves open.
    #[error("input '{name}' has {symbol}={got}, but '{other}' has {symbol}={expected}; in one run they are the same")]
    Extent {
        /// The input.
        name: String,
        /// The extent's name.
        symbol: String,
        /// Its number.
        got: usize,
        /// An input before it.
        other: String,
        /// That one's number.
        expected: usize,
    },
    /// The model can't run on inputs of such sizes.
    #[error("the model can't run at {sizes}: {source}; try other sizes (often multiples of 8 or 32)")]
    Sizes {
        /// Names and numbers.
        sizes: String,
        /// What doesn't fit.
        #[source]
        source: Box<GraphError>,
    },
    /// The batch is too large for the memory that a session may use.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The executor refuses.
    #[error(transparent)]
    Run(#[from] ExecError),
    /// No threads.
    #[error("a session needs at least 1 thread, but {threads} were asked for")]
    Threads {
        /// Threads asked for.
        threads: usize,
    },
    /// The system gives no more threads.
    #[error("cannot start {threads} threads: {source}; ask for fewer")]
    Spawn {
        /// Threads asked for.
        threads: usize,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A side file of measured kernels.
    #[error("the tuning file '{}' can't be used: {what}", path.display())]
    Tuning {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A name that is no instruction set's, of `QUAVER_ISA` or given to [`Isa::from_str`](crate::Isa#method.from_str).
    #[error("'{value}' is no instruction set that Quaver has kernels for; QUAVER_ISA and --isa take one of {known}")]
    UnknownIsa {
        /// The name.
        value: String,
        /// The names there are.
        known: String,
    },
    /// An instruction set that this machine lacks, asked for by `QUAVER_ISA` or [`SessionOptions`](crate::SessionOptions).
    #[error("the instruction set '{value}' is not available: this machine has {available}; ask for one of these, or for none")]
    UnavailableIsa {
        /// Its name.
        value: &'static str,
        /// What there is.
        available: String,
    },
    /// Kernels that should give the same bytes but don't: a bug of this crate.
    #[error("node '{node}': {kernel} and {other} give different results, which is a bug of Quaver; please report it with the model")]
    Disagreement {
        /// The node's name.
        node: String,
        /// One kernel.
        kernel: &'static str,
        /// The other kernel.
        other: &'static str,
    },
}
