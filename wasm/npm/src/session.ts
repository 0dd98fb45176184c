import { QuaverError, rethrown } from "./error.js";
import { type ModuleOptions, load, read } from "./module.js";
import { type DType, Tensor } from "./tensor.js";
import { Session } from "./wasm/quaver.js";

/** An input or an output. An extent is a number, or a string such as `"N"` or `"2N"`, N being the batch size. */
export interface Port {
  readonly name: string;
  readonly dtype: DType;
  readonly dims: readonly (number | string)[];
}

interface Description {
  readonly name: string;
  readonly producer: string;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** Tensors by name. */
export type Tensors = Readonly<Record<string, Tensor>>;

/** A model, ready to run. It holds memory of the module until {@link InferenceSession.release}. */
export class InferenceSession {
  #session: Session | undefined;
  readonly #description: Description;

  private constructor(session: Session) {
    this.#session = session;
    this.#description = JSON.parse(session.describe()) as Description;
  }

  /**
   * Opens a `.qvr` file: its bytes, or where it is (an address; in Node also a path).
   *
   * @throws {QuaverError} `fetch`, where it can't be read; `model`, where it isn't valid; `memory`.
   */
  static async create(model: string | URL | ArrayBuffer | Uint8Array, options: ModuleOptions = {}): Promise<InferenceSession> {
    await load(options);
    const source = typeof model === "string" || model instanceof URL ? await read(model) : model;
    if (!(source instanceof ArrayBuffer || source instanceof Uint8Array)) {
      throw new QuaverError("model", "a model is given as its address, or as an ArrayBuffer or Uint8Array of its bytes");
    }
    const bytes = source instanceof Uint8Array ? source : new Uint8Array(source);
    return new InferenceSession(rethrown(() => new Session(bytes)));
  }

  /** The model's name. */
  get name(): string {
    return this.#description.name;
  }

  /** What a run takes. */
  get inputs(): readonly Port[] {
    return this.#description.inputs;
  }

  /** What a run gives. */
  get outputs(): readonly Port[] {
    return this.#description.outputs;
  }

  /** The names of {@link inputs}. */
  get inputNames(): readonly string[] {
    return this.inputs.map((port) => port.name);
  }

  /** The names of {@link outputs}. */
  get outputNames(): readonly string[] {
    return this.outputs.map((port) => port.name);
  }

  /** The file's free metadata, such as the names of classes. */
  get metadata(): Readonly<Record<string, string>> {
    return this.#description.metadata;
  }

  /**
   * Runs the model. The batch size is that of the inputs' dims, where the model leaves it open. The thread is busy until
   * the results are there; in a page, use a session within a worker.
   *
   * @throws {QuaverError} `input`, naming it, where one is unknown, missing, or of another type or dims; `memory`, where
   * the batch is too large; `state` after {@link release}.
   */
  async run(inputs: Tensors): Promise<Record<string, Tensor>> {
    const session = this.#session;
    if (session === undefined) {
      throw new QuaverError("state", "the session is released; create another one");
    }
    // Callers without types may pass nothing at all.
    const unknown = Object.keys(inputs ?? {}).find((name) => !this.inputNames.includes(name));
    if (unknown !== undefined) {
      throw new QuaverError("input", `the model has no input '${unknown}'; it takes ${this.inputNames.join(", ")}`);
    }
    return rethrown(() => {
      this.inputs.forEach((port, index) => {
        const tensor = given(inputs, port);
        session.setInput(index, tensor.bytes, Uint32Array.from(tensor.dims));
      });
      session.run();
      const results = this.outputs.map((port, index): [string, Tensor] => {
        const bytes = session.output(index) as Uint8Array<ArrayBuffer>;
        return [port.name, Tensor.fromBytes(port.dtype, bytes, [...session.outputDims(index)])];
      });
      return Object.fromEntries(results);
    });
  }

  /** Frees the memory. The session can't run any more. */
  release(): void {
    this.#session?.free();
    this.#session = undefined;
  }
}

function given(inputs: Tensors, port: Port): Tensor {
  const tensor = Object.hasOwn(inputs ?? {}, port.name) ? inputs[port.name] : undefined;
  if (!(tensor instanceof Tensor)) {
    throw new QuaverError("input", `input '${port.name}' (${port.dtype}[${port.dims.join(",")}]) is not given as a Tensor`);
  }
  if (tensor.type !== port.dtype) {
    throw new QuaverError("input", `input '${port.name}' should be of type ${port.dtype}, but is ${tensor.type}`);
  }
  return tensor;
}
