//! From a core module to a component: the one that borrows kernels, beside a stand-in for hosts that lend none.

use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, plug};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::ComponentizeError;

const WIT: &str = include_str!("../../wit/inference.wit");

/// Answers `absent` to everything. `result<…, refusal>` is returned by its address: 1 for an error, then, at 4, the case 0. Lists are
/// received in a room that is large enough for a digest; nobody who was told that there is nothing passes more. What is borrowed goes
/// back.
const STAND_IN: &str = r#"
(module
  (import "wasi:io/streams@0.2.12" "[resource-drop]input-stream" (func $drop (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (if (i32.gt_u (local.get 3) (i32.const 4096)) (then unreachable))
    i32.const 1024)
  (func (export "quaver:inference/native@0.2.0#find") (param i32 i32) (result i32) i32.const 16)
  (func (export "quaver:inference/native@0.2.0#load") (param i32 i32) (result i32) i32.const 16)
  (func (export "quaver:inference/native@0.2.0#infer") (param i32 i32 i32) (result i32) i32.const 16)
  (func (export "quaver:inference/native@0.2.0#infer-from") (param i32 i32 i32 i32) (result i32)
    (call $drop (local.get 3))
    i32.const 16))
"#;

/// The component.
pub fn compose(module: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    let failed = ComponentizeError::template("making it a component");
    let borrower = encode(module).map_err(|error| failed(&format_args!("{error:#}")))?;
    let composed = stand_in().and_then(|stand_in| {
        let mut graph = CompositionGraph::new();
        let mut register = |name: &str, bytes: Vec<u8>| {
            let package = Package::from_bytes(name, None, bytes, graph.types_mut())?;
            Ok::<_, anyhow::Error>(graph.register_package(package)?)
        };
        let (stand_in, borrower) = (register("quaver:stand-in", stand_in)?, register("quaver:borrower", borrower)?);
        plug(&mut graph, vec![stand_in], borrower)?;
        Ok(graph.encode(EncodeOptions::default())?)
    });
    composed.map_err(|error| failed(&format_args!("{error:#}")))
}

/// Without what surrounds it.
pub fn encode(module: &[u8]) -> Result<Vec<u8>, anyhow::Error> {
    ComponentEncoder::default().module(module)?.validate(true).encode()
}

fn stand_in() -> Result<Vec<u8>, anyhow::Error> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("inference.wit", WIT)?;
    let world = resolve.select_world(&[package], Some("stand-in"))?;
    let mut module = wat::parse_str(STAND_IN)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    encode(&module)
}
