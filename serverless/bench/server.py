"""ONNX Runtime behind FastAPI and uvicorn, as one writes it: the peer of `quaver serve`.

It answers the same requests: tensors in binary or as JSON, and photos. Each of its processes (`uvicorn --workers 2`) has a session of
one thread, so that it uses as many cores as it has processes; the session runs in uvicorn's pool of threads.

Environment: MODEL, the ONNX file.
"""

import io
import json
import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from PIL import Image

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
output = session.get_outputs()[0].name
app = FastAPI()

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@app.get("/v2/health/ready")
def ready():
    return {"ready": True}


@app.post("/v2/models/{name}/infer")
async def infer(name: str, request: Request):
    body = await request.body()
    if "inference-header-content-length" not in request.headers:
        [described] = json.loads(body)["inputs"]
        tensor = np.array(described["data"], np.float32).reshape(described["shape"])
        scores = await run_in_threadpool(run, tensor)
        listed = {"name": output, "datatype": "FP32", "shape": scores.shape, "data": scores.ravel().tolist()}
        return {"model_name": name, "outputs": [listed]}
    length = int(request.headers["inference-header-content-length"])
    [described] = json.loads(body[:length])["inputs"]
    scores = await run_in_threadpool(run, np.frombuffer(body, np.float32, offset=length).reshape(described["shape"]))
    listed = {"name": output, "datatype": "FP32", "shape": scores.shape, "parameters": {"binary_data_size": scores.nbytes}}
    header = json.dumps({"model_name": name, "outputs": [listed]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    return Response(header + scores.tobytes(), media_type="application/octet-stream", headers=headers)


@app.post("/v2/models/{name}/classify")
async def classify(name: str, request: Request, top: int = 5):
    return {"model_name": name, "classes": await run_in_threadpool(classes, await request.body(), top)}


def run(tensor):
    return session.run([output], {session.get_inputs()[0].name: tensor})[0]


def classes(photo, top):
    image = Image.open(io.BytesIO(photo)).convert("RGB")
    _, _, height, width = session.get_inputs()[0].shape
    scale = max(width / image.width, height / image.height) * 256 / 224
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.BILINEAR)
    left, upper = (image.width - width) // 2, (image.height - height) // 2
    pixels = np.asarray(image.crop((left, upper, left + width, upper + height)), np.float32)
    normalised = (pixels / 255 - np.float32(MEAN)) / np.float32(STD)
    scores = run(np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])).ravel()
    best = np.argsort(scores)[::-1][:top]
    return [{"class": int(i), "score": float(scores[i])} for i in best]
