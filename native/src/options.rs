//! How a session runs.

use std::path::PathBuf;

use crate::Isa;

/// Options of a [`Session`](crate::Session).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Most threads that a run may use, at least 1; see [`Session::threads`](crate::Session::threads) for how many it does.
    pub threads: usize,
    /// Most bytes that the activations of one run may take.
    pub max_memory: usize,
    /// The instruction set to use, before the environment variable `QUAVER_ISA`; `None` leaves it to that, or takes the best
    /// there is.
    pub isa: Option<Isa>,
    /// A side file of kernels that were measured for this model on this machine, see `quaver tune`.
    pub tuning: Option<PathBuf>,
}

impl Default for SessionOptions {
    /// One thread, 4 GiB (2 GiB where addresses have 32 bits).
    fn default() -> Self {
        Self { threads: 1, max_memory: usize::try_from(4u64 << 30).unwrap_or(isize::MAX as usize), isa: None, tuning: None }
    }
}
