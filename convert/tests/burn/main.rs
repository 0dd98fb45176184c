//! Modules of burn, captured: the float graph computes what burn computes, at batch sizes that were not captured; the quantized one
//! nearly so; what can't be captured says why.

mod errors;
mod networks;
mod operations;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use quaver_convert::agreement::Agreement;
use quaver_convert::burn::{CaptureOptions, Tensors, capture};
use quaver_convert::calibrate::HostTensor;
use quaver_convert::calibrate::burn_exec::FloatRunner;
use quaver_convert::calibrate::data::Samples;
use quaver_convert::quantize::qconfig::{QConfigMapping, Scheme};
use quaver_convert::{Converted, convert, simplify::simplify};
use quaver_core::exec::Executor;
use quaver_core::graph::Network;
use quaver_core::plan::Plan;
use quaver_core::reference::Reference;
use quaver_core::tensor::{DType, TensorView};

/// Batch sizes of which none is captured but the example's.
const BATCHES: [usize; 3] = [1, 4, 7];

/// Inputs that a test can make at any batch size.
trait Data: Tensors {
    fn at(batch: usize, shape: &[usize]) -> Self;
    fn host(&self) -> Vec<HostTensor>;
}

impl<const D: usize> Data for Tensor<D> {
    fn at(batch: usize, shape: &[usize]) -> Self {
        let dims: [usize; D] = std::iter::once(batch).chain(shape.iter().copied()).collect::<Vec<_>>().try_into().expect("rank");
        // Three of them are near enough to normal.
        let number = || (0..3).map(|_| 2.0 * fastrand::f32() - 1.0).sum::<f32>();
        Tensor::from_data(TensorData::new((0..dims.iter().product()).map(|_| number()).collect(), dims), &Device::flex())
    }

    fn host(&self) -> Vec<HostTensor> {
        vec![HostTensor { shape: self.dims().to_vec(), data: numbers(self.to_data()) }]
    }
}

impl<const D: usize> Data for Tensor<D, Int> {
    fn at(batch: usize, shape: &[usize]) -> Self {
        let dims: [usize; D] = std::iter::once(batch).chain(shape.iter().copied()).collect::<Vec<_>>().try_into().expect("rank");
        Tensor::from_data(TensorData::new((0..dims.iter().product()).map(|_| fastrand::i64(0..30)).collect(), dims), &Device::flex())
    }

    fn host(&self) -> Vec<HostTensor> {
        vec![HostTensor { shape: self.dims().to_vec(), data: numbers(self.to_data()) }]
    }
}

/// Draws weights anew: burn's generator is one for all threads, so that tests beside each other would change its numbers.
struct Drawn;

impl ModuleMapper for Drawn {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let old = numbers(tensor.to_data());
            // What normalises begins with ones and zeros.
            if old.iter().all(|x| *x == old[0]) {
                return tensor;
            }
            let dims = tensor.dims();
            let bound = (3.0 / dims[0].max(old.len() / dims[0]) as f32).sqrt();
            let new = old.iter().map(|_| bound * (2.0 * fastrand::f32() - 1.0)).collect();
            Tensor::from_data(TensorData::new(new, dims), &tensor.device())
        })
    }
}

fn numbers(data: TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

/// The float graph of a module with one output, proven to compute what burn computes.
#[track_caller]
fn captured<M: Module, I: Data, const D: usize>(module: &M, shape: &[usize], forward: impl Fn(&M, I) -> Tensor<D>) -> Network {
    fastrand::seed(11);
    let module = &module.clone().map(&mut Drawn);
    let network = capture(module, I::at(1, shape), &forward, &CaptureOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let simple = simplify(network.clone()).expect("simplifies");
    for batch in BATCHES {
        let input = I::at(batch, shape);
        let host = input.host();
        let expected = numbers(forward(module, input).to_data());
        for (stage, network) in [("captured", &network), ("simplified", &simple)] {
            let got = float(network, &host);
            let largest = expected.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
            assert_eq!(got.len(), expected.len(), "{stage}, batch {batch}");
            for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
                assert!((g - e).abs() <= 2e-5 * largest, "{stage}, batch {batch}: element {i} is {g} instead of {e}");
            }
        }
    }
    simple
}

fn float(network: &Network, inputs: &[HostTensor]) -> Vec<f32> {
    let runner = FloatRunner::new(network).expect("a float graph");
    runner.run(inputs, &mut |_, _, _| {}).expect("runs").swap_remove(0).data
}

/// Quantizes with as many samples of the module's inputs, and gives the SQNR on others in dB.
fn quantized<I: Data>(float_network: &Network, shape: &[usize]) -> (Converted, f64) {
    fastrand::seed(12);
    let samples = Samples::given((0..24).map(|_| I::at(1, shape).host()).collect());
    let converted = convert(float_network, &samples, &QConfigMapping::default(), &mut |_| {}).expect("converts");
    let input = I::at(16, shape).host();
    let plan = Plan::new(&converted.network.graph, 16, 1 << 30).expect("a plan");
    let mut executor = Executor::new(plan, 0).expect("memory");
    let whole: Vec<Vec<i64>> = input.iter().map(HostTensor::whole).collect();
    let views: Vec<TensorView<'_>> = converted
        .network
        .graph
        .inputs
        .iter()
        .zip(&input)
        .zip(&whole)
        .map(|((&id, real), whole)| match converted.network.graph.value(id).dtype {
            DType::I64 => TensorView::from_slice(&real.shape, whole).expect("a view"),
            _ => TensorView::from_slice(&real.shape, &real.data).expect("a view"),
        })
        .collect();
    executor.run(&converted.network.graph, &converted.network, &Reference, &views, None).expect("runs");
    let output = executor.output(&converted.network.graph, 0).expect("an output");
    let mut agreement = Agreement::default();
    agreement.add(&float(float_network, &input), output.as_slice::<f32>().expect("real numbers"));
    (converted, agreement.figures().sqnr_db)
}

/// Nodes that the converter made integers of, by their operation.
fn integers(converted: &Converted, op: &str) -> usize {
    converted.decisions.iter().filter(|d| d.op == op && d.scheme == Scheme::Static).count()
}
