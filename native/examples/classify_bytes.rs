//! Runs a network on raw numbers: `cargo run --release -p quaver --example classify_bytes -- net.qvr input.f32`.
//!
//! `input.f32` holds the first input's elements as little-endian f32, one sample. Prints the five largest outputs.

use std::error::Error;
use std::{env, fs};

use quaver::{Model, Session, SessionOptions, Tensor};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [file, data] = &arguments[..] else {
        return Err("usage: classify_bytes net.qvr input.f32".into());
    };
    let model = Model::open(file)?;
    let input = model.inputs().first().ok_or("the model takes no input")?;
    let shape: Option<Vec<usize>> = input.shape.iter().map(|d| d.at(1)).collect();
    let numbers: Vec<f32> = fs::read(data)?.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let tensor = Tensor::from_vec(shape.ok_or("the input is too large")?, numbers)?;

    let mut session = Session::new(&model, SessionOptions::default())?;
    let outputs = session.run(&[(&input.name, tensor)])?;
    let scores = outputs.first().and_then(|t| t.as_slice::<f32>()).ok_or("the first output is not f32")?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    for class in order.into_iter().take(5) {
        println!("{class:5}  {:.6}", scores[class]);
    }
    Ok(())
}
