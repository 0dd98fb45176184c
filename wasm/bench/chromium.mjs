// Measures a module in a page of headless Chromium, which tells its results to the server that it came from; see README.md.
//
//   node chromium.mjs MODULE.wasm SECONDS MODEL.qvr... [-- FLAG_OF_CHROMIUM...]
//
// CHROMIUM names the program, if it is not `chromium`.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

const words = process.argv.slice(2);
const flags = words.includes("--") ? words.splice(words.indexOf("--")).slice(1) : [];
const [file, seconds, ...paths] = words;
if (paths.length === 0) {
  throw new Error("usage: node chromium.mjs MODULE.wasm SECONDS MODEL.qvr... [-- FLAG_OF_CHROMIUM...]");
}
const PAGE = `<!doctype html><script type="module">
  import { report } from "/report.mjs";
  const bytes = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
  const tell = (path, text) => fetch(path, { method: "POST", body: text });
  try {
    const module = await WebAssembly.compile(await bytes("/module"));
    const names = ${JSON.stringify(paths.map((path) => basename(path, ".qvr")))};
    const models = await Promise.all(names.map(async (name, index) => [name, await bytes("/model/" + index)]));
    await report(module, models, ${Number(seconds)}, (row) => tell("/row", row));
    tell("/end", "");
  } catch (error) {
    tell("/end", String(error));
  }
</script>`;
// Without what a browser does when it is first started, which takes the threads that optimize code; and as if someone saw the
// page, whose code is optimized late in the background.
const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-default-apps",
  "--disable-extensions",
  "--disable-dev-shm-usage",
  "--metrics-recording-only",
  "--disable-renderer-backgrounding",
  "--disable-backgrounding-occluded-windows",
];
const SCRIPTS = ["/report.mjs", "/measure.mjs"];

async function answer({ url, method }) {
  if (url === "/") {
    return ["text/html", PAGE];
  }
  if (SCRIPTS.includes(url)) {
    return ["text/javascript", await readFile(new URL(`.${url}`, import.meta.url))];
  }
  const path = url === "/module" ? file : paths[Number(/^\/model\/(\d+)$/.exec(url)?.[1])];
  return method === "GET" && path !== undefined ? ["application/octet-stream", await readFile(path)] : undefined;
}

async function text(request) {
  let body = "";
  for await (const part of request) {
    body += part;
  }
  return body;
}

const folder = await mkdtemp(join(tmpdir(), "quaver-"));
const outcome = await new Promise((resolve, reject) => {
  const server = createServer(async (request, response) => {
    const body = request.method === "POST" ? await text(request) : "";
    const found = request.method === "POST" ? ["text/plain", ""] : await answer(request);
    response.writeHead(found === undefined ? 404 : 200, { "content-type": found?.[0] ?? "text/plain" });
    response.end(found?.[1]);
    if (request.url === "/row") {
      console.log(body);
    } else if (request.url === "/end") {
      browser.kill();
      server.close();
      server.closeAllConnections();
      resolve(body);
    }
  });
  let browser;
  server.listen(0, "127.0.0.1", () => {
    const page = `http://127.0.0.1:${server.address().port}/`;
    const fixed = [...FLAGS, `--user-data-dir=${folder}`];
    browser = spawn(process.env.CHROMIUM ?? "chromium", [...fixed, ...flags, page], { stdio: "ignore" });
    browser.on("error", reject);
    browser.on("exit", (code) => code && reject(new Error(`the browser ended with ${code}`)));
  });
});
// The browser may still be writing there.
await rm(folder, { recursive: true, force: true, maxRetries: 10 });
if (outcome !== "") {
  throw new Error(outcome);
}
