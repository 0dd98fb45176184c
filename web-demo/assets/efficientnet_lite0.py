"""EfficientNet-Lite0, a classifier of the 1000 classes of ImageNet, as an ONNX network with trained weights.

    images f32[N, 3, 224, 224], RGB, (pixel - 127) / 128  ->  logits f32[N, 1000]

The architecture is that of TensorFlow's EfficientNet-Lite: no squeeze-and-excitation, ReLU6, TensorFlow's "same" padding.
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 224
CLASSES = 1000
EPSILON = 1e-3
STEM = 32
# Of each stage: blocks, kernel, stride of its first block, expansion, channels.
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]


class Builder:
    """An ONNX graph in the making, with the weights of a state dict."""

    def __init__(self, weights):
        self.weights, self.nodes, self.constants = weights, [], {}

    def constant(self, name, value=None):
        array = self.weights[name] if value is None else np.asarray(value, np.float32)
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def node(self, kind, inputs, name, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def convolution(self, x, name, norm, edge, stride=1, groups=1, limited=True):
        """A convolution and its normalization; gives the value and the new edge of the image."""
        kernel = self.weights[f"{name}.weight"].shape[2]
        after = -(-edge // stride)
        # "Same" padding has the odd pixel at the end.
        total = max((after - 1) * stride + kernel - edge, 0)
        before = total // 2
        pads = [before, before, total - before, total - before]
        x = self.node("Conv", [x, self.constant(f"{name}.weight")], name, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=groups)
        parts = [self.constant(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        x = self.node("BatchNormalization", [x, *parts], norm, epsilon=EPSILON)
        if limited:
            x = self.node("Clip", [x, self.constant("zero", 0), self.constant("six", 6)], f"{norm}/relu6")
        return x, after


def build(weights):
    """The network with the weights of a state dict."""
    net = Builder(weights)
    x, edge = net.convolution("images", "_conv_stem", "_bn0", SIZE, stride=2)
    channels, number = STEM, 0
    for blocks, _, first, expansion, out in STAGES:
        for index in range(blocks):
            name, shortcut, stride = f"_blocks.{number}", x, first if index == 0 else 1
            if expansion > 1:
                x, _ = net.convolution(x, f"{name}._expand_conv", f"{name}._bn0", edge)
            x, edge = net.convolution(x, f"{name}._depthwise_conv", f"{name}._bn1", edge, stride, channels * expansion)
            x, _ = net.convolution(x, f"{name}._project_conv", f"{name}._bn2", edge, limited=False)
            if stride == 1 and channels == out:
                x = net.node("Add", [x, shortcut], f"{name}/add")
            channels, number = out, number + 1
    x, _ = net.convolution(x, "_conv_head", "_bn1", edge)
    x = net.node("Flatten", [net.node("GlobalAveragePool", [x], "pool")], "flatten", axis=1)
    y = net.node("Gemm", [x, net.constant("_fc.weight"), net.constant("_fc.bias")], "logits", transB=1)

    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])]
    outputs = [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["N", CLASSES])]
    graph = helper.make_graph(net.nodes, "efficientnet-lite0", inputs, outputs, list(net.constants.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model
