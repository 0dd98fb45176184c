//! Single operations, beside burn's results.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv1dConfig, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig, ConvTranspose3dConfig};
use burn::nn::interpolate::{Interpolate2dConfig, InterpolateMode};
use burn::nn::pool::{
    AdaptiveAvgPool1dConfig, AdaptiveAvgPool2dConfig, AvgPool1dConfig, AvgPool2dConfig, MaxPool1dConfig, MaxPool2dConfig,
};
use burn::nn::{GroupNormConfig, InstanceNormConfig, PReluConfig, PaddingConfig1d, PaddingConfig2d, PaddingConfig3d, RmsNormConfig};
use burn::tensor::activation::{
    gelu_approximate, hard_swish, leaky_relu, log_sigmoid, log_softmax, mish, quiet_softmax, sigmoid, softmax, softmin, softplus,
};
use burn::tensor::module::{adaptive_avg_pool3d, attention};
use burn::tensor::ops::{AttentionModuleOptions, GridSampleOptions, GridSamplePaddingMode, InterpolateMode as InterpolateMode2d, PadMode};
use burn::tensor::{Bool, Device, FloatDType, Int, Tensor, TensorData, s};

use quaver_convert::burn::capture;
use quaver_core::graph::Op;

use super::{Data, captured, float, numbers};

type Image = Tensor<4>;

/// A function without parameters.
#[track_caller]
fn same<const A: usize, const B: usize>(shape: &[usize], forward: impl Fn(Tensor<A>) -> Tensor<B>) {
    captured(&Vec::<burn::nn::Linear>::new(), shape, |_, x: Tensor<A>| forward(x));
}

#[test]
fn convolutions() {
    let device = Device::flex();
    let one = Conv1dConfig::new(4, 6, 3).with_stride(2).with_dilation(2).with_padding(PaddingConfig1d::Explicit(2, 1)).init(&device);
    captured(&one, &[4, 17], |net, x: Tensor<3>| net.forward(x));
    let padding = PaddingConfig2d::Explicit(1, 0, 2, 1);
    let two = Conv2dConfig::new([4, 6], [3, 2]).with_groups(2).with_padding(padding).init(&device);
    captured(&two, &[4, 9, 8], |net, x: Image| net.forward(x));
    let same = Conv2dConfig::new([3, 5], [3, 3]).with_padding(PaddingConfig2d::Same).init(&device);
    captured(&same, &[3, 7, 8], |net, x: Image| net.forward(x));
    let three = Conv3dConfig::new([2, 3], [3, 3, 3]).with_padding(PaddingConfig3d::Explicit(1, 1, 1)).init(&device);
    captured(&three, &[2, 5, 6, 4], |net, x: Tensor<5>| net.forward(x));
}

#[test]
fn transposed_convolutions() {
    let device = Device::flex();
    let one = ConvTranspose1dConfig::new([4, 3], 4).with_stride(2).with_padding(1).with_padding_out(1).init(&device);
    captured(&one, &[4, 7], |net, x: Tensor<3>| net.forward(x));
    let two = ConvTranspose2dConfig::new([4, 6], [3, 3]).with_stride([2, 2]).with_groups(2).with_padding([1, 1]).init(&device);
    captured(&two, &[4, 5, 6], |net, x: Image| net.forward(x));
    let three = ConvTranspose3dConfig::new([2, 3], [2, 2, 2]).with_stride([2, 2, 2]).init(&device);
    captured(&three, &[2, 3, 4, 3], |net, x: Tensor<5>| net.forward(x));
}

#[test]
fn pools() {
    same(&[3, 12], |x: Tensor<3>| AvgPool1dConfig::new(3).with_stride(2).init().forward(x));
    same(&[3, 12], |x: Tensor<3>| MaxPool1dConfig::new(3).with_stride(2).with_dilation(2).init().forward(x));
    let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
    for include in [false, true] {
        let config = AvgPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding(padding.clone()).with_count_include_pad(include);
        same(&[3, 8, 9], |x: Image| config.init().forward(x));
    }
    let config = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding(padding).with_ceil_mode(true);
    same(&[3, 8, 9], |x: Image| config.init().forward(x));
    // burn pads by itself where sides differ: with what is never the largest.
    let config = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding(PaddingConfig2d::Explicit(0, 1, 1, 0));
    let network = captured(&Vec::<burn::nn::Linear>::new(), &[3, 8, 8], |_, x: Image| config.init().forward(x));
    assert!(!network.graph.nodes.iter().any(|node| matches!(node.op, Op::Pad { .. })), "the pool pads");
    same(&[3, 8, 9], |x: Image| AdaptiveAvgPool2dConfig::new([4, 3]).init().forward(x));
    same(&[3, 8, 9], |x: Image| AdaptiveAvgPool2dConfig::new([3, 4]).init().forward(x));
    same(&[3, 10], |x: Tensor<3>| AdaptiveAvgPool1dConfig::new(4).init().forward(x));
    same(&[3, 4, 5, 6], |x: Tensor<5>| adaptive_avg_pool3d(x, [2, 3, 1]));
}

#[test]
fn interpolation() {
    for mode in [InterpolateMode::Nearest, InterpolateMode::Linear, InterpolateMode::Cubic] {
        for corners in [true, false] {
            let config = Interpolate2dConfig::new().with_output_size(Some([11, 7])).with_mode(mode.clone()).with_align_corners(corners);
            same(&[2, 6, 9], |x: Image| config.clone().init().forward(x));
        }
    }
}

/// burn's CPU devices don't compute it; its results are those of ⌊(i + ½)·from/to⌋.
#[test]
fn interpolation_that_takes_the_exact_nearest() {
    let forward = |_: &Vec<burn::nn::Linear>, x: Image| {
        let config = Interpolate2dConfig::new().with_output_size(Some([7, 6])).with_mode(InterpolateMode::NearestExact);
        config.init().forward(x)
    };
    let device = Device::flex();
    let network = capture(&Vec::new(), Image::zeros([1, 1, 3, 9], &device), forward, &Default::default()).expect("captures");
    let x = Image::from_data(TensorData::new((0..27).map(|i| i as f32).collect(), [1, 1, 3, 9]), &device);
    let nearest = |i: usize, from: usize, to: usize| (2 * i + 1) * from / (2 * to);
    let expected: Vec<f32> = (0..42).map(|i| (nearest(i / 6, 3, 7) * 9 + nearest(i % 6, 9, 6)) as f32).collect();
    assert_eq!(float(&network, &x.host()), expected);
}

#[test]
fn normalisations() {
    let device = Device::flex();
    captured(&GroupNormConfig::new(2, 6).init(&device), &[6, 4, 5], |net, x: Image| net.forward(x));
    captured(&InstanceNormConfig::new(6).init(&device), &[6, 4, 5], |net, x: Image| net.forward(x));
    captured(&RmsNormConfig::new(8).init(&device), &[3, 8], |net, x: Tensor<3>| net.forward(x));
}

#[test]
fn activations() {
    captured(&PReluConfig::new().with_num_parameters(3).init(&Device::flex()), &[3, 4, 4], |net, x: Image| net.forward(x));
    let all: [fn(Tensor<3>) -> Tensor<3>; 12] = [
        |x| leaky_relu(x, 0.1),
        gelu_approximate,
        hard_swish,
        log_sigmoid,
        mish,
        sigmoid,
        |x| softplus(x, 1.0),
        |x| softmax(x, 2),
        |x| softmax(x, 1),
        |x| log_softmax(x, 2),
        |x| softmin(x, 1),
        |x| quiet_softmax(x, 2),
    ];
    for function in all {
        same(&[5, 6], function);
    }
}

#[test]
fn arithmetic() {
    let all: [fn(Tensor<3>) -> Tensor<3>; 14] = [
        |x| (x.clone() + 2.0) * 0.5 - x.clone() / 3.0 + x.clone() * x,
        |x| x.clone().abs().sqrt() + x.clone().exp() - x.abs().log1p(),
        |x| x.clone().sin() + x.clone().cos() + x.clone().tanh() + x.erf(),
        |x| x.clone().powf_scalar(2.0) + x.powi_scalar(3),
        |x| x.clone() % 0.7 + x.trunc(),
        |x| x.clone().floor() + x.clone().ceil() + x.clone().round() + x.sign(),
        |x| x.clone().clamp(-0.5, 0.8) + x.clone().clamp_min(0.1) + x.clamp_max(-0.1),
        |x| -x.clone() + (x.abs() + 1.0).recip(),
        |x| x.clone().hypot(x + 1.0),
        |x| x.clone() - x.clone().mean_dim(1) + x.clone().sum_dim(2) + x.clone().max_dim(1) + x.min_dim(2),
        |x| x.clone() - x.clone().var(2) + x.prod_dim(1),
        |x| x.clone().cumsum(1) + x.sort_descending(2),
        |x| x.clone().topk(3, 2).repeat_dim(2, 2) + x,
        |x| x.clone().max_dim_with_indices(2).0 + x.clone().argmax(2).float() + x.argsort(2).float(),
    ];
    for function in all {
        same(&[5, 6], function);
    }
}

#[test]
fn truth() {
    let all: [fn(Tensor<3>) -> Tensor<3>; 6] = [
        |x| x.clone().mask_fill(x.greater_elem(0.3), 0.25),
        |x| x.clone().mask_where(x.clone().lower_equal_elem(0.0), -x),
        |x| x.clone().equal(x.clone().abs()).bool_not().float() + x.clone().not_equal_elem(1.0).float() * x,
        |x| x.clone().greater(x.clone() * 2.0).bool_or(x.clone().lower_elem(-1.0)).int().float() + x.greater_equal_elem(0.5).float(),
        |x| x.clone().greater_elem(1.0).any_dim(2).float() + x.clone().greater_elem(-1.0).all_dim(1).float() + x,
        |x| x.clone().is_nan().float() + x.clone().greater_elem(0.0).bool_xor(x.lower_elem(0.5)).float(),
    ];
    for function in all {
        same(&[5, 6], function);
    }
}

#[test]
fn shapes() {
    let all: [fn(Tensor<3>) -> Tensor<3>; 13] = [
        |x| x.swap_dims(1, 2),
        |x| x.permute([2, 0, 1]).permute([1, 2, 0]),
        |x| x.flip([1, 2]),
        |x| x.slice(s![.., 1..4, 2..5]),
        |x| x.slice(s![.., 0..5;2, 0..6;-2]),
        |x| Tensor::cat(vec![x.clone(), x.clone() * 2.0], 1),
        |x| x.clone().slice_assign(s![.., 1..3, 2..4], x.slice(s![.., 0..2, 0..2]) * 3.0),
        |x| x.clone().slice_assign(s![.., .., 2..4], x.slice(s![.., .., 0..2])),
        |x| x.repeat_dim(2, 3),
        |x| x.clone().mean_dim(2).repeat_dim(2, 4),
        |x| x.pad([(1, 2), (0, 1)], PadMode::Constant(0.5)),
        |x| x.narrow(1, 1, 3).chunk(3, 1).swap_remove(1),
        |x| {
            let [n, h, w] = x.dims();
            x.reshape([n * h, w]).reshape([n, w, h])
        },
    ];
    for function in all {
        same(&[5, 6], function);
    }
    same(&[5, 6], |x: Tensor<3>| -> Tensor<4> { x.unfold(2, 3, 2) });
    same(&[5, 6], |x: Tensor<3>| x.flatten::<2>(1, 2));
    same(&[1, 6], |x: Tensor<3>| -> Tensor<4> { x.clone().expand([-1, 4, 6]).unsqueeze_dim(1) });
    same(&[5, 6], |x: Tensor<3>| {
        let [n, h, _] = x.dims();
        Tensor::cat(vec![Tensor::ones([n, h, 1], &x.device()), x.clone(), Tensor::full([n, h, 2], 0.3, &x.device())], 2)
    });
}

#[test]
fn picking() {
    same(&[5, 6], |x: Tensor<3>| {
        let indices = Tensor::<1, Int>::from_data([4, 0, 2], &x.device());
        x.select(1, indices)
    });
    same(&[5, 6], |x: Tensor<3>| {
        let order = x.clone().argsort(2);
        x.gather(2, order)
    });
    same(&[5, 6], |x: Tensor<3>| {
        let indices = Tensor::<3, Int>::from_data([[[1], [4]], [[0], [2]]], &x.device());
        x.swap_dims(0, 1).gather_nd::<3, 4>(indices).permute([2, 0, 1, 3])
    });
    // A constant as large as the batch, the same for every sample.
    same(&[5, 6], |x: Tensor<3>| {
        let n = x.dims()[0];
        let rows: Vec<f32> = (0..n * 6).map(|i| (i % 6) as f32).collect();
        let rows = Tensor::<3>::from_data(TensorData::new(rows, [n, 1, 6]), &x.device());
        x + rows
    });
}

#[test]
fn grids() {
    for mode in [InterpolateMode2d::Bilinear, InterpolateMode2d::Nearest] {
        for padding in [GridSamplePaddingMode::Zeros, GridSamplePaddingMode::Border] {
            same(&[2, 6, 6], |x: Image| {
                let grid = x.clone().slice(s![.., .., 0..4, 0..5]).permute([0, 2, 3, 1]) * 0.6;
                let options = GridSampleOptions::new(mode.clone()).with_padding_mode(padding).with_align_corners(true);
                x.grid_sample_2d(grid, options)
            });
        }
    }
}

#[test]
fn whole_numbers() {
    let device = Device::flex();
    let table = burn::nn::EmbeddingConfig::new(64, 4).init(&device);
    captured(&table, &[6], |net, x: Tensor<2, Int>| net.forward((x.clone() * 2 + 1) % 31 + x.clamp(3, 20)));
    let device = Device::flex();
    let powers = |_: &Vec<burn::nn::Linear>, x: Tensor<2, Int>| -x.clone().powi_scalar(2) / 3 + x.sum_dim(1);
    let network = capture(&Vec::new(), Tensor::<2, Int>::zeros([1, 6], &device), powers, &Default::default()).expect("captures");
    assert_eq!(network.graph.value(network.graph.outputs[0]).dtype, quaver_core::tensor::DType::I64);
    let x = Tensor::<2, Int>::from_data([[1, -2, 3, 4, 5, 6]], &device);
    assert_eq!(float(&network, &x.host()), numbers(powers(&Vec::new(), x).to_data()));
    captured(&table, &[6], |net, x: Tensor<2, Int>| net.forward(x.clone()) * x.greater_elem(7).float().unsqueeze_dim::<3>(2));
}

#[test]
fn products() {
    same(&[5, 6], |x: Tensor<3>| x.clone().matmul(x.swap_dims(1, 2)));
    let options = |is_causal| AttentionModuleOptions { scale: None, softcap: Some(5.0), is_causal };
    for causal in [false, true] {
        same(&[2, 5, 6], |x: Image| attention(x.clone(), x.clone() * 0.5, x + 1.0, None, None, options(causal)));
    }
    same(&[2, 5, 6], |x: Image| {
        let bias = x.clone().matmul(x.clone().swap_dims(2, 3));
        // Something is left of each row.
        let mask: Tensor<4, Bool> = bias.clone().greater(bias.clone().mean_dim(3));
        attention(x.clone(), x.clone(), x, Some(mask), Some(bias), options(false))
    });
}

#[derive(Module, Debug)]
struct Half {
    weight: Param<Tensor<2>>,
}

#[test]
fn half_precision_becomes_f32() {
    let device = Device::flex();
    for (dtype, kept) in [(FloatDType::F16, 0.333_251_95f32), (FloatDType::BF16, 0.333_984_38)] {
        let net = Half { weight: Param::from_tensor(Tensor::<2>::full([6, 3], 1.0 / 3.0, &device).cast(dtype)) };
        let forward = |net: &Half, x: Tensor<2>| x.cast(dtype).matmul(net.weight.val()).cast(FloatDType::F32);
        let network = capture(&net, Tensor::zeros([1, 6], &device), forward, &Default::default()).expect("captures");
        assert!(network.graph.values.iter().all(|value| value.dtype == quaver_core::tensor::DType::F32));
        let weight = network.graph.value_named("weight").and_then(|id| network.elements::<f32>(id)).expect("a constant of its name");
        assert_eq!(weight, [kept; 18]);
    }
}
