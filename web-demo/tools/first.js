// From an empty browser to a first result: a fresh profile each time, the pages in turns.
//
//   node first.js REQUEST        REQUEST is JSON: { site, chromium, rounds, pages: [{ library: "quaver" | "onnxruntime", model }] }
//
// prints { host, pages: [[milliseconds, …], …] }
import { start } from "./browser.js";
import { serve } from "./site.js";

/** Milliseconds until a browser that has just been started is at rest. */
const SETTLE = 1000;

const { site, chromium, rounds, pages } = JSON.parse(process.argv[2]);
const server = await serve(site, pages.map(({ model }) => model));
const times = pages.map(() => []);
let host = "";
for (let round = 0; round < rounds; round++) {
  for (const [index, { library }] of pages.entries()) {
    const { page, version, end } = await start(chromium);
    host = `Chromium ${version}`;
    // The browser's own start is not the page's.
    await page.waitForTimeout(SETTLE);
    await page.goto(`${server.base}/first/${library}.html?model=/model/${index}`);
    await page.waitForFunction(() => "firstResult" in globalThis);
    times[index].push(await page.evaluate(() => globalThis.firstResult));
    await end();
  }
}
await server.end();
process.stdout.write(`${JSON.stringify({ host, pages: times })}\n`);
process.exit();
