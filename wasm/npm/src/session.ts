import { download, type ModelSource } from "./download.js";
import type { Elements, Port } from "./engine.js";
import { aborted, InputError, StateError, throwIfAborted } from "./error.js";
import type { ImageOptions } from "./image.js";
import { type Loaded, load } from "./module.js";
import { complete, type RunOptions, type SessionOptions } from "./options.js";
import { LocalRunner, RemoteRunner, type Runner } from "./runner.js";
import { Tensor, type TensorType } from "./tensor.js";

/** What is known of an input or output. */
export interface ValueMetadata {
  readonly name: string;
  readonly isTensor: true;
  readonly type: TensorType;
  /** Its extents: numbers, or strings such as `"N"` or `"2N"`, N being the batch size. */
  readonly shape: readonly (number | string)[];
}

/** What runs a session's model. */
export interface Backend {
  /** The build of the WebAssembly module. */
  readonly build: string;
  /** The class of instructions within it. */
  readonly instructions: string;
  /** How many threads a run uses. */
  readonly threads: number;
  /** Whether the session has a worker. */
  readonly worker: boolean;
}

/** Tensors by the names of inputs. */
export type Feeds = Readonly<Record<string, Tensor>>;

/** The outputs that are wanted: their names; or for each, a tensor to write to, or null. */
export type Fetches = readonly string[] | Readonly<Record<string, Tensor | null>>;

/** Tensors by the names of outputs. */
export type Results = Record<string, Tensor>;

const TYPES = { f32: "float32", u8: "uint8", i8: "int8", i32: "int32", i64: "int64" } as const satisfies Record<Port["dtype"], TensorType>;

/** A model, ready to run. */
export class InferenceSession {
  /** What runs it. */
  readonly backend: Backend;
  /** What a run takes. */
  readonly inputMetadata: readonly ValueMetadata[];
  /** What a run gives. */
  readonly outputMetadata: readonly ValueMetadata[];
  /** The model's name. */
  readonly name: string;
  /** The file's free metadata, such as the names of classes. */
  readonly metadata: Readonly<Record<string, string>>;
  #runner: Runner | undefined;

  private constructor(runner: Runner, { build }: Loaded, worker: boolean) {
    const { description, instructions, threads } = runner.opened;
    const { name, metadata, inputs, outputs } = description;
    this.#runner = runner;
    this.backend = { build, instructions, threads, worker };
    this.name = name;
    this.metadata = metadata;
    this.inputMetadata = inputs.map(valueMetadata);
    this.outputMetadata = outputs.map(valueMetadata);
  }

  /**
   * Opens a `.qvr` file: where it is (an address; in Node also a path), an answer that brings it, or its bytes. It is checked
   * wholly before it is used.
   *
   * @throws {FetchError} Where it can't be read. {@link ModelError}, where it is no valid file. {@link MemoryError}, where it
   * needs more memory than there can be. {@link AbortError}, where `options.signal` says so. {@link UnsupportedError}, where
   * the host can't run the WebAssembly module.
   */
  static async create(model: ModelSource, options?: SessionOptions): Promise<InferenceSession> {
    const settings = complete(options);
    const { signal, worker = false, transfer = false } = settings;
    throwIfAborted(signal);
    const remote = worker ? new RemoteRunner() : undefined;
    try {
      return await unlessAborted(signal, async () => {
        const [loaded, { parts, owned }] = await Promise.all([load(settings), download(model, settings)]);
        throwIfAborted(signal);
        const { module, threads } = loaded;
        const opening = { module, parts, instructions: settings.instructions, threads };
        if (remote === undefined) {
          return new InferenceSession(await LocalRunner.open(opening), loaded, worker);
        }
        await remote.open(opening, owned || transfer);
        return new InferenceSession(remote, loaded, worker);
      });
    } catch (error) {
      await remote?.release();
      throw error;
    }
  }

  /** The names of the inputs. */
  get inputNames(): readonly string[] {
    return this.inputMetadata.map(({ name }) => name);
  }

  /** The names of the outputs. */
  get outputNames(): readonly string[] {
    return this.outputMetadata.map(({ name }) => name);
  }

  /**
   * Runs the model. The batch size is that of the inputs' dims, where the model leaves it open. Without a worker, the thread is
   * busy until the results are there.
   *
   * @throws {InputError} Naming what is unknown, missing, or of another type or dims. {@link MemoryError}, where the batch is
   * too large. {@link StateError} after {@link release}.
   */
  async run(feeds: Feeds, fetches: Fetches, options?: RunOptions): Promise<Results>;
  async run(feeds: Feeds, options?: RunOptions): Promise<Results>;
  async run(feeds: Feeds, second?: Fetches | RunOptions, third?: RunOptions): Promise<Results> {
    const runner = this.#runner;
    if (runner === undefined) {
      throw new StateError("the session is released; create another one");
    }
    const [fetches, options] = isFetches(second, this.outputNames) ? [second, third] : [undefined, second];
    const wanted = this.#wanted(fetches);
    const inputs = this.#inputs(feeds);
    const results = await runner.run(inputs, wanted, options?.transfer ?? false);
    return Object.fromEntries(
      wanted.map((index, position) => {
        const output = this.outputMetadata[index] as ValueMetadata;
        const { bytes, dims } = results[position] as Elements;
        const tensor = Tensor.fromBytes(output.type, bytes as Uint8Array<ArrayBuffer>, dims);
        const target = fetches === undefined || Array.isArray(fetches) ? null : (fetches as Record<string, Tensor | null>)[output.name];
        return [output.name, target ? written(target, tensor, output) : tensor];
      }),
    );
  }

  /**
   * How a picture becomes this model's input, for {@link Tensor.fromImage}: the extents of its first input, and what the file
   * says about preprocessing.
   *
   * @throws {InputError} Where the first input is no image.
   */
  get imageOptions(): ImageOptions {
    return imageOptions(this.inputMetadata[0], this.metadata["quaver.preprocessing"]);
  }

  /** Gives the memory back. The session can't run any more; runs in a worker that are under way end with a {@link StateError}. */
  async release(): Promise<void> {
    const runner = this.#runner;
    this.#runner = undefined;
    await runner?.release();
  }

  #wanted(fetches: Fetches | undefined): number[] {
    if (fetches === undefined) {
      return this.outputMetadata.map((_, index) => index);
    }
    const names = Array.isArray(fetches) ? (fetches as readonly string[]) : Object.keys(fetches);
    return names.map((name) => {
      const index = this.outputNames.indexOf(name);
      if (index < 0) {
        throw new InputError(`the model has no output '${name}'; it has ${this.outputNames.join(", ")}`, { input: name });
      }
      return index;
    });
  }

  #inputs(feeds: Feeds): Elements[] {
    // Callers without types may pass nothing at all.
    const unknown = Object.keys(feeds ?? {}).find((name) => !this.inputNames.includes(name));
    if (unknown !== undefined) {
      throw new InputError(`the model has no input '${unknown}'; it takes ${this.inputNames.join(", ")}`, { input: unknown });
    }
    return this.inputMetadata.map((input) => {
      const { bytes, dims } = fed(feeds, input);
      return { bytes, dims };
    });
  }
}

/** The names that onnxruntime-web has for the types. */
export declare namespace InferenceSession {
  type FeedsType = Feeds;
  type FetchesType = Fetches;
  type ReturnType = Results;
  type OnnxValueMapType = Feeds;
  type SessionOptions = import("./options.js").SessionOptions;
  type RunOptions = import("./options.js").RunOptions;
}

function valueMetadata({ name, dtype, dims }: Port): ValueMetadata {
  return { name, isTensor: true, type: TYPES[dtype], shape: dims };
}

/** What `work` gives, or at once the exception of a signal. */
async function unlessAborted<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  if (signal === undefined) {
    return work();
  }
  let stop = (): void => {};
  const ended = new Promise<never>((_, reject) => {
    stop = () => reject(aborted(signal));
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([work(), ended]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

function isFetches(given: Fetches | RunOptions | undefined, outputs: readonly string[]): given is Fetches {
  return Array.isArray(given) || (given !== undefined && outputs.some((name) => Object.hasOwn(given, name)));
}

function fed(feeds: Feeds, { name, type, shape }: ValueMetadata): Tensor {
  const expected = `${type}[${shape.join(",")}]`;
  const tensor = Object.hasOwn(feeds ?? {}, name) ? feeds[name] : undefined;
  if (!(tensor instanceof Tensor)) {
    throw new InputError(`input '${name}' (${expected}) is not given as a Tensor`, { input: name, expected, got: typeof tensor });
  }
  if (tensor.type !== type) {
    throw new InputError(`input '${name}' should be of type ${type}, but is ${tensor.type}`, { input: name, expected, got: tensor.type });
  }
  if (tensor.data.byteLength === 0 && tensor.dims.every((extent) => extent > 0)) {
    throw new InputError(`input '${name}' has no elements any more, as its buffer was given away`, { input: name, expected, got: "nothing" });
  }
  return tensor;
}

/** The caller's tensor with a result's elements. */
function written(target: Tensor, result: Tensor, { name }: ValueMetadata): Tensor {
  const [expected, got] = [result, target].map(({ type, dims }) => `${type}[${dims.join(",")}]`) as [string, string];
  if (expected !== got) {
    throw new InputError(`output '${name}' is ${expected}, but the tensor to write it to is ${got}`, { input: name, expected, got });
  }
  target.bytes.set(result.bytes);
  return target;
}

/** As the file records it; see `quaver_convert::calibrate::data::ImageOptions`. */
interface Preprocessing {
  readonly mean: readonly number[];
  readonly std: readonly number[];
  readonly scale: number;
  readonly bgr: boolean;
  readonly stretch: boolean;
}

function imageOptions(input: ValueMetadata | undefined, recorded: string | undefined): ImageOptions {
  const [, a, b, c] = input?.shape.length === 4 ? input.shape : [];
  const last = a !== 1 && a !== 3;
  const [height, width, count] = last ? [a, b, c] : [b, c, a];
  if (typeof height !== "number" || typeof width !== "number" || (count !== 1 && count !== 3)) {
    const got = `[${input?.shape.join(",") ?? ""}]`;
    throw new InputError(`the model's first input, of shape ${got}, is no image`, { expected: "[N,3,H,W], [N,1,H,W] or [N,H,W,3]", got });
  }
  const { mean, std, scale, bgr, stretch } = JSON.parse(recorded ?? "{}") as Partial<Preprocessing>;
  const normalised = input?.type === "uint8" ? {} : { mean: mean ?? 0, std: std ?? 1, scale: scale ?? 1 / 255 };
  return {
    width,
    height,
    ...normalised,
    fit: stretch ? "stretch" : "crop",
    channels: count === 1 ? "GRAY" : bgr ? "BGR" : "RGB",
    layout: last ? "NHWC" : "NCHW",
    type: input?.type === "uint8" ? "uint8" : "float32",
  };
}
