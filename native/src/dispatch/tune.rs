//! What was measured on one machine, so that it need not be predicted: the kernel for each node of a model.
//!
//! It lies in a side file, JSON, since a model's file serves every machine. A kernel that it names but that the machine
//! lacks, or that doesn't take the node, is passed over. Measuring is `Session::tune`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Version of the side file.
const VERSION: u32 = 1;

/// The kernels that were measured to be fastest for one model on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    version: u32,
    /// The model's name.
    model: String,
    /// Threads that it was measured with.
    threads: usize,
    /// For each node, the name of a kernel, where it is another one than the rules choose.
    kernels: Vec<Option<String>>,
}

impl Tuning {
    /// Of measured kernels, one a node.
    pub(crate) fn new(model: &str, threads: usize, kernels: Vec<Option<String>>) -> Self {
        Self { version: VERSION, model: model.to_owned(), threads, kernels }
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
        if tuning.model != model || tuning.kernels.len() != nodes {
            return Err(failed(format!("it is about '{}' of {} nodes, not '{model}' of {nodes}", tuning.model, tuning.kernels.len())));
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
        file.persist(path).map_err(|e| failed(e.to_string()))?;
        Ok(())
    }

    /// The kernel for a node.
    pub fn kernel(&self, node: usize) -> Option<&str> {
        self.kernels.get(node)?.as_deref()
    }

    /// Nodes for which another kernel is faster than the one that the rules choose.
    pub fn changes(&self) -> usize {
        self.kernels.iter().flatten().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_file_is_for_its_model() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("net.tune.json");
        let tuning = Tuning::new("net", 1, vec![None, Some("gemm_u8s8u8_6x16c4__avxvnni".to_owned())]);
        tuning.write(&path).expect("writes");
        let read = Tuning::read(&path, "net", 2).expect("reads");
        assert_eq!((&read, read.changes(), read.kernel(0)), (&tuning, 1, None));
        assert_eq!(read.kernel(1), Some("gemm_u8s8u8_6x16c4__avxvnni"));
        for (model, nodes) in [("other", 2), ("net", 3)] {
            assert!(matches!(Tuning::read(&path, model, nodes), Err(Error::Tuning { .. })));
        }
        std::fs::write(&path, "{").expect("writes");
        assert!(matches!(Tuning::read(&path, "net", 2), Err(Error::Tuning { .. })));
    }
}
