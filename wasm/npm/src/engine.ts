/** An instance of the WebAssembly module: its functions over bytes instead of addresses. */
import { fromPlain, InternalError, MemoryError, QuaverError, reason, UnsupportedError } from "./error.js";
import type { Pixels } from "./image.js";

/** Most bytes of one block: what an allocation may have where addresses have 32 bits, with room to align it. */
export const MAX_BLOCK = 0x7fffffff - 64;

/** An input or output as the module describes it. */
export interface Port {
  readonly name: string;
  readonly dtype: "f32" | "u8" | "i8" | "i32" | "i64";
  readonly dims: readonly (number | string)[];
}

/** A model as the module describes it. */
export interface Description {
  readonly name: string;
  readonly producer: string;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** Elements without their type. */
export interface Elements {
  readonly bytes: Uint8Array;
  readonly dims: readonly number[];
}

/** The functions of `wasm/src/abi.rs`; every number is of 32 bits. */
interface Functions {
  readonly memory: WebAssembly.Memory;
  quaver_abi_version(): number;
  quaver_class(): number;
  quaver_force_class(address: number, len: number): number;
  quaver_alloc(len: number): number;
  quaver_free(address: number, len: number): void;
  quaver_open(address: number, len: number): number;
  quaver_close(handle: number): void;
  quaver_describe(handle: number): number;
  quaver_input(handle: number, index: number, dims: number, rank: number): number;
  quaver_run(handle: number): number;
  quaver_output_ptr(handle: number, index: number): number;
  quaver_output_len(handle: number, index: number): number;
  quaver_output_dims(handle: number, index: number): number;
  quaver_image(address: number, len: number, width: number, height: number, options: number, optionsLen: number): number;
  quaver_result_ptr(): number;
  quaver_result_len(): number;
  quaver_last_error_details(): number;
}

/** The version of these functions. */
const ABI_VERSION = 2;

/** One instance, with a memory of its own, which the host collects together with it. */
export class Engine {
  readonly #wasm: Functions;
  #broken = false;

  private constructor(wasm: Functions) {
    this.#wasm = wasm;
  }

  /** Makes an instance. */
  static async start(module: WebAssembly.Module): Promise<Engine> {
    let instance: WebAssembly.Instance;
    try {
      instance = await WebAssembly.instantiate(module, {});
    } catch (cause) {
      if (cause instanceof RangeError) {
        throw new MemoryError(`the host has no memory for another session: ${cause.message}; release one`, {}, { cause });
      }
      throw new UnsupportedError(`the WebAssembly module can't be started: ${reason(cause)}`, {}, { cause });
    }
    const wasm = instance.exports as unknown as Partial<Functions>;
    const version = wasm.quaver_abi_version?.();
    if (version !== ABI_VERSION) {
      throw new UnsupportedError(`the WebAssembly module is of another version (${version ?? "none"}) than this code (${ABI_VERSION})`);
    }
    return new Engine(wasm as Functions);
  }

  /** Bytes of the instance's memory. It never shrinks. */
  get memoryBytes(): number {
    return this.#wasm.memory.buffer.byteLength;
  }

  /** The class of instructions that sessions use. */
  get instructions(): string {
    return this.#guarded((wasm) => {
      this.#checked(wasm, wasm.quaver_class());
      return text(result(wasm));
    });
  }

  /** Makes sessions that are opened from now on use this class of instructions. */
  force(instructions: string): void {
    this.#guarded((wasm) => {
      const name = new TextEncoder().encode(instructions);
      const address = this.#put(wasm, name);
      const done = wasm.quaver_force_class(address, name.byteLength);
      wasm.quaver_free(address, name.byteLength);
      this.#checked(wasm, done);
    });
  }

  /** Opens a file, given in parts, and returns the session's handle. */
  open(parts: readonly Uint8Array[]): number {
    return this.#guarded((wasm) => {
      const len = parts.reduce((sum, part) => sum + part.byteLength, 0);
      const address = this.#alloc(wasm, len);
      let at = address;
      for (const part of parts) {
        new Uint8Array(wasm.memory.buffer, at, part.byteLength).set(part);
        at += part.byteLength;
      }
      return this.#checked(wasm, wasm.quaver_open(address, len));
    });
  }

  /** What a session's model is. */
  describe(handle: number): Description {
    return this.#guarded((wasm) => {
      this.#checked(wasm, wasm.quaver_describe(handle));
      return JSON.parse(text(result(wasm))) as Description;
    });
  }

  /** Runs a session, and copies the outputs of these indices. */
  run(handle: number, inputs: readonly Elements[], outputs: readonly number[]): Elements[] {
    return this.#guarded((wasm) => {
      inputs.forEach(({ bytes, dims }, index) => {
        const extents = this.#put(wasm, new Uint8Array(Uint32Array.from(dims).buffer));
        const address = this.#checked(wasm, wasm.quaver_input(handle, index, extents, dims.length));
        wasm.quaver_free(extents, dims.length * 4);
        new Uint8Array(wasm.memory.buffer, address, bytes.byteLength).set(bytes);
      });
      this.#checked(wasm, wasm.quaver_run(handle));
      return outputs.map((index) => {
        this.#checked(wasm, wasm.quaver_output_dims(handle, index));
        const dims = [...new Uint32Array(result(wasm).buffer)];
        const address = this.#checked(wasm, wasm.quaver_output_ptr(handle, index));
        return { bytes: copied(wasm, address, wasm.quaver_output_len(handle, index)), dims };
      });
    });
  }

  /** Makes a picture an input; see `wasm/src/image.rs`, whose options these are. */
  image({ data, width, height }: Pixels, options: object): Uint8Array<ArrayBuffer> {
    return this.#guarded((wasm) => {
      const json = new TextEncoder().encode(JSON.stringify(options));
      const pixels = this.#put(wasm, data);
      const settings = this.#put(wasm, json);
      const done = wasm.quaver_image(pixels, data.byteLength, width, height, settings, json.byteLength);
      wasm.quaver_free(pixels, data.byteLength);
      wasm.quaver_free(settings, json.byteLength);
      this.#checked(wasm, done);
      return result(wasm);
    });
  }

  /** Frees a session's memory for others of this instance. */
  close(handle: number): void {
    this.#guarded((wasm) => wasm.quaver_close(handle));
  }

  /** Calls `work`. What stops the module itself leaves it in no state to go on. */
  #guarded<T>(work: (wasm: Functions) => T): T {
    if (this.#broken) {
      throw new InternalError("the session broke down in an earlier call; create another one");
    }
    try {
      return work(this.#wasm);
    } catch (cause) {
      if (cause instanceof QuaverError) {
        throw cause;
      }
      this.#broken = true;
      throw new InternalError(`the WebAssembly module broke down: ${reason(cause)}`, {}, { cause });
    }
  }

  #alloc(wasm: Functions, len: number): number {
    if (len > MAX_BLOCK) {
      throw tooLarge(len);
    }
    return this.#checked(wasm, wasm.quaver_alloc(len));
  }

  #put(wasm: Functions, bytes: Uint8Array | Uint8ClampedArray): number {
    const address = this.#alloc(wasm, bytes.byteLength);
    new Uint8Array(wasm.memory.buffer, address, bytes.byteLength).set(bytes);
    return address;
  }

  /** What a function returned, as the unsigned number that it is; throws where it is the sign of an error. */
  #checked(wasm: Functions, returned: number): number {
    if (returned !== 0) {
      return returned >>> 0;
    }
    wasm.quaver_last_error_details();
    const { kind, message, about } = JSON.parse(text(result(wasm))) as Details;
    const { name, expected, got, needed, limit } = about;
    throw fromPlain({
      code: kind,
      message,
      details: {
        ...(name === undefined ? {} : { input: name }),
        ...(expected === undefined ? {} : { expected }),
        ...(got === undefined ? {} : { got }),
        ...(needed === undefined ? {} : { needed: Number(needed) }),
        ...(limit === undefined ? {} : { limit: Number(limit) }),
      },
    });
  }
}

interface Details {
  readonly kind: string;
  readonly message: string;
  readonly about: Readonly<Partial<Record<"name" | "expected" | "got" | "needed" | "limit", string>>>;
}

/** The exception for a file that no allocation could hold. */
export function tooLarge(len: number): MemoryError {
  const message = `the model has ${len} bytes, but one of more than ${MAX_BLOCK} doesn't fit into WebAssembly's 32-bit addresses`;
  return new MemoryError(message, { needed: len, limit: MAX_BLOCK });
}

function result(wasm: Functions): Uint8Array<ArrayBuffer> {
  return copied(wasm, wasm.quaver_result_ptr(), wasm.quaver_result_len());
}

function copied(wasm: Functions, address: number, len: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(wasm.memory.buffer, address >>> 0, len >>> 0).slice();
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
