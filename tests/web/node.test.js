// The packed package in a plain Node script.
import { deepEqual, ok } from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";

import { cases, cycles, fixtures } from "./cases.js";
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
    await cycles(bench, count / 5, worker);
    const first = await rss();
    await cycles(bench, (count * 4) / 5, worker);
    const grown = (await rss()) - first;
    ok(grown < 24, `${grown.toFixed(1)} MiB more than the ${first.toFixed(1)} before`);
  });
}
