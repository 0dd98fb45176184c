import { open } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { Host, Thread } from "./host.js";

/** The first version whose relaxed SIMD computes what it should. */
const RELAXED_FROM = 22;
const CHUNK = 4 << 20;

/** Node, and hosts that do as it does. */
export const node: Host = {
  shares: true,
  processors: availableParallelism(),
  relaxed: Number.parseInt(process.versions.node, 10) >= RELAXED_FROM,

  isAddress(source) {
    return /^(https?|data|blob|file):/.test(source);
  },

  async open(source, signal) {
    const path = filePath(source);
    if (path === undefined) {
      return fetch(source, signal === undefined ? {} : { signal });
    }
    const file = await open(path);
    const { size } = await file.stat();
    const read = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
      const { bytesRead, buffer } = await file.read(new Uint8Array(Math.min(CHUNK, Math.max(size, 1))), 0);
      if (bytesRead > 0) {
        controller.enqueue(buffer.subarray(0, bytesRead));
      } else {
        await file.close();
        controller.close();
      }
    };
    const body = new ReadableStream<Uint8Array>({ pull: read, cancel: () => file.close() }, { highWaterMark: 0 });
    return new Response(body, { headers: { "content-length": String(size) } });
  },

  thread(): Thread {
    // Options of the process, such as what kind of script it is given, are none of the worker's.
    const worker = new Worker(new URL("./worker.node.js", import.meta.url), { name: "quaver", execArgv: [] });
    worker.unref();
    return {
      post: (message, transfer) => worker.postMessage(message, transfer),
      listen(message, failure) {
        worker.on("message", message);
        worker.on("messageerror", () => failure("a message of the worker can't be read", true));
        worker.on("error", (error) => failure(error.message, true));
        worker.on("exit", () => failure("the worker has ended", true));
      },
      busy: (waits) => (waits ? worker.ref() : worker.unref()),
      end: () => void worker.terminate(),
    };
  },
};

function filePath(source: string | URL | Request): string | URL | undefined {
  if (source instanceof URL) {
    return source.protocol === "file:" ? source : undefined;
  }
  if (typeof source !== "string") {
    return undefined;
  }
  if (source.startsWith("file:")) {
    return new URL(source);
  }
  return node.isAddress(source) ? undefined : source;
}
