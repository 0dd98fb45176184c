#!/usr/bin/env python3
"""Small models, quantized by ONNX Runtime in every scheme that it has, and as other exporters write them, with ONNX Runtime's own
results: what an import has to agree with.

For each case a folder with `model.onnx`, `input.pb`, `output.pb` (ONNX Runtime's, as f32) and `step.pb` (the distance of two
neighbouring integers of the output, or of what is concatenated to it; 0 where the model computes real numbers).

needs:  pip install numpy onnx onnxruntime
usage:  quantized.py OUT [--real FLOAT.onnx ...]
"""
import argparse, pathlib, tempfile
import numpy as np, onnx, onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

ort.set_default_logger_severity(3)


class Samples(CalibrationDataReader):
    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


class Builder:
    """A float model with weights out of a seeded generator."""

    def __init__(self, seed, shape):
        self.rng = np.random.default_rng(seed)
        self.shape, self.nodes, self.constants = shape, [], []

    def weights(self, *shape, scale=None):
        data = self.rng.normal(size=shape) * (scale or 1.5 / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else 4))
        # Channels of different size, so that scales per tensor and per channel differ.
        if len(shape) > 1:
            data *= self.rng.uniform(0.3, 1, size=(shape[0],) + (1,) * (len(shape) - 1))
        return self.constant(data.astype(np.float32))

    def constant(self, data):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(data, name))
        return name

    def __call__(self, op, *inputs, **attributes):
        name = f"t{len(self.nodes)}"
        outputs = attributes.pop("outputs", 1)
        names = [name] if outputs == 1 else [f"{name}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"{op}{len(self.nodes)}", **attributes))
        return name if outputs == 1 else names

    def conv(self, x, ic, oc, kernel, group=1, **attributes):
        return self("Conv", x, self.weights(oc, ic // group, kernel, kernel), self.weights(oc, scale=0.1), group=group, **attributes)

    def model(self, output):
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)
        self.nodes[-1].output[0] = "y"
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "model", [x], [y], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def conv(b):
    return b.conv("x", 3, 8, 3, pads=[1, 1, 1, 1], strides=[2, 2])


def conv_relu(b):
    return b("Relu", b.conv("x", 3, 8, 3, pads=[1, 1, 1, 1]))


def depthwise(b):
    return b.conv(b.conv("x", 3, 16, 1), 16, 16, 3, group=16, pads=[1, 1, 1, 1])


def residual(b):
    x = b("Relu", b.conv("x", 3, 8, 3, pads=[1, 1, 1, 1]))
    return b("Relu", b("Add", b.conv(x, 8, 8, 3, pads=[1, 1, 1, 1]), x))


def squeeze_excite(b):
    x = b.conv("x", 3, 8, 3)
    s = b("Sigmoid", b.conv(b("GlobalAveragePool", x), 8, 8, 1))
    return b("Mul", x, s)


def branches(b):
    x = b("MaxPool", b.conv("x", 3, 8, 3), kernel_shape=[2, 2], strides=[2, 2])
    # Nine elements everywhere: a mean of four can be a tie, which ONNX Runtime's float rounding breaks this way or that.
    mean = b("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    return b("Concat", b("LeakyRelu", b.conv(x, 8, 4, 1), alpha=0.1), mean, axis=1)


def classifier(b):
    x = b("Flatten", b("GlobalAveragePool", b("Clip", b.conv("x", 3, 16, 3), b.constant(np.float32(0)), b.constant(np.float32(6)))))
    return b("Gemm", x, b.weights(10, 16), b.weights(10, scale=0.1), transB=1)


def perceptron(b):
    x = b("Flatten", "x")
    x = b("Relu", b("Add", b("MatMul", x, b.weights(3 * 12 * 12, 32, scale=0.05)), b.weights(32, scale=0.1)))
    return b("Softmax", b("MatMul", x, b.weights(32, 10, scale=0.3)), axis=-1)


class Exported(Builder):
    """A quantized model as exporters other than ONNX Runtime's write it: operations between QuantizeLinear and DequantizeLinear."""

    def parameters(self, scale, zero, kind, shape=()):
        zero = [] if zero is None else [self.constant(np.broadcast_to(np.asarray(zero, kind), shape).copy())]
        return [self.constant(np.broadcast_to(np.float32(scale), shape).copy()), *zero]

    def rounded(self, x, scale, zero=128, kind=np.uint8, shape=(), between=lambda q: q):
        """An activation, rounded; `between` is done to its integers."""
        parameters = self.parameters(scale, zero, kind, shape)
        return self("DequantizeLinear", between(self("QuantizeLinear", x, *parameters)), *parameters)

    def integers(self, *shape, low=-127, high=127):
        return self.rng.integers(low, high, shape, endpoint=True)

    def scales(self, channels, reach=0.02):
        return self.rng.uniform(0.3, 1, channels).astype(np.float32) * np.float32(reach)

    def filter(self, *shape, kind=np.int8, zero=None, axis=0, low=-127, high=127):
        """Weights in integers, with a scale a channel."""
        channels = shape[axis]
        zeros = None if zero is None else np.broadcast_to(np.asarray(zero, kind), channels).copy()
        parameters = self.parameters(self.scales(channels), zeros, kind, (channels,))
        return self("DequantizeLinear", self.constant(self.integers(*shape, low=low, high=high).astype(kind)), *parameters, axis=axis)

    def bias(self, channels):
        return self.weights(channels, scale=0.1)


def pt2e(b):
    """PyTorch 2 export: float biases, a Relu in front of the rounding, weights' zero points of the integers' type."""
    x = b("Conv", b.rounded("x", 0.04), b.filter(8, 3, 3, 3, zero=0), b.bias(8), pads=[1, 1, 1, 1])
    x = b.rounded(b("Relu", x), 0.03, 0)
    x = b("Add", b("Conv", x, b.filter(8, 8, 1, 1, zero=0), b.bias(8)), x)
    return b.rounded(x, 0.06, 70)


def not_folded(b):
    """Weights that are float in the file, rounded there, as NNCF and PyTorch's FakeQuantize are exported."""
    w = b.rounded(b.weights(8, 3, 3, 3), b.scales(8), 0, np.int8, (8,))
    b.nodes[-1].attribute.append(helper.make_attribute("axis", 0))
    b.nodes[-2].attribute.append(helper.make_attribute("axis", 0))
    return b.rounded(b("Conv", b.rounded("x", 0.04), w, b.bias(8)), 0.05, 120)


def clipped_integers(b):
    """Seven bits in eight, as PyTorch exports quant_min = 0 and quant_max = 127."""
    seven = lambda q: b("Clip", q, b.constant(np.uint8(0)), b.constant(np.uint8(127)))
    x = b("Conv", b.rounded("x", 0.06, 64, between=seven), b.filter(8, 3, 3, 3), b.bias(8))
    return b.rounded(x, 0.06, 64, between=seven)


def clipped_weights(b):
    """The same of weights: −127 is the least."""
    parameters = b.parameters(b.scales(8, 0.004), 0, np.int8, (8,))
    q = b("QuantizeLinear", b.weights(8, 3, 3, 3), *parameters, axis=0)
    q = b("Clip", q, b.constant(np.int8(-127)), b.constant(np.int8(127)))
    w = b("DequantizeLinear", q, *parameters, axis=0)
    return b.rounded(b("Conv", b.rounded("x", 0.04), w, b.bias(8)), 0.05, 120)


def asymmetric_weights(b):
    """Intel Neural Compressor's asymmetric weights, and u8 ones."""
    x = b("Conv", b.rounded("x", 0.04), b.filter(8, 3, 3, 3, zero=b.integers(8, low=-9, high=9), low=-110, high=110), b.bias(8))
    x = b("Conv", b.rounded(x, 0.05, 120), b.filter(8, 8, 3, 3, kind=np.uint8, zero=128, low=1, high=255), b.bias(8))
    return b.rounded(x, 0.3, 120)


def integer_bias(b):
    """Biases in 32 bits, with scales of their own and without zero points; parameters of one element in one dimension."""
    x = b.rounded("x", 0.04, shape=(1,))
    bias = b("DequantizeLinear", b.constant(b.integers(8, low=-900, high=900).astype(np.int32)), b.constant(b.scales(8, 0.001)), axis=0)
    return b.rounded(b("Conv", x, b.filter(8, 3, 3, 3), bias), 0.05, 120, shape=(1,))


def no_zero_points(b):
    x = b.rounded(b("Relu", "x"), 0.015, None)
    return b.rounded(b("Relu", b("Conv", x, b.filter(8, 3, 3, 3), b.bias(8))), 0.02, None)


def shared(b):
    """One rounding that several read, weights that two convolutions share, signed activations."""
    x = b.rounded("x", 0.04, 3, np.int8)
    w = b.filter(3, 3, 3, 3)
    one = b.rounded(b("Conv", x, w, b.bias(3), pads=[1, 1, 1, 1]), 0.05, -8, np.int8)
    two = b.rounded(b("Conv", one, w, pads=[1, 1, 1, 1]), 0.08, 5, np.int8)
    return b.rounded(b("Concat", x, one, two, axis=1), 0.08, 0, np.int8)


def moved_weights(b):
    """Weights that are dequantized, then transposed or reshaped into place, as PyTorch's Linear and NNCF's are."""
    w = b("Reshape", b.filter(8, 27, axis=0), b.constant(np.array([8, 3, 3, 3])))
    x = b.rounded(b("Relu", b("Conv", b.rounded("x", 0.04), w, b.bias(8))), 0.03, 0)
    x = b.rounded(b("GlobalAveragePool", x), 0.02, 0)
    x = b("Flatten", x)
    w = b("Transpose", b.filter(10, 8, axis=0), perm=[1, 0])
    x = b.rounded(b("Add", b("MatMul", x, w), b.bias(10)), 0.02, 110)
    return b.rounded(b("Gemm", x, b.filter(6, 10, axis=0), b.bias(6), transB=1), 0.02, 120)


def cast_zero_points(b):
    """Zero points that TorchScript's export writes as 64 bits and casts; scales and zero points in Constant nodes."""
    def node(array):
        return b("Constant", value=numpy_helper.from_array(np.asarray(array)))

    def rounded(x, scale, zero):
        parameters = [node(np.float32(scale)), b("Cast", node(np.int64(zero)), to=TensorProto.UINT8)]
        return b("DequantizeLinear", b("QuantizeLinear", x, *parameters), *parameters)

    x = b("Conv", rounded("x", 0.04, 128), b.filter(8, 3, 3, 3), b.bias(8))
    return rounded(x, 0.05, 120)


def identities(b):
    """What exporters leave between: Identity and Dropout on integers, Identity on weights."""
    x = b.rounded("x", 0.04, between=lambda q: b("Identity", q))
    w = b("Identity", b.filter(8, 3, 3, 3))
    x = b("Dropout", b("Relu", b("Conv", x, w, b.bias(8))))
    return b("Identity", b.rounded(b("Identity", x), 0.03, 0))


def twice(b):
    """The same rounding twice, and a change of parameters between two operations."""
    x = b.rounded(b.rounded("x", 0.04), 0.04)
    x = b("Conv", x, b.filter(8, 3, 3, 3), b.bias(8))
    x = b.rounded(b.rounded(x, 0.03, 100), 0.06, 120)
    return b.rounded(b("Conv", x, b.filter(4, 8, 1, 1), b.bias(4)), 0.06, 120)


def transposed(b):
    """Scales of a transposed convolution are along axis 1."""
    x = b("ConvTranspose", b.rounded("x", 0.04), b.filter(3, 8, 3, 3, axis=1), b.bias(8), strides=[2, 2])
    return b.rounded(x, 0.05, 120)


def depthwise_relu6(b):
    x = b.rounded("x", 0.04)
    x = b("Clip", b("Conv", x, b.filter(12, 3, 1, 1), b.bias(12)), b.constant(np.float32(0)), b.constant(np.float32(6)))
    x = b.rounded(x, 6 / 255, 0)
    return b.rounded(b("Conv", x, b.filter(12, 1, 3, 3), b.bias(12), group=12, pads=[1, 1, 1, 1]), 0.1, 100)


def spelled_out(b):
    """Rounding as arithmetic: Div, Round, Clip, Mul. Nothing says that these are integers, so they stay real."""
    s = b.constant(np.float32(0.04))
    x = b("Clip", b("Round", b("Div", "x", s)), b.constant(np.float32(-128)), b.constant(np.float32(127)))
    return b("Conv", b("Mul", x, s), b.filter(8, 3, 3, 3), b.bias(8))


EXPORTED = [
    pt2e, not_folded, clipped_integers, clipped_weights, asymmetric_weights, integer_bias, no_zero_points, shared, moved_weights,
    cast_zero_points, identities, twice, transposed, depthwise_relu6, spelled_out,
]
NETWORKS = [conv, conv_relu, depthwise, residual, squeeze_excite, branches, classifier, perceptron]
U8, S8 = QuantType.QUInt8, QuantType.QInt8
# name: activations, weights, per channel, symmetric weights
STATIC = {
    "u8u8": (U8, U8, False, None),
    "u8u8-symmetric": (U8, U8, False, True),
    "u8s8": (U8, S8, False, None),
    "u8s8-asymmetric": (U8, S8, False, False),
    "u8s8-channel": (U8, S8, True, None),
    "s8s8": (S8, S8, False, None),
    "s8s8-channel": (S8, S8, True, None),
}
DYNAMIC = {"dynamic-u8": (U8, False), "dynamic-s8": (S8, False), "dynamic-s8-channel": (S8, True)}


def quantize_statically(source, target, scheme, form, feeds):
    activations, weights, per_channel, symmetric = STATIC[scheme]
    options = {} if symmetric is None else {"WeightSymmetric": symmetric}
    quantize_static(source, target, Samples(feeds), quant_format=form, activation_type=activations, weight_type=weights,
                    per_channel=per_channel, extra_options=options)


def step_of(model):
    """The largest step among the integers that the first output consists of; 0 where the model computes real numbers."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    constants |= {n.output[0]: numpy_helper.to_array(n.attribute[0].t) for n in model.graph.node if n.op_type == "Constant"}
    producers = {o: n for n in model.graph.node for o in n.output}

    def step(name):
        node = producers.get(name)
        if node is None:
            return 0.0
        scales = lambda indices: [constants[node.input[i]].item() for i in indices]
        if node.op_type == "DequantizeLinear":
            return max(scales([1]) + [step(node.input[0])])
        if node.op_type == "QLinearConcat":
            return max(scales(range(3, len(node.input), 3)))
        return max(map(step, node.input)) if node.op_type in ("QuantizeLinear", "Concat", "Identity") else 0.0

    return step(model.graph.output[0].name)


def save(folder, path, feed, literally=False):
    """`literally` asks for what the operations say: ONNX Runtime's optimizations leave out the first of two roundings."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load(path)
    options = ort.SessionOptions()
    if literally:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    y = session.run(None, {name: feed})[0]
    onnx.save(model, folder / "model.onnx")
    for file, data in [("input", feed), ("output", y.astype(np.float32)), ("step", np.float32(step_of(model)))]:
        (folder / f"{file}.pb").write_bytes(numpy_helper.from_array(np.asarray(data), file).SerializeToString())


def schemes(out, name, source, feeds, test, lenient=False):
    ways = {f"{form.name.lower()}.{scheme}": lambda target, form=form, scheme=scheme: quantize_statically(source, target, scheme, form, feeds)
            for form in [QuantFormat.QDQ, QuantFormat.QOperator] for scheme in STATIC}
    for scheme, (weights, channels) in DYNAMIC.items():
        ways[scheme] = lambda target, w=weights, c=channels: quantize_dynamic(source, target, weight_type=w, per_channel=c)
    target = str(pathlib.Path(source).parent / "quantized.onnx")
    for way, quantize in ways.items():
        try:
            quantize(target)
            save(out / f"{name}.{way}", target, test)
        # Of real models ONNX Runtime quantizes some to files that it can't read itself.
        except Exception as error:
            if not lenient:
                raise
            print(f"left out: {name}.{way}: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--real", nargs="*", default=[], help="float models of your own, calibrated on random inputs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for seed, network in enumerate(NETWORKS if not args.real else []):
            builder = Builder(seed, [1, 3, 12, 12])
            source = f"{folder}/float.onnx"
            onnx.save(builder.model(network(builder)), source)
            quant_pre_process(source, source, skip_symbolic_shape=True)
            rng = np.random.default_rng(100 + seed)
            draw = lambda: rng.normal(size=builder.shape).astype(np.float32)
            schemes(args.out, network.__name__, source, [{"x": draw()} for _ in range(8)], draw())
        for seed, network in enumerate(EXPORTED if not args.real else []):
            builder = Exported(50 + seed, [1, 3, 12, 12])
            source = f"{folder}/exported.onnx"
            onnx.save(builder.model(network(builder)), source)
            feed = np.random.default_rng(200 + seed).normal(size=builder.shape).astype(np.float32)
            save(args.out / f"{network.__name__}.exported", source, feed, literally=True)
        for path in args.real:
            source = f"{folder}/float.onnx"
            quant_pre_process(path, source, skip_symbolic_shape=True)
            tensor = ort.InferenceSession(source).get_inputs()[0]
            rng = np.random.default_rng(7)
            shape = [d if isinstance(d, int) else 1 for d in tensor.shape]
            draw = lambda: rng.normal(size=shape).astype(np.float32)
            schemes(args.out, pathlib.Path(path).stem, source, [{tensor.name: draw()} for _ in range(4)], draw(), lenient=True)


if __name__ == "__main__":
    main()
