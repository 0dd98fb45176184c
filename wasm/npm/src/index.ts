/** The entry point for browsers, their workers, bundlers, and other hosts with `fetch`. */
import { setHost } from "./host.js";
import { web } from "./host.web.js";

setHost(web);

export * from "./api.js";
