/** The entry point for browsers, their workers, bundlers, and other hosts with `fetch`. */
import { setHost } from "./host.js";
import { web } from "./host.web.js";

// Bundlers look for this very expression.
setHost(web(() => new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "quaver" })));

export * from "./api.js";
