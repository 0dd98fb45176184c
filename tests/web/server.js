// Serves fixtures, in good ways and in bad ones, and pages.
//
//   /files/NAME    a fixture         /slow/NAME   the same, by and by      /cut/NAME   the same, broken off in the middle
//   /gzip/NAME     compressed        /page        a page, whatever asks    /package/…  the installed package's files
//   anything else  of the folder of pages
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { gzipSync } from "node:zlib";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };

/** Starts a server, and gives its address and what ends it. */
export async function serve({ files, pages, dist, headers = {} }) {
  const answers = {
    async files(response, name) {
      const body = await readFile(join(files, name));
      response.writeHead(200, { "content-length": body.length }).end(body);
    },
    async slow(response, name) {
      const body = await readFile(join(files, name));
      response.writeHead(200, { "content-length": body.length });
      for (let at = 0; at < body.length && !response.destroyed; at += 1024) {
        response.write(body.subarray(at, at + 1024));
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      response.end();
    },
    async cut(response, name) {
      const body = await readFile(join(files, name));
      response.writeHead(200, { "content-length": body.length });
      response.write(body.subarray(0, body.length / 2), () => response.destroy());
    },
    async gzip(response, name) {
      const body = gzipSync(await readFile(join(files, name)));
      response.writeHead(200, { "content-length": body.length, "content-encoding": "gzip" }).end(body);
    },
    async page(response) {
      response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><p>not found</p>");
    },
    async package(response, name) {
      await sent(response, join(dist, name));
    },
  };
  const sent = async (response, path) => {
    const stream = createReadStream(path);
    await new Promise((resolve, reject) => stream.on("open", resolve).on("error", reject));
    // Bundlers name files by their content.
    const cache = path.includes("/assets/") ? "max-age=31536000, immutable" : "no-cache";
    const type = TYPES[extname(path)] ?? "application/octet-stream";
    stream.pipe(response.writeHead(200, { "content-type": type, "cache-control": cache }));
  };
  const server = createServer(async (request, response) => {
    Object.entries(headers).forEach(([name, value]) => response.setHeader(name, value));
    response.setHeader("access-control-allow-origin", "*");
    const path = normalize(decodeURIComponent(new URL(request.url, "http://host").pathname));
    const [, kind, ...rest] = path.split("/");
    try {
      const answer = Object.hasOwn(answers, kind) ? answers[kind] : undefined;
      await (answer ? answer(response, rest.join("/")) : sent(response, join(pages, path === "/" ? "index.html" : path)));
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const end = () => {
    server.closeAllConnections();
    server.close();
  };
  return { base: `http://127.0.0.1:${server.address().port}`, end };
}
