//! The site in `web-demo`: its npm packages, the packed package of ours among them, and its build by Vite.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{root, run as run_program};
use crate::{setup, wasm};

/// Builds what the site is made of.
#[derive(Debug)]
pub struct Site {
    folder: PathBuf,
}

impl Site {
    /// Installs everything, the package as `cargo xtask wasm` packs it now.
    pub fn install() -> Result<Self> {
        let folder = root().join("web-demo");
        setup::npm()?;
        wasm::run()?;
        let tarball = tarball().context("`cargo xtask wasm` packed nothing")?;
        // As its users do; but the lock file says nothing of it, whose content changes with each build.
        let mut npm = Command::new("npm");
        npm.current_dir(&folder).args(["install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefer-offline"]).arg(&tarball);
        run_program(&mut npm)?;
        Ok(Self { folder })
    }

    /// The page, and the pages that benchmarks open, into `out`, which is emptied before.
    pub fn build(&self, out: &Path) -> Result<()> {
        run_program(self.vite().args(["build", "--logLevel", "warn", "--emptyOutDir", "--outDir"]).arg(out))
    }

    /// What benchmarks in Node load, into `out`; returns the module's file. It finds its packages here, so `out` lies within this
    /// folder's reach.
    pub fn build_for_node(&self) -> Result<PathBuf> {
        let out = self.folder.join("node_modules/.quaver-bench");
        run_program(
            self.vite().args(["build", "--config", "vite.node.config.ts", "--logLevel", "warn", "--emptyOutDir", "--outDir"]).arg(&out),
        )?;
        Ok(out.join("node.js"))
    }

    /// Serves a built site until it is interrupted; Vite prints the address.
    pub fn serve(&self, out: &Path, port: u16) -> Result<()> {
        run_program(self.vite().args(["preview", "--port", &port.to_string(), "--outDir"]).arg(out))
    }

    /// A program of `tools`.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(self.folder.join("tools").join(name));
        command
    }

    /// The version of an npm package that is installed.
    pub fn version(&self, package: &str) -> Result<String> {
        let file = self.file(package).join("package.json");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let json: serde_json::Value = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        Ok(json["version"].as_str().unwrap_or("unknown").to_owned())
    }

    /// The module of onnxruntime-web that the pages load, and the code around it.
    pub fn peer_files(&self) -> [PathBuf; 3] {
        ["ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.mjs", "ort.wasm.bundle.min.mjs"]
            .map(|name| self.file("onnxruntime-web").join("dist").join(name))
    }

    fn file(&self, package: &str) -> PathBuf {
        self.folder.join("node_modules").join(package)
    }

    fn vite(&self) -> Command {
        let mut command = Command::new("node");
        command.current_dir(&self.folder).arg(self.file("vite").join("bin/vite.js"));
        command
    }
}

/// What `cargo xtask wasm` has packed.
fn tarball() -> Option<PathBuf> {
    let files = fs::read_dir(root().join("target/npm")).ok()?;
    files.filter_map(|entry| Some(entry.ok()?.path())).find(|file| file.extension().is_some_and(|e| e == "tgz"))
}
