#!/usr/bin/env python3
"""The peers' side of `cargo xtask bench --peers`: ONNX Runtime, OpenVINO and PyTorch, measured round by round.

The scheme is Quaver's: u8 activations, asymmetric, per tensor; s8 weights, symmetric, per channel; ranges by min-max on 8
seeded random samples. Random samples are for measuring speed: nothing here says anything about accuracy (sqnr.py does).

needs:  requirements.txt, and requirements-torch.txt for PyTorch
usage:  latency.py info
            prints the date and the versions as JSON
        latency.py prepare NET.onnx --out DIR [--batch B] [--qoperator]
            writes samples.npz, float.onnx (its batch fixed at B), int8.onnx (QDQ), qoperator.onnx; prints as JSON for each
            of the networks why it could not be made, or null
        latency.py serve ENGINE MODEL.onnx --samples samples.npz [--threads N] [--name NAME] [--quantize]
            for each line `run SECONDS` of the input: one untimed inference, then timed ones for that long, then a line of
            JSON: median_ms, min_ms, runs. `--quantize` is for PyTorch, whose quantized networks are no files
An error ends the program; its last line on the error stream is the reason.
"""
import argparse, contextlib, datetime, importlib.metadata, json, os, pathlib, platform, statistics, sys, time, traceback
import numpy as np

SAMPLES = 8
# The oldest opset with per-channel quantization.
OPSET = 13


def info():
    packages = ["numpy", "onnx", "onnxruntime", "openvino", "torch"]
    versions = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "versions": versions}


# Preparation


def prepare(path, out, batch, qoperator):
    import onnx
    out.mkdir(parents=True, exist_ok=True)
    model = onnx.load(path)
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") or node.op_type.startswith("QLinear") for node in model.graph.node):
        sys.exit("the network is quantized already; a float network is needed")
    tidy_inputs(model)
    data = samples(model)
    np.savez(out / "samples.npz", **data)
    made = {"float": attempt(lambda: onnx.save(fixed(model, batch), out / "float.onnx"))}
    formats = {"int8": "QDQ"} | ({"qoperator": "QOperator"} if qoperator else {})
    for name, form in formats.items():
        made[name] = made["float"] or attempt(lambda: quantize(out / "float.onnx", out / f"{name}.onnx", data, batch, form))
    return made


def attempt(work):
    """Why `work` failed, in a line; None if it did not."""
    try:
        work()
    except Exception as error:
        traceback.print_exc()
        return reason(error)


def reason(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # OpenVINO begins with the places in its sources.
    said = next((line for line in lines if not line.startswith("Exception from")), "")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def tidy_inputs(model):
    """Old exporters list initialisers among the inputs."""
    initialisers = {i.name for i in model.graph.initializer}
    for value in [v for v in model.graph.input if v.name in initialisers]:
        model.graph.input.remove(value)


def samples(model):
    """Seeded random samples along the first axis: normal for floats, 0 and 1 for integers, which suit masks and token ids."""
    import onnx
    rng = np.random.default_rng(0)
    data = {}
    for value in model.graph.input:
        kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        dims = value.type.tensor_type.shape.dim
        if not dims:
            sys.exit(f"input '{value.name}' has no batch extent")
        for i, dim in enumerate(dims[1:], 1):
            if dim.dim_value <= 0:
                sys.exit(f"extent {i} of input '{value.name}' is open ('{dim.dim_param}'); export the network with a fixed one")
        if dims[0].dim_value > 1:
            sys.exit(f"the batch of input '{value.name}' is fixed at {dims[0].dim_value}; export the network with a batch of 1 or an open one")
        shape = [SAMPLES, *(dim.dim_value for dim in dims[1:])]
        data[value.name] = rng.standard_normal(shape).astype(kind) if kind.kind == "f" else rng.integers(0, 2, shape).astype(kind)
    return data


def batches(data, batch):
    """The samples in batches; the last is filled up from the first ones, which changes no range."""
    count = -(-SAMPLES // batch) * batch
    whole = {name: np.resize(array, (count, *array.shape[1:])) for name, array in data.items()}
    return [{name: array[i:i + batch] for name, array in whole.items()} for i in range(0, count, batch)]


def fixed(model, batch):
    """The network at one batch, every shape in it inferred anew."""
    import onnx
    from onnxruntime.tools.onnx_model_utils import fix_output_shapes
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = batch
    declared = {}
    for value in fixed.graph.output:
        declared[value.name] = onnx.TensorShapeProto()
        declared[value.name].CopyFrom(value.type.tensor_type.shape)
        value.type.tensor_type.ClearField("shape")
    del fixed.graph.value_info[:]
    opset = next(o.version for o in fixed.opset_import if o.domain in ("", "ai.onnx"))
    if opset < OPSET:
        fixed = onnx.version_converter.convert_version(fixed, OPSET)
    fixed = onnx.shape_inference.infer_shapes(fixed)
    # Behind an operation that is not ONNX's own nothing is inferred.
    for value in fixed.graph.output:
        if not value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.CopyFrom(declared[value.name])
    fix_output_shapes(fixed)
    return fixed


def quantize(path, out, data, batch, form):
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.batches = iter(batches(data, batch))

        def get_next(self):
            return next(self.batches, None)

    prepared = out.with_suffix(".prepared.onnx")
    try:
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
    except Exception as error:
        print(f"ONNX Runtime's pre-processing fails, so it quantizes the plain network: {error}", file=sys.stderr)
        prepared = path
    scheme = dict(quant_format=QuantFormat[form], per_channel=True, reduce_range=False, activation_type=QuantType.QUInt8,
                  weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax)
    try:
        quantize_static(prepared, out, Reader(), **scheme)
    except ValueError:
        # Its adjustment of weights to biases fails on biases that are not vectors.
        quantize_static(prepared, out, Reader(), extra_options={"QDQDisableWeightAdjustForInt32Bias": True}, **scheme)


# Engines: each is a function that makes an inference of one fixed batch, its inputs in place and its outputs left where they are.


def onnxruntime(args, data):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(str(args.model), options, providers=["CPUExecutionProvider"])
    batch = one_batch(data, session.get_inputs()[0].shape[0])
    binding = session.io_binding()
    for value in session.get_inputs():
        binding.bind_ortvalue_input(value.name, ort.OrtValue.ortvalue_from_numpy(batch[value.name]))
    for value in session.get_outputs():
        binding.bind_output(value.name, "cpu")
    return lambda: session.run_with_iobinding(binding)


def openvino(args, data):
    import openvino as ov
    config = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": args.threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(ov.Core().read_model(str(args.model)), "CPU", config)
    batch = one_batch(data, compiled.inputs[0].shape[0])
    request = compiled.create_infer_request()
    for port in compiled.inputs:
        name = next(name for name in port.names if name in batch)
        request.set_tensor(port, ov.Tensor(batch[name]))
    return lambda: request.infer(share_outputs=True)


def pytorch(args, data):
    import onnx, torch
    torch.set_num_threads(args.threads)
    torch.set_num_interop_threads(1)
    model = onnx.load(args.model)
    names = [value.name for value in model.graph.input]
    size = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    inputs = [tuple(torch.from_numpy(batch[name]) for name in names) for batch in batches(data, size)]
    network = (from_torchvision(args.name, model) or from_onnx(model)).eval()
    with torch.no_grad():
        if args.quantize:
            network = quantize_torch(network, inputs)
        # Without the interpreter between the operations.
        network = torch.jit.freeze(torch.jit.trace(network, inputs[0], check_trace=False))

    def run():
        with torch.no_grad():
            network(*inputs[0])
    return run


def from_torchvision(name, model):
    """PyTorch's own definition of a network, if it is called like one of torchvision's and has weights of the same
    shapes: their values don't matter to its speed, and what PyTorch's quantizer knows are networks written for PyTorch."""
    import torchvision
    if name not in torchvision.models.list_models(torchvision.models):
        return None
    network = torchvision.models.get_model(name, weights=None)
    # An auxiliary classifier takes part in training only, and no export has it.
    theirs = [p.shape for name, p in network.named_parameters() if "aux" not in name.lower()]
    ours = [i.dims for i in model.graph.initializer]
    matrices = lambda shapes: sorted(tuple(sorted(shape)) for shape in shapes if len(shape) > 1)
    return network if matrices(theirs) == matrices(ours) else None


def from_onnx(model):
    from onnx2torch import convert
    # onnx2torch looks for weights among the initialisers, where exporters that share equal ones put an Identity between.
    stored = {i.name: i for i in model.graph.initializer}
    for node in [n for n in model.graph.node if n.op_type == "Identity" and n.input[0] in stored]:
        copy = model.graph.initializer.add()
        copy.CopyFrom(stored[node.input[0]])
        copy.name = node.output[0]
        model.graph.node.remove(node)
    return convert(model)


def quantize_torch(network, inputs):
    import torch
    from torch.ao import quantization as q
    from torch.ao.quantization import quantize_fx
    torch.backends.quantized.engine = "x86"
    activation = q.MinMaxObserver.with_args(dtype=torch.quint8, qscheme=torch.per_tensor_affine, reduce_range=False)
    weight = q.PerChannelMinMaxObserver.with_args(dtype=torch.qint8, qscheme=torch.per_channel_symmetric)
    # Its default mapping, for the functions whose range it fixes.
    mapping = q.get_default_qconfig_mapping("x86").set_global(q.QConfig(activation=activation, weight=weight))
    observed = quantize_fx.prepare_fx(network, mapping, inputs[0])
    for batch in inputs:
        observed(*batch)
    return quantize_fx.convert_fx(observed)


ENGINES = {"onnxruntime": onnxruntime, "openvino": openvino, "pytorch": pytorch}


def one_batch(data, size):
    return {name: np.ascontiguousarray(array) for name, array in batches(data, int(size))[0].items()}


def serve(run, answer):
    for line in sys.stdin:
        word, _, seconds = line.strip().partition(" ")
        if word != "run":
            sys.exit(f"'{line.strip()}' should be 'run SECONDS'")
        # The first run after a pause finds its threads asleep and its caches cold.
        run()
        times = []
        end = time.perf_counter() + float(seconds)
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        answer({"median_ms": statistics.median(times) * 1e3, "min_ms": min(times) * 1e3, "runs": len(times)})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="date and versions")
    command = commands.add_parser("prepare", help="samples and networks for the engines")
    command.add_argument("network", type=pathlib.Path)
    command.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR")
    command.add_argument("--batch", type=int, default=1, metavar="B")
    command.add_argument("--qoperator", action="store_true", help="also in ONNX Runtime's QOperator form")
    command = commands.add_parser("serve", help="measures on demand")
    command.add_argument("engine", choices=ENGINES)
    command.add_argument("model", type=pathlib.Path)
    command.add_argument("--samples", type=pathlib.Path, required=True, metavar="FILE.npz")
    command.add_argument("--threads", type=int, default=1, metavar="N")
    command.add_argument("--name", help="of the network, by which PyTorch looks for its own definition")
    command.add_argument("--quantize", action="store_true", help="quantize the model first (PyTorch only)")
    args = parser.parse_args()

    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(value):
        print(json.dumps(value), file=answers, flush=True)

    try:
        if args.command == "info":
            answer(info())
        elif args.command == "prepare":
            answer(prepare(args.network, args.out, args.batch, args.qoperator))
        else:
            with np.load(args.samples) as data:
                serve(ENGINES[args.engine](args, dict(data)), answer)
    except Exception as error:
        traceback.print_exc()
        sys.exit(reason(error))


if __name__ == "__main__":
    main()
