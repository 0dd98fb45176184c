//! What was measured on one machine, so that it need not be predicted: the kernel for each node of a model.
//!
//! It lies in a side file, JSON, since a model's file serves every machine. A kernel that it names but that the machine
//! lacks, or that doesn't take the node, is passed over. Measuring is `Session::tune`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::profile::make_readable;

/// Version of the side file.
const VERSION: u32 = 1;

/// The kernels that were measured to be faster than the rules' choice, for one model on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    version: u32,
    /// The model's name.
    model: String,
    /// Its number of nodes.
    nodes: usize,
    /// Batch size that it was measured with; it is used with all.
    batch: usize,
    /// Threads that it was measured with; it is used with any number.
    threads: usize,
    changes: Vec<Change>,
}

/// A node for which another kernel than the rules' choice is faster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Index of the node in the graph.
    pub node: usize,
    /// The node's name.
    pub name: String,
    /// The kernel that the rules choose.
    pub from: String,
    /// The kernel that runs instead.
    pub to: String,
    /// Least time measured of the one, in nanoseconds.
    pub before_ns: u64,
    /// Least time measured of the other, in nanoseconds.
    pub after_ns: u64,
}

impl Tuning {
    /// Of measured changes.
    pub(crate) fn new(model: &str, nodes: usize, batch: usize, threads: usize, changes: Vec<Change>) -> Self {
        Self { version: VERSION, model: model.to_owned(), nodes, batch, threads, changes }
    }

    /// Reads a side file for a model of that name and so many nodes.
    ///
    /// # Errors
    /// [`Error::Tuning`] where it can't be read, or is about another model.
    pub fn read(path: impl AsRef<Path>, model: &str, nodes: usize) -> Result<Self, Error> {
        let path = path.as_ref();
        let failed = |what: String| Error::Tuning { path: path.to_owned(), what };
        let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
        let tuning: Self = serde_json::from_str(&text).map_err(|e| failed(e.to_string()))?;
        if tuning.version != VERSION {
            return Err(failed(format!("it has version {}, this program reads {VERSION}; tune again", tuning.version)));
        }
        if tuning.model != model || tuning.nodes != nodes {
            return Err(failed(format!("it is about '{}' of {} nodes, not '{model}' of {nodes}", tuning.model, tuning.nodes)));
        }
        Ok(tuning)
    }

    /// Writes the side file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Tuning`] where it can't be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let failed = |what: String| Error::Tuning { path: path.to_owned(), what };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(e.to_string()))?;
        serde_json::to_writer_pretty(&file, self).map_err(|e| failed(e.to_string()))?;
        make_readable(file.as_file()).map_err(|e| failed(e.to_string()))?;
        file.persist(path).map_err(|e| failed(e.to_string()))?;
        Ok(())
    }

    /// The kernel for a node, where it isn't the rules' choice.
    pub fn kernel(&self, node: usize) -> Option<&str> {
        self.changes.iter().find(|change| change.node == node).map(|change| change.to.as_str())
    }

    /// Nodes for which another kernel is faster than the one that the rules choose, in the graph's order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_file_is_for_its_model() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("net.tune.json");
        let kernels = ["gemm_u8s8u8_14x32c4__avx512vnni", "gemm_u8s8u8_6x16c4__avxvnni"].map(str::to_owned);
        let [from, to] = kernels;
        let change = Change { node: 1, name: "conv".to_owned(), from, to, before_ns: 200, after_ns: 100 };
        let tuning = Tuning::new("net", 2, 1, 1, vec![change]);
        tuning.write(&path).expect("writes");
        let read = Tuning::read(&path, "net", 2).expect("reads");
        assert_eq!((&read, read.changes().len(), read.kernel(0)), (&tuning, 1, None));
        assert_eq!(read.kernel(1), Some("gemm_u8s8u8_6x16c4__avxvnni"));
        for (model, nodes) in [("other", 2), ("net", 3)] {
            assert!(matches!(Tuning::read(&path, model, nodes), Err(Error::Tuning { .. })));
        }
        std::fs::write(&path, "{").expect("writes");
        assert!(matches!(Tuning::read(&path, "net", 2), Err(Error::Tuning { .. })));
    }
}
