import { QuaverError } from "./error.js";
import init from "./wasm/quaver.js";

/** Where the WebAssembly module comes from, for hosts that can't take it from beside this file. */
export interface ModuleOptions {
  /** Its address, its bytes, or the compiled module. */
  wasm?: string | URL | BufferSource | WebAssembly.Module;
}

let loading: Promise<void> | undefined;

/** Loads the module once; later calls give the first one's. */
export function load({ wasm }: ModuleOptions = {}): Promise<void> {
  loading ??= start(wasm ?? new URL("./wasm/quaver_bg.wasm", import.meta.url)).catch((error: unknown) => {
    // The next call may come with another address.
    loading = undefined;
    throw error;
  });
  return loading;
}

async function start(wasm: string | URL | BufferSource | WebAssembly.Module): Promise<void> {
  const module = typeof wasm === "string" || wasm instanceof URL ? await read(wasm) : wasm;
  await init({ module_or_path: module });
}

/** The bytes at an address, or at a path where the host has files. */
export async function read(source: string | URL): Promise<Uint8Array<ArrayBuffer>> {
  try {
    if (isFile(source)) {
      const { readFile } = await import(/* webpackIgnore: true */ /* @vite-ignore */ "node:fs/promises");
      return await readFile(source);
    }
    const response = await fetch(source);
    if (!response.ok) {
      throw new Error(`the server answers ${response.status} ${response.statusText}`);
    }
    return new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    throw new QuaverError("fetch", `cannot read '${source}': ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}

function isFile(source: string | URL): boolean {
  if (source instanceof URL) {
    return source.protocol === "file:";
  }
  const onNode = "process" in globalThis && !("document" in globalThis);
  return onNode && !/^(https?|data|blob):/.test(source);
}
