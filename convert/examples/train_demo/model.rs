//! The demo network: residual, depthwise, small enough to train on a CPU in minutes.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

/// A convolution without bias, and its normalisation.
#[derive(Module, Debug)]
pub struct ConvBn {
    /// The convolution.
    pub conv: Conv2d,
    /// The normalisation.
    pub norm: BatchNorm,
}

impl ConvBn {
    fn new(from: usize, to: usize, kernel: usize, stride: usize, groups: usize, device: &Device) -> Self {
        let pad = kernel / 2;
        let conv = Conv2dConfig::new([from, to], [kernel, kernel])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
            .with_groups(groups)
            .with_bias(false)
            .init(device);
        Self { conv, norm: BatchNormConfig::new(to).init(device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

/// relu(x + conv(relu(conv(x)))), both 3×3.
#[derive(Module, Debug)]
pub struct Residual {
    /// First convolution.
    pub first: ConvBn,
    /// Second convolution.
    pub second: ConvBn,
}

/// 1×1 expansion, depthwise 3×3, 1×1 projection (MobileNetV2).
#[derive(Module, Debug)]
pub struct Inverted {
    /// 1×1, more channels.
    pub expand: ConvBn,
    /// 3×3, one filter a channel.
    pub depthwise: ConvBn,
    /// 1×1, fewer channels.
    pub project: ConvBn,
    /// Whether the input is added to the output.
    pub skip: bool,
}

impl Inverted {
    fn new(from: usize, wide: usize, to: usize, stride: usize, device: &Device) -> Self {
        Self {
            expand: ConvBn::new(from, wide, 1, 1, 1, device),
            depthwise: ConvBn::new(wide, wide, 3, stride, wide, device),
            project: ConvBn::new(wide, to, 1, 1, 1, device),
            skip: from == to && stride == 1,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = relu(self.depthwise.forward(relu(self.expand.forward(x.clone()))));
        let y = self.project.forward(y);
        if self.skip { x + y } else { y }
    }
}

impl Residual {
    fn new(channels: usize, device: &Device) -> Self {
        let conv = || ConvBn::new(channels, channels, 3, 1, 1, device);
        Self { first: conv(), second: conv() }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        relu(self.second.forward(relu(self.first.forward(x.clone()))) + x)
    }
}

/// The whole network: `[N,1,28,28]` in 0..1 to `[N,10]` logits.
#[derive(Module, Debug)]
pub struct Network {
    /// 3×3 stride 2, 24 channels at 14×14.
    pub stem: ConvBn,
    /// Plain residual block.
    pub residual1: Residual,
    /// Inverted residual block.
    pub inverted1: Inverted,
    /// Inverted block of stride 2, 48 channels at 7×7.
    pub inverted2: Inverted,
    /// Plain residual block.
    pub residual2: Residual,
    /// Inverted residual block.
    pub inverted3: Inverted,
    /// 1×1, 96 channels.
    pub head: ConvBn,
    /// The classifier.
    pub classifier: Linear,
}

impl Network {
    /// With random weights.
    pub fn new(device: &Device) -> Self {
        Self {
            stem: ConvBn::new(1, 24, 3, 2, 1, device),
            residual1: Residual::new(24, device),
            inverted1: Inverted::new(24, 72, 24, 1, device),
            inverted2: Inverted::new(24, 96, 48, 2, device),
            residual2: Residual::new(48, device),
            inverted3: Inverted::new(48, 144, 48, 1, device),
            head: ConvBn::new(48, 96, 1, 1, 1, device),
            classifier: LinearConfig::new(96, 10).init(device),
        }
    }

    /// Logits of a batch.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.stem.forward(x));
        let x = self.inverted1.forward(self.residual1.forward(x));
        let x = self.residual2.forward(self.inverted2.forward(x));
        let x = relu(self.head.forward(self.inverted3.forward(x)));
        let [n, c, h, w] = x.dims();
        let x = x.reshape([n, c, h * w]).mean_dim(2).reshape([n, c]);
        self.classifier.forward(x)
    }
}
