// Runs a model once, for tests and for the demo.
//
//   node run.mjs REQUEST.json OUTPUT_DIR        (REQUEST.json may be -, standard input)
//
// The request is {"model": "m.qvr", "inputs": [{"name": "x", "type": "float32", "dims": [1, 3], "file": "x.bin"}], "runs": 1};
// files hold little-endian elements, and paths are relative to the working directory. Output number I goes to
// OUTPUT_DIR/I.bin, as its name may be no file name. On standard output:
// {"outputs": [{"name": …, "type": …, "dims": […], "file": …, "sha256": …}], "milliseconds": […]}, the latter of each run.
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { performance } from "node:perf_hooks";

import { InferenceSession, Tensor } from "./dist/index.node.js";

async function main([request, directory]) {
  if (request === undefined || directory === undefined) {
    throw new Error("usage: node run.mjs REQUEST.json OUTPUT_DIR");
  }
  const { model, inputs, runs = 1 } = JSON.parse(await readFile(request === "-" ? "/dev/stdin" : request, "utf8"));
  const session = await InferenceSession.create(model);
  const tensors = {};
  for (const { name, type, dims, file } of inputs) {
    tensors[name] = Tensor.fromBytes(type, new Uint8Array(await readFile(file)), dims);
  }
  const milliseconds = [];
  let results = {};
  for (let run = 0; run < runs; run++) {
    const start = performance.now();
    results = await session.run(tensors);
    milliseconds.push(performance.now() - start);
  }
  await mkdir(directory, { recursive: true });
  const outputs = [];
  for (const [index, name] of session.outputNames.entries()) {
    const { type, dims, bytes } = results[name];
    const file = join(directory, `${index}.bin`);
    await writeFile(file, bytes);
    outputs.push({ name, type, dims, file, sha256: createHash("sha256").update(bytes).digest("hex") });
  }
  session.release();
  process.stdout.write(`${JSON.stringify({ outputs, milliseconds })}\n`);
}

main(process.argv.slice(2)).catch((error) => {
  process.stderr.write(`run.mjs: ${error.code ? `${error.code}: ` : ""}${error.message}\n`);
  process.exitCode = 1;
});
