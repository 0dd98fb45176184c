/**
 * Threads that help an instance's runs: workers with instances of the same module over the same memory, asleep between runs.
 * Without them all works as well, on one thread; so where one can't be had, nothing is said.
 */
import { BUILDS, type Glue } from "./builds.js";
import { host, type Thread } from "./host.js";

/** What a thread needs to help. */
export interface Help {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** Which of the threads it is, from 1 on. */
  readonly index: number;
}

/** What a helper says once it has come. */
const COME = "come";
/** Bytes of a helper's stack, as many as the first thread has. */
const STACK = 1 << 20;

/** Ends the helpers of instances that nobody has released. */
const abandoned = new FinalizationRegistry<readonly Thread[]>((threads) => threads.forEach((thread) => thread.end()));

/** An instance's helpers. */
export class Crew {
  readonly #threads: readonly Thread[];

  private constructor(threads: readonly Thread[]) {
    this.#threads = threads;
  }

  /** Starts so many helpers, and waits until each has come or failed. */
  static async gather(module: WebAssembly.Module, memory: WebAssembly.Memory, count: number): Promise<Crew> {
    const started = Array.from({ length: count }, (_, i) => come({ module, memory, index: i + 1 }));
    const threads = await Promise.all(started);
    return new Crew(threads.filter((thread) => thread !== undefined));
  }

  /** How many there are. */
  get size(): number {
    return this.#threads.length;
  }

  /** Ends them when `owner` is collected. It must not be what they refer to. */
  goesWith(owner: object): void {
    abandoned.register(owner, this.#threads, this);
  }

  /** Ends them. Nothing may be asked of the instance afterwards, as one may have been within the allocator. */
  end(): void {
    abandoned.unregister(this);
    this.#threads.forEach((thread) => thread.end());
  }
}

/** Starts a helper; gives it once it has come. */
function come(help: Help): Promise<Thread | undefined> {
  return new Promise((resolve) => {
    let thread: Thread;
    try {
      thread = host().thread();
    } catch {
      resolve(undefined);
      return;
    }
    // The process waits for it only until it has come.
    thread.busy(true);
    const answered = (has: boolean): void => {
      thread.busy(false);
      if (!has) {
        thread.end();
      }
      resolve(has ? thread : undefined);
    };
    thread.listen(
      (data) => answered(data === COME),
      () => answered(false),
    );
    thread.post({ help }, []);
  });
}

/** The helper's side: helps until it is ended. */
export async function help({ module, memory, index }: Help, post: (message: unknown) => void): Promise<void> {
  const glue = glueOf(module);
  try {
    // wasm-bindgen's types of builds with one thread know no more than the module.
    await glue({ module_or_path: module, memory, thread_stack_size: STACK } as { module_or_path: WebAssembly.Module });
  } catch {
    post("failed");
    return;
  }
  post(COME);
  try {
    glue.serve?.(index);
  } catch {
    // Whoever waits for its part should wait no longer.
    glue.lose?.();
  }
}

/** Fresh glue for a module: shared memory is imported, other memory is the instance's own. */
export function glueOf(module: WebAssembly.Module): Glue {
  const shared = WebAssembly.Module.imports(module).some(({ kind }) => kind === "memory");
  const build = BUILDS.find(({ threads }) => threads === shared);
  if (build === undefined) {
    throw new TypeError("the module's memory is shared, for which this package was built without glue");
  }
  return build.bind();
}
