//! The networks to measure: where they are, and what each engine runs of them, made once and kept in `target/peers/cache`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::contestant::{Contestant, Engine, Precision, last_line};
use super::environment::{Environment, program};

/// Samples that ranges are taken from, as in `latency.py`.
const SAMPLES: &str = "8";

/// A float network.
#[derive(Debug)]
pub struct Network {
    /// The file's name without `.onnx`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// What the engines run of a network, or why they cannot.
#[derive(Debug)]
pub struct Prepared {
    name: String,
    /// Where the peers' networks and logs are.
    pub folder: PathBuf,
    quaver: PathBuf,
    /// What Quaver runs.
    pub qvr: Result<PathBuf, String>,
    peers: Peers,
}

/// What `latency.py prepare` says: for each file why it could not be made, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Peers {
    float: Option<String>,
    int8: Option<String>,
    #[serde(default)]
    qoperator: Option<String>,
}

/// The networks of `models`, or else of `default`; of them those that `only` names, if it names any.
pub fn find(models: Option<&Path>, default: &Path, only: &[String]) -> Result<Vec<Network>> {
    let folder = models.unwrap_or(default);
    if models.is_none() && !folder.is_dir() {
        bail!(
            "there are no networks: --models names a folder of float ONNX networks (or put them into {}); any classifier will do, \
             as the ONNX model zoo has them, or PyTorch's torch.onnx.export(torchvision.models.resnet50(), …) writes them",
            folder.display()
        );
    }
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut all = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let (Some(name), Some("onnx")) = (path.file_stem().and_then(OsStr::to_str), path.extension().and_then(OsStr::to_str)) {
            all.push(Network { name: name.to_owned(), path: path.clone() });
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(!all.is_empty(), "{} has no .onnx file", folder.display());
    let names = || all.iter().map(|network| network.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = only.iter().find(|name| all.iter().all(|network| network.name != **name)) {
        bail!("{} has no network '{unknown}'; it has {}", folder.display(), names());
    }
    all.retain(|network| only.is_empty() || only.contains(&network.name));
    Ok(all)
}

/// Converts and quantizes what the cache doesn't have.
///
/// # Errors
/// Where the cache cannot be written to. What is wrong with a network is in what is returned.
pub fn prepare(network: &Network, environment: &Environment, quaver: &Path, cache: &Path, batch: u32, qoperator: bool) -> Result<Prepared> {
    let home = cache.join(&network.name);
    let folder = home.join(format!("batch{batch}"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;

    let versions = &environment.info.versions;
    let key = format!("{}{}{versions:?} qoperator {qoperator}", identity(&network.path)?, identity(&program())?);
    let peers = cached(&folder.join("prepared"), &key, || {
        let mut command = environment.peers();
        command.arg("prepare").arg(&network.path).arg("--out").arg(&folder).args(["--batch", &batch.to_string()]);
        command.args(qoperator.then_some("--qoperator"));
        let said = finish(command)?;
        serde_json::from_str(&said).map_err(|error| format!("latency.py prepare says '{said}': {error}"))
    })?;

    let qvr = home.join("net.qvr");
    let key = format!("{}{}", identity(&network.path)?, identity(quaver)?);
    let converted = cached(&home.join("converted"), &key, || {
        let mut command = Command::new(quaver);
        command.arg("convert").arg(&network.path).arg("-o").arg(&qvr).args(["--observer", "minmax"]);
        // The very samples of the peers; they are not there if the peers cannot read the network at all.
        let samples = folder.join("samples.npz");
        match samples.is_file() && peers.is_ok() {
            true => command.arg("--calibrate").arg(samples),
            false => command.args(["--calibrate-random", SAMPLES]),
        };
        finish(command).map(|_| ())
    })?;
    let peers = peers.unwrap_or_else(|reason| Peers { float: Some(reason.clone()), int8: Some(reason.clone()), qoperator: Some(reason) });
    Ok(Prepared { name: network.name.clone(), folder, quaver: quaver.to_owned(), qvr: converted.map(|()| qvr), peers })
}

/// A form of a network that peers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The float network.
    Float,
    /// Quantized, with QuantizeLinear and DequantizeLinear around float operations.
    Int8,
    /// Quantized, with operations of ONNX Runtime's own.
    QOperator,
}

impl Form {
    /// The file's name without `.onnx`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Int8 => "int8",
            Self::QOperator => "qoperator",
        }
    }
}

impl Prepared {
    /// The `quaver` command.
    pub fn quaver(&self) -> &Path {
        &self.quaver
    }

    /// The file of a form.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn onnx(&self, form: Form) -> Result<PathBuf, String> {
        let reason = match form {
            Form::Float => &self.peers.float,
            Form::Int8 => &self.peers.int8,
            Form::QOperator => &self.peers.qoperator,
        };
        match reason {
            Some(reason) => Err(reason.clone()),
            None => Ok(self.folder.join(format!("{}.onnx", form.name()))),
        }
    }

    /// The process that measures `contestant`.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn command(&self, contestant: Contestant, environment: &Environment, threads: u32) -> Result<Command, String> {
        let threads = threads.to_string();
        let Contestant { engine, precision, batch } = contestant;
        if engine == Engine::Quaver {
            let mut command = Command::new(&self.quaver);
            command.arg("bench").arg(self.qvr.as_ref().map_err(Clone::clone)?).arg("--rounds-from-stdin");
            command.args(["--threads", &threads, "--batch", &batch.to_string()]);
            return Ok(command);
        }
        let (name, quantize) = match (engine, precision) {
            (Engine::OnnxRuntimeQOperator, _) => ("onnxruntime", false),
            (Engine::OpenVino, _) => ("openvino", false),
            (Engine::PyTorch, precision) => ("pytorch", precision == Precision::Int8),
            (Engine::OnnxRuntime | Engine::Quaver, _) => ("onnxruntime", false),
        };
        let form = match (engine, precision) {
            (Engine::PyTorch, _) | (_, Precision::Fp32) => Form::Float,
            (Engine::OnnxRuntimeQOperator, _) => Form::QOperator,
            (_, Precision::Int8) => Form::Int8,
        };
        let mut command = environment.peers();
        command.args(["serve", name]).arg(self.onnx(form)?).arg("--samples").arg(self.folder.join("samples.npz"));
        command.args(["--threads", &threads, "--name", &self.name]).args(quantize.then_some("--quantize"));
        Ok(command)
    }
}

/// What `make` returns, or returned when `stamp` was written with the same `key`. A reason why it cannot is not kept.
fn cached<T: Serialize + serde::de::DeserializeOwned>(
    stamp: &Path,
    key: &str,
    make: impl FnOnce() -> Result<T, String>,
) -> Result<Result<T, String>> {
    if let Ok(text) = fs::read_to_string(stamp)
        && let Some((old, value)) = text.rsplit_once('\n')
        && old == key
        && let Ok(value) = serde_json::from_str(value)
    {
        return Ok(Ok(value));
    }
    // What is made from here on belongs to no key until it is whole.
    if stamp.exists() {
        fs::remove_file(stamp).with_context(|| format!("cannot remove {}", stamp.display()))?;
    }
    let made = make();
    if let Ok(value) = &made {
        let text = format!("{key}\n{}", serde_json::to_string(value)?);
        fs::write(stamp, text).with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    Ok(made)
}

/// Changes when the file does.
fn identity(file: &Path) -> Result<String> {
    let data = file.metadata().with_context(|| format!("cannot read {}", file.display()))?;
    let time = data.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Ok(format!("{} {} {time}\n", fs::canonicalize(file)?.display(), data.len()))
}

/// What a program prints, or its last words.
fn finish(mut command: Command) -> Result<String, String> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(last_line(&said).map_or_else(|| output.status.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::{Peers, cached, find};
    use std::error::Error;
    use std::path::{Path, PathBuf};

    /// An empty folder of a test's own.
    fn folder(name: &str) -> std::io::Result<PathBuf> {
        let folder = std::env::temp_dir().join(format!("quaver-xtask-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    #[test]
    fn networks_are_chosen_by_name() -> Result<(), Box<dyn Error>> {
        let folder = folder("find")?;
        for file in ["b.onnx", "a.onnx", "a.onnx.data", "notes.txt"] {
            std::fs::write(folder.join(file), "")?;
        }
        let names = |only: &[&str]| -> Result<Vec<String>, anyhow::Error> {
            let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
            Ok(find(Some(&folder), Path::new("nowhere"), &only)?.into_iter().map(|network| network.name).collect())
        };
        assert_eq!(names(&[])?, ["a", "b"]);
        assert_eq!(names(&["b"])?, ["b"]);
        assert!(names(&["c"]).is_err_and(|error| error.to_string().contains("a, b")));
        assert!(find(None, Path::new("nowhere"), &[]).is_err_and(|error| error.to_string().contains("--models")));
        std::fs::remove_dir_all(&folder)?;
        Ok(())
    }

    #[test]
    fn only_the_same_key_is_served_from_the_cache() -> Result<(), Box<dyn Error>> {
        let folder = folder("cached")?;
        let stamp = folder.join("stamp");
        let fails = || Err("no".to_owned());
        let peers = Peers { int8: Some("two\nlines".to_owned()), ..Peers::default() };
        assert_eq!(cached::<Peers>(&stamp, "1\n2", fails)?, Err("no".to_owned()));
        assert_eq!(cached(&stamp, "1\n2", || Ok(peers.clone()))?, Ok(peers.clone()));
        assert_eq!(cached::<Peers>(&stamp, "1\n2", fails)?, Ok(peers));
        assert_eq!(cached::<Peers>(&stamp, "1\n3", fails)?, Err("no".to_owned()));
        assert_eq!(cached::<Peers>(&stamp, "1\n2", fails)?, Err("no".to_owned()));
        std::fs::remove_dir_all(&folder)?;
        Ok(())
    }

    #[test]
    fn reasons_are_read() -> Result<(), serde_json::Error> {
        let peers: Peers = serde_json::from_str(r#"{"float": null, "int8": "ValueError: x"}"#)?;
        assert_eq!(peers, Peers { float: None, int8: Some("ValueError: x".to_owned()), qoperator: None });
        Ok(())
    }
}
