#!/usr/bin/env python3
"""Accuracy beside ONNX Runtime: the same float network, the same calibration data, the same test data.

For each model: SQNR of the outputs against ONNX Runtime's float run, once for ONNX Runtime's `quantize_static` (QDQ, U8
activations, S8 weights per channel, min-max) and once for `quaver convert`; top-1 where the data is labelled.

needs:  pip install numpy pillow onnx onnxruntime; a folder of real models and labelled data (see `--help`)
usage:  sqnr.py --models DIR --quaver target/release/quaver [--observer NAME] [--convert=ARGUMENT] [NAME ...]
"""
import argparse, glob, json, os, pathlib, subprocess, sys, tempfile
import numpy as np, onnx, onnxruntime as ort
from PIL import Image, ImageDraw, ImageFont

ort.set_default_logger_severity(3)


def crops(folder, size, count, seed):
    """Random square crops of a folder's photos, resized to `size`."""
    rng = np.random.default_rng(seed)
    photos = [Image.open(f).convert("RGB") for f in sorted(glob.glob(f"{folder}/*"))]
    for _ in range(count):
        im = photos[rng.integers(len(photos))]
        edge = int(min(im.size) * rng.uniform(0.4, 1.0))
        x, y = rng.integers(im.width - edge + 1), rng.integers(im.height - edge + 1)
        im = im.crop((x, y, x + edge, y + edge)).resize(size, Image.BILINEAR)
        yield np.asarray(im, np.float32)


def centre(path, size):
    """Shorter side to size·256/224, then a centre crop."""
    im = Image.open(path).convert("RGB")
    short = round(size * 256 / 224)
    scale = short / min(im.size)
    im = im.resize((max(size, round(im.width * scale)), max(size, round(im.height * scale))), Image.BILINEAR)
    x, y = (im.width - size) // 2, (im.height - size) // 2
    return np.asarray(im.crop((x, y, x + size, y + size)), np.float32)


def chw(images):
    return np.ascontiguousarray(np.stack(list(images)).transpose(0, 3, 1, 2), dtype=np.float32)


def imagenet(models):
    files = sorted(glob.glob(f"{models}/imagenet20/*.jpg"))
    return files, np.array([int(pathlib.Path(f).stem.rsplit("_", 1)[1]) for f in files])


def lite0(models):
    norm = lambda x: (x - 127) / 128
    files, labels = imagenet(models)
    return chw(map(norm, crops(f"{models}/photos", (224, 224), 64, 1))), chw(norm(centre(f, 224)) for f in files), labels


def squeezenet(models):
    norm = lambda x: x[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    files, labels = imagenet(models)
    return chw(map(norm, crops(f"{models}/photos", (227, 227), 64, 1))), chw(norm(centre(f, 227)) for f in files), labels


def orientation(models):
    norm = lambda x: (x / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    turn = lambda images: (np.rot90(im, i % 4) for i, im in enumerate(images))
    files, _ = imagenet(models)
    return chw(map(norm, turn(crops(f"{models}/photos", (224, 224), 64, 1)))), chw(map(norm, turn(centre(f, 224) for f in files))), None


def text_lines(count, seed):
    rng = np.random.default_rng(seed)
    letters = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789    ")
    for _ in range(count):
        ink, paper = rng.integers(0, 110, 3), rng.integers(150, 256, 3)
        im = Image.new("RGB", (192, 48), tuple(int(v) for v in paper))
        text = "".join(rng.choice(letters, rng.integers(6, 14)))
        ImageDraw.Draw(im).text((rng.integers(2, 12), rng.integers(0, 12)), text, tuple(int(v) for v in ink), ImageFont.load_default(rng.integers(18, 32)))
        im = im.rotate(180) if rng.random() < 0.5 else im
        yield np.asarray(im, np.float32)


def ppocr_cls(_):
    norm = lambda x: (x / 255 - 0.5) / 0.5
    return chw(map(norm, text_lines(64, 1))), chw(map(norm, text_lines(100, 2))), None


def mnist(models):
    images, labels = [], []
    for digit in range(10):
        data = np.array(json.load(open(f"{models}/digits/{digit}.json"))["data"], np.float32).reshape(-1, 1, 28, 28)
        images.append(data * 255), labels.append(np.full(len(data), digit))
    images, labels = np.concatenate(images), np.concatenate(labels)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], labels[order]
    return images[:500], images[500:10000], labels[500:10000]


MODELS = {
    "mnist": ("Input3", mnist, []),
    "orientation": ("x", orientation, []),
    "ppocr-cls": ("x", ppocr_cls, ["--input-shape", "x=N,3,48,192"]),
    "squeezenet1.1": ("data", squeezenet, []),
    "efficientnet-lite0": ("images", lite0, []),
}


def run_ort(path, name, data):
    options = ort.SessionOptions()
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    fixed = session.get_inputs()[0].shape[0] == 1
    step = 1 if fixed else 20
    return np.concatenate([session.run(None, {name: data[i:i + step]})[0] for i in range(0, len(data), step)])


def quantize_ort(path, out, name, data):
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self): self.i = 0
        def get_next(self):
            self.i += 1
            return {name: data[self.i - 1:self.i]} if self.i <= len(data) else None

    model = onnx.load(path)
    if model.opset_import[0].version < 13:
        model = onnx.version_converter.convert_version(model, 13)
    # Old exporters list initialisers among the inputs; the quantizer wants them apart.
    initialisers = {i.name for i in model.graph.initializer}
    for value in [v for v in model.graph.input if v.name in initialisers]:
        model.graph.input.remove(value)
    prepared = str(out) + ".pre.onnx"
    onnx.save(model, prepared)
    try:
        quant_pre_process(prepared, prepared, skip_symbolic_shape=True)
    except Exception as error:
        print(f"  (ONNX Runtime's pre-processing failed: {error})", file=sys.stderr)
    scheme = dict(quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                  calibrate_method=CalibrationMethod.MinMax)
    try:
        quantize_static(prepared, str(out), Reader(), **scheme)
    except ValueError:
        # Its adjustment of weights to biases fails on biases that are not vectors.
        quantize_static(prepared, str(out), Reader(), extra_options={"QDQDisableWeightAdjustForInt32Bias": True}, **scheme)


def sqnr(f, q):
    return 10 * np.log10((f.astype(np.float64) ** 2).sum() / ((f.astype(np.float64) - q) ** 2).sum())


def top1(y, labels):
    return "" if labels is None else f"{(y.reshape(len(y), -1).argmax(1) == labels).sum()}/{len(labels)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, help="folder with mnist.onnx, orientation.onnx, … and digits/, photos/, imagenet20/")
    parser.add_argument("--quaver", default="target/release/quaver")
    parser.add_argument("--observer", help="as `quaver convert --observer`; its default where not given")
    parser.add_argument("--convert", action="append", default=[], help="an argument more for `quaver convert`")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(MODELS)}; all where none is given")
    args = parser.parse_args()
    worse = []
    print(f"{'model':20s} {'ORT dB':>8s} {'Quaver dB':>10s}   {'float':>10s} {'ORT':>10s} {'Quaver':>10s}")
    for model in args.names or MODELS:
        name, make, extra = MODELS[model]
        path = pathlib.Path(args.models) / f"{model}.onnx"
        calibration, test, labels = make(args.models)
        with tempfile.TemporaryDirectory() as t:
            t = pathlib.Path(t)
            np.savez(t / "calibration.npz", **{name: calibration})
            np.save(t / "test.npy", test)
            observer = ["--observer", args.observer] if args.observer else []
            subprocess.run([args.quaver, "convert", path, "-o", t / "q.qvr", "--calibrate", t / "calibration.npz", *extra, *observer, *args.convert],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            subprocess.run([args.quaver, "run", t / "q.qvr", "--input", f"{name}={t / 'test.npy'}", "--output-dir", t / "out"],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            ours = np.load(next((t / "out").glob("*.npy")))
            real = run_ort(path, name, test)
            quantize_ort(path, t / "ort.onnx", name, calibration)
            theirs = run_ort(t / "ort.onnx", name, test)
        a, b = sqnr(real, theirs), sqnr(real, ours)
        print(f"{model:20s} {a:8.2f} {b:10.2f}   {top1(real, labels):>10s} {top1(theirs, labels):>10s} {top1(ours, labels):>10s}", flush=True)
        if b < a:
            worse.append(model)
    if worse:
        sys.exit(f"below ONNX Runtime: {', '.join(worse)}")


if __name__ == "__main__":
    main()
