//! Writes models of one matrix product each, `product_MxNxK.qvr`, into a folder: what the matrix kernel is measured with.
//!
//!     cargo run -p quaver-wasm --example products -- FOLDER

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use quaver_core::format::weights::PackedShape;
use quaver_core::graph::op::{Epilogue, QGemm};
use quaver_core::graph::{Network, Op};
use quaver_core::quant::Affine;
use quaver_core::tensor::DType;

/// Rows, channels and K: those of layers of networks.
const PRODUCTS: [[usize; 3]; 6] = [[784, 128, 1152], [784, 256, 1152], [196, 1024, 256], [3136, 64, 64], [3136, 24, 144], [49, 512, 4608]];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: products FOLDER")?;
    for [m, n, k] in PRODUCTS {
        let path = Path::new(&folder).join(format!("product_{m}x{n}x{k}.qvr"));
        std::fs::write(path, product(m, n, k)?)?;
    }
    Ok(())
}

fn product(m: usize, n: usize, k: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let affine = Affine { scale: 0.02, zero_point: 3, q_max: 255 };
    let shape = PackedShape::grouped([1, 1], k, n, 1).ok_or("too large")?;
    let mut net = Network::new("product");
    let x = net.input("x", DType::U8, vec![m.into(), k.into()]);
    net.graph.values[x.index()].quant = Some(affine);
    let mut weights = vec![0i8; shape.len()];
    for channel in 0..n {
        for input in 0..k {
            weights[shape.index(0, channel, 0, input)] = ((channel * 31 + input * 17) % 255) as u8 as i8;
        }
    }
    let padded = shape.padded_channels();
    let weights = net.constant("w", &shape.weights(), &weights);
    let bias = net.constant("b", &[padded], &vec![100i32; padded]);
    let multiplier = net.constant("m", &[padded], &vec![1e-4f32; padded]);
    let epilogue = Some(Epilogue { zero_point: 3, lo: 3, hi: 255, residual: None, hard_swish: false, table: false });
    let op = Op::QGemm(QGemm { channels: n, epilogue });
    let y = net.push_typed(op, &[x, weights, bias, multiplier], "product", "y", DType::U8, Some(affine))?;
    net.output(y);
    Ok(quaver_core::format::write(&net, &BTreeMap::new())?)
}
