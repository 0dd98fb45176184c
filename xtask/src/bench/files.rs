//! What became of each network: the size of its file, and the kernels that run it.

use std::collections::BTreeMap;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::networks::{Network, Prepared};

/// A network's files.
#[derive(Debug, Clone, Serialize)]
pub struct Files {
    /// The network's name.
    pub network: String,
    /// Bytes of the float network.
    pub float: u64,
    /// Bytes of the quantized one.
    pub quantized: u64,
    /// Nodes that each kernel runs, on as many threads as the processor has.
    pub kernels: BTreeMap<String, usize>,
}

/// What `quaver explain --json` says, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Explained {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    kernel: String,
}

impl Files {
    /// Looks at the files of a network; `None` where it could not be converted, or leaves more open than its batch.
    pub fn of(network: &Network, prepared: &Prepared) -> Option<Self> {
        let quantized = prepared.qvr.as_ref().ok()?;
        let output = Command::new(prepared.quaver()).arg("explain").arg(quantized).arg("--json").output().ok()?;
        let explained: Explained = serde_json::from_slice(&output.stdout).ok()?;
        Some(Self {
            network: network.name.clone(),
            float: network.path.metadata().ok()?.len(),
            quantized: quantized.metadata().ok()?.len(),
            kernels: count(explained.nodes.into_iter().map(|node| node.kernel)),
        })
    }

    /// A row of the table: name, sizes in MB, kernels.
    pub fn row(&self) -> Vec<String> {
        let mb = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        let mut kernels: Vec<(&str, usize)> = self.kernels.iter().map(|(name, &nodes)| (name.as_str(), nodes)).collect();
        // Those that run most first.
        kernels.sort_by_key(|&(name, nodes)| (std::cmp::Reverse(nodes), name));
        let kernels: Vec<String> = kernels.into_iter().map(|(name, nodes)| format!("{name} ×{nodes}")).collect();
        vec![self.network.clone(), mb(self.float), mb(self.quantized), kernels.join(", ")]
    }
}

/// Nodes of each kernel; the instruction set, which ends its name, is said elsewhere.
fn count(kernels: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for kernel in kernels {
        let name = kernel.split("__").next().unwrap_or(&kernel);
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::{Files, count};

    #[test]
    fn kernels_are_counted_without_their_instruction_set() {
        let names = ["pool_u8u8__avx2", "table_u8u8__avx2", "pool_u8u8__avx2", "reference__scalar"];
        let kernels = count(names.into_iter().map(str::to_owned));
        let files = Files { network: "net".to_owned(), float: 4_000_000, quantized: 1_040_000, kernels };
        assert_eq!(files.row(), ["net", "4.0", "1.0", "pool_u8u8 ×2, reference ×1, table_u8u8 ×1"]);
    }
}
