// The packed package in a plain Node script.
import { deepEqual, ok, rejects } from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";

import { breakdowns, cases, cycles, fixtures } from "./cases.js";
import { steadies } from "./memory.js";
import { compile, FIXTURES, project, write } from "./project.js";
import { serve } from "./server.js";

/** Where Linux lists the threads of this process. */
const TASKS = "/proc/self/task";
const user = project();
write(user.folder, { "quaver.js": 'export * from "quaver";\n' });
const server = await serve({ files: FIXTURES, pages: user.folder, dist: user.dist });
after(() => {
  server.end();
  user.remove();
});
let bench;
before(async () => {
  const quaver = await import(pathToFileURL(join(user.folder, "quaver.js")).href);
  // Not every toolchain makes the build for threads.
  const threaded = existsSync(join(user.dist, "wasm/quaver_threads.wasm"));
  const relaxed = Number.parseInt(process.versions.node, 10) >= 22;
  bench = { quaver, base: server.base, relaxed, shares: relaxed && threaded, Worker, files: await fixtures(server.base) };
});

for (const [name, run] of Object.entries(cases)) {
  test(name, () => run(bench));
}

for (const name of Object.keys(breakdowns)) {
  test(name, (context) => {
    if (!bench.shares) {
      return context.skip("there are no threads");
    }
    // In a process of its own, as this one's timers would not run while one of its threads waits for what never comes.
    const script = `
      import { Worker } from "node:worker_threads";
      import * as quaver from "quaver";
      const { breakdowns, fixtures } = await import(process.argv[1]);
      const [, , base, name] = process.argv;
      await breakdowns[name]({ quaver, base, relaxed: true, shares: true, Worker, files: await fixtures(base) });`;
    const args = ["--input-type=module", "--eval", script, new URL("./cases.js", import.meta.url).href, server.base, name];
    const child = spawn(process.execPath, args, { cwd: user.folder, stdio: ["ignore", "ignore", "pipe"], timeout: 60_000 });
    return new Promise((resolve, reject) => {
      let told = "";
      child.stderr.on("data", (text) => (told += text));
      child.on("exit", (code, signal) => (code === 0 ? resolve() : reject(new Error(`${signal ?? code}: ${told}`))));
    });
  });
}

test("says that a session's worker has ended", async () => {
  const { InferenceSession, InternalError, Tensor } = bench.quaver;
  const [{ name, dims }] = bench.files.manifest.inputs;
  const feeds = { [name]: Tensor.fromBytes("float32", bench.files.inputs[0].slice(), dims) };
  const { postMessage } = Worker.prototype;
  let worker;
  Worker.prototype.postMessage = function (...message) {
    worker = this;
    return postMessage.apply(this, message);
  };
  const [session, other] = [
    await InferenceSession.create(bench.files.model, { worker: true, threads: 1 }),
    await InferenceSession.create(bench.files.model, { threads: 1 }),
  ];
  Worker.prototype.postMessage = postMessage;
  const broken = (error) => error instanceof InternalError && error.message.includes("worker");
  const running = rejects(session.run(feeds), broken);
  await worker.terminate();
  await running;
  await rejects(session.run(feeds), broken);
  await session.release();
  const { [bench.files.manifest.outputs[0].name]: result } = await other.run(feeds);
  deepEqual(result.bytes, bench.files.outputs[0]);
  await other.release();
});

test("opens files by path", async () => {
  const { InferenceSession, FetchError } = bench.quaver;
  const path = join(FIXTURES, "model.qvr");
  for (const source of [path, pathToFileURL(path), pathToFileURL(path).href]) {
    const seen = [];
    const session = await InferenceSession.create(source, { onProgress: ({ loaded, total }) => seen.push([loaded, total]) });
    await session.release();
    const size = bench.files.model.length;
    deepEqual([seen[0], seen.at(-1)], [[0, size], [size, size]]);
  }
  await InferenceSession.create(join(FIXTURES, "nix")).then(
    () => ok(false, "it opened what isn't there"),
    (error) => ok(error instanceof FetchError && error.message.includes("nix"), String(error)),
  );
});

test("lets a script end, whose sessions are not released", () => {
  const script = `
    import { InferenceSession } from "quaver";
    const session = await InferenceSession.create(process.argv[1], { worker: true });
    console.log(session.inputNames.length);`;
  const args = ["--input-type=module", "--eval", script, join(FIXTURES, "model.qvr")];
  const printed = execFileSync("node", args, { cwd: user.folder, encoding: "utf8", timeout: 20_000 });
  deepEqual(printed, `${bench.files.manifest.inputs.length}\n`);
});

test("leaves no thread behind", async (context) => {
  if (!bench.shares || !existsSync(TASKS)) {
    return context.skip("there are no threads, or no way to count them");
  }
  const threads = () => readdirSync(TASKS).length;
  for (const worker of [false, true]) {
    await cycles(bench, 5, worker, 4);
    const before = threads();
    await cycles(bench, 50, worker, 4);
    for (let i = 0; i < 100 && threads() > before; i++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    ok(threads() <= before, `${threads()} threads, and ${before} before`);
  }
});

test("has types for projects without a browser's", () => {
  const config = {
    compilerOptions: { target: "ES2022", module: "NodeNext", lib: ["ES2022"], types: [], strict: true, noEmit: true },
    include: ["user.ts"],
  };
  const script = `
    import { type Feeds, InferenceSession, Tensor } from "quaver";
    const session = await InferenceSession.create("model.qvr", { worker: true });
    const feeds: Feeds = { x: new Tensor("float32", [1, 2], [1, 2]) };
    export const names: number[] = Object.values(await session.run(feeds)).map((tensor) => tensor.size);`;
  write(user.folder, { "tsconfig.json": JSON.stringify(config), "user.ts": script });
  compile(user.folder);
});

for (const [count, worker] of [[200, false], [50, true]]) {
  test(`doesn't grow by ${count} sessions${worker ? " in workers" : ""}`, async () => {
    const rss = async () => {
      for (let i = 0; i < 3; i++) {
        globalThis.gc();
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return process.memoryUsage().rss / 2 ** 20;
    };
    await steadies((part) => cycles(bench, part, worker), rss, count);
  });
}
