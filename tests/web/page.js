// A browser, and what tests do with the package in its pages.
import { deepEqual, ok } from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";

import { chromium } from "playwright-core";

/** What a server says for pages that may share memory between threads. */
export const ISOLATED = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

/** Starts the browser. */
export function launch(...args) {
  return chromium.launch({ executablePath: process.env.QUAVER_CHROMIUM, args: ["--no-sandbox", ...args] });
}

/** Whether a package has a build for threads, which not every toolchain makes. */
export function isThreaded({ dist }) {
  return existsSync(join(dist, "wasm/quaver_threads.wasm"));
}

/** Opens a page, and calls `work` with it. What the page complains about is an error, but for what has a word of `expected`. */
export async function visit(browser, url, work, expected = []) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  try {
    await page.goto(url);
    ok(await isReady(page), `the page's script doesn't run: ${complaints.join("; ")}`);
    const result = await work(page);
    deepEqual(complaints.filter((text) => !expected.some((word) => text.includes(word))), []);
    return result;
  } finally {
    await context.close();
  }
}

/** Waits for the page's script, without evaluating text within the page, which it may forbid. */
async function isReady(page) {
  for (let i = 0; i < 600; i++) {
    if (await page.evaluate(() => "cases" in globalThis)) {
      return true;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}

/** Runs cases of a list of `cases.js` within a page. */
export function run(page, { base, threaded, list = "cases" }, ...names) {
  const work = async ({ base, list, names, threaded }) => {
    const shares = threaded && globalThis.crossOriginIsolated;
    globalThis.bench ??= { quaver: globalThis.quaver, base, relaxed: true, shares, Worker, files: await globalThis.fixtures(base) };
    for (const name of names) {
      await globalThis[list][name](globalThis.bench);
    }
  };
  return page.evaluate(work, { base, list, names, threaded });
}
