/** The script of a session's worker, and of the threads that help it, in browsers. */
import { setHost } from "./host.js";
import { web } from "./host.web.js";
import { server } from "./runner.js";

// Not by a name that bundlers look for: it would be a worker within itself to them.
setHost(web(() => new Worker(globalThis.location.href, { type: "module", name: "quaver" })));

// The types of a page's global object are here, not those of a worker's.
const scope = globalThis as unknown as {
  postMessage(message: unknown, transfer: Transferable[]): void;
  onmessage: (event: MessageEvent) => void;
};
const serve = server((message, transfer) => scope.postMessage(message, transfer));
scope.onmessage = (event) => void serve(event.data);
