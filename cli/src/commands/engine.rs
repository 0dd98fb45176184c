//! Options that every command with a session takes.

use std::path::PathBuf;

use quaver::{Isa, SessionOptions};

/// How to compute.
#[derive(Debug, clap::Args)]
pub struct Engine {
    /// Threads to compute with
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,
    /// Use no instruction set above this one: scalar, avx2, avxvnni, avx512vnni, amx. Goes before QUAVER_ISA
    #[arg(long, value_name = "ISA")]
    pub isa: Option<Isa>,
    /// Use the kernels that `quaver tune` found, from its side file
    #[arg(long, value_name = "FILE.tune.json")]
    pub tuning: Option<PathBuf>,
}

impl Engine {
    /// For a session.
    pub fn options(&self) -> SessionOptions {
        SessionOptions { threads: self.threads, isa: self.isa, tuning: self.tuning.clone(), ..SessionOptions::default() }
    }
}
