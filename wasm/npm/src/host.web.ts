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
          worker.onmessageerror = () => failure("a message of the worker can't be read", true);
          // What a script throws, is told with the event; where there is no script, nothing is.
          worker.onerror = ({ message }: Partial<ErrorEvent>) => {
            failure(message ?? "its script can't be loaded; a policy of the page has to allow it (worker-src)", message !== undefined);
          };
        },
        busy() {},
        end: () => worker.terminate(),
      };
    },
  };
}
