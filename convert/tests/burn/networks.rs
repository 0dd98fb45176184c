//! Whole networks, as people write them.

use burn::module::Module;
use burn::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig, generate_autoregressive_mask};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::gru::{Gru, GruConfig};
use burn::nn::pool::{AdaptiveAvgPool2dConfig, MaxPool2dConfig};
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::nn::{
    BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Embedding, EmbeddingConfig, Gelu, LayerNorm, LayerNormConfig, Linear, LinearConfig,
    Lstm, LstmConfig, PaddingConfig2d,
};
use burn::tensor::activation::{hard_sigmoid, relu, silu};
use burn::tensor::{Bool, Device, Distribution, Int, Tensor, s};
use quaver_convert::burn::{CaptureOptions, capture};
use quaver_convert::calibrate::HostTensor;
use quaver_core::graph::Op;

use super::{captured, float, integers, numbers, quantized};

#[derive(Module, Debug)]
struct ConvBn {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvBn {
    fn new([from, to]: [usize; 2], kernel: usize, stride: usize, groups: usize, device: &Device) -> Self {
        let pad = kernel / 2;
        let config = Conv2dConfig::new([from, to], [kernel; 2]).with_stride([stride; 2]).with_groups(groups).with_bias(false);
        let conv = config.with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad)).init(device);
        Self { conv, norm: BatchNormConfig::new(to).init(device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

#[derive(Module, Debug)]
struct Residual {
    stem: ConvBn,
    blocks: Vec<[ConvBn; 2]>,
    dropout: Dropout,
    classes: Linear,
}

impl Residual {
    fn new(device: &Device) -> Self {
        let block = || [ConvBn::new([16, 16], 3, 1, 1, device), ConvBn::new([16, 16], 3, 1, 1, device)];
        Self {
            stem: ConvBn::new([3, 16], 3, 1, 1, device),
            blocks: vec![block(), block()],
            dropout: DropoutConfig::new(0.5).init(),
            classes: LinearConfig::new(16, 10).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init().forward(relu(self.stem.forward(x)));
        for [first, second] in &self.blocks {
            x = relu(second.forward(relu(first.forward(x.clone()))) + x);
        }
        let [n, c, h, w] = x.dims();
        self.classes.forward(self.dropout.forward(x.reshape([n, c, h * w]).mean_dim(2).reshape([n, c])))
    }
}

#[test]
fn residual_network_with_batch_norm() {
    let net = Residual::new(&Device::flex());
    let network = captured(&net, &[3, 16, 16], Residual::forward);
    let names: Vec<&str> = network.graph.nodes.iter().map(|n| n.name.as_str()).collect();
    assert!(["stem.conv", "blocks.1.0.conv", "classes"].iter().all(|name| names.contains(name)), "{names:?}");
    let (converted, sqnr) = quantized::<Tensor<4>>(&network, &[3, 16, 16]);
    assert_eq!((integers(&converted, "Conv"), integers(&converted, "Gemm")), (5, 1));
    assert!(sqnr > 25.0, "{sqnr} dB");
}

#[test]
fn a_module_in_training_is_captured_as_it_would_be_used_and_left_as_it_is() {
    let device = Device::flex().autodiff();
    let net = Residual::new(&device);
    // Its statistics and its dropout are those of training until then.
    net.forward(Tensor::random([4, 3, 16, 16], Distribution::Default, &device));
    let network = capture(&net, Tensor::zeros([1, 3, 16, 16], &device), Residual::forward, &CaptureOptions::default()).expect("captures");
    let x = Tensor::<4>::random([2, 3, 16, 16], Distribution::Default, &device);
    let expected = numbers(net.valid().forward(x.clone().without_autodiff()).to_data());
    let got = float(&network, &[HostTensor { shape: vec![2, 3, 16, 16], data: numbers(x.clone().to_data()) }]);
    assert!(got.iter().zip(&expected).all(|(g, e)| (g - e).abs() < 1e-4), "{got:?} instead of {expected:?}");
    // Backwards still works on the module's own device.
    let gradients = net.forward(x).sum().backward();
    assert!(net.classes.weight.grad(&gradients).is_some());
}

#[derive(Module, Debug)]
struct Depthwise {
    expand: ConvBn,
    depthwise: ConvBn,
    squeeze: [Conv2d; 2],
    project: ConvBn,
}

#[test]
fn depthwise_network_with_squeeze_and_excitation() {
    let device = Device::flex();
    let point = |channels| Conv2dConfig::new(channels, [1, 1]).init(&device);
    let net = Depthwise {
        expand: ConvBn::new([8, 32], 1, 1, 1, &device),
        depthwise: ConvBn::new([32, 32], 5, 2, 32, &device),
        squeeze: [point([32, 8]), point([8, 32])],
        project: ConvBn::new([32, 12], 1, 1, 1, &device),
    };
    let forward = |net: &Depthwise, x: Tensor<4>| {
        let x = silu(net.depthwise.forward(silu(net.expand.forward(x))));
        let means = AdaptiveAvgPool2dConfig::new([1, 1]).init().forward(x.clone());
        let gate = hard_sigmoid(net.squeeze[1].forward(relu(net.squeeze[0].forward(means))), 1.0 / 6.0, 0.5);
        net.project.forward(x * gate)
    };
    let network = captured(&net, &[8, 12, 12], forward);
    let (converted, sqnr) = quantized::<Tensor<4>>(&network, &[8, 12, 12]);
    assert_eq!(integers(&converted, "Conv"), 5);
    assert!(sqnr > 25.0, "{sqnr} dB");
}

#[test]
fn perceptron() {
    let device = Device::flex();
    let net: Vec<Linear> = [[20, 64], [64, 64], [64, 5]].map(|[from, to]| LinearConfig::new(from, to).init(&device)).into();
    let network = captured(&net, &[20], |net, x: Tensor<2>| net[2].forward(net[1].forward(net[0].forward(x).tanh()).tanh()));
    let (converted, sqnr) = quantized::<Tensor<2>>(&network, &[20]);
    assert_eq!(integers(&converted, "Gemm"), 3);
    assert!(sqnr > 30.0, "{sqnr} dB");
}

#[derive(Module, Debug)]
struct Transformer {
    tokens: Embedding,
    places: Embedding,
    before: LayerNorm,
    attention: MultiHeadAttention,
    between: LayerNorm,
    wide: Linear,
    narrow: Linear,
    gelu: Gelu,
}

impl Transformer {
    fn new(device: &Device) -> Self {
        Self {
            tokens: EmbeddingConfig::new(30, 32).init(device),
            places: EmbeddingConfig::new(12, 32).init(device),
            before: LayerNormConfig::new(32).init(device),
            attention: MultiHeadAttentionConfig::new(32, 4).init(device),
            between: LayerNormConfig::new(32).init(device),
            wide: LinearConfig::new(32, 64).init(device),
            narrow: LinearConfig::new(64, 32).init(device),
            gelu: Gelu::new(),
        }
    }

    fn forward(&self, tokens: Tensor<2, Int>, causal: bool) -> Tensor<3> {
        let ([n, length], device) = (tokens.dims(), tokens.device());
        let places = Tensor::arange(0..length as i64, &device).reshape([1, length]);
        let x = self.tokens.forward(tokens) + self.places.forward(places);
        let mut input = MhaInput::self_attn(self.before.forward(x.clone()));
        if causal {
            input = input.mask_attn(generate_autoregressive_mask(n, length, &device));
        }
        let x = x + self.attention.forward(input).context;
        x.clone() + self.narrow.forward(self.gelu.forward(self.wide.forward(self.between.forward(x))))
    }
}

#[test]
fn transformer_block() {
    let net = Transformer::new(&Device::flex());
    let network = captured(&net, &[9], |net: &Transformer, x: Tensor<2, Int>| net.forward(x, false));
    let (converted, sqnr) = quantized::<Tensor<2, Int>>(&network, &[9]);
    assert_eq!((integers(&converted, "Gemm"), integers(&converted, "MatMul")), (6, 2));
    assert!(sqnr > 30.0, "{sqnr} dB");
}

#[test]
fn transformer_block_that_sees_the_past_alone() {
    let net = Transformer::new(&Device::flex());
    let network = captured(&net, &[9], |net: &Transformer, x: Tensor<2, Int>| net.forward(x, true));
    let (converted, sqnr) = quantized::<Tensor<2, Int>>(&network, &[9]);
    assert_eq!(integers(&converted, "Gemm"), 6);
    assert!(sqnr > 30.0, "{sqnr} dB");
}

/// Two inputs, of which one is truth: real numbers in the graph.
#[test]
fn encoder_with_padding() {
    let device = Device::flex();
    let net = TransformerEncoderConfig::new(16, 32, 2, 2).with_norm_first(true).init(&device);
    let forward = |net: &TransformerEncoder, (x, padding): (Tensor<3>, Tensor<2, Bool>)| {
        net.forward(TransformerEncoderInput::new(x).mask_pad(padding))
    };
    let inputs = |n: usize| {
        let x = Tensor::<3>::random([n, 7, 16], Distribution::Normal(0.0, 1.0), &device);
        let lengths = Tensor::<2, Int>::from_data([[7], [3], [5]], &device).slice(s![0..n, ..]);
        (x, Tensor::<1, Int>::arange(0..7, &device).unsqueeze().repeat_dim(0, n).greater_equal(lengths.repeat_dim(1, 7)))
    };
    let network = capture(&net, inputs(1), forward, &CaptureOptions::default()).expect("captures");
    let (x, padding) = inputs(3);
    let host = [
        HostTensor { shape: vec![3, 7, 16], data: numbers(x.to_data()) },
        HostTensor { shape: vec![3, 7], data: numbers(padding.clone().float().to_data()) },
    ];
    let (got, expected) = (float(&network, &host), numbers(forward(&net, (x, padding)).to_data()));
    assert!(got.iter().zip(&expected).all(|(g, e)| (g - e).abs() < 1e-4), "{got:?} instead of {expected:?}");
}

#[test]
fn lstm() {
    let net: Lstm = LstmConfig::new(6, 12, true).init(&Device::flex());
    let network = captured(&net, &[5, 6], |net, x: Tensor<3>| net.forward(x, None).0);
    let joined = network.graph.nodes.iter().filter(|node| matches!(node.op, Op::Concat { .. })).count();
    assert_eq!(joined, 1, "steps are joined once, not one after the other");
    let (_, sqnr) = quantized::<Tensor<3>>(&network, &[5, 6]);
    assert!(sqnr > 25.0, "{sqnr} dB");
}

#[test]
fn gru() {
    let net: Gru = GruConfig::new(6, 12, true).init(&Device::flex());
    let network = captured(&net, &[5, 6], |net, x: Tensor<3>| net.forward(x, None));
    let (_, sqnr) = quantized::<Tensor<3>>(&network, &[5, 6]);
    assert!(sqnr > 25.0, "{sqnr} dB");
}
