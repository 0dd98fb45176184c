// The demo's page, built on the packed package and clicked through in Chromium. QUAVER_SCREENSHOTS names a folder for pictures of it.
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { chromium } from "playwright-core";
import { build } from "vite";

import { compile, FIXTURES, project } from "./project.js";

const DEMO = fileURLToPath(new URL("../../web-demo", import.meta.url));
const SCREENSHOTS = process.env.QUAVER_SCREENSHOTS;
const CATALOGUE = JSON.parse(readFileSync(join(FIXTURES, "catalogue.json"), "utf8"));
// A camera that shows a test picture, without a question to the reader.
const CAMERA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"];
const PATIENCE = { timeout: 60_000 };

// The page in a project of its own, with the package as its users install it, and the other packages of the page.
const user = project();
const site = join(user.folder, "site");
cpSync(DEMO, user.folder, { recursive: true, filter: (path) => basename(path) !== "node_modules" });
for (const name of readdirSync(join(DEMO, "node_modules")).filter((name) => name !== "quaver" && !name.startsWith("."))) {
  symlinkSync(join(DEMO, "node_modules", name), join(user.folder, "node_modules", name));
}

let browser;
let server;
before(async () => {
  await build({ root: user.folder, logLevel: "warn", build: { outDir: site } });
  cpSync(FIXTURES, join(site, "data"), { recursive: true });
  const { serve } = await import(pathToFileURL(join(user.folder, "tools/site.js")).href);
  server = await serve(site, [join(FIXTURES, "float.onnx"), join(FIXTURES, "photo.qvr")]);
  browser = await chromium.launch({ executablePath: process.env.QUAVER_CHROMIUM, args: ["--no-sandbox", ...CAMERA] });
});
after(async () => {
  await browser?.close();
  await server?.end();
  user.remove();
});

/** Opens the page, and calls `work` with it. What it complains about is an error, unless it is `expected`. */
async function visit(work, { options = {}, prepare = async () => undefined, expected = [], hash = "" } = {}) {
  // What tests answer instead of the server, a service worker would ask the server for.
  const context = await browser.newContext({ permissions: ["camera"], serviceWorkers: "block", ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  try {
    await prepare(page);
    await page.goto(`${server.base}/${hash}`);
    await work(page);
    deepEqual(complaints.filter((text) => !expected.some((word) => text.includes(word))), []);
  } finally {
    await context.close();
  }
}

async function screenshot(page, name) {
  if (SCREENSHOTS !== undefined) {
    mkdirSync(SCREENSHOTS, { recursive: true });
    await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true });
  }
}

const shown = (page, selector, hasText) => page.locator(selector, { hasText }).first().waitFor(PATIENCE);

describe("the page", () => {
  test("type-checks", () => {
    compile(user.folder);
    compile(join(user.folder, "src/offline"));
  });

  for (const [name, options] of [
    ["light", { colorScheme: "light", viewport: { width: 1280, height: 900 } }],
    ["dark", { colorScheme: "dark", viewport: { width: 1280, height: 900 } }],
    ["narrow", { colorScheme: "dark", viewport: { width: 360, height: 740 } }],
  ]) {
    test(`shows all tabs, ${name}, and none is wider than the window`, () =>
      visit(async (page) => {
        await shown(page, "#photo .verdict.good");
        const filled = { photo: ".verdict.good", digit: ".verdict.good", bits: "button:not([disabled])", bench: "h2" };
        for (const [tab, ready] of Object.entries(filled)) {
          await page.click(`#tab-${tab}`);
          if (tab === "digit") {
            await page.click("#digit .thumbnail");
          }
          await shown(page, `#${tab} ${ready}`);
          const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          ok(excess <= 0, `${tab}: ${excess} pixels`);
          await screenshot(page, `${tab}-${name}`);
        }
      }, { options }));
  }

  for (const colorScheme of ["light", "dark"]) {
    test(`can be read, ${colorScheme}`, () =>
      visit(async (page) => {
        const colours = ["page", "card", "text", "soft", "accent", "on-accent", "good", "good-back", "bad", "bad-back"];
        const rgb = await page.evaluate((names) => {
          const probe = document.body.appendChild(document.createElement("i"));
          const read = (name) => {
            probe.style.color = `var(--${name})`;
            return [name, getComputedStyle(probe).color.match(/\d+/g).map(Number)];
          };
          return Object.fromEntries(names.map(read));
        }, colours);
        // As WCAG defines them; 4.5 is what it asks of text.
        const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        const luminance = (name) => rgb[name].reduce((sum, value, i) => sum + [0.2126, 0.7152, 0.0722][i] * linear(value / 255), 0);
        const pairs = [["text", "card"], ["text", "page"], ["soft", "card"], ["soft", "page"], ["on-accent", "accent"], ["good", "good-back"], ["bad", "bad-back"]];
        for (const pair of pairs) {
          const [dark, bright] = pair.map(luminance).sort((a, b) => a - b);
          const contrast = (bright + 0.05) / (dark + 0.05);
          ok(contrast >= 4.5, `${pair}: ${contrast.toFixed(2)}`);
        }
        equal(luminance("page") > luminance("text") ? "light" : "dark", colorScheme);
        await page.click("#theme");
        equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), colorScheme === "light" ? "dark" : "light");
      }, { options: { colorScheme } }));
  }

  test("is used by keyboard", () =>
    visit(async (page) => {
      // Keys mean something from when the catalogue is there.
      await page.locator("#tab-photo[aria-selected=true]").waitFor(PATIENCE);
      await page.focus("#tab-photo");
      for (const [key, tab] of [["ArrowRight", "digit"], ["End", "bench"], ["ArrowRight", "photo"], ["ArrowLeft", "bench"], ["Home", "photo"]]) {
        await page.keyboard.press(key);
        equal(await page.evaluate(() => document.activeElement.id), `tab-${tab}`);
        ok(await page.isVisible(`#${tab}`), tab);
        equal(await page.locator("[role=tabpanel]:visible").count(), 1);
      }
      await page.focus("#theme");
      const before = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      await page.keyboard.press("Enter");
      const after = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      ok(before !== after, "the theme stays");
      await page.focus("#photo .thumbnail:nth-child(2)");
      await page.keyboard.press("Enter");
      await shown(page, "#photo .thumbnail:nth-child(2)[aria-pressed=true]");
    }));

  test("works offline, once it is loaded", () =>
    visit(async (page) => {
      await shown(page, "#photo .verdict.good");
      await page.evaluate(() => navigator.serviceWorker.ready);
      await page.click("#tab-digit");
      await shown(page, "#digit .loader", "ready");
      // The worker stores in its own time.
      const missingOf = () => page.evaluate(async () => {
        const all = await Promise.all((await caches.keys()).map(async (name) => (await (await caches.open(name)).keys()).map(({ url }) => url)));
        const urls = all.flat();
        return [/photo\.qvr$/, /digit\.qvr$/, /\.wasm$/, /index.*js$/, /index.*css$/, /catalogue/, /worker/, /\/$/].filter((word) => !urls.some((url) => word.test(url))).map(String);
      });
      let missing = await missingOf();
      for (let i = 0; i < 200 && missing.length > 0; i++) {
        await page.waitForTimeout(50);
        missing = await missingOf();
      }
      deepEqual(missing, []);
      await page.context().setOffline(true);
      await page.reload();
      await page.click("#tab-photo");
      await shown(page, "#photo .verdict.good");
    }, { options: { serviceWorkers: "allow" }, expected: ["ERR_INTERNET_DISCONNECTED"] }));

  test("says what is missing where there are no models", () =>
    visit((page) => shown(page, "#trouble", "cargo xtask demo"), {
      prepare: (page) => page.route("**/catalogue.json", (route) => route.fulfill({ status: 404 })),
      expected: ["404"],
    }));
});

describe("photos", () => {
  const choose = (page, name, buffer) => page.setInputFiles("#file", { name, mimeType: "image/png", buffer });

  test("are classified, with the native build's bits", () =>
    visit(async (page) => {
      for (const index of CATALOGUE.photo.samples.keys()) {
        await page.click(`#photo .thumbnail:nth-child(${index + 1})`);
        const { digest } = CATALOGUE.photo.samples[index];
        await page.locator(`#photo .verdict.good code[title="${digest}"]`).waitFor(PATIENCE);
        equal(await page.locator("#photo .bar").count(), 5);
        match(await page.locator("#photo .figures").innerText(), /inference\s+[\d.]+ ms/);
      }
      match(await page.locator("#facts").innerText(), /build\s+(threads|relaxed|base)/);
      match(await page.locator("#photo .loader").innerText(), /photo is ready: [\d.]+ [kM]B, downloaded in/);
    }));

  test("of the reader's own have no verdict", () =>
    visit(async (page) => {
      await shown(page, "#photo .verdict.good");
      await choose(page, "own.png", readFileSync(join(FIXTURES, CATALOGUE.photo.samples[1].file)));
      await shown(page, "#photo .verdict:not(.good):not(.bad)", "SHA-256");
      equal(await page.getAttribute("#photo .verdict code", "title"), CATALOGUE.photo.samples[1].digest);
    }));

  test("that are none are refused kindly, and the next is taken", () =>
    visit(async (page) => {
      await shown(page, "#photo .verdict.good");
      await choose(page, "broken.png", Buffer.from("no picture at all"));
      await shown(page, "#photo .stage .trouble", "can't be used as a picture");
      ok(await page.evaluate(() => document.querySelector("#photo img.picture").naturalWidth > 0), "the picture before is gone");
      await screenshot(page, "photo-bad-image");
      await page.click("#photo .thumbnail:nth-child(2)");
      await page.locator("#photo .stage .trouble").waitFor({ state: "hidden", ...PATIENCE });
    }));

  test("may be dropped", () =>
    visit(async (page) => {
      await shown(page, "#photo .verdict.good");
      const bytes = [...readFileSync(join(FIXTURES, CATALOGUE.photo.samples[0].file))];
      await page.evaluate((bytes) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
        dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
      }, bytes);
      await shown(page, "#photo .verdict:not(.good)", "SHA-256");
    }));

  test("come from the camera, too", () =>
    visit(async (page) => {
      await shown(page, "#photo .verdict.good");
      await page.click("text=Use the camera");
      await shown(page, "#photo .figures", "a frame");
      await page.waitForTimeout(500);
      ok(await page.isVisible("#photo video"));
      await page.click("text=Stop the camera");
      ok(await page.isVisible("#photo img.picture"));
      await page.click("#photo .thumbnail:nth-child(1)");
      await shown(page, "#photo .verdict.good");
    }));

  test("are told apart where there is no camera", () =>
    visit(async (page) => {
      await page.evaluate(() => {
        navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
      });
      await page.click("text=Use the camera");
      await shown(page, "#photo .stage .trouble", "camera may not be used");
    }));

  test("wait for a model that arrives cut short, and for one that is chosen", () => {
    const model = readFileSync(join(FIXTURES, "photo.qvr"));
    let cut = true;
    const prepare = (page) =>
      page.route("**/photo.qvr", (route) => {
        const body = cut ? model.subarray(0, model.length / 2) : model;
        return route.fulfill({ body, contentType: "application/octet-stream" });
      });
    return visit(async (page) => {
      await shown(page, "#photo .loader.failed", "cut short");
      await screenshot(page, "photo-bad-model");
      cut = false;
      await page.click("#photo .loader button");
      await shown(page, "#photo .loader", "is ready");
      await page.click("#photo .thumbnail:nth-child(1)");
      await shown(page, "#photo .verdict.good");
      await choose(page, "own.qvr", model.subarray(0, 1000));
      await shown(page, "#photo .loader.failed", "damaged");
      await choose(page, "own.qvr", model);
      await shown(page, "#photo .loader", "own.qvr is ready");
    }, { prepare });
  });
});

describe("digits", () => {
  test("are drawn, and chosen with the native build's bits", () =>
    visit(async (page) => {
      await shown(page, "#digit .loader", "ready");
      const { x, y, width, height } = await page.locator("#digit .pad").boundingBox();
      await page.mouse.move(x + width / 2, y + height / 4);
      await page.mouse.down();
      await page.mouse.move(x + width / 2, y + (3 * height) / 4, { steps: 8 });
      await page.mouse.up();
      await shown(page, "#digit .columns .best");
      match(await page.locator("#digit .figures-line").innerText(), /sure, in/);
      await page.click("text=Clear");
      equal(await page.locator("#digit .columns .best").count(), 0);
      for (const [index, { digest }] of CATALOGUE.digit.samples.entries()) {
        await page.click(`#digit .thumbnail:nth-child(${index + 1})`);
        await page.locator(`#digit .verdict.good code[title="${digest}"]`).waitFor(PATIENCE);
      }
    }, { hash: "#digit" }));
});

describe("same bits", () => {
  const done = (page) => page.waitForFunction(() => document.querySelector("#bits button")?.disabled === false, undefined, PATIENCE);

  test("are the native build's, with every build and class", () =>
    visit(async (page) => {
      await done(page);
      const samples = CATALOGUE.photo.samples.length + CATALOGUE.digit.samples.length;
      const [, same, all] = (await page.locator("#bits .banner.good").innerText()).match(/(\d+) of (\d+)/);
      equal(same, all);
      ok(Number(all) >= 2 * samples && Number(all) % samples === 0, all);
      equal(await page.locator("#bits .mark.good").count(), Number(all));
    }, { hash: "#bits" }));

  test("get a cross where they differ", () => {
    const altered = structuredClone(CATALOGUE);
    altered.digit.samples[1].digest = "0".repeat(64);
    return visit(async (page) => {
      await done(page);
      await shown(page, "#bits .banner.bad", "bug");
      const ways = await page.locator("#bits .mark.bad").count();
      ok(ways >= 2, `${ways} crosses`);
      await screenshot(page, "bits-cross");
    }, { hash: "#bits", prepare: (page) => page.route("**/catalogue.json", (route) => route.fulfill({ json: altered })) });
  });
});

describe("the benchmark", () => {
  test("measures both libraries, and can be stopped", () =>
    visit(async (page) => {
      const button = page.locator("#bench button");
      await button.click();
      await shown(page, "#bench .network .bar.ours:not(.base)");
      await page.waitForFunction(() => document.querySelector("#bench button").textContent === "Start", undefined, PATIENCE);
      deepEqual(await page.locator("#bench .network .bar-label").allInnerTexts(), ["onnxruntime-web float", "Quaver, base build", "Quaver"]);
      match(await page.locator("#bench .factor").innerText(), /^[\d.]+×/);
      equal(await page.locator("#bench .trouble").count(), 0);
      await screenshot(page, "bench-done");
      await button.click();
      await button.click();
      await shown(page, "#bench .controls", "stopped");
    }, { hash: "#bench" }));

  const models = { engine: "quaver", model: join(FIXTURES, "photo.qvr"), threads: 1 };
  for (const host of ["chromium", "node"]) {
    test(`is driven from outside, in ${host}`, async () => {
      const node = join(user.folder, "node_modules/.bench");
      await build({ root: user.folder, configFile: join(user.folder, "vite.node.config.ts"), logLevel: "warn", build: { outDir: node } });
      const contestants = [{ engine: "onnxruntime", model: join(FIXTURES, "float.onnx"), threads: 1 }, models, { ...models, build: "base" }, { ...models, model: join(FIXTURES, "float.onnx") }];
      const request = { host, site, node: join(node, "node.js"), chromium: process.env.QUAVER_CHROMIUM, contestants };
      const child = spawn("node", [join(user.folder, "tools/contest.js"), JSON.stringify(request)], { stdio: ["pipe", "pipe", "inherit"] });
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      const answer = async () => JSON.parse((await lines.next()).value);
      const { contestants: opened } = await answer();
      match(opened[0].what, /^onnxruntime-web 1/);
      equal(opened[2].what, "base simd128, 1 thread");
      ok(opened[3].reason.length > 0 && opened[3].what === undefined, JSON.stringify(opened));
      for (const index of [0, 1, 2]) {
        child.stdin.write(`run ${index} 0.05\n`);
        const { median_ms, min_ms, runs } = await answer();
        ok(min_ms >= 0 && median_ms >= min_ms && runs >= 1, `${index}: ${median_ms} ${min_ms} ${runs}`);
      }
      child.stdin.end();
      equal(await new Promise((resolve) => child.on("exit", resolve)), 0);
    });
  }

  test("waits for a first result from an empty browser", async () => {
    for (const [library, index] of [["onnxruntime", 0], ["quaver", 1]]) {
      const context = await browser.newContext();
      const page = await context.newPage();
      await page.goto(`${server.base}/first/${library}.html?model=/model/${index}`);
      ok((await page.evaluate(() => globalThis.firstResult)) > 0, library);
      await context.close();
    }
  });
});
