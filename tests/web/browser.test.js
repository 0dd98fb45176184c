// The packed package in pages that Chromium shows: built by Vite and by webpack, served by Vite's development server, and with no
// bundler at all.
import { deepEqual, equal, ok } from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { build, createServer } from "vite";
import webpack from "webpack";

import { cases } from "./cases.js";
import { steadies } from "./memory.js";
import { isThreaded, ISOLATED, launch, run as runIn, visit as visitIn } from "./page.js";
import { compile, FIXTURES, project, write } from "./project.js";
import { serve } from "./server.js";

const browser = await launch("--js-flags=--expose-gc", "--enable-precise-memory-info");
const user = project("vite");
const threaded = isThreaded(user);
after(async () => {
  await browser.close();
  user.remove();
});

const visit = (url, work, expected) => visitIn(browser, url, work, expected);
const run = (page, base, ...names) => runIn(page, { base, threaded }, ...names);

const THREADS = ["gives native's bytes on any number of threads", "runs without threads that can't be started"];
const LIMITS = ["refuses models that are too large, before it takes memory", "refuses batches that are too large"];
const ESSENTIAL = ["gives native's bytes, from bytes", "runs in a worker, and leaves the caller's buffers alone"];

describe("a page built by Vite", () => {
  const pages = join(user.folder, "dist");
  let server;
  let isolated;
  before(async () => {
    await build({ root: user.folder, logLevel: "warn", build: { assetsDir: "assets" } });
    server = await serve({ files: FIXTURES, pages, dist: user.dist });
    isolated = await serve({ files: FIXTURES, pages, dist: user.dist, headers: ISOLATED });
  });
  after(() => [server, isolated].forEach(({ end }) => end()));

  test("type-checks, and carries the builds of the module and one worker", () => {
    compile(user.folder);
    const assets = readdirSync(join(pages, "assets"));
    const modules = readdirSync(join(user.dist, "wasm"));
    equal(assets.filter((name) => name.endsWith(".wasm")).length, modules.length, String(assets));
    equal(assets.filter((name) => name.startsWith("worker")).length, 1, String(assets));
  });

  for (const name of Object.keys(cases)) {
    // The browser itself complains about what the server is told to refuse.
    test(name, () => visit(server.base, (page) => run(page, server.base, name), ["Failed to load resource"]));
  }

  for (const name of [...THREADS, ...ESSENTIAL, ...LIMITS, "has several sessions at once", "survives hostile models", "can be aborted"]) {
    test(`${name}, isolated from other origins`, () => visit(isolated.base, (page) => run(page, isolated.base, name)));
  }

  for (const worker of [false, true]) {
    test(`leaves no thread behind${worker ? " in workers" : ""}`, { skip: !threaded }, () =>
      visit(isolated.base, async (page) => {
        const cdp = await browser.newBrowserCDPSession();
        // Counts workers within workers, too.
        const threads = async () => {
          const { targetInfos } = await cdp.send("Target.getTargets", { filter: [{ type: "worker" }] });
          return targetInfos.length;
        };
        const work = async ({ base, worker, cycles }) => {
          globalThis.bench ??= { quaver: globalThis.quaver, base, files: await globalThis.fixtures(base) };
          globalThis.kept = await globalThis.quaver.InferenceSession.create(globalThis.bench.files.model, { worker, threads: 4 });
          await globalThis.cycles(globalThis.bench, cycles, worker, 4);
        };
        await page.evaluate(work, { base: isolated.base, worker, cycles: 50 });
        const ofOne = worker ? 4 : 3;
        const left = async (count) => {
          for (let i = 0; i < 100 && (await threads()) !== count; i++) {
            await new Promise((resolve) => setTimeout(resolve, 50));
          }
          equal(await threads(), count);
        };
        await left(ofOne);
        await page.evaluate(() => globalThis.kept.release());
        await left(0);
      }));
  }

  test("takes what a page has of pictures", () =>
    visit(server.base, async (page) => {
      const problems = await page.evaluate(async (base) => {
        const { quaver } = globalThis;
        const { rgba, png, expected } = (await globalThis.fixtures(base)).images;
        const data = new ImageData(new Uint8ClampedArray(rgba.data), rgba.width, rgba.height);
        const blob = new Blob([png], { type: "image/png" });
        const bitmap = await createImageBitmap(blob);
        const canvas = Object.assign(document.createElement("canvas"), { width: rgba.width, height: rgba.height });
        canvas.getContext("2d").putImageData(data, 0, 0);
        const offscreen = new OffscreenCanvas(rgba.width, rgba.height);
        offscreen.getContext("2d").putImageData(data, 0, 0);
        const image = Object.assign(new Image(), { src: URL.createObjectURL(blob) });
        const frame = new VideoFrame(offscreen, { timestamp: 0 });
        const problems = [];
        for (const [name, source] of Object.entries({ data, blob, bitmap, canvas, offscreen, image })) {
          for (const { options, bytes } of expected) {
            const tensor = await quaver.Tensor.fromImage(source, options);
            const equal = tensor.bytes.length === bytes.length && tensor.bytes.every((byte, i) => byte === bytes[i]);
            equal || problems.push(`${name} ${JSON.stringify(options)}`);
          }
        }
        // A frame may have been through another colour space.
        const tensor = await quaver.Tensor.fromImage(frame, { width: 20, height: 10 });
        String(tensor.dims) === "1,3,10,20" || problems.push(`frame ${tensor.dims}`);
        frame.close();
        const refused = async (source, word) => {
          const error = await quaver.Tensor.fromImage(source).catch((error) => error);
          (error instanceof quaver.InputError && error.message.includes(word)) || problems.push(`${word}: ${error}`);
        };
        await refused(new Blob(["no image"]), "no image");
        await refused(Object.assign(new Image(), { src: `${base}/files/nix.png` }), "nix.png");
        await refused(document.createElement("video"), "no pixels");
        return problems;
      }, server.base);
      deepEqual(problems, []);
    }, ["404"]));

  test("works offline, once it has the module", () =>
    visit(server.base, async (page) => {
      await run(page, server.base, ...ESSENTIAL);
      await page.context().setOffline(true);
      const reached = await page.evaluate((base) => fetch(`${base}/files/model.qvr`).then(() => true, () => false), server.base);
      equal(reached, false, "the network isn't cut");
      await run(page, server.base, ...ESSENTIAL);
      const error = await page.evaluate(
        (base) => globalThis.quaver.InferenceSession.create(`${base}/files/model.qvr`).catch(({ name, code }) => `${name} ${code}`),
        server.base,
      );
      equal(error, "FetchError fetch");
    }, ["ERR_INTERNET_DISCONNECTED"]));

  for (const [count, worker] of [[200, false], [50, true]]) {
    test(`doesn't grow by ${count} sessions${worker ? " in workers" : ""}`, () =>
      visit(server.base, async (page) => {
        const cdp = await browser.newBrowserCDPSession();
        const { processInfo } = await cdp.send("SystemInfo.getProcessInfo");
        const renderers = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
        const cycle = (count) =>
          page.evaluate(
            async ({ base, count, worker }) => {
              globalThis.bench ??= { quaver: globalThis.quaver, base, files: await globalThis.fixtures(base) };
              await globalThis.cycles(globalThis.bench, count, worker);
              for (let i = 0; i < 5; i++) {
                globalThis.gc();
                await new Promise((resolve) => setTimeout(resolve, 50));
              }
            },
            { base: server.base, count, worker },
          );
        const used = () => renderers.reduce((sum, id) => sum + resident(id), 0);
        await steadies(cycle, used, count);
      }));
  }
});

test("a page of Vite's development server", async () => {
  const files = await serve({ files: FIXTURES, pages: user.folder, dist: user.dist });
  const server = await createServer({ root: user.folder, logLevel: "warn", server: { port: 0, host: "127.0.0.1", headers: ISOLATED } });
  try {
    await server.listen();
    const { port } = server.httpServer.address();
    await visit(`http://127.0.0.1:${port}`, (page) => run(page, files.base, ...ESSENTIAL, ...THREADS));
  } finally {
    await server.close();
    files.end();
  }
});

test("a page built by webpack", async () => {
  const output = join(user.folder, "packed");
  const entry = 'export {};\nimport * as quaver from "quaver";\nimport * as bench from "./cases.js";\nObject.assign(globalThis, { quaver, ...bench });\n';
  write(user.folder, { "entry.js": entry });
  const compiler = webpack({
    context: user.folder,
    mode: "production",
    target: "web",
    entry: "./entry.js",
    output: { path: output, publicPath: "auto" },
    // The module is above what webpack recommends for a page's first load, as it should be loaded with the model.
    performance: { hints: false },
  });
  const stats = await new Promise((resolve, reject) => compiler.run((error, stats) => (error ? reject(error) : resolve(stats))));
  ok(!stats.hasErrors() && !stats.hasWarnings(), stats.toString("errors-warnings"));
  write(output, { "index.html": '<!doctype html><link rel="icon" href="data:,"><script src="main.js"></script>' });
  const server = await serve({ files: FIXTURES, pages: output, dist: user.dist, headers: ISOLATED });
  try {
    await visit(server.base, (page) => run(page, server.base, ...ESSENTIAL, ...THREADS));
  } finally {
    server.end();
  }
});

test("a page without a bundler, isolated from other origins", async () => {
  const script = `
    import * as quaver from "/node_modules/quaver/dist/index.js";
    import * as bench from "/cases.js";
    Object.assign(globalThis, { quaver, ...bench });`;
  write(user.folder, { "plain.html": `<!doctype html><link rel="icon" href="data:,"><script type="module">${script}</script>` });
  const server = await serve({ files: FIXTURES, pages: user.folder, dist: user.dist, headers: ISOLATED });
  try {
    await visit(`${server.base}/plain.html`, async (page) => {
      equal(await page.evaluate(() => globalThis.crossOriginIsolated), true);
      await run(page, server.base, ...ESSENTIAL, ...THREADS, "describes a model");
    });
  } finally {
    server.end();
  }
});

/** MiB of a process that are in memory. */
function resident(id) {
  const [, kilobytes] = /^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${id}/status`, "utf8")) ?? [];
  return Number(kilobytes) / 1024;
}
