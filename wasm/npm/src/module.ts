/** Which build of the WebAssembly module a host takes, and how it comes. */
import { BUILDS } from "./builds.js";
import { dot } from "./dot.js";
import { Engine } from "./engine.js";
import { FetchError, InputError, QuaverError, reason, UnsupportedError } from "./error.js";
import { host } from "./host.js";
import { env, type ModuleOptions, type SessionOptions } from "./options.js";

/** A compiled module. */
export interface Loaded {
  readonly module: WebAssembly.Module;
  /** The build that it is; `custom` where the caller brought it. */
  readonly build: string;
  /** How many threads a run may use, if the module knows threads. */
  readonly threads: number;
}

type Build = (typeof BUILDS)[number];
/** What a module is chosen by. */
type Choice = ModuleOptions & Pick<SessionOptions, "instructions">;

/** As many pages as 32-bit addresses have. */
const MOST_PAGES = 1 << 16;
/** More threads than this are used only where someone asks for them. */
const MOST_THREADS = 4;
/** Memories above this are not kept for the next picture. */
const KEPT_BYTES = 64 << 20;

/** Compiled modules by their addresses; a page needs each only once. */
const compiled = new Map<string, Promise<WebAssembly.Module>>();
/** What was loaded last, for what belongs to no session. */
let latest: Promise<Loaded> | undefined;
let toolbox: Engine | undefined;

/** Loads the best build that there is for the host, or the one asked for. */
export function load(options: Choice): Promise<Loaded> {
  const loading = options.wasmBinary === undefined ? best(options) : given(options.wasmBinary, options);
  loading.then(
    () => (latest = loading),
    () => {},
  );
  return loading;
}

/** An instance for what belongs to no session. */
export async function tools(): Promise<Engine> {
  if (toolbox === undefined || toolbox.memoryBytes > KEPT_BYTES) {
    const { module } = await (latest ?? load(env.wasm));
    toolbox = await Engine.start(module);
  }
  return toolbox;
}

async function given(binary: BufferSource | WebAssembly.Module, options: ModuleOptions): Promise<Loaded> {
  const module = binary instanceof WebAssembly.Module ? binary : await compile(async () => WebAssembly.compile(binary));
  return { module, build: "custom", threads: wanted(options) };
}

/** How many threads a run may use, if module and host let it. */
function wanted({ threads = Math.min(MOST_THREADS, host().processors) }: ModuleOptions): number {
  return threads;
}

async function best(options: Choice): Promise<Loaded> {
  const { build: name, instructions } = options;
  const threads = wanted(options);
  const candidates = BUILDS.filter((build) => (name === undefined ? runs(build, threads, instructions) : build.name === name));
  let failure: unknown = new InputError(`there is no build '${name}'; there are ${BUILDS.map(({ name }) => name).join(", ")}`);
  for (const build of candidates) {
    try {
      const module = await cached(address(build, options.wasmPaths));
      return { module, build: build.name, threads: build.threads ? threads : 1 };
    } catch (error) {
      // Whoever serves the files may have left out what only some hosts need.
      failure = error;
    }
  }
  throw failure;
}

/** Whether the host can run a build, and has in it what is asked for, or else what it multiplies with itself. */
function runs({ threads, dots, classes }: Build, wanted: number, instructions: string | undefined): boolean {
  if ((threads && !(wanted > 1 && shares())) || (dots.length > 0 && dot() === undefined)) {
    return false;
  }
  // What every build has, or none, decides nothing.
  const having = BUILDS.filter((build) => instructions !== undefined && build.classes.includes(instructions));
  if (having.length > 0 && having.length < BUILDS.length) {
    return instructions !== undefined && classes.includes(instructions);
  }
  return dots.length === 0 || dots.some((name) => name === dot());
}

/** Whether there is shared memory for a session, of which some hosts want to have all at hand that it may grow to. */
function shares(): boolean {
  try {
    return host().shares && new WebAssembly.Memory({ initial: 1, maximum: MOST_PAGES, shared: true }).buffer.byteLength > 0;
  } catch {
    return false;
  }
}

function address({ name, file, url }: Build, paths: ModuleOptions["wasmPaths"]): string | URL {
  if (typeof paths === "string" || paths instanceof URL) {
    const folder = String(paths);
    const path = folder.endsWith("/") ? folder + file : `${folder}/${file}`;
    return paths instanceof URL ? new URL(path) : path;
  }
  return paths?.[name] ?? url();
}

function cached(source: string | URL): Promise<WebAssembly.Module> {
  const key = String(source);
  let module = compiled.get(key);
  if (module === undefined) {
    module = fetched(source);
    compiled.set(key, module);
    // The next call may find it.
    module.catch(() => compiled.delete(key));
  }
  return module;
}

async function fetched(source: string | URL): Promise<WebAssembly.Module> {
  const url = String(source);
  const refused = (why: string, cause?: unknown): FetchError =>
    new FetchError(`the WebAssembly module can't be loaded from '${url}': ${why}; the option wasmPaths says where it is`, { url }, { cause });
  let response: Response;
  try {
    response = await host().open(source, undefined);
  } catch (cause) {
    throw refused(reason(cause), cause);
  }
  if (!response.ok) {
    throw refused(`the server answers ${response.status} ${response.statusText}`);
  }
  const type = response.headers.get("content-type") ?? "";
  if (type.startsWith("text/html")) {
    throw refused("the server answers with a page");
  }
  return compile(async () =>
    type.startsWith("application/wasm") ? WebAssembly.compileStreaming(response) : WebAssembly.compile(await response.arrayBuffer()),
  );
}

async function compile(work: () => Promise<WebAssembly.Module>): Promise<WebAssembly.Module> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof QuaverError) {
      throw cause;
    }
    throw new UnsupportedError(`this host can't compile the WebAssembly module (it needs SIMD): ${reason(cause)}`, {}, { cause });
  }
}
