/** An instance of the WebAssembly module, bound by wasm-bindgen's glue: what `wasm/src/js.rs` offers, with this package's exceptions. */
import { type Glue, VERSION } from "./builds.js";
import { Crew, glueOf } from "./crew.js";
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

/** The module's functions and classes, and its memory. */
type Bound = Glue & { readonly memory: WebAssembly.Memory };

/** A model within an instance. */
export type Model = InstanceType<Bound["Session"]>;

/** Longest wait for memory, in milliseconds; those before it are half as long each. */
const LONGEST_WAIT = 1600;

/**
 * Binds an instance. What a session had is given back when its threads have ended, which takes browsers up to two seconds; so where there
 * is no room for a memory, this tries again for some time.
 */
async function bound(module: WebAssembly.Module): Promise<{ glue: Glue; memory: WebAssembly.Memory }> {
  for (let wait = 100; ; wait *= 2) {
    try {
      const glue = glueOf(module);
      const { memory } = await glue({ module_or_path: module });
      return { glue, memory };
    } catch (cause) {
      if (!(cause instanceof RangeError) || wait > LONGEST_WAIT) {
        throw cause;
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

/** One instance, with a memory of its own, which the host collects together with it. */
export class Engine {
  readonly #module: WebAssembly.Module;
  readonly #bound: Bound;
  #broken = false;

  private constructor(module: WebAssembly.Module, bound: Bound) {
    this.#module = module;
    this.#bound = bound;
  }

  /** Makes an instance. */
  static async start(module: WebAssembly.Module): Promise<Engine> {
    let version: string;
    try {
      const { glue, memory } = await bound(module);
      version = glue.version();
      if (version === VERSION) {
        return new Engine(module, Object.assign(glue, { memory }));
      }
    } catch (cause) {
      if (cause instanceof RangeError) {
        throw new MemoryError(`the host has no memory for another session: ${cause.message}; release one`, {}, { cause });
      }
      throw new UnsupportedError(`the WebAssembly module can't be started: ${reason(cause)}`, {}, { cause });
    }
    throw new UnsupportedError(`the WebAssembly module is of version ${version}, and this code of ${VERSION}`);
  }

  /** Lets runs use so many threads, before any has begun, and gives those that help; none, where the module knows no threads. */
  async threads(count: number): Promise<Crew | undefined> {
    const expects = this.#guarded(({ expectThreads }) => count > 1 && expectThreads?.(count));
    return expects ? Crew.gather(this.#module, this.#bound.memory, count - 1) : undefined;
  }

  /** Bytes of the instance's memory. It never shrinks. */
  get memoryBytes(): number {
    return this.#bound.memory.buffer.byteLength;
  }

  /** The class of instructions that sessions use. */
  get instructions(): string {
    return this.#guarded(({ currentClass }) => currentClass());
  }

  /** Makes sessions that are opened from now on use this class of instructions. */
  force(instructions: string): void {
    this.#guarded(({ forceClass }) => forceClass(instructions));
  }

  /** Opens a file, given in parts. */
  open(parts: readonly Uint8Array[]): Model {
    return this.#guarded(({ Session }) => {
      const len = parts.reduce((sum, part) => sum + part.byteLength, 0);
      if (len > MAX_BLOCK) {
        throw tooLarge(len);
      }
      return new Session([...parts]);
    });
  }

  /** What a model is. */
  describe(model: Model): Description {
    return this.#guarded(() => JSON.parse(model.describe()) as Description);
  }

  /** Runs a model, and copies the outputs of these indices. */
  run(model: Model, inputs: readonly Elements[], outputs: readonly number[]): Elements[] {
    return this.#guarded(() => {
      inputs.forEach(({ bytes, dims }, index) => model.setInput(index, bytes, Uint32Array.from(dims)));
      model.run();
      return outputs.map((index) => ({ bytes: model.output(index), dims: [...model.outputDims(index)] }));
    });
  }

  /** Makes a picture an input; see `wasm/src/image.rs`, whose options these are. */
  image({ data, width, height }: Pixels, options: object): Uint8Array<ArrayBuffer> {
    return this.#guarded(({ image }) => {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      return image(bytes, width, height, JSON.stringify(options)) as Uint8Array<ArrayBuffer>;
    });
  }

  /** Frees a model's memory for others of this instance; there are none any more, where the module has broken down. */
  close(model: Model): void {
    if (!this.#broken) {
      this.#guarded(() => model.free());
    }
  }

  /** Calls `work`. What stops the module itself leaves it in no state to go on. */
  #guarded<T>(work: (bound: Bound) => T): T {
    if (this.#broken) {
      throw new InternalError("the session broke down in an earlier call; create another one");
    }
    try {
      return work(this.#bound);
    } catch (cause) {
      if (cause instanceof QuaverError) {
        throw cause;
      }
      // What the module throws on purpose says in its cause what is known; see `wasm/src/js.rs`.
      if (cause instanceof Error && typeof cause.cause === "string") {
        throw told(cause.name, cause.message, JSON.parse(cause.cause) as About);
      }
      this.#broken = true;
      throw new InternalError(`the WebAssembly module broke down: ${reason(cause)}`, {}, { cause });
    }
  }
}

/** What is known of an error of the module. */
type About = Readonly<Partial<Record<"name" | "expected" | "got" | "needed" | "limit", string>>>;

function told(code: string, message: string, { name, expected, got, needed, limit }: About): QuaverError {
  return fromPlain({
    code,
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

/** The exception for a file that no allocation could hold. */
export function tooLarge(len: number): MemoryError {
  const message = `the model has ${len} bytes, but one of more than ${MAX_BLOCK} doesn't fit into WebAssembly's 32-bit addresses`;
  return new MemoryError(message, { needed: len, limit: MAX_BLOCK });
}
