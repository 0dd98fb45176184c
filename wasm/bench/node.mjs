// Measures a module in Node; see README.md.
//
//   node node.mjs MODULE.wasm SECONDS MODEL.qvr...
import { readFile } from "node:fs/promises";
import { basename } from "node:path";

import { report } from "./report.mjs";

const [file, seconds, ...paths] = process.argv.slice(2);
if (paths.length === 0) {
  throw new Error("usage: node node.mjs MODULE.wasm SECONDS MODEL.qvr...");
}
const module = await WebAssembly.compile(await readFile(file));
const models = await Promise.all(paths.map(async (path) => [basename(path, ".qvr"), await readFile(path)]));
await report(module, models, Number(seconds), console.log);
