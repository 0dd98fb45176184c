//! What can't be captured, and names.

use burn::nn::{Linear, LinearConfig};
use burn::tensor::module::max_pool2d_with_indices;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Distribution, IndexingUpdateOp, Int, Tensor, s};
use quaver_convert::burn::{Batch, BurnError, CaptureOptions, capture};
use quaver_convert::import::ImportError;
use quaver_core::graph::Dim;

use super::{Data, float, numbers};

fn linear() -> Linear {
    LinearConfig::new(6, 3).init(&Device::flex())
}

fn example() -> Tensor<2> {
    Tensor::zeros([1, 6], &Device::flex())
}

fn fixed() -> CaptureOptions {
    CaptureOptions { batch: Batch::Fixed, ..CaptureOptions::default() }
}

#[test]
fn operations_without_a_counterpart_are_all_named() {
    let forward = |net: &Linear, x: Tensor<2>| {
        let noise = Tensor::random(x.dims(), Distribution::Default, &x.device());
        net.forward(x.cumprod(1) + noise).tanh()
    };
    let error = capture(&linear(), example(), forward, &CaptureOptions::default()).expect_err("it is random");
    let BurnError::Import(ImportError::Unsupported(all)) = &error else { panic!("{error}") };
    let ops: Vec<&str> = all.iter().map(|one| one.op.as_str()).collect();
    assert_eq!(ops, ["Random", "CumProd"], "what follows from them is not to blame: {error}");
    assert!(error.to_string().contains("make them an input"), "{error}");
}

#[test]
fn a_result_that_is_not_there_is_named() {
    let forward = |_: &Linear, x: Tensor<4>| {
        let (values, places) = max_pool2d_with_indices(x, MaxPoolOptions::new([2, 2]));
        values + places.float()
    };
    let error = capture(&linear(), Tensor::<4>::zeros([1, 1, 4, 4], &Device::flex()), forward, &fixed()).expect_err("no indices");
    assert!(error.to_string().contains("the indices of a pool"), "{error}");
}

#[test]
fn what_no_formula_says_is_refused() {
    let device = Device::flex();
    let forward = |net: &Linear, x: Tensor<2>| {
        let n = x.dims()[0] as i64;
        let first = Tensor::<1, Int>::arange(0..n, &x.device()).float().reshape([n as usize, 1]);
        net.forward(x + first)
    };
    let error = capture(&linear(), example(), forward, &CaptureOptions::default()).expect_err("samples differ");
    assert!(matches!(&error, BurnError::NoFormula { .. }) && error.to_string().contains("Batch::Fixed"), "{error}");
    capture(&linear(), example(), forward, &fixed()).expect("a fixed batch is fine");

    let shares = |net: &Linear, x: Tensor<2>| net.forward(x.clone() / x.dims()[0] as f32);
    let error = capture(&linear(), example(), shares, &CaptureOptions::default()).expect_err("a number follows from the batch size");
    assert!(error.to_string().contains("'divscalar/scalar'") && error.to_string().contains("depend on the batch size"), "{error}");

    let rounds = |net: &Linear, x: Tensor<2>| (0..x.dims()[0]).fold(net.forward(x), |y, _| y * 2.0);
    let error = capture(&linear(), example(), rounds, &CaptureOptions::default()).expect_err("operations differ");
    assert!(matches!(error, BurnError::NoFormula { .. }), "{error}");

    let only = |net: &Linear, x: Tensor<2>| net.forward(x.reshape([1, 6]));
    let error = capture(&linear(), Tensor::zeros([1, 6], &device), only, &CaptureOptions::default()).expect_err("it takes one sample");
    assert!(matches!(error, BurnError::Batch { batch: 2, .. }), "{error}");
}

#[test]
fn what_needs_the_batch_size_says_so() {
    let forward = |_: &Linear, x: Tensor<2>| {
        let rows = Tensor::<2, Int>::from_data([[3], [0]], &x.device());
        let values = x.clone().slice(s![.., 0..2]).swap_dims(0, 1) * 2.0;
        x.swap_dims(0, 1).scatter_nd(rows, values, IndexingUpdateOp::Add).swap_dims(0, 1)
    };
    let error = capture(&linear(), example(), forward, &CaptureOptions::default()).expect_err("the batch size is open");
    assert!(matches!(error, BurnError::Open(_)) && error.to_string().contains("Batch::Fixed"), "{error}");
    let network = capture(&linear(), example(), forward, &fixed()).expect("it is known");
    let x = Tensor::<2>::from_data([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], &Device::flex());
    assert_eq!(float(&network, &x.host()), numbers(forward(&linear(), x).to_data()));
}

#[test]
fn outputs_come_from_the_captured_device() {
    let elsewhere = |_: &Linear, _: Tensor<2>| example();
    let error = capture(&linear(), example(), elsewhere, &CaptureOptions::default()).expect_err("nothing is captured");
    assert!(matches!(error, BurnError::Ports(_)) && error.to_string().contains("output 0"), "{error}");
    let twice = |net: &Linear, x: Tensor<2>| {
        let y = net.forward(x);
        [y.clone(), y]
    };
    let error = capture(&linear(), example(), twice, &CaptureOptions::default()).expect_err("they are one");
    assert!(error.to_string().contains("output 1 is the same"), "{error}");
}

#[test]
fn names_and_batches_are_as_given() {
    let device = Device::flex();
    let inputs = (Tensor::<2>::zeros([4, 6], &device), Tensor::<1>::zeros([3], &device));
    let forward = |net: &Linear, (x, offset): (Tensor<2>, Tensor<1>)| {
        let y = net.forward(x);
        (y.clone(), y + offset.unsqueeze())
    };
    let error = capture(&linear(), inputs.clone(), forward, &CaptureOptions::default()).expect_err("4 is not 3");
    assert!(error.to_string().contains("'x0'") && error.to_string().contains("OpenOf"), "{error}");

    let names = |all: &[&str]| all.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let mut options = CaptureOptions {
        name: "offset".to_owned(),
        inputs: names(&["row", "offset"]),
        outputs: names(&["plain", "moved"]),
        batch: Batch::OpenOf(names(&["row"])),
    };
    let network = capture(&linear(), inputs.clone(), forward, &options).expect("captures");
    let ports = |ids: &[quaver_core::graph::ValueId]| -> Vec<(String, Vec<Dim>)> {
        ids.iter().map(|&id| (network.graph.value(id).name.clone(), network.graph.value(id).shape.clone())).collect()
    };
    let (row, offset) = (("row".to_owned(), vec![Dim::BATCH, 6.into()]), ("offset".to_owned(), vec![3.into()]));
    assert_eq!(ports(&network.graph.inputs), [row, offset]);
    let rows = vec![Dim::BATCH, 3.into()];
    assert_eq!(ports(&network.graph.outputs), [("plain".to_owned(), rows.clone()), ("moved".to_owned(), rows)]);
    assert_eq!(network.graph.name, "offset");

    options.outputs.pop();
    let error = capture(&linear(), inputs.clone(), forward, &options).expect_err("a name is missing");
    assert!(error.to_string().contains("2 outputs, but 1 names"), "{error}");
    options.outputs = names(&["row", "moved"]);
    let error = capture(&linear(), inputs.clone(), forward, &options).expect_err("a name is there twice");
    assert!(error.to_string().contains("'row' is given twice"), "{error}");
    options.batch = Batch::OpenOf(names(&["image"]));
    let error = capture(&linear(), inputs, forward, &options).expect_err("no such input");
    assert!(error.to_string().contains("no input 'image'"), "{error}");
}
