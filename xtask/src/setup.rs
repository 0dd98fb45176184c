//! `cargo xtask setup`: installs what is missing, and says so; what is there costs nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{apt_install, can_apt, find, output, root, run as run_program};
use crate::toolchain::Toolchain;

/// The oldest Node that the npm package promises to run in.
const NODE_MAJOR: u32 = 20;
/// Folders whose npm packages builds and tests need.
const PACKAGES: [&str; 3] = ["wasm/npm", "tests/web", "web-demo"];
/// Browsers that the tests can drive, as `tests/all/npm.rs` looks for them; the first is Debian's package, too.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// Where Debian's package puts ONNX's node tests.
const ONNX_TESTS: &str = "/usr/share/libonnx-testdata/data/node";
const ONNX_TESTS_PACKAGE: &str = "libonnx-testdata";

/// Everything.
pub fn run() -> Result<()> {
    let toolchain = Toolchain::install()?;
    toolchain.install_source();
    println!("setup: wasm toolchain: {}", toolchain.describe());
    println!("setup: {}", npm()?);
    println!("setup: {}", browser());
    println!("setup: {}", onnx_tests());
    Ok(())
}

/// Node and what the folders of [`PACKAGES`] need; returns what is there, in words.
pub fn npm() -> Result<String> {
    let node = node()?;
    for folder in PACKAGES {
        let package = root().join(folder);
        let lock = package.join("package-lock.json");
        // npm writes this file last, so it is as new as the lock file only after a complete installation.
        let installed = package.join("node_modules/.package-lock.json");
        if !newer(&installed, &lock) {
            println!("setup: npm ci, in {folder}");
            run_program(Command::new("npm").current_dir(&package).args(["ci", "--silent", "--no-audit", "--no-fund"]))?;
        }
    }
    Ok(format!("node {node}, npm packages of {}", PACKAGES.join(", ")))
}

/// The browser that tests and benchmarks drive.
pub fn chromium() -> Option<PathBuf> {
    BROWSERS.into_iter().find_map(find)
}

/// A browser; returns what is there, in words. Tests that need it are skipped without, so this is no error.
pub fn browser() -> String {
    if chromium().is_none()
        && can_apt()
        && let Err(error) = apt_install(&[BROWSERS[0]])
    {
        println!("setup: {error:#}");
    }
    match chromium() {
        Some(browser) => browser.display().to_string(),
        None => format!("no browser: one of {} should be on the path; tests that need it are skipped", BROWSERS.join(", ")),
    }
}

/// Node's version.
fn node() -> Result<String> {
    if find("node").is_none() && can_apt() {
        apt_install(&["nodejs", "npm"])?;
    }
    if find("node").is_none() || find("npm").is_none() {
        bail!("node and npm are missing; install Node {NODE_MAJOR} or later");
    }
    let version = output(Command::new("node").arg("--version"))?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|n| n.parse::<u32>().ok());
    match major.with_context(|| format!("node's version '{version}' is no version"))? {
        major if major >= NODE_MAJOR => Ok(version),
        _ => bail!("node is {version}; install Node {NODE_MAJOR} or later"),
    }
}

/// ONNX's node tests; returns what is there, in words. Tests that need them are skipped without, so this is no error.
fn onnx_tests() -> String {
    if !Path::new(ONNX_TESTS).is_dir()
        && can_apt()
        && let Err(error) = apt_install(&[ONNX_TESTS_PACKAGE])
    {
        println!("setup: {error:#}");
    }
    match Path::new(ONNX_TESTS).is_dir() {
        true => "ONNX node tests".to_owned(),
        false => format!("no ONNX node tests: Debian's {ONNX_TESTS_PACKAGE} has them, in {ONNX_TESTS}; tests that need them are skipped"),
    }
}

/// Whether `file` exists and is at least as new as `than`.
fn newer(file: &Path, than: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|data| data.modified());
    matches!((time(file), time(than)), (Ok(a), Ok(b)) if a >= b)
}
