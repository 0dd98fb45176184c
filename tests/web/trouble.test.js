// The packed package in Chromium where something is against it: threads that break down, and pages whose policies forbid what it
// would like to do. The pages have no bundler, so that the policies are about the package's files as they are.
import { equal, ok } from "node:assert/strict";
import { after, describe, test } from "node:test";

import { breakdowns } from "./cases.js";
import { isThreaded, ISOLATED, launch, run, visit } from "./page.js";
import { FIXTURES, project, write } from "./project.js";
import { serve } from "./server.js";

const LIMIT = { timeout: 60_000 };
const ESSENTIAL = ["gives native's bytes, from bytes", "gives the outputs that are asked for"];
const WORKERS = ["runs in a worker, and leaves the caller's buffers alone", "gives native's bytes on any number of threads"];

const browser = await launch();
const user = project("vite");
const threaded = isThreaded(user);
write(user.folder, {
  "trouble.js": 'import * as quaver from "/node_modules/quaver/dist/index.js";\nimport * as bench from "/cases.js";\nObject.assign(globalThis, { quaver, ...bench });\n',
  "trouble.html": '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/trouble.js"></script>',
});
after(async () => {
  await browser.close();
  user.remove();
});

/** Calls `work` with a page that is served with these headers, and with what its cases need. */
async function served(headers, work, expected) {
  const server = await serve({ files: FIXTURES, pages: user.folder, dist: user.dist, headers });
  try {
    await visit(browser, `${server.base}/trouble.html`, (page) => work(page, { base: server.base, threaded }), expected);
  } finally {
    server.end();
  }
}

/** What comes of a session in the page: how it runs, or the name and message of the exception. */
function created(page, base, options) {
  const work = async ({ base, options }) => {
    try {
      const { backend } = await globalThis.quaver.InferenceSession.create(`${base}/files/model.qvr`, options);
      return backend;
    } catch (error) {
      return { error: error.name, message: error.message };
    }
  };
  return page.evaluate(work, { base, options });
}

describe("a session with threads", { skip: !threaded }, () => {
  for (const name of Object.keys(breakdowns)) {
    test(name, LIMIT, () => served(ISOLATED, (page, bench) => run(page, { ...bench, list: "breakdowns" }, name)));
  }
});

describe("a page", () => {
  const policy = (text) => ({ ...ISOLATED, "content-security-policy": `default-src 'self'; img-src data:; ${text}` });

  test("that may evaluate no text", LIMIT, () =>
    served(policy("script-src 'self' 'wasm-unsafe-eval'"), async (page, bench) => {
      equal(await page.evaluate(() => globalThis.crossOriginIsolated), true);
      await run(page, bench, ...ESSENTIAL, ...WORKERS);
    }));

  test("that may start no workers", LIMIT, () =>
    served(policy("script-src 'self' 'wasm-unsafe-eval'; worker-src 'none'"), async (page, bench) => {
      await run(page, bench, ...ESSENTIAL);
      equal((await created(page, bench.base, { threads: 4 })).threads, 1);
      const { error, message } = await created(page, bench.base, { worker: true });
      equal(error, "UnsupportedError");
      ok(message.includes("worker-src"), message);
    }, ["Content Security Policy"]));

  test("that gives addresses of scripts to nobody", LIMIT, () =>
    served(policy("script-src 'self' 'wasm-unsafe-eval'; require-trusted-types-for 'script'"), async (page, bench) => {
      await run(page, bench, ...ESSENTIAL);
      equal((await created(page, bench.base, { threads: 4 })).threads, 1);
      const { error, message } = await created(page, bench.base, { worker: true });
      equal(error, "UnsupportedError");
      ok(message.includes("TrustedScriptURL"), message);
    }, ["TrustedScriptURL"]));

  test("that may compile no WebAssembly", LIMIT, () =>
    served(policy("script-src 'self'"), async (page, { base }) => {
      const { error, message } = await created(page, base, {});
      equal(error, "UnsupportedError");
      ok(message.includes("Content Security Policy") && message.includes("script-src"), message);
    }, ["Content Security Policy"]));

  test("that may download nothing", LIMIT, () =>
    served(policy("script-src 'self' 'wasm-unsafe-eval'; connect-src 'none'"), async (page, { base }) => {
      equal((await created(page, base, {})).error, "FetchError");
    }, ["Content Security Policy", "Failed to load", "violates"]));

  test("that isn't isolated from other origins", LIMIT, () =>
    served({}, async (page, bench) => {
      equal(await page.evaluate(() => globalThis.crossOriginIsolated), false);
      equal((await created(page, bench.base, { threads: 4 })).threads, 1);
      await run(page, bench, ...ESSENTIAL, ...WORKERS);
    }));
});
