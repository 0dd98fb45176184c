//! Prints what simplification leaves of a model: `simplify MODEL.onnx [--list]`.
//!
//! For each operation its number before and after, then the passes that changed something; `--list` adds the graph.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use quaver_convert::import::{self, ImportOptions};
use quaver_convert::simplify::{Options, simplify_with};
use quaver_core::graph::Graph;
use quaver_core::graph::print::listing;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give the path of an ONNX model")?;
    let network = import::onnx::open(Path::new(&path), &ImportOptions::default())?;
    let before = histogram(&network.graph);
    let mut passes = Vec::new();
    let network = simplify_with(network, &Options::default(), &mut |pass, _| passes.push(pass))?;
    let after = histogram(&network.graph);
    println!("{path}");
    let mut names: Vec<&str> = before.keys().chain(after.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let count = |of: &BTreeMap<&str, usize>| of.get(name).copied().unwrap_or(0);
        println!("{name:>20} {:>5} → {}", count(&before), count(&after));
    }
    println!("{:>20} {}", "passes", passes.join(", "));
    if arguments.any(|a| a == "--list") {
        print!("{}", listing(&network.graph));
    }
    Ok(())
}

fn histogram(graph: &Graph) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for node in &graph.nodes {
        *counts.entry(node.op.name()).or_insert(0) += 1;
    }
    counts
}
