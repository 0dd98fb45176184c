//! Pages of Chromium that run models with the npm package: each of its builds, with each class of instructions that the engine has,
//! once as it is and once as on a processor whose relaxed dot products saturate. `tests/web/chromium.js` drives the browser; it is
//! started once a process, and ends with it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

use crate::guest::Bytes;
use crate::hosts::Outputs;

/// A kind of page: in which browser, with which build, with which class of instructions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Page {
    /// What the browser is called.
    pub browser: String,
    /// The package's name of the build.
    pub build: String,
    /// The class.
    pub instructions: String,
    /// Where it is in the list.
    #[serde(skip)]
    index: usize,
}

/// A process that answers lines with lines, and the folder of what both read and write.
struct Driver {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: TempDir,
    pages: Vec<Page>,
    _child: Child,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Outputs { outputs: Vec<String> },
    Error { error: String },
}

/// A browser that tests can drive.
pub fn browser() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(find)
}

/// What keeps networks from being run in pages here.
pub fn missing() -> Option<&'static str> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    if browser().is_none() {
        Some("no Chromium is installed; `cargo xtask setup` does it")
    } else if !tests.join("web/node_modules").is_dir() {
        Some("tests/web has no npm packages; `cargo xtask setup` installs them")
    } else if !tests.join("../wasm/npm/dist/index.js").is_file() {
        Some("the npm package isn't built; `cargo xtask wasm` does it")
    } else {
        None
    }
}

/// Every kind of page, if nothing is [`missing`].
///
/// # Panics
/// Where the browser doesn't start, or lacks what it has everywhere.
pub fn pages() -> Vec<Page> {
    let pages = driver().lock().unwrap_or_else(PoisonError::into_inner).pages.clone();
    let classes: Vec<&str> = pages.iter().map(|page| page.instructions.as_str()).collect();
    assert!(["scalar", "simd128"].iter().all(|class| classes.contains(class)), "{classes:?}");
    assert!(cfg!(not(target_arch = "x86_64")) || classes.contains(&"sat"), "{classes:?}");
    pages
}

/// Of each browser and build the page with the fastest class, which is what a user of the package gets.
///
/// # Panics
/// As [`pages`].
pub fn fastest_pages() -> Vec<Page> {
    let mut fastest: Vec<Page> = Vec::new();
    // Classes are listed from the slowest to the fastest.
    for page in pages() {
        fastest.retain(|other| (&other.browser, &other.build) != (&page.browser, &page.build));
        fastest.push(page);
    }
    fastest
}

impl Page {
    /// Its name.
    pub fn name(&self) -> String {
        format!("{}, {}, {}", self.browser, self.build, self.instructions)
    }

    /// Runs a model, and gives the bytes of every output.
    pub fn run(&self, model: &[u8], inputs: &[Bytes<'_>]) -> Outputs {
        let mut driver = driver().lock().unwrap_or_else(PoisonError::into_inner);
        driver.ask(self.index, model, inputs).map_err(|error| format!("{}: {error}", self.name()))
    }
}

fn driver() -> &'static Mutex<Driver> {
    static DRIVER: OnceLock<Mutex<Driver>> = OnceLock::new();
    DRIVER.get_or_init(|| Mutex::new(Driver::start().expect("Chromium starts")))
}

impl Driver {
    fn start() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let mut command = Command::new("node");
        command.current_dir(web).arg("chromium.js").arg(folder.path());
        command.env("QUAVER_CHROMIUM", browser().ok_or("there is none")?);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|e| format!("node: {e}"))?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).ok_or("node has no pipes")?;
        let mut driver = Self { input, output: BufReader::new(output), folder, pages: Vec::new(), _child: child };
        driver.pages = serde_json::from_str(&driver.line()?).map_err(|e| e.to_string())?;
        for (index, page) in driver.pages.iter_mut().enumerate() {
            page.index = index;
        }
        Ok(driver)
    }

    fn ask(&mut self, page: usize, model: &[u8], inputs: &[Bytes<'_>]) -> Outputs {
        self.write("model.qvr", model)?;
        let mut listed = Vec::new();
        for (i, (bytes, dims)) in inputs.iter().enumerate() {
            let file = format!("input{i}.bin");
            self.write(&file, bytes)?;
            listed.push(json!({ "dims": dims, "file": file }));
        }
        let request = json!({ "host": page, "model": "model.qvr", "inputs": listed });
        writeln!(self.input, "{request}").map_err(|e| e.to_string())?;
        match serde_json::from_str(&self.line()?).map_err(|e| e.to_string())? {
            Answer::Outputs { outputs } => outputs.iter().map(|name| self.take(name)).collect(),
            Answer::Error { error } => Err(error),
        }
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err("it has ended".to_owned()),
            Ok(_) => Ok(line),
            Err(error) => Err(error.to_string()),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        std::fs::write(self.folder.path().join(name), bytes).map_err(|e| e.to_string())
    }

    fn take(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = self.folder.path().join(name);
        let bytes = std::fs::read(&path).map_err(|e| e.to_string())?;
        std::fs::remove_file(path).map_err(|e| e.to_string())?;
        Ok(bytes)
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}
