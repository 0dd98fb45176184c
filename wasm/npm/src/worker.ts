/** The script of a session's worker, in browsers. */
import { server } from "./runner.js";

// The types of a page's global object are here, not those of a worker's.
const scope = globalThis as unknown as {
  postMessage(message: unknown, transfer: Transferable[]): void;
  onmessage: (event: MessageEvent) => void;
};
const serve = server((message, transfer) => scope.postMessage(message, transfer));
scope.onmessage = (event) => void serve(event.data);
