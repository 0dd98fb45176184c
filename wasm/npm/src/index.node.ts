/** The entry point for Node. */
import { setHost } from "./host.js";
import { node } from "./host.node.js";

setHost(node);

export * from "./api.js";
