// Contestants on one network in one host, measured when asked. `cargo xtask bench --web` asks.
//
//   node contest.js REQUEST      REQUEST is JSON: { host: "chromium" | "node", site, node, chromium, contestants: [{ engine, model, … }] }
//
// First comes a line { host, contestants: [{ what } | { reason }] }. Each line `run INDEX SECONDS` is answered by one of median_ms,
// min_ms, runs, or of the reason why there is none.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

import { start } from "./browser.js";
import { serve } from "./site.js";

const request = JSON.parse(process.argv[2]);
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
/** The first line says what is wrong, behind the names of those who pass it on; others say where. */
const reason = (error) => ({ reason: String(error?.message ?? error).split("\n")[0].replace(/^page\.evaluate: (Error: )?/, "") });

async function inChromium() {
  const { site, chromium, contestants } = request;
  const server = await serve(site, contestants.map(({ model }) => model));
  const { page, version, end } = await start(chromium);
  await page.goto(`${server.base}/contest.html`);
  await page.waitForFunction(() => "contestOfPage" in globalThis);
  return {
    host: `Chromium ${version}`,
    open(index) {
      const contestant = { ...contestants[index], model: `model/${index}` };
      return page.evaluate(([index, contestant]) => globalThis.contestOfPage.open(index, contestant), [index, contestant]);
    },
    round: (index, seconds) => page.evaluate(([index, seconds]) => globalThis.contestOfPage.round(index, seconds), [index, seconds]),
    async end() {
      await end();
      await server.end();
    },
  };
}

async function inNode() {
  const { node, contestants } = request;
  const { open, round } = await import(pathToFileURL(node).href);
  const runners = [];
  return {
    host: `Node ${process.versions.node}`,
    async open(index) {
      runners[index] = await open(contestants[index]);
      return runners[index].what;
    },
    round: (index, seconds) => round(runners[index], seconds),
    end: async () => undefined,
  };
}

const host = await (request.host === "node" ? inNode() : inChromium());
const contestants = [];
for (const index of request.contestants.keys()) {
  contestants.push(await host.open(index).then((what) => ({ what }), reason));
}
say({ host: host.host, contestants });
for await (const line of createInterface({ input: process.stdin })) {
  const [word, index, seconds] = line.split(" ");
  if (word !== "run") {
    throw new Error(`'${line}' should be 'run INDEX SECONDS'`);
  }
  say(await host.round(Number(index), Number(seconds)).catch(reason));
}
await host.end();
process.exit();
