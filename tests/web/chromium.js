// Runs networks in pages of Chromium for tests/src/chromium.rs: with each build of the package and each class of instructions that
// its engine has, once as it is and once as on a processor without AVX, where relaxed dot products saturate.
//
//   node chromium.js FOLDER
//
// First it prints the list of what can run a network, as a line of JSON: [{"browser": …, "build": …, "instructions": …}]. Then
// it answers each line {"host": INDEX, "model": FILE, "inputs": [{"dims": […], "file": FILE}]} with
// {"outputs": [FILE…]} or {"error": TEXT}. Files lie in FOLDER. It ends with its standard input.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { serve } from "./server.js";

const BROWSERS = [
  { browser: "chromium", args: [] },
  { browser: "chromium without AVX", args: ["--js-flags=--no-enable-avx"] },
];
/** Milliseconds after which a run is taken for one that hangs. */
const PATIENCE = 180_000;
const ISOLATED = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
const DIST = fileURLToPath(new URL("../../wasm/npm/dist", import.meta.url));
/** What a page knows, beside the package. */
const SCRIPT = `
  import { BUILDS } from "/package/builds.js";
  import * as quaver from "/package/index.js";
  const options = ({ build, instructions }) => {
    const { threads } = BUILDS.find(({ name }) => name === build);
    return { build, instructions, threads: threads ? 2 : 1 };
  };
  const bytes = async (file) => new Uint8Array(await (await fetch("/files/" + file)).arrayBuffer());
  const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  globalThis.lists = async () => {
    const found = [];
    for (const { name: build } of BUILDS) {
      for (const instructions of ["scalar", "simd128", "sat", "sdot", "usdot"]) {
        // Which instructions there are is asked first, and then for a model.
        const error = await quaver.InferenceSession.create(new Uint8Array(0), options({ build, instructions })).catch((error) => error);
        error.code === "model" ? found.push({ build, instructions }) : console.debug(String(error));
      }
    }
    return found;
  };
  globalThis.runs = async ({ build, instructions, model, inputs }) => {
    const session = await quaver.InferenceSession.create(await bytes(model), options({ build, instructions }));
    try {
      if (session.backend.build !== build || session.backend.instructions !== instructions) {
        throw new Error("it ran with " + JSON.stringify(session.backend));
      }
      const feeds = {};
      for (const [index, { dims, file }] of inputs.entries()) {
        const { name, type } = session.inputMetadata[index];
        feeds[name] = quaver.Tensor.fromBytes(type, await bytes(file), dims);
      }
      const results = await session.run(feeds);
      return session.outputNames.map((name) => base64(results[name].bytes));
    } finally {
      await session.release();
    }
  };`;

const [folder] = process.argv.slice(2);
await writeFile(join(folder, "index.html"), `<!doctype html><link rel="icon" href="data:,"><script type="module">${SCRIPT}</script>`);
const server = await serve({ files: folder, pages: folder, dist: DIST, headers: ISOLATED });
const hosts = [];
const browsers = [];
for (const { browser, args } of BROWSERS) {
  const started = await chromium.launch({ executablePath: process.env.QUAVER_CHROMIUM, args: ["--no-sandbox", ...args] });
  browsers.push(started);
  const page = await started.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(server.base);
  await page.waitForFunction(() => "runs" in globalThis);
  const found = await page.evaluate(() => globalThis.lists());
  // Code without SIMD is the same in all, so once is enough.
  const wanted = found.filter(({ build, instructions }) => instructions !== "scalar" || (build === "base" && browsers.length === 1));
  hosts.push(...wanted.map((host) => ({ browser, page, ...host })));
}
console.log(JSON.stringify(hosts.map(({ browser, build, instructions }) => ({ browser, build, instructions }))));

let answers = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const { host, model, inputs } = JSON.parse(line);
  const { page, build, instructions } = hosts[host];
  try {
    const running = page.evaluate((request) => globalThis.runs(request), { build, instructions, model, inputs });
    const outputs = await Promise.race([running, late()]);
    const answer = answers++;
    const files = outputs.map((_, index) => `output-${answer}-${index}.bin`);
    await Promise.all(outputs.map((text, index) => writeFile(join(folder, files[index]), Buffer.from(text, "base64"))));
    console.log(JSON.stringify({ outputs: files }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message }));
  }
}
await Promise.all(browsers.map((browser) => browser.close()));
server.end();

/** Fails after a while; a timer alone keeps no process alive. */
function late() {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`it hasn't ended after ${PATIENCE / 1000} seconds`)), PATIENCE).unref();
  });
}
