import type { Host, Thread } from "./host.js";

/** Browsers, their workers, and whatever else has `fetch`; `start` starts the package's worker. */
export function web(start: () => Worker): Host {
  return {
    relaxed: true,

    get shares() {
      return globalThis.crossOriginIsolated === true;
    },

    get processors() {
      return globalThis.navigator?.hardwareConcurrency ?? 1;
    },

    isAddress() {
      return true;
    },

    open(source, signal) {
      return fetch(source, signal === undefined ? {} : { signal });
    },

    thread(): Thread {
      const worker = start();
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
}
