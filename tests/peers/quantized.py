#!/usr/bin/env python3
"""Small models, quantized by ONNX Runtime in every scheme that it has, with its own results: what an import has to agree with.

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
    producers = {o: n for n in model.graph.node for o in n.output}

    def step(name):
        node = producers.get(name)
        if node is None:
            return 0.0
        scales = lambda indices: [float(constants[node.input[i]]) for i in indices]
        if node.op_type == "DequantizeLinear":
            return max(scales([1]) + [step(node.input[0])])
        if node.op_type == "QLinearConcat":
            return max(scales(range(3, len(node.input), 3)))
        return max(map(step, node.input)) if node.op_type in ("QuantizeLinear", "Concat") else 0.0

    return step(model.graph.output[0].name)


def save(folder, path, feed):
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load(path)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
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
