#!/usr/bin/env python3
"""Real networks beside their float originals: text recognised and found, sentences, file types, page orientation, speech.

Each network is converted once for each scheme, with calibration data that is not the test's, and runs at the sizes that its test data has. The
figures are agreements with ONNX Runtime's run of the float network.

needs:  pip install numpy pillow onnxruntime tokenizers; a folder of real models (see `--help`)
usage:  real.py --models DIR --quaver target/release/quaver [NAME ...]
"""
import argparse, os, pathlib, subprocess, sys, tempfile
import numpy as np, onnxruntime as ort
from PIL import Image, ImageDraw, ImageFont

ort.set_default_logger_severity(3)
WORDS = """the a of to and in is that it was for on are as with his they at be this from have or by one had not but what all were when we
there can an your which their said if do will each about how up out them then she many some so these would other into has more her two
like him see time could no make than first been its who now people my made over did down only way find use may water long little very
after words called just where most know get through back much before go good new write our used me man too any day same right look think
also around another came come work three word must because does part even place well such here take why things help put years different
away again off went old number great tell men say small every found still between name should home big give air line set own under read
last never us left end along while might next sound below saw something thought both few those always looked show large often together
asked house world going want school important until form food keep children feet land side without boy once animals life enough took
sometimes four head above kind began almost live page got earth need far hand high year mother light parts country father let night
following picture being study second soon story since white ever paper hard near sentence better best across during today others however
sure means knew try told young miles sun ways thing whole hear example heard several change answer room sea against top turned learn
point city play toward five using himself usually""".split()


def line(rng, width=None):
    """A rendered line of text, 48 pixels high, as wide as it is."""
    text = " ".join(rng.choice(WORDS, rng.integers(2, 6)))
    size = int(rng.integers(26, 36))
    font = ImageFont.load_default(size)
    w = int(font.getlength(text)) + 24
    ink, paper = rng.integers(0, 90, 3), rng.integers(180, 256, 3)
    im = Image.new("RGB", (w, 48), tuple(int(v) for v in paper))
    ImageDraw.Draw(im).text((10, (48 - size) // 2 - 3), text, tuple(int(v) for v in ink), font)
    if width is not None:
        im = im.crop((0, 0, width, 48)) if w >= width else im.resize((width, 48))
    x = np.asarray(im, np.float32) / 127.5 - 1
    return text, np.ascontiguousarray(x.transpose(2, 0, 1)[None])


def rec(models):
    rng = np.random.default_rng(1)
    calibration = {"x": np.concatenate([line(rng, 320)[1] for _ in range(48)])}
    rng = np.random.default_rng(2)
    return calibration, [{"x": line(rng)[1]} for _ in range(100)]


def page(rng, height, width):
    """Lines of text and a photograph on paper."""
    im = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(200, 256, 3)))
    draw = ImageDraw.Draw(im)
    for _ in range(rng.integers(3, 9)):
        font = ImageFont.load_default(int(rng.integers(14, 40)))
        at = (int(rng.integers(0, width // 2)), int(rng.integers(0, height - 20)))
        draw.text(at, " ".join(rng.choice(WORDS, rng.integers(1, 6))), tuple(int(v) for v in rng.integers(0, 120, 3)), font)
    return im


def det(models):
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    norm = lambda im: ((np.asarray(im, np.float32) / 255 - mean) / std).astype(np.float32).transpose(2, 0, 1)[None]
    rng = np.random.default_rng(3)
    calibration = {"x": np.concatenate([norm(page(rng, 320, 480)) for _ in range(24)])}
    rng = np.random.default_rng(4)
    sizes = [(320, 480), (480, 320), (640, 640), (96, 320), (736, 512)]
    return calibration, [{"x": norm(page(rng, *sizes[i % len(sizes)]))} for i in range(20)]


def minilm(models):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(f"{models}/minilm-l6.tokenizer.json")
    tokenizer.no_padding()
    def ids(rng, length=None):
        text = " ".join(rng.choice(WORDS, rng.integers(4, 40))).capitalize() + "."
        tokens = tokenizer.encode(text).ids
        mask = [1] * len(tokens)
        if length is not None:
            tokens, mask = (tokens + [0] * length)[:length], (mask + [0] * length)[:length]
        return {"input_ids": np.array([tokens]), "attention_mask": np.array([mask]), "token_type_ids": np.zeros((1, len(tokens)), np.int64)}
    rng = np.random.default_rng(5)
    samples = [ids(rng, 48) for _ in range(64)]
    calibration = {name: np.concatenate([s[name] for s in samples]) for name in samples[0]}
    rng = np.random.default_rng(6)
    return calibration, [ids(rng) for _ in range(200)]


def files(count, seed):
    """Beginnings and ends of files of many types, as the network takes them."""
    rng = np.random.default_rng(seed)
    found = []
    for root in ["/usr/lib", "/usr/share", "/etc", "/usr/bin", "/usr/include"]:
        for folder, folders, names in os.walk(root):
            folders.sort()
            found += [f for f in (os.path.join(folder, n) for n in sorted(names)[:20]) if os.path.isfile(f) and not os.path.islink(f)]
            if len(found) > 50000:
                break
    rows = []
    for f in rng.permutation(found):
        try:
            with open(f, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                head = file.read(1024).lstrip()
                file.seek(max(0, size - 1024))
                tail = file.read(1024).rstrip()
        except OSError:
            continue
        if size < 32:
            continue
        pad = lambda b, left: np.pad(np.frombuffer(b, np.uint8).astype(np.int32), ((1024 - len(b), 0) if left else (0, 1024 - len(b))), constant_values=256)
        rows.append(np.concatenate([pad(head, False), pad(tail, True)]))
        if len(rows) == count:
            break
    return np.stack(rows)


def magika(models):
    both = files(480, 7)
    return {"bytes": both[:80]}, [{"bytes": row[None]} for row in both[80:]]


def orientation(models):
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    def turned(rng, count):
        for i in range(count):
            im = page(rng, 448, 448).resize((224, 224))
            yield np.ascontiguousarray(np.rot90(((np.asarray(im, np.float32) / 255 - mean) / std).astype(np.float32), i % 4).transpose(2, 0, 1)[None])
    calibration = {"x": np.concatenate(list(turned(np.random.default_rng(8), 64)))}
    return calibration, [{"x": x} for x in turned(np.random.default_rng(9), 100)]


def sound(rng, seconds):
    """Something like speech: harmonics of a wandering pitch through wandering resonances, with pauses; or noise."""
    n, rate = int(seconds * 16000), 16000
    t = np.arange(n) / rate
    pitch = 120 + 40 * np.sin(2 * np.pi * rng.uniform(0.2, 1.0) * t + rng.uniform(0, 6)) + rng.uniform(-30, 90)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(np.sin(k * phase) / k * np.exp(-(((k * pitch - f) / 300) ** 2)) for k in range(1, 20) for f in rng.uniform(300, 3000, 3))
    speaks = np.repeat(rng.random(n // 2000 + 1) < 0.6, 2000)[:n]
    return (0.25 * voice * speaks / max(1e-3, np.abs(voice).max()) + rng.uniform(0.001, 0.05) * rng.standard_normal(n)).astype(np.float32)


def silero(models):
    def windows(x):
        # 512 samples each, with 64 of those before.
        x = np.concatenate([np.zeros(64, np.float32), x])
        count = (len(x) - 64) // 512
        return {"input": np.stack([x[i * 512:i * 512 + 576] for i in range(count)]), "h": np.zeros((1, 1, 128), np.float32), "c": np.zeros((1, 1, 128), np.float32)}
    rng = np.random.default_rng(10)
    # Whole sequences, so that states are as they become.
    calibration = [windows(sound(rng, 2)) for _ in range(8)]
    rng = np.random.default_rng(11)
    return calibration, [windows(sound(rng, rng.uniform(1, 5))) for _ in range(30)]


def near(pairs):
    worst = max(float(np.abs(a - b).max()) for a, b in pairs)
    return f"probabilities within {worst:.4f}", worst <= 0.05


def text(y):
    best = y[0].argmax(-1)
    return [int(c) for c, before in zip(best, [0, *best[:-1]]) if c != 0 and c != before]


def same_text(pairs):
    same = sum(text(a) == text(b) for a, b in pairs)
    return f"{same} of {len(pairs)} lines read as by float", same >= len(pairs) - 1


def masks(pairs):
    iou = [((a > 0.3) & (b > 0.3)).sum() / max(1, ((a > 0.3) | (b > 0.3)).sum()) for a, b in pairs]
    return f"mask IoU mean {np.mean(iou):.4f}, least {np.min(iou):.4f}", np.mean(iou) >= 0.97


def cosine(pairs):
    c = [float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())) for a, b in pairs]
    return f"cosine mean {np.mean(c):.5f}, least {np.min(c):.5f}", np.mean(c) >= 0.995 and np.min(c) >= 0.99


def top(least):
    def judge(pairs):
        same = sum(int(a.argmax() == b.argmax()) for a, b in pairs)
        return f"{same} of {len(pairs)} agree", same >= least * len(pairs)
    return judge


# Data, what is asked of it, and the schemes that it is quantized by: dynamic where there are products that it quantizes.
MODELS = {
    "ppocr-rec": (rec, same_text, ["static", "dynamic"]),
    "ppocr-det": (det, masks, ["static"]),
    "minilm-l6": (minilm, cosine, ["static", "dynamic"]),
    "magika": (magika, top(0.99), ["static"]),
    "orientation": (orientation, top(1.0), ["static"]),
    "silero-vad": (silero, near, ["static", "dynamic"]),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, help="folder with ppocr-rec.onnx, minilm-l6.onnx, minilm-l6.tokenizer.json, …")
    parser.add_argument("--quaver", default="target/release/quaver")
    parser.add_argument("--convert", action="append", default=[], help="an argument more for `quaver convert`")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(MODELS)}; all where none is given")
    args = parser.parse_args()
    missed = []
    for name in args.names or MODELS:
        make, judge, schemes = MODELS[name]
        path = pathlib.Path(args.models) / f"{name}.onnx"
        calibration, tests = make(args.models)
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        kinds = {i.name: np.int32 if "int32" in i.type else np.int64 if "int64" in i.type else np.float32 for i in session.get_inputs()}
        real = [session.run(None, {n: x.astype(kinds[n]) for n, x in inputs.items()})[0] for inputs in tests]
        first = session.get_outputs()[0].name
        for scheme in schemes:
            with tempfile.TemporaryDirectory() as t:
                t = pathlib.Path(t)
                feeds = calibration if isinstance(calibration, list) else [calibration]
                (t / "calibration").mkdir()
                for i, feed in enumerate(feeds):
                    np.savez(t / "calibration" / f"{i}.npz", **feed)
                samples = t / "calibration" if feeds is calibration else t / "calibration" / "0.npz"
                command = [args.quaver, "convert", path, "-o", t / "q.qvr", "--calibrate", samples, "--scheme", scheme, *args.convert]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                pairs = []
                for inputs, wanted in zip(tests, real):
                    given = []
                    for n, x in inputs.items():
                        np.save(t / f"{n}.npy", x if kinds[n] == np.float32 else x.astype(np.int64))
                        given += ["--input", f"{n}={t / n}.npy"]
                    run = [args.quaver, "run", t / "q.qvr", *given, "--output-dir", t / "out"]
                    subprocess.run(run, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                    found = {f.stem: f for f in (t / "out").glob("*.npy")}
                    pairs.append((wanted, np.load(found.get(first, next(iter(found.values())))).reshape(wanted.shape)))
            figures, met = judge(pairs)
            print(f"{name:14s} {scheme:8s} {figures}{'' if met else '   MISSED'}", flush=True)
            missed += [] if met else [f"{name} ({scheme})"]
    sys.exit(f"missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
