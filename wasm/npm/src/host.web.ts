import type { Host, Thread } from "./host.js";

/** Browsers, their workers, and whatever else has `fetch`. */
export const web: Host = {
  relaxed: true,

  isAddress() {
    return true;
  },

  open(source, signal) {
    return fetch(source, signal === undefined ? {} : { signal });
  },

  thread(): Thread {
    // Bundlers look for this very expression.
    const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "quaver" });
    return {
      post: (message, transfer) => worker.postMessage(message, transfer),
      listen(message, failure) {
        worker.onmessage = (event: MessageEvent) => message(event.data);
        worker.onmessageerror = () => failure("a message of the worker can't be read");
        worker.onerror = (event: ErrorEvent) => failure(event.message || "the worker's script can't be loaded");
      },
      busy() {},
      end: () => worker.terminate(),
    };
  },
};
