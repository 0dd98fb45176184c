//! The peers' Python environment: made once under `target/peers`, of pinned versions, and used again while those are the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process::{apt_install, can_apt, output, root, run as run_program};

/// The Python that makes the environment where no other is named.
pub const PYTHON: &str = "python3";
/// What Debian keeps apart from Python itself.
const DEBIAN_PACKAGES: [&str; 2] = ["python3", "python3-venv"];
/// What is in every environment, relative to the repository. A copy in the environment says that it is installed.
const LIST: &str = "tests/peers/requirements.txt";
const REMEDY: &str = "install Python 3.10 or later with its venv module (Debian: python3 and python3-venv), or name one with --python";

/// A Python with the peers in it.
#[derive(Debug)]
pub struct Environment {
    /// Its interpreter.
    pub python: PathBuf,
    /// What it says of itself.
    pub info: Info,
}

/// What `latency.py info` says.
#[derive(Debug, Deserialize)]
pub struct Info {
    /// Now, in UTC.
    pub date: String,
    /// Of Python and its packages.
    pub versions: BTreeMap<String, String>,
}

impl Environment {
    /// Makes or completes the environment in `home`; `more` are lists of what else is needed, relative to the repository.
    pub fn make(home: &Path, python: &Path, more: &[&str]) -> Result<Self> {
        let folder = home.join("venv");
        let inside = if cfg!(windows) { folder.join("Scripts/python.exe") } else { folder.join("bin/python") };
        // Half made, or the system's Python, which it refers to, has gone.
        if !stamp(&folder, LIST).is_file() || output(Command::new(&inside).arg("--version")).is_err() {
            println!("setup: Python environment in {}", folder.display());
            create(python, &folder)?;
        }
        for list in [&[LIST], more].concat() {
            install(&inside, &root().join(list), &stamp(&folder, list))?;
        }
        let info = output(Command::new(&inside).arg(program()).arg("info"))
            .context("the peers' Python environment is broken; remove target/peers/venv")?;
        let info = serde_json::from_str(&info).with_context(|| format!("{} info says '{info}'", program().display()))?;
        Ok(Self { python: inside, info })
    }

    /// The peers' program, without its arguments.
    pub fn peers(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(program());
        command
    }
}

/// The peers' program.
pub fn program() -> PathBuf {
    root().join("tests/peers/latency.py")
}

fn create(python: &Path, folder: &Path) -> Result<()> {
    let make = || output(Command::new(python).args(["-m", "venv", "--clear"]).arg(folder));
    let Err(error) = make() else { return Ok(()) };
    if python == Path::new(PYTHON) && can_apt() {
        apt_install(&DEBIAN_PACKAGES)?;
        make().with_context(|| format!("cannot make a Python environment; {REMEDY}"))?;
        return Ok(());
    }
    bail!("cannot make a Python environment; {REMEDY}\n{error:#}")
}

/// Where the environment in `folder` keeps the copy of a list.
fn stamp(folder: &Path, list: &str) -> PathBuf {
    folder.join(list.replace('/', "-"))
}

/// Installs `list`, unless `stamp` says that the same list has been installed.
fn install(python: &Path, list: &Path, stamp: &Path) -> Result<()> {
    let wanted = fs::read(list).with_context(|| format!("cannot read {}", list.display()))?;
    if fs::read(stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("setup: pip install -r {}", list.display());
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(list);
    run_program(&mut pip).with_context(|| {
        format!(
            "pip cannot install {}, which takes a network and a Python that these versions exist for; --python names another",
            list.display()
        )
    })?;
    fs::write(stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(())
}
