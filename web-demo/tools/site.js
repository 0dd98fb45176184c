// The built site on a port of this machine, with models beside it.
import { createReadStream, statSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { preview } from "vite";

// Vite's server would end this program with its standard input, which other lines come from.
process.env.CI = "true";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Serves the site in `folder`; `/model/N` is the file `models[N]`. Gives its address and what ends it. */
export async function serve(folder, models) {
  const plugin = {
    name: "models",
    configurePreviewServer({ middlewares }) {
      middlewares.use("/model/", (request, response, next) => {
        const path = models[Number(request.url.slice(1))];
        if (path === undefined) {
          return next();
        }
        response.writeHead(200, { "content-type": "application/octet-stream", "content-length": statSync(path).size });
        createReadStream(path).pipe(response);
      });
    },
  };
  const server = await preview({
    root: ROOT,
    logLevel: "error",
    plugins: [plugin],
    build: { outDir: folder },
    preview: { host: "127.0.0.1", port: 0, open: false },
  });
  return { base: `http://127.0.0.1:${server.httpServer.address().port}`, end: () => server.close() };
}
