//! What records say of where they were made.

use std::fs;
use std::process::Command;

use crate::process::{output, root};

/// The processor's name, as Linux or macOS tells it; elsewhere its architecture.
pub fn cpu() -> String {
    let linux = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let name = linux.or_else(|| output(Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"])).ok());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Quaver's version, with the commit where there is one.
pub fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match output(Command::new("git").current_dir(root()).args(["describe", "--always", "--dirty", "--exclude", "*"])) {
        Ok(commit) => format!("{version} ({commit})"),
        Err(_) => version.to_owned(),
    }
}
