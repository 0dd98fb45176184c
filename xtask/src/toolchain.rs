//! The Rust toolchain that builds wasm.
//!
//! On most machines it is rustup's, with its target `wasm32-unknown-unknown`. Where rustup can't fetch that, Debian's
//! packages build the standard library from their source: same code, some more minutes once.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{self, apt_install, can_apt, output};

/// The target.
pub const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// Where the standard library for wasm comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// The toolchain in use has it.
    Installed,
    /// Debian's compiler builds it; its linker for wasm is `linker`, of the toolchain in use.
    Debian {
        /// `rust-lld`.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// The toolchain that is there.
    pub fn find() -> Result<Option<Self>> {
        let libraries = output(process::rustc().args(["--print", "target-libdir", "--target", TARGET]))?;
        if Path::new(&libraries).is_dir() {
            return Ok(Some(Self::Installed));
        }
        let sysroot = output(process::rustc().args(["--print", "sysroot"]))?;
        let host = output(process::rustc().args(["--print", "host-tuple"]))?;
        let linker = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin/rust-lld");
        Ok((linker.is_file() && debian_is_complete()).then_some(Self::Debian { linker }))
    }

    /// The toolchain that is there, else one that is installed now.
    pub fn install() -> Result<Self> {
        if let Some(found) = Self::find()? {
            return Ok(found);
        }
        let mut reasons = Vec::new();
        println!("setup: rustup target add {TARGET}");
        match output(Command::new("rustup").current_dir(process::root()).args(["target", "add", TARGET])) {
            Ok(_) => {}
            Err(error) => reasons.push(format!("{error:#}")),
        }
        if let Some(found) = Self::find()? {
            return Ok(found);
        }
        if can_apt() {
            println!("setup: rustup can't fetch {TARGET}; Debian's compiler will build its standard library");
            match apt_install(&DEBIAN_PACKAGES) {
                Ok(()) => {}
                Err(error) => reasons.push(format!("{error:#}")),
            }
        }
        match Self::find()? {
            Some(found) => Ok(found),
            None => bail!(
                "no Rust toolchain for {TARGET}: run `rustup target add {TARGET}`, or install Debian's packages {} (as root)\n{}",
                DEBIAN_PACKAGES.join(", "),
                reasons.join("\n")
            ),
        }
    }

    /// Whether it can build the standard library, too: for instructions that the installed one is not built for, and without the
    /// messages of panics, which no host of a module sees.
    pub fn rebuilds(&self) -> bool {
        match self {
            Self::Debian { .. } => true,
            Self::Installed => {
                let sysroot = output(process::rustc().args(["--print", "sysroot"])).unwrap_or_default();
                has_source(&sysroot)
            }
        }
    }

    /// Installs what [`Toolchain::rebuilds`] needs, where that can be had.
    pub fn install_source(&self) {
        if !self.rebuilds() {
            println!("setup: rustup component add rust-src");
            if let Err(error) = output(Command::new("rustup").current_dir(process::root()).args(["component", "add", "rust-src"])) {
                println!("setup: {error:#}");
            }
        }
    }

    /// A `cargo rustc` for the target, without a package or features yet; with a standard library of its own where it
    /// [`rebuilds`](Toolchain::rebuilds) that, for which the compiler needs [`Toolchain::flags`].
    pub fn build(&self) -> Command {
        let mut command = match self {
            Self::Installed => process::cargo(),
            Self::Debian { linker } => {
                let mut command = Command::new(DEBIAN_CARGO);
                command.current_dir(process::root()).env("RUSTC", DEBIAN_RUSTC);
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
                command
            }
        };
        command.args(["rustc", "--target", TARGET]);
        if self.rebuilds() {
            // A compiler of the stable channel builds its own standard library only if it is told to.
            command.env("RUSTC_BOOTSTRAP", "1").args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"]);
        }
        command
    }

    /// Flags of the compiler for a module that has its own standard library: a panic is a trap, without a message that nobody would
    /// read, and without the places in the source that it would name.
    pub fn flags(&self) -> &'static [&'static str] {
        match self.rebuilds() {
            true => &["-Zunstable-options", "-Cpanic=immediate-abort", "-Zlocation-detail=none"],
            false => &[],
        }
    }

    /// In words.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Installed => "rustup's target",
            Self::Debian { .. } => "Debian's compiler, which builds the standard library",
        }
    }
}

/// Whether Debian's packages are there, and of a version that this workspace takes.
fn debian_is_complete() -> bool {
    if !Path::new(DEBIAN_CARGO).is_file() || !Path::new(DEBIAN_RUSTC).is_file() {
        return false;
    }
    let query = |what: &[&str]| output(Command::new(DEBIAN_RUSTC).args(what)).unwrap_or_default();
    let recent = version(&query(&["--version"])) >= version(concat!("rustc ", env!("CARGO_PKG_RUST_VERSION")));
    has_source(&query(&["--print", "sysroot"])) && recent
}

/// Whether a toolchain has the standard library's source.
fn has_source(sysroot: &str) -> bool {
    Path::new(sysroot).join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file()
}

/// Major and minor number in a line such as `rustc 1.95.0 (…)`.
fn version(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split_whitespace().nth(1)?.split('.').map_while(|n| n.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(version("rustc 1.100.0 (abc 2027-01-01)") > version("rustc 1.95"));
        assert!(version("rustc 1.63.0") < version("rustc 1.95"));
        assert_eq!(version(""), None);
    }
}
