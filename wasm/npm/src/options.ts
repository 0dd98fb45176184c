/** What can be said when a session is created. */
import { InputError } from "./error.js";

/** How much of a model has been downloaded. */
export interface Progress {
  /** Bytes so far. */
  readonly loaded: number;
  /** Bytes of all; `undefined` where the server doesn't say. */
  readonly total: number | undefined;
}

/** Where the WebAssembly module comes from, for hosts and set-ups that can't take it from beside the package's code. */
export interface ModuleOptions {
  /** The folder that has the package's `.wasm` files, as an address or in Node a path; or the address of each file by its build. */
  readonly wasmPaths?: string | URL | Readonly<Partial<Record<string, string | URL>>> | undefined;
  /** The module itself: its bytes, or compiled, for hosts that compile no bytes at run time. */
  readonly wasmBinary?: BufferSource | WebAssembly.Module | undefined;
  /**
   * The build to use: `base` runs everywhere, `relaxed` and `sat` need relaxed SIMD, the former a dot product that doesn't saturate,
   * `threads` and `threads_sat` need shared memory, too. Left out, it is the fastest one that the host can run. All give the same
   * bytes.
   */
  readonly build?: string | undefined;
  /**
   * How many threads a run may use. Left out, it is as many as there are processors, but at most 4. It is one where the page
   * isn't cross-origin isolated, the host lacks relaxed SIMD or starts no workers, or the package has no build for more. All
   * give the same bytes.
   */
  readonly threads?: number | undefined;
}

/** Options of a session. */
export interface SessionOptions extends ModuleOptions {
  /** Called as the model's bytes arrive. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Ends the download and whatever else `create` waits for. */
  readonly signal?: AbortSignal | undefined;
  /** Runs everything in a worker of the session's own, so that the thread which calls stays free. */
  readonly worker?: boolean | undefined;
  /**
   * The class of instructions to use, for tests and comparisons: `scalar`; `simd128`, and where there is relaxed SIMD `sat`; what
   * the engine has of `sdot` and `usdot`. The build is one that has it. Left out, it is the fastest of these. All give the same
   * bytes.
   */
  readonly instructions?: string | undefined;
  /** With `worker`: gives the model's buffer away instead of copying it. It has no bytes afterwards. */
  readonly transfer?: boolean | undefined;
}

/** Options of one run. */
export interface RunOptions {
  /** With a session in a worker: gives the inputs' buffers away instead of copying them. They have no elements afterwards. */
  readonly transfer?: boolean | undefined;
}

/** Defaults of all sessions created afterwards, by the names that onnxruntime-web has for them. */
export interface Env {
  readonly wasm: {
    /** Default of {@link ModuleOptions.wasmPaths}. */
    wasmPaths?: ModuleOptions["wasmPaths"];
    /** Default of {@link ModuleOptions.wasmBinary}. */
    wasmBinary?: ModuleOptions["wasmBinary"];
    /** Default of {@link ModuleOptions.threads}; 0 is the package's own choice. */
    numThreads?: number | undefined;
    /** Default of {@link SessionOptions.worker}. */
    proxy?: boolean | undefined;
  };
}

/** The defaults. */
export const env: Env = { wasm: {} };

/** The options with their defaults. */
export function complete(options: SessionOptions = {}): SessionOptions {
  const { wasmPaths, wasmBinary, numThreads, proxy } = env.wasm;
  const threads = options.threads ?? (numThreads === 0 ? undefined : numThreads);
  if (threads !== undefined && !(Number.isInteger(threads) && threads > 0)) {
    throw new InputError(`threads is a whole number from 1 on, not ${threads}`, { expected: "1, 2, …", got: String(threads) });
  }
  return {
    ...options,
    threads,
    wasmPaths: options.wasmPaths ?? wasmPaths,
    wasmBinary: options.wasmBinary ?? wasmBinary,
    worker: options.worker ?? proxy,
  };
}
