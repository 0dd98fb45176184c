/** Who runs a session's model: this thread, or a worker of the session's own. */
import { type Crew, type Help, help } from "./crew.js";
import { type Description, type Elements, Engine, type Model } from "./engine.js";
import { fromPlain, InternalError, type PlainError, reason, StateError, toPlain, UnsupportedError } from "./error.js";
import { host, type Thread } from "./host.js";

/** What there is to know of an open model. */
export interface Opened {
  readonly description: Description;
  /** The class of instructions that runs it. */
  readonly instructions: string;
  /** How many threads run it. */
  readonly threads: number;
}

/** An open model. */
export interface Runner {
  readonly opened: Opened;
  /** Runs it and gives the outputs of these indices. Inputs that are `owned` may be given away. */
  run(inputs: readonly Elements[], outputs: readonly number[], owned: boolean): Promise<Elements[]>;
  /** Gives the memory back. */
  release(): Promise<void>;
}

/** What it takes to open a model. */
export interface Opening {
  readonly module: WebAssembly.Module;
  /** The file's bytes. */
  readonly parts: readonly Uint8Array[];
  /** The class of instructions to use; the best one where left out. */
  readonly instructions: string | undefined;
  /** How many threads a run may use. */
  readonly threads: number;
}

/** Runs a model in this thread. */
export class LocalRunner implements Runner {
  readonly opened: Opened;
  readonly #engine: Engine;
  readonly #model: Model;
  readonly #crew: Crew | undefined;

  private constructor(engine: Engine, model: Model, crew: Crew | undefined) {
    this.#engine = engine;
    this.#model = model;
    this.#crew = crew;
    this.opened = { description: engine.describe(model), instructions: engine.instructions, threads: 1 + (crew?.size ?? 0) };
    crew?.goesWith(this);
  }

  static async open({ module, parts, instructions, threads }: Opening): Promise<LocalRunner> {
    const engine = await Engine.start(module);
    if (instructions !== undefined) {
      engine.force(instructions);
    }
    const model = engine.open(parts);
    return new LocalRunner(engine, model, await engine.threads(threads));
  }

  async run(inputs: readonly Elements[], outputs: readonly number[]): Promise<Elements[]> {
    return this.#engine.run(this.#model, inputs, outputs);
  }

  async release(): Promise<void> {
    try {
      // The instance goes with its session; this is for as long as the host doesn't collect it.
      this.#engine.close(this.#model);
    } finally {
      this.#crew?.end();
    }
  }
}

/** What a worker is asked. */
type Call =
  | ({ readonly call: "open" } & Opening)
  | { readonly call: "run"; readonly inputs: readonly Elements[]; readonly outputs: readonly number[] };

/** What it answers. */
type Answer = { readonly id: number } & ({ readonly value: unknown } | { readonly error: PlainError });

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** Runs a model in a worker. */
export class RemoteRunner implements Runner {
  readonly #thread: Thread;
  readonly #waiting = new Map<number, Waiting>();
  #calls = 0;
  #opened: Opened | undefined;
  #ended: Error | undefined;

  /** Starts the worker; its script loads while the caller fetches the model. */
  constructor() {
    try {
      this.#thread = host().thread();
    } catch (cause) {
      throw new UnsupportedError(`the session's worker can't be started: ${reason(cause)}`, {}, { cause });
    }
    this.#thread.listen(
      (data) => this.#answered(data as Answer),
      (message, started) =>
        this.#end(
          started
            ? new InternalError(`the session's worker broke down: ${message}`)
            : new UnsupportedError(`the session's worker can't be started: ${message}`),
        ),
    );
  }

  /** Opens a model; parts that are `owned` may be given away. */
  async open({ parts, ...opening }: Opening, owned: boolean): Promise<void> {
    const moved = parts.map((part) => movable(part, owned));
    this.#opened = (await this.#call({ call: "open", ...opening, parts: moved })) as Opened;
  }

  get opened(): Opened {
    if (this.#opened === undefined) {
      throw new InternalError("the worker has no model yet");
    }
    return this.#opened;
  }

  async run(inputs: readonly Elements[], outputs: readonly number[], owned: boolean): Promise<Elements[]> {
    const moved = inputs.map(({ bytes, dims }) => ({ bytes: movable(bytes, owned), dims }));
    return (await this.#call({ call: "run", inputs: moved, outputs })) as Elements[];
  }

  async release(): Promise<void> {
    this.#end(new StateError("the session was released while it ran"));
  }

  #call(call: Call): Promise<unknown> {
    if (this.#ended !== undefined) {
      return Promise.reject(this.#ended);
    }
    const id = ++this.#calls;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#thread.busy(true);
      const bytes = call.call === "open" ? call.parts : call.inputs.map((input) => input.bytes);
      // One buffer may hold several inputs, but moves only once.
      this.#thread.post({ id, ...call }, [...new Set(bytes.map((bytes) => bytes.buffer as ArrayBuffer))]);
    });
  }

  #answered(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    this.#thread.busy(this.#waiting.size > 0);
    if ("error" in answer) {
      waiting?.reject(fromPlain(answer.error));
    } else {
      waiting?.resolve(answer.value);
    }
  }

  #end(error: Error): void {
    if (this.#ended === undefined) {
      this.#ended = error;
      this.#thread.end();
    }
    for (const { reject } of this.#waiting.values()) {
      reject(error);
    }
    this.#waiting.clear();
  }
}

/** Bytes that can be given away: those of the caller are copied, unless they are `owned` and have a buffer of their own. */
function movable(bytes: Uint8Array, owned: boolean): Uint8Array {
  return owned && bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
}

/** The worker's side: gives the function that answers its calls. */
export function server(post: (message: unknown, transfer: Transferable[]) => void): (data: unknown) => Promise<void> {
  let runner: LocalRunner | undefined;
  const answer = async (call: Call): Promise<unknown> => {
    if (call.call === "open") {
      runner = await LocalRunner.open(call);
      return runner.opened;
    }
    return runner?.run(call.inputs, call.outputs);
  };
  return async (data) => {
    if ("help" in (data as object)) {
      await help((data as { help: Help }).help, (message) => post(message, []));
      return;
    }
    const { id, ...call } = data as { id: number } & Call;
    try {
      const value = await answer(call);
      const moved = call.call === "run" ? (value as Elements[]).map(({ bytes }) => bytes.buffer as ArrayBuffer) : [];
      post({ id, value }, moved);
    } catch (error) {
      post({ id, error: toPlain(error) }, []);
    }
  };
}
