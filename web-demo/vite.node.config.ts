// Builds what benchmarks in Node load. The packages stay where they are.
import { fileURLToPath } from "node:url";

import { defineConfig } from "vite";

export default defineConfig({
  publicDir: false,
  build: {
    ssr: fileURLToPath(new URL("src/contest/node.ts", import.meta.url)),
    target: "node20",
    rolldownOptions: { checks: { pluginTimings: false } },
  },
});
