//! Runs on threads of the host, which come late or never. The pool is the process's, so this is a program of its own.

use std::collections::BTreeMap;
use std::thread;

use quaver_core::graph::op::BinaryFn;
use quaver_core::graph::{Dim, Network, Op};
use quaver_core::tensor::{AlignedBytes, DType};
use quaver_wasm::session::Session;
use quaver_wasm::threads::{expect, pool, serve};

#[test]
fn results_are_the_same_whoever_comes() {
    assert!(expect(3));
    assert!(!expect(2), "it is decided once");
    assert_eq!(pool().threads(), 3);

    let rows = 4000;
    let mut net = Network::new("add");
    let x = net.input("x", DType::F32, vec![Dim::BATCH, 2.into()]);
    let c = net.constant("c", &[2], &[10.0f32, 20.0]);
    let y = net.push(Op::Binary { function: BinaryFn::Add }, &[x, c], "add", "y").expect("valid");
    net.output(y);
    let file = quaver_core::format::write(&net, &BTreeMap::new()).expect("valid");
    let mut session = Session::open(AlignedBytes::copy_of(&file).expect("memory")).expect("valid");
    let values: Vec<f32> = (0..2 * rows).map(|i| i as f32).collect();
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    session.set_input(0, &bytes, vec![rows, 2]).expect("fits");
    let expected: Vec<f32> = values.iter().enumerate().map(|(i, x)| x + [10.0, 20.0][i % 2]).collect();

    for come in [false, true] {
        if come {
            // One of the two.
            thread::spawn(|| serve(1));
        }
        for _ in 0..1000 {
            session.run().expect("runs");
            assert_eq!(session.output(0).expect("ran").as_slice::<f32>(), Some(expected.as_slice()));
        }
    }
}
