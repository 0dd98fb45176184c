//! An engine that runs one network: who it is, and the process that measures it when asked.
//!
//! All of them, Quaver's command and the peers' Python alike, answer a line `run SECONDS` with a line of JSON.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

/// Who computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// ONNX Runtime; what is quantized, as QDQ.
    OnnxRuntime,
    /// ONNX Runtime on QOperator networks.
    #[serde(rename = "onnxruntime-qoperator")]
    OnnxRuntimeQOperator,
    /// OpenVINO, on the QDQ network of ONNX Runtime's quantizer.
    OpenVino,
    /// PyTorch, quantized by itself for its X86 backend.
    PyTorch,
    /// Us.
    Quaver,
}

impl Engine {
    /// As a table says it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::OnnxRuntime => "ORT",
            Self::OnnxRuntimeQOperator => "ORT QOperator",
            Self::OpenVino => "OpenVINO",
            Self::PyTorch => "PyTorch",
            Self::Quaver => "Quaver",
        }
    }
}

/// In what it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The float network.
    Fp32,
    /// The quantized network.
    Int8,
}

/// An engine with what it is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Contestant {
    /// Who.
    pub engine: Engine,
    /// In what.
    pub precision: Precision,
    /// Samples in one inference.
    pub batch: u32,
}

impl Contestant {
    /// For file names.
    pub fn slug(self) -> String {
        self.to_string().to_lowercase().replace(' ', "-")
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = match self.precision {
            Precision::Fp32 => "FP32",
            Precision::Int8 => "INT8",
        };
        write!(f, "{} {precision}", self.engine.label())?;
        if self.batch == 1 { Ok(()) } else { write!(f, " batch {}", self.batch) }
    }
}

/// What an engine says of a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Of its inferences.
    pub median_ms: f64,
    /// Of its inferences.
    pub min_ms: f64,
    /// How many inferences.
    pub runs: u64,
    /// The instruction set, which only Quaver tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isa: Option<String>,
}

/// An engine's rounds on a network, or why there are none.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// The network's name.
    pub network: String,
    /// With how many threads.
    pub threads: u32,
    /// Whose.
    #[serde(flatten)]
    pub contestant: Contestant,
    /// Median over the rounds of their medians, once they are over.
    pub median_ms: Option<f64>,
    /// In the order they ran, each beside the round of the same number of the others.
    pub rounds: Vec<Timing>,
    /// Why it could not be measured.
    pub reason: Option<String>,
}

impl Measurement {
    /// Before the first round.
    pub fn new(network: &str, threads: u32, contestant: Contestant) -> Self {
        Self { network: network.to_owned(), threads, contestant, median_ms: None, rounds: Vec::new(), reason: None }
    }
}

/// A running engine. Its process ends with it.
#[derive(Debug)]
pub struct Runner {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Runner {
    /// Starts the engine; what it says besides answers goes to the file `log`.
    ///
    /// # Errors
    /// In words, if it doesn't start.
    pub fn start(mut command: Command, log: &Path) -> Result<Self, String> {
        let file = File::create(log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file).spawn();
        let mut child = child.map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(commands), Some(answers)) => Ok(Self { child, commands, answers: BufReader::new(answers), log: log.to_owned() }),
            _ => Err("has no standard input or output".to_owned()),
        }
    }

    /// Lets it run for `seconds`, one inference at least.
    ///
    /// # Errors
    /// Why it ended, if it did, in its own last words.
    pub fn round(&mut self, seconds: f64) -> Result<Timing, String> {
        let answer = self.ask(&format!("run {seconds}"))?;
        let timing: Timing = serde_json::from_str(&answer).map_err(|error| format!("answers '{}': {error}", answer.trim()))?;
        if timing.median_ms.is_finite() && timing.median_ms > 0.0 { Ok(timing) } else { Err(format!("answers '{}'", answer.trim())) }
    }

    /// Sends it a line, and returns the line that it answers.
    ///
    /// # Errors
    /// Why it ended, if it did, in its own last words.
    pub fn ask(&mut self, line: &str) -> Result<String, String> {
        let asked = writeln!(self.commands, "{line}").and_then(|()| self.commands.flush());
        asked.map_err(|_| self.last_words())?;
        self.answer()
    }

    /// The next line that it says.
    ///
    /// # Errors
    /// Why it ended, if it did, in its own last words.
    pub fn answer(&mut self) -> Result<String, String> {
        let mut answer = String::new();
        match self.answers.read_line(&mut answer) {
            Ok(length) if length > 0 => Ok(answer),
            _ => Err(self.last_words()),
        }
    }

    fn last_words(&mut self) -> String {
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let words = last_line(&log).unwrap_or(&status);
        format!("{words} (see {})", self.log.display())
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // It may have ended by itself, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last line with something in it, without the word that says that it is an error.
pub fn last_line(text: &str) -> Option<&str> {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(line.strip_prefix("error: ").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::{Contestant, Engine, Precision, Timing, last_line};

    #[test]
    fn names_are_for_people_and_for_files() {
        let contestant = Contestant { engine: Engine::OnnxRuntimeQOperator, precision: Precision::Int8, batch: 16 };
        assert_eq!(contestant.to_string(), "ORT QOperator INT8 batch 16");
        assert_eq!(contestant.slug(), "ort-qoperator-int8-batch-16");
    }

    #[test]
    fn answers_of_both_sides_are_understood() {
        let ours = r#"{"median_ms":1.5,"min_ms":1.25,"runs":3,"threads":1,"isa":"scalar","batch":1}"#;
        let theirs = r#"{"median_ms": 1.5, "min_ms": 1.25, "runs": 3}"#;
        let read = |text| serde_json::from_str::<Timing>(text).ok();
        assert_eq!(read(ours), Some(Timing { median_ms: 1.5, min_ms: 1.25, runs: 3, isa: Some("scalar".to_owned()) }));
        assert_eq!(read(theirs), Some(Timing { median_ms: 1.5, min_ms: 1.25, runs: 3, isa: None }));
    }

    #[test]
    fn a_reason_is_the_last_line() {
        assert_eq!(last_line("Traceback\n  …\nerror: no such model\n\n"), Some("no such model"));
        assert_eq!(last_line("\n"), None);
    }

    #[cfg(unix)]
    #[test]
    fn an_engine_that_ends_says_why() -> Result<(), Box<dyn std::error::Error>> {
        use super::Runner;
        use std::process::Command;

        let folder = std::env::temp_dir().join(format!("quaver-xtask-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let mut command = Command::new("sh");
        command.args(["-c", r#"read line; echo '{"median_ms":2,"min_ms":1,"runs":1}'; read line; echo "error: out of $line" >&2"#]);
        let mut runner = Runner::start(command, &folder.join("log"))?;
        assert_eq!(runner.round(0.5)?.median_ms, 2.0);
        let reason = runner.round(0.25).err().unwrap_or_default();
        assert!(reason.starts_with("out of run 0.25 (see "), "{reason}");
        std::fs::remove_dir_all(&folder)?;
        Ok(())
    }
}
