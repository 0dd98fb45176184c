//! The network: a residual block and a depthwise one, small enough to train in seconds.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::AdaptiveAvgPool2dConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::shapes::CLASSES;

/// A convolution and its normalisation.
#[derive(Module, Debug)]
struct Layer {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Layer {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, groups: usize, device: &Device) -> Self {
        let pad = kernel / 2;
        let config = Conv2dConfig::new(channels, [kernel; 2]).with_stride([stride; 2]).with_groups(groups).with_bias(false);
        let conv = config.with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad)).init(device);
        Self { conv, norm: BatchNormConfig::new(channels[1]).init(device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

/// `[N,1,20,20]` to `[N,6]` logits.
#[derive(Module, Debug)]
pub struct Network {
    stem: Layer,
    residual: [Layer; 2],
    depthwise: Layer,
    expand: Layer,
    classes: Linear,
}

impl Network {
    /// With random weights.
    pub fn new(device: &Device) -> Self {
        Self {
            stem: Layer::new([1, 16], 3, 2, 1, device),
            residual: [Layer::new([16, 16], 3, 1, 1, device), Layer::new([16, 16], 3, 1, 1, device)],
            depthwise: Layer::new([16, 16], 3, 2, 16, device),
            expand: Layer::new([16, 32], 1, 1, 1, device),
            classes: LinearConfig::new(32, CLASSES).init(device),
        }
    }

    /// Logits of a batch.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.stem.forward(x));
        let x = relu(self.residual[1].forward(relu(self.residual[0].forward(x.clone()))) + x);
        let x = relu(self.expand.forward(relu(self.depthwise.forward(x))));
        self.classes.forward(AdaptiveAvgPool2dConfig::new([1, 1]).init().forward(x).flatten(1, 3))
    }
}
