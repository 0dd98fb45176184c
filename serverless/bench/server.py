"""ONNX Runtime behind FastAPI and uvicorn, as one writes it: the peer of `quaver serve`.

It answers the same requests with binary tensors. Each of its processes (`uvicorn --workers 2`) has a session of one thread, so that it
uses as many cores as it has processes; the session runs in uvicorn's pool of threads.

Environment: MODEL, the ONNX file.
"""

import json
import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
output = session.get_outputs()[0].name
app = FastAPI()


@app.get("/v2/health/ready")
def ready():
    return {"ready": True}


@app.post("/v2/models/{name}/infer")
async def infer(name: str, request: Request):
    body = await request.body()
    length = int(request.headers["inference-header-content-length"])
    [described] = json.loads(body[:length])["inputs"]
    tensor = np.frombuffer(body, np.float32, offset=length).reshape(described["shape"])
    scores = (await run_in_threadpool(session.run, [output], {session.get_inputs()[0].name: tensor}))[0]
    listed = {"name": output, "datatype": "FP32", "shape": scores.shape, "parameters": {"binary_data_size": scores.nbytes}}
    header = json.dumps({"model_name": name, "outputs": [listed]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    return Response(header + scores.tobytes(), media_type="application/octet-stream", headers=headers)
