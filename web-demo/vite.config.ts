// Builds the page, and beside it what `cargo xtask bench --web` opens. Where the results go, the caller says (`--outDir`).
import { fileURLToPath } from "node:url";

import { defineConfig } from "vite";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

// Threads share memory only in pages that let nothing of other origins in.
const headers = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

export default defineConfig({
  // Relative, so that the site can lie in any folder of a server.
  base: "./",
  define: { __BUILD__: JSON.stringify(new Date().toISOString()) },
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    // Modules of WebAssembly stay files, which browsers compile while they arrive.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1024,
    rolldownOptions: {
      // How long plugins take on a busy machine is of no interest to those who build.
      checks: { pluginTimings: false },
      input: {
        index: here("index.html"),
        contest: here("contest.html"),
        "first-quaver": here("first/quaver.html"),
        "first-onnxruntime": here("first/onnxruntime.html"),
        "service-worker": here("src/offline/service-worker.ts"),
      },
      output: {
        // Its address is its scope.
        entryFileNames: ({ name }) => (name === "service-worker" ? "[name].js" : "assets/[name]-[hash].js"),
      },
    },
  },
  worker: { format: "es" },
  server: { headers },
  preview: { headers },
});
