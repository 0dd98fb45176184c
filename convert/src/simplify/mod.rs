//! Simplification: rewrites of the float graph that leave its results equal up to rounding.
//!
//! [`simplify`] applies the list [`PASSES`] again and again until nothing changes. A pass maps a network to a network, is
//! known by its name, and leaves a graph that [`graph::check`](mod@quaver_core::graph::check) accepts. What they keep:
//!
//! * inputs and outputs, with their names, types, shapes and order;
//! * a value's name, on the value that equals the model's tensor of that name, be it in NHWC layout; where operations are
//!   folded into one, the result carries the name of the last.
//!
//! They don't quantize, and they don't change what a layer means to gain speed.

mod activations;
mod batch_norm;
mod channel_shuffle;
mod common;
mod constants;
mod dead_code;
mod identities;
mod layer_norm;
mod layout;
mod lines;
mod pads;
mod pools;
mod reshapes;
mod rewrite;
mod spelling;
mod taps;
#[cfg(test)]
mod testing;

use quaver_core::graph::Network;
use quaver_core::graph::check::{GraphError, check};
use thiserror::Error;

/// One rewrite.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// The name on the command line and in listings.
    pub name: &'static str,
    /// What it does, in one line.
    pub what: &'static str,
    apply: fn(Network) -> Result<Network, GraphError>,
}

impl Pass {
    /// Applies the pass to a network that passes `graph::check`.
    ///
    /// # Errors
    /// [`GraphError`] if the rewritten graph is not valid: a defect of the pass.
    pub fn apply(&self, network: Network) -> Result<Network, GraphError> {
        let network = (self.apply)(network)?;
        check(&network.graph)?;
        Ok(network)
    }
}

/// Every pass, in the order of a round.
pub const PASSES: &[Pass] = &[
    Pass { name: "constants", what: "computes what depends on constants alone", apply: constants::fold },
    Pass { name: "identities", what: "drops operations that return their operand", apply: identities::remove },
    Pass { name: "channel_shuffle", what: "Reshape, Transpose, Reshape to ChannelShuffle", apply: channel_shuffle::recognise },
    Pass { name: "activations", what: "recognises activations in their spelled-out forms", apply: activations::recognise },
    Pass { name: "layout", what: "moves Transposes until they cancel", apply: layout::propagate },
    Pass { name: "layer_norm", what: "recognises layer normalization in its spelled-out forms", apply: layer_norm::recognise },
    Pass { name: "pads", what: "merges Pad into the window behind it", apply: pads::merge },
    Pass { name: "taps", what: "cuts off taps of a convolution that only see padding", apply: taps::trim },
    Pass { name: "pools", what: "turns a pool of the whole image into ReduceMean", apply: pools::globalise },
    Pass { name: "batch_norm", what: "folds scale and shift of channels into weights and bias", apply: batch_norm::fold },
    Pass {
        name: "lines",
        what: "turns scale and shift that have no weights beside them into a depthwise convolution",
        apply: lines::gather,
    },
    Pass { name: "reshapes", what: "moves activations to the products that they belong to", apply: reshapes::pass_by },
    Pass { name: "common", what: "merges equal constants and equal nodes", apply: common::merge },
    Pass { name: "dead_code", what: "drops what no output needs", apply: dead_code::remove },
];

/// How [`simplify_with`] goes about it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Names of passes to leave out.
    pub skip: Vec<String>,
}

/// Why a network could not be simplified.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SimplifyError {
    /// The network that came in.
    #[error("the network is not valid before simplification: {0}")]
    Input(#[source] GraphError),
    /// The network that a pass made.
    #[error("pass '{pass}' failed: {source}; skip this pass and report the model")]
    Pass {
        /// Name of the pass.
        pass: &'static str,
        /// What is wrong with its result.
        #[source]
        source: GraphError,
    },
    /// A name in [`Options::skip`].
    #[error("there is no pass '{name}' to skip; the passes are {known}")]
    UnknownPass {
        /// The name that was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
}

/// Rounds after which [`simplify`] stops although the graph still changes.
const ROUNDS: usize = 12;

/// Simplifies a network by every pass.
///
/// # Errors
/// [`SimplifyError`] for an invalid network, or a pass that failed.
pub fn simplify(network: Network) -> Result<Network, SimplifyError> {
    simplify_with(network, &Options::default(), &mut |_, _| {})
}

/// As [`simplify`], without the passes that `options` leave out. `observe` sees the name of each pass that changed the
/// graph, and the network that it left.
///
/// # Errors
/// [`SimplifyError`] for an invalid network, an unknown pass in `options`, or a pass that failed.
pub fn simplify_with(
    network: Network,
    options: &Options,
    observe: &mut dyn FnMut(&'static str, &Network),
) -> Result<Network, SimplifyError> {
    if let Some(name) = options.skip.iter().find(|name| PASSES.iter().all(|p| p.name != name.as_str())) {
        let known: Vec<&str> = PASSES.iter().map(|p| p.name).collect();
        return Err(SimplifyError::UnknownPass { name: name.clone(), known: known.join(", ") });
    }
    check(&network.graph).map_err(SimplifyError::Input)?;
    let mut network = network;
    // Every pass drops unused values, so that "nothing changed" can be seen by comparing graphs.
    network.compact();
    for _ in 0..ROUNDS {
        let mut changed = false;
        for pass in PASSES.iter().filter(|p| !options.skip.iter().any(|s| s == p.name)) {
            let before = network.graph.clone();
            network = pass.apply(network).map_err(|source| SimplifyError::Pass { pass: pass.name, source })?;
            if network.graph != before {
                changed = true;
                observe(pass.name, &network);
            }
        }
        if !changed {
            break;
        }
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use quaver_core::graph::op::{BinaryFn, Conv, PadMode, Pool, PoolFn, UnaryFn, Window};
    use quaver_core::graph::{Dim, Op};
    use quaver_core::tensor::DType;

    use super::testing::{assert_same, ramp};
    use super::*;

    fn skip(pass: &str) -> Options {
        Options { skip: vec![pass.to_owned()] }
    }

    /// Pad, convolution, BatchNorm, hard-swish by hand, global pool, flatten, MatMul and bias, as exporters write them.
    fn classifier() -> Network {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH, 3.into(), 6.into(), 6.into()]);
        let w = net.constant("w", &[3, 3, 3, 8], &ramp(216));
        let pad = Op::Pad { before: vec![0, 0, 1, 1], after: vec![0, 0, 1, 1], mode: PadMode::Constant(0.0) };
        let v = net.push(pad, &[x], "", "").expect("valid");
        let v = net.push(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[v], "", "").expect("valid");
        let conv = Op::Conv(Conv { window: Window { kernel: [3, 3], ..Window::unit() }, groups: 1 });
        let v = net.push(conv, &[v, w], "conv", "").expect("valid");
        let v = net.push(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[v], "", "t1").expect("valid");
        let binary = |net: &mut Network, function, a, (shape, data): (&[usize], &[f32]), name: &str| {
            let c = net.constant("", shape, data);
            net.push(Op::Binary { function }, &[a, c], "", name).expect("valid")
        };
        let v = binary(&mut net, BinaryFn::Mul, v, (&[1, 8, 1, 1], &ramp(8)), "");
        let v = binary(&mut net, BinaryFn::Add, v, (&[8, 1, 1], &ramp(8)), "t2");
        let s = binary(&mut net, BinaryFn::Add, v, (&[], &[3.0]), "");
        let s = net.push(Op::Unary { function: UnaryFn::Clip { lo: 0.0, hi: 6.0 } }, &[s], "", "").expect("valid");
        let s = net.push(Op::Binary { function: BinaryFn::Mul }, &[v, s], "", "").expect("valid");
        let v = binary(&mut net, BinaryFn::Div, s, (&[1], &[6.0]), "t3");
        let v = net.push(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[v], "", "").expect("valid");
        let window = Window { kernel: [6, 6], ..Window::unit() };
        let pool = Pool { function: PoolFn::Average, window, ceil_mode: false, count_include_pad: false };
        let v = net.push(Op::Pool(pool), &[v], "", "").expect("valid");
        let v = net.push(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[v], "", "t4").expect("valid");
        let v = net.push(Op::Reshape { shape: vec![Dim::BATCH, 8.into()] }, &[v], "", "t5").expect("valid");
        let fc = net.constant("fc", &[4, 8], &ramp(32));
        let fc = net.push(Op::Transpose { perm: vec![1, 0] }, &[fc], "", "").expect("valid");
        let v = net.push(Op::MatMul, &[v, fc], "", "").expect("valid");
        let y = binary(&mut net, BinaryFn::Add, v, (&[4], &ramp(4)), "y");
        net.output(y);
        net
    }

    #[test]
    fn a_classifier_comes_down_to_its_layers() {
        let net = classifier();
        let mut seen = Vec::new();
        let short = simplify_with(net.clone(), &Options::default(), &mut |pass, _| seen.push(pass)).expect("valid");
        let ops: Vec<&str> = short.graph.nodes.iter().map(|n| n.op.name()).collect();
        assert_eq!(ops, ["Transpose", "Conv", "HardSwish", "ReduceMean", "Reshape", "Gemm"]);
        for name in ["t2", "t3", "t4", "t5", "y"] {
            assert!(short.graph.value_named(name).is_some(), "{name}");
        }
        for pass in ["constants", "activations", "layout", "pads", "pools", "batch_norm"] {
            assert!(seen.contains(&pass), "{pass}");
        }
        assert_same(&net, &short);
        let again = simplify(short.clone()).expect("valid");
        assert_eq!(again.graph, short.graph, "nothing is left to do");
    }

    #[test]
    fn each_pass_alone_keeps_the_result() {
        let net = classifier();
        for pass in PASSES {
            assert_same(&net, &pass.apply(net.clone()).expect(pass.name));
            let others = simplify_with(net.clone(), &skip(pass.name), &mut |_, _| {}).expect(pass.name);
            assert_same(&net, &others);
        }
    }

    #[test]
    fn an_unknown_pass_is_named() {
        let error = simplify_with(Network::new("n"), &skip("layuot"), &mut |_, _| {}).expect_err("no such pass");
        assert!(error.to_string().contains("'layuot'") && error.to_string().contains("batch_norm"), "{error}");
    }

    #[test]
    fn an_invalid_network_is_refused() {
        let mut net = Network::new("n");
        let x = net.input("x", DType::F32, vec![Dim::BATCH]);
        net.push(Op::Unary { function: UnaryFn::Relu }, &[x], "relu", "y").expect("valid");
        net.graph.nodes[0].outputs.clear();
        assert!(matches!(simplify(net), Err(SimplifyError::Input(_))));
    }

    #[test]
    fn every_name_is_there_once() {
        for (i, pass) in PASSES.iter().enumerate() {
            assert!(PASSES[..i].iter().all(|p| p.name != pass.name), "{}", pass.name);
        }
    }
}
