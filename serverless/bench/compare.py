"""Requests per second and their times: `quaver serve` beside ONNX Runtime behind a plain Python server, by wrk on loopback.

    python serverless/bench/compare.py --quaver target/release/quaver --qvr mobilenet_v2.qvr --onnx mobilenet_v2.int8.onnx

Both servers run at once but are asked in turns, at each number of connections; the table has the median of the rounds. wrk and whatever
else runs take their share of the cores; so there is also the processor's time that a server spends on a request, by which cores alone
bound it. It needs Linux, wrk, and a Python with fastapi, uvicorn[standard], numpy, pillow and onnxruntime. --component adds a component, with and
without the host's kernels. --request says what is sent: a tensor in binary, one as JSON, or a photo to be classified.
"""

import argparse
import json
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quaver", required=True, help="the command")
    parser.add_argument("--qvr", required=True, help="the model for it")
    parser.add_argument("--onnx", help="the same model for ONNX Runtime, INT8")
    parser.add_argument("--component", help="the same model by quaver componentize, named as the .qvr")
    parser.add_argument("--shape", default="1,3,224,224", help="the input's extents")
    parser.add_argument("--request", choices=["binary", "json", "photo"], default="binary")
    parser.add_argument("--photo", help="with --request photo: a JPEG or PNG file")
    parser.add_argument("--connections", default="1,2,4,8,16,32", help="how many clients ask at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="a round")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes of the Python server")
    args = parser.parse_args()
    if (args.request == "photo") != (args.photo is not None):
        parser.error("--request photo and --photo FILE go together")

    name = pathlib.Path(args.qvr).stem
    shape = [int(extent) for extent in args.shape.split(",")]
    servers, lanes = [], []
    call = "classify?top=5" if args.request == "photo" else "infer"
    try:
        files = [args.qvr] + ([f"app={args.component}"] if args.component else [])
        servers.append(start([args.quaver, "serve", "--listen", "127.0.0.1:18080", "--concurrent", "64", *files], 18080))
        lanes.append(("quaver serve", servers[-1], f"http://127.0.0.1:18080/v2/models/{name}/{call}"))
        if args.component:
            lanes.append(("component, lent kernels", servers[-1], f"http://127.0.0.1:18080/apps/app/v2/models/{name}/{call}"))
            own = [args.quaver, "serve", "--no-lend", "--listen", "127.0.0.1:18081", "--concurrent", "64", f"app={args.component}"]
            servers.append(start(own, 18081))
            lanes.append(("component, own kernels", servers[-1], f"http://127.0.0.1:18081/apps/app/v2/models/{name}/{call}"))
        if args.onnx:
            command = [sys.executable, "-m", "uvicorn", "--workers", str(args.workers), "--port", "18082", "--log-level", "warning"]
            command += ["--app-dir", str(HERE), "server:app"]
            servers.append(start(command, 18082, MODEL=args.onnx))
            lane = f"FastAPI, uvicorn x {args.workers}, ONNX Runtime"
            lanes.append((lane, servers[-1], f"http://127.0.0.1:18082/v2/models/{name}/{call}"))
        with tempfile.TemporaryDirectory() as folder:
            measure(args, lanes, body(args, name, shape, pathlib.Path(folder)))
    finally:
        for server in servers:
            server.terminate()


def start(command, port, **environment):
    """Starts a server and waits until it is ready."""
    server = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    for _ in range(600):
        try:
            if urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready").status == 200:
                return server
        except OSError:
            time.sleep(0.1)
    server.terminate()
    raise SystemExit(f"{command[0]} isn't ready after a minute")


def body(args, name, shape, folder):
    """What wrk's script is told of a request: a file with its body, and its headers."""
    if args.request == "photo":
        return {"BODY": args.photo, "TYPE": "image/png" if args.photo.endswith(".png") else "image/jpeg"}
    metadata = json.load(urllib.request.urlopen(f"http://127.0.0.1:18080/v2/models/{name}"))
    count = 1
    for extent in shape:
        count *= extent
    values = [(i * 37 % 256) / 128 - 1 for i in range(count)]
    described = {"name": metadata["inputs"][0]["name"], "shape": shape, "datatype": "FP32"}
    path = folder / "body"
    if args.request == "json":
        path.write_text(json.dumps({"inputs": [{**described, "data": values}]}))
        return {"BODY": str(path), "TYPE": "application/json"}
    binary = struct.pack(f"<{count}f", *values)
    described["parameters"] = {"binary_data_size": len(binary)}
    header = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
    path.write_bytes(header + binary)
    return {"BODY": str(path), "TYPE": "application/octet-stream", "LENGTH": str(len(header))}


def measure(args, lanes, request):
    print(f"{'server':44} {'clients':>7} {'req/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'cpu ms':>7} {'errors':>6}")
    for connections in args.connections.split(","):
        rounds = {lane: [] for lane, _, _ in lanes}
        for _ in range(args.rounds):
            for lane, server, url in lanes:
                before = cpu_seconds(server.pid)
                result = wrk(url, int(connections), args.seconds, request)
                result["cpu_ms"] = (cpu_seconds(server.pid) - before) * 1e3 / max(result["requests"], 1)
                rounds[lane].append(result)
        for lane, results in rounds.items():
            middle = {key: statistics.median(result[key] for result in results) for key in ("per_second", "p50_ms", "p99_ms", "cpu_ms")}
            errors = sum(result["errors"] for result in results)
            numbers = f"{middle['per_second']:9.1f} {middle['p50_ms']:8.2f} {middle['p99_ms']:8.2f} {middle['cpu_ms']:7.2f} {errors:6}"
            print(f"{lane:44} {connections:>7} {numbers}", flush=True)


def cpu_seconds(pid):
    """The processor's time of a process and of those that it has started."""
    def fields(pid):
        # Behind the name, which may have spaces: the state, the parent, and so on; see proc(5).
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()

    ticks = sum(map(int, fields(pid)[11:13])) / os.sysconf("SC_CLK_TCK")
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return ticks + sum(cpu_seconds(int(child)) for child in children.read_text().split())


def wrk(url, connections, seconds, request):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(HERE / "infer.lua"), url]
    environment = {**os.environ, **request}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


if __name__ == "__main__":
    main()
