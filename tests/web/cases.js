// What the npm package promises, for every host alike: each case takes the package and a `Bench`, and throws where a promise is
// broken. `files` are the fixtures that tests/all/npm.rs makes (see `fixtures` below), `base` is where server.js serves them, and
// `relaxed` says whether the host has relaxed SIMD that can be relied on; `shares`, whether it has memory that threads share, too;
// `Worker` is the class of its workers.

/** @typedef {{ quaver: any, base: string, relaxed: boolean, shares: boolean, Worker: any, files: any }} Bench */

function check(holds, message) {
  if (!holds) {
    throw new Error(message);
  }
}

function same(got, expected, what) {
  const at = expected.findIndex((byte, index) => byte !== got[index]);
  check(got.length === expected.length && at < 0, `${what}: ${got.length} bytes, ${expected.length} expected, first difference at ${at}`);
}

/** The exception of `work`, which must be of this class and code, and say all of `words`. */
async function refusal(quaver, work, name, words = []) {
  let error;
  try {
    await work();
  } catch (thrown) {
    error = thrown;
  }
  check(error !== undefined, `${name} was expected, but nothing was thrown`);
  const told = `${error.name}: ${error.message}`;
  check(error instanceof quaver[name] && error instanceof quaver.QuaverError && error instanceof Error, `${name} was expected, not ${told}`);
  for (const word of words) {
    check(error.message.includes(word), `'${word}' should be in: ${told}`);
  }
  return error;
}

function feeds({ quaver, files }) {
  const entries = files.manifest.inputs.map(({ name, dims }, index) => {
    return [name, quaver.Tensor.fromBytes("float32", files.inputs[index].slice(), dims)];
  });
  return Object.fromEntries(entries);
}

/** One sample of nothing, which is quick to run. */
function zeros({ quaver, files }) {
  const entries = files.manifest.inputs.map(({ name, dims: [, ...dims] }) => {
    const data = new Float32Array(dims.reduce((product, extent) => product * extent, 1));
    return [name, new quaver.Tensor("float32", data, [1, ...dims])];
  });
  return Object.fromEntries(entries);
}

async function runs(bench, session) {
  const results = await session.run(feeds(bench));
  bench.files.manifest.outputs.forEach(({ name, dims }, index) => {
    same(results[name].bytes, bench.files.outputs[index], name);
    check(String(results[name].dims) === String(dims), `${name} has dims ${results[name].dims}`);
  });
}

async function withSession(bench, source, options, work) {
  const session = await bench.quaver.InferenceSession.create(source, options);
  try {
    return await work(session);
  } finally {
    await session.release();
  }
}

/** Numbers that look random, the same everywhere. */
function* numbers(seed) {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state >>> 8;
  }
}

function header(file) {
  return 8 + Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
}

/** What may come of a model that someone has tampered with: results, or an exception of these. */
async function survives(bench, file, what) {
  try {
    const session = await bench.quaver.InferenceSession.create(file);
    await session.run(zeros(bench)).finally(() => session.release());
    return true;
  } catch (error) {
    check(["model", "memory", "input"].includes(error.code), `${what}: ${error.name}: ${error.message}`);
    return false;
  }
}

export const cases = {
  async "gives native's bytes, from bytes"(bench) {
    await withSession(bench, bench.files.model, {}, (session) => runs(bench, session));
    await withSession(bench, bench.files.model.slice().buffer, {}, (session) => runs(bench, session));
  },

  async "gives native's bytes, downloaded, with progress"(bench) {
    const size = bench.files.model.length;
    for (const worker of [false, true]) {
      const seen = [];
      const options = { worker, onProgress: ({ loaded, total }) => seen.push([loaded, total]) };
      await withSession(bench, `${bench.base}/files/model.qvr`, options, (session) => runs(bench, session));
      check(seen.length >= 2 && seen[0][0] === 0 && seen.at(-1)[0] === size, `progress: ${JSON.stringify(seen)}`);
      check(seen.every(([loaded, total], i) => total === size && (i === 0 || loaded > seen[i - 1][0])), `progress: ${JSON.stringify(seen)}`);
    }
  },

  async "takes addresses, requests, answers and blobs"(bench) {
    const url = `${bench.base}/files/model.qvr`;
    const sources = [new URL(url), new Request(url), await fetch(url), new Blob([bench.files.model]), `${bench.base}/gzip/model.qvr`];
    for (const source of sources) {
      await withSession(bench, source, { worker: source instanceof URL }, (session) => runs(bench, session));
    }
  },

  async "runs in a worker, and leaves the caller's buffers alone"(bench) {
    const model = bench.files.model.slice();
    await withSession(bench, model, { worker: true }, async (session) => {
      check(model.length === bench.files.model.length && session.backend.worker, "the model's buffer was given away");
      const inputs = feeds(bench);
      await session.run(inputs);
      await session.run(inputs);
      await runs(bench, session);
      await session.run(inputs, { transfer: true });
      check(Object.values(inputs).every((tensor) => tensor.data.length === 0), "the inputs' buffers weren't given away");
      await refusal(bench.quaver, () => session.run(inputs), "InputError", ["given away"]);
    });
    await withSession(bench, model, { worker: true, transfer: true }, (session) => runs(bench, session));
    check(model.length === 0, "the model's buffer wasn't given away");
  },

  async "gives native's bytes, with every build and class of instructions"(bench) {
    const seen = [];
    for (const [build, instructions] of [
      ["base", "scalar"],
      ["base", "simd128"],
      ["sat", "simd128"],
      ["sat", "sat"],
      ["relaxed", "sdot"],
      ["relaxed", "usdot"],
    ]) {
      if (build !== "base" && !bench.relaxed) {
        continue;
      }
      try {
        await withSession(bench, bench.files.model, { build, instructions }, async (session) => {
          check(session.backend.build === build && session.backend.instructions === instructions, JSON.stringify(session.backend));
          await runs(bench, session);
        });
        seen.push(instructions);
      } catch (error) {
        // An engine multiplies in one of these ways.
        check(error.code === "input" && error.message.includes(`'${instructions}'`) && /dot/.test(instructions), error.message);
      }
    }
    await withSession(bench, bench.files.model, { threads: 1 }, ({ backend }) => {
      const relaxed = /dot/.test(seen.at(-1)) ? "relaxed" : "sat";
      check(backend.build === (bench.relaxed ? relaxed : "base"), JSON.stringify(backend));
      check(backend.instructions === seen.at(-1), `${backend.instructions} of ${seen}`);
    });
    // A class alone takes a build that has it.
    for (const instructions of seen) {
      await withSession(bench, bench.files.model, { instructions, threads: 1 }, async (session) => {
        check(session.backend.instructions === instructions, JSON.stringify(session.backend));
        await runs(bench, session);
      });
    }
  },

  async "gives native's bytes on any number of threads"(bench) {
    for (const worker of [false, true]) {
      for (const threads of [1, 2, 4]) {
        await withSession(bench, bench.files.model, { threads, worker }, async (session) => {
          check(session.backend.threads === (bench.shares ? threads : 1), JSON.stringify(session.backend));
          check(session.backend.build.startsWith("threads") === (bench.shares && threads > 1), JSON.stringify(session.backend));
          await runs(bench, session);
          // Threads that fell asleep are woken.
          await new Promise((resolve) => setTimeout(resolve, 20));
          await runs(bench, session);
        });
      }
    }
  },

  async "runs without threads that can't be started"(bench) {
    const { Worker } = globalThis;
    if (Worker === undefined) {
      return;
    }
    globalThis.Worker = class {
      constructor() {
        throw new Error("the page's policy forbids it");
      }
    };
    try {
      await withSession(bench, bench.files.model, { threads: 4 }, async (session) => {
        check(session.backend.threads === 1, JSON.stringify(session.backend));
        await runs(bench, session);
      });
    } finally {
      globalThis.Worker = Worker;
    }
  },

  async "describes a model"(bench) {
    const { inputs, outputs } = bench.files.manifest;
    await withSession(bench, bench.files.model, { threads: 4 }, (session) => {
      check(String(session.inputNames) === String(inputs.map(({ name }) => name)), `inputs ${session.inputNames}`);
      check(String(session.outputNames) === String(outputs.map(({ name }) => name)), `outputs ${session.outputNames}`);
      const { type, shape, isTensor } = session.inputMetadata[0];
      check(type === "float32" && isTensor && shape[0] === "N" && String(shape.slice(1)) === String(inputs[0].dims.slice(1)), `input ${shape}`);
      check(session.backend.threads >= 1 && session.backend.build !== "", "no backend");
      check(session.imageOptions.width === inputs[0].dims[3], "no image options");
    });
  },

  async "gives the outputs that are asked for"(bench) {
    const [{ name, dims }] = bench.files.manifest.outputs;
    const { quaver, files } = bench;
    await withSession(bench, files.model, {}, async (session) => {
      same((await session.run(feeds(bench), [name]))[name].bytes, files.outputs[0], "by name");
      same((await session.run(feeds(bench), { [name]: null }))[name].bytes, files.outputs[0], "by key");
      const count = dims.reduce((product, extent) => product * extent, 1);
      const target = new quaver.Tensor("float32", new Float32Array(count), dims);
      const results = await session.run(feeds(bench), { [name]: target });
      check(results[name] === target, "another tensor came back");
      same(target.bytes, files.outputs[0], "written");
      check(Object.keys(await session.run(feeds(bench), [])).length === 0, "nothing was asked for");
      await refusal(quaver, () => session.run(feeds(bench), ["nix"]), "InputError", ["'nix'", name]);
      const small = new quaver.Tensor("float32", new Float32Array(1), [1]);
      await refusal(quaver, () => session.run(feeds(bench), { [name]: small }), "InputError", [name, "[1]"]);
    });
  },

  async "names what is wrong with an input"(bench) {
    const { quaver, files } = bench;
    const { Tensor } = quaver;
    const [{ name, dims }] = files.manifest.inputs;
    for (const worker of [false, true]) {
      await withSession(bench, files.model, { worker }, async (session) => {
        const good = feeds(bench)[name];
        const wrong = async (tensor, words) => {
          const error = await refusal(quaver, () => session.run({ [name]: tensor }), "InputError", [`'${name}'`, ...words]);
          check(error.code === "input" && error.input === name && error.expected !== undefined, `${error.message}: ${error.input}`);
        };
        await wrong(good.reshape([-1]), ["shape"]);
        await wrong(good.reshape([dims[0] * dims[2], 1, 1, dims[3]]), ["shape"]);
        await wrong(new Tensor("uint8", new Uint8Array(good.size), dims), ["float32", "uint8"]);
        await wrong(good.data, ["Tensor"]);
        await wrong(undefined, ["float32"]);
        await refusal(quaver, () => session.run({ [name]: good, nix: good }), "InputError", ["'nix'", name]);
        await refusal(quaver, () => session.run(), "InputError", [name]);
        await runs(bench, session);
      });
    }
    const tensors = [
      [() => new Tensor("float32", new Float32Array(3), [2]), "3"],
      [() => new Tensor("float32", new Uint8Array(3), [3]), "Float32Array"],
      [() => new Tensor("float64", [1]), "float64"],
      [() => new Tensor("float32", [1], [-1]), "-1"],
      [() => new Tensor("float32", [1], 1), "dims"],
      [() => Tensor.fromBytes("int64", new Uint8Array(7), [1]), "7"],
    ];
    for (const [make, word] of tensors) {
      await refusal(quaver, make, "InputError", [word]);
    }
  },

  async "makes tensors in all the ways"({ quaver: { Tensor } }) {
    check(new Tensor("float32", [1, 2, 3]).dims[0] === 3, "dims of a row");
    check(new Tensor(new Int32Array(4), [2, 2]).type === "int32", "the type of an array");
    check(new Tensor("int64", [1, 2n]).data[1] === 2n, "numbers as int64");
    check(new Tensor("uint8", new Uint8ClampedArray([7])).data[0] === 7, "pixels");
    const tensor = new Tensor("float32", new Float32Array(6), [2, 3]);
    check(String(tensor.reshape([3, -1]).dims) === "3,2" && tensor.size === 6 && tensor.location === "cpu", "reshape");
  },

  async "refuses what is no model"(bench) {
    const { quaver, base, files } = bench;
    const { InferenceSession: session } = quaver;
    for (const worker of [false, true]) {
      await refusal(quaver, () => session.create(new Uint8Array(64), { worker }), "ModelError", [".qvr"]);
      await refusal(quaver, () => session.create(new Uint8Array(0), { worker }), "ModelError");
      const missing = await refusal(quaver, () => session.create(`${base}/files/nix.qvr`, { worker }), "FetchError", ["nix.qvr", "404"]);
      check(missing.details.status === 404, "the status isn't told");
      await refusal(quaver, () => session.create(`${base}/page`, { worker }), "FetchError", ["page"]);
      await refusal(quaver, () => session.create(`${base}/cut/model.qvr`, { worker }), "FetchError", ["model.qvr"]);
      await refusal(quaver, () => session.create(42, { worker }), "InputError", ["number"]);
      await refusal(quaver, () => session.create(files.model, { worker, threads: 0 }), "InputError", ["threads"]);
      await refusal(quaver, () => session.create(files.model, { worker, build: "nix" }), "InputError", ["nix", "base"]);
      const builds = ["base", "relaxed", "sat", "threads", "threads_sat"];
      const wasmPaths = Object.fromEntries(builds.map((name) => [name, `${base}/page`]));
      await refusal(quaver, () => session.create(files.model, { worker, wasmPaths }), "FetchError", ["wasmPaths"]);
    }
  },

  async "can be aborted"(bench) {
    const { quaver, base } = bench;
    for (const worker of [false, true]) {
      const create = (signal) => quaver.InferenceSession.create(`${base}/slow/model.qvr`, { signal, worker });
      const before = await refusal(quaver, () => create(AbortSignal.abort("early")), "AbortError", ["early"]);
      check(before.name === "AbortError" && before.cause === "early", "the reason is lost");
      const controller = new AbortController();
      const why = new Error("late");
      setTimeout(() => controller.abort(why), 50);
      const late = await refusal(quaver, () => create(controller.signal), "AbortError", ["late"]);
      check(late.cause === why, "the reason is lost");
      await refusal(quaver, () => create(AbortSignal.timeout(50)), "AbortError");
    }
  },

  async "can't be used after its release"(bench) {
    for (const worker of [false, true]) {
      const session = await bench.quaver.InferenceSession.create(bench.files.model, { worker });
      const last = worker ? refusal(bench.quaver, () => session.run(feeds(bench)), "StateError", ["released"]) : undefined;
      await session.release();
      await session.release();
      await last;
      await refusal(bench.quaver, () => session.run(feeds(bench)), "StateError", ["released"]);
    }
  },

  async "survives truncated models"(bench) {
    const { model } = bench.files;
    const start = header(model);
    const random = numbers(7);
    const lengths = [0, 1, 7, 8, 9, 63, 64, start - 1, start, start + 1, start + 63, start + 64, model.length - 64, model.length - 1];
    for (let i = 0; i < 60; i++) {
      lengths.push(random.next().value % model.length);
    }
    for (const length of lengths) {
      await refusal(bench.quaver, () => bench.quaver.InferenceSession.create(model.subarray(0, length)), "ModelError");
    }
    const longer = new Uint8Array(model.length + 1);
    longer.set(model);
    await refusal(bench.quaver, () => bench.quaver.InferenceSession.create(longer), "ModelError");
  },

  async "survives hostile models"(bench) {
    const { model } = bench.files;
    const start = header(model);
    const random = numbers(11);
    let opened = 0;
    for (let i = 0; i < 400; i++) {
      const file = model.slice();
      // Mostly the header, where everything is decided; a digit for a digit makes what still parses.
      const at = random.next().value % (i % 4 === 3 ? file.length : start);
      const digit = file[at] >= 48 && file[at] < 58 && at < start;
      file[at] = digit ? 48 + (random.next().value % 10) : file[at] ^ (1 << random.next().value % 8);
      opened += (await survives(bench, file, `byte ${at}`)) ? 1 : 0;
    }
    check(opened > 0 && opened < 400, `${opened} of 400 opened, so little was tested`);
    for (let i = 0; i < 40; i++) {
      const noise = Uint8Array.from({ length: 512 }, () => random.next().value);
      noise.set([0xf8, 1, 0, 0, 0, 0, 0, 0]);
      check(!(await survives(bench, noise, "noise")), "noise opened");
    }
    // What others have done hurts no session.
    await withSession(bench, model, {}, (session) => runs(bench, session));
  },

  async "refuses models that are too large, before it takes memory"(bench) {
    const { quaver, files } = bench;
    for (const worker of [false, true]) {
      const create = (source) => () => quaver.InferenceSession.create(source, { worker });
      const error = await refusal(quaver, create(files.large), "MemoryError", ["bytes"]);
      check(error.details.needed > error.details.limit && error.details.limit < 2 ** 32, JSON.stringify(error.details));
      for (const file of [files.larger, files.largest]) {
        const { details } = await refusal(quaver, create(file), "MemoryError", ["32-bit addresses"]);
        check(details.limit < 2 ** 32, JSON.stringify(details));
      }
      let cancelled = false;
      let pulled = 0;
      const body = new ReadableStream(
        {
          pull(controller) {
            pulled++;
            controller.enqueue(new Uint8Array(1 << 20));
          },
          cancel() {
            cancelled = true;
          },
        },
        { highWaterMark: 0 },
      );
      const answer = new Response(body, { headers: { "content-length": "5000000000" } });
      const file = await refusal(quaver, create(answer), "MemoryError", ["5000000000"]);
      check(file.details.needed === 5e9 && cancelled && pulled === 0, "the download should have ended before it began");
    }
  },

  async "refuses batches that are too large"(bench) {
    const { quaver, files } = bench;
    const [{ name, dims }] = files.manifest.inputs;
    await withSession(bench, files.model, {}, async (session) => {
      // With fewer elements than it claims, so that only the module is asked for memory.
      const huge = { type: "float32", dims: [4e6, ...dims.slice(1)], data: new Float32Array(1) };
      Object.setPrototypeOf(huge, quaver.Tensor.prototype);
      await refusal(quaver, () => session.run({ [name]: huge }), "MemoryError", ["bytes"]);
      await runs(bench, session);
    });
  },

  async "has several sessions at once"(bench) {
    const { quaver, files } = bench;
    const create = (worker) => quaver.InferenceSession.create(files.model, { worker });
    const sessions = await Promise.all([create(true), create(true), create(false), create(false)]);
    await Promise.all(sessions.flatMap((session) => [runs(bench, session), runs(bench, session)]));
    await sessions[0].release();
    await sessions[2].release();
    await Promise.all([runs(bench, sessions[1]), runs(bench, sessions[3])]);
    await Promise.all(sessions.map((session) => session.release()));
  },

  async "takes the module from elsewhere"(bench) {
    const { quaver, base, files } = bench;
    const sources = [
      { wasmPaths: `${base}/package/wasm` },
      { wasmPaths: new URL(`${base}/package/wasm/`) },
      { wasmPaths: { base: `${base}/package/wasm/quaver.wasm` }, build: "base" },
      { wasmBinary: await (await fetch(`${base}/package/wasm/quaver.wasm`)).arrayBuffer() },
      { wasmBinary: await WebAssembly.compileStreaming(fetch(`${base}/package/wasm/quaver.wasm`)), worker: true },
    ];
    for (const options of sources) {
      await withSession(bench, files.model, options, (session) => runs(bench, session));
    }
    quaver.env.wasm.proxy = true;
    quaver.env.wasm.numThreads = 2;
    await withSession(bench, files.model, undefined, (session) => check(session.backend.worker, "env doesn't count")).finally(() => {
      quaver.env.wasm.proxy = undefined;
      quaver.env.wasm.numThreads = undefined;
    });
  },

  async "makes pictures inputs, as the converter does"(bench) {
    const { quaver, files } = bench;
    const { rgba, expected } = files.images;
    for (const { options, bytes, dims } of expected) {
      const tensor = await quaver.Tensor.fromImage(rgba, options);
      check(String(tensor.dims) === String(dims), `dims ${tensor.dims}`);
      same(tensor.bytes, bytes, JSON.stringify(options));
    }
    const raw = await quaver.Tensor.fromImage(rgba, { type: "uint8", layout: "NHWC" });
    check(raw.type === "uint8" && raw.data[1] === rgba.data[1] && raw.data[3] === rgba.data[4], "pixels as they are");
    const wrong = (options, word) => refusal(quaver, () => quaver.Tensor.fromImage(rgba, options), "InputError", [word]);
    await wrong({ std: 0 }, "std");
    await wrong({ mean: [1, 2, 3, 4] }, "mean");
    await wrong({ type: "uint8", mean: 1 }, "mean");
    await wrong({ fit: "nix" }, "nix");
    await wrong({ width: 1e6, height: 1e6 }, "pixels");
    await wrong({ width: 0.5 }, "0.5");
    await refusal(quaver, () => quaver.Tensor.fromImage({ data: new Uint8Array(7), width: 2, height: 1 }), "InputError", ["7"]);
  },
};

/** Calls `work` while every call to a helper thread goes through `change`, which is given the worker and what it is to know. */
async function withHelpers({ Worker }, change, work) {
  const { postMessage } = Worker.prototype;
  Worker.prototype.postMessage = function (message, ...rest) {
    return postMessage.call(this, message.help === undefined ? message : { help: change(this, message.help) }, ...rest);
  };
  try {
    return await work();
  } finally {
    Worker.prototype.postMessage = postMessage;
  }
}

/** A module whose functions trap where they are full of vector instructions: kernels, which only parts of runs call. */
function trapping(bytes) {
  const [CODE, VECTOR, MANY] = [10, 0xfd, 50];
  let at = 8;
  const number = () => {
    for (let value = 0, shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value |= (byte & 127) << shift;
      if (byte < 128) {
        return value;
      }
    }
  };
  // In five bytes, as many as any may have.
  const encoded = (value) => [0, 7, 14, 21, 28].map((shift) => ((value >>> shift) & 127) | (shift < 28 ? 128 : 0));
  while (at < bytes.length) {
    const start = at;
    const [id, length] = [bytes[at++], number()];
    const end = at + length;
    if (id === CODE) {
      const count = number();
      const section = encoded(count);
      let changed = 0;
      for (let i = 0; i < count; i++) {
        const size = number();
        const body = bytes.subarray(at, (at += size));
        const kernel = body.reduce((sum, byte) => sum + (byte === VECTOR), 0) > MANY;
        changed += kernel;
        // No variables, `unreachable`, `end`.
        for (const byte of kernel ? [3, 0, 0, 11] : [...encoded(size), ...body]) {
          section.push(byte);
        }
      }
      check(changed > 0, "the module has no kernels");
      return new Uint8Array([...bytes.subarray(0, start), CODE, ...encoded(section.length), ...section, ...bytes.subarray(end)]);
    }
    at = end;
  }
  throw new Error("the module has no code");
}

/** Helper threads that break down. A run that waits for what never comes hangs the thread that asked for it, so each has a limit. */
export const breakdowns = {
  async "breaks down with a thread that traps, and no other session does"(bench) {
    const { quaver, base, files } = bench;
    const create = () => quaver.InferenceSession.create(files.model, { threads: 4 });
    const other = await create();
    // That of the build in use, which depends on the processor.
    const url = `${base}/package/wasm/quaver_${other.backend.build}.wasm`;
    const module = await WebAssembly.compile(trapping(new Uint8Array(await (await fetch(url)).arrayBuffer())));
    const broken = await withHelpers(bench, (_, help) => ({ ...help, module }), create);
    check(broken.backend.threads === 4, JSON.stringify(broken.backend));
    // A run that needs none of the threads is as good as any; sooner or later one of them begins a part.
    let error;
    for (let run = 0; error === undefined && run < 10_000; run++) {
      await runs(bench, broken).catch((thrown) => (error = thrown));
    }
    await refusal(quaver, () => Promise.reject(error), "InternalError", ["broke down"]);
    await refusal(quaver, () => broken.run(feeds(bench)), "InternalError", ["broke down", "create another"]);
    await runs(bench, other);
    await broken.release();
    await refusal(quaver, () => broken.run(feeds(bench)), "StateError", ["released"]);
    await withSession(bench, files.model, { threads: 4 }, (session) => runs(bench, session));
    await runs(bench, other);
    await other.release();
  },

  async "goes on without threads that have ended"(bench) {
    const { quaver, files } = bench;
    const workers = [];
    const kept = (worker, help) => (workers.push(worker), help);
    const session = await withHelpers(bench, kept, () => quaver.InferenceSession.create(files.model, { threads: 4 }));
    check(session.backend.threads === 4 && workers.length === 3, `${workers.length} workers: ${JSON.stringify(session.backend)}`);
    while (workers.length > 0) {
      await runs(bench, session);
      const ending = workers.splice(0, 2).map((worker) => worker.terminate());
      // Browsers don't say when a worker has ended, and Chromium lets one go on for two seconds. Nothing may run meanwhile.
      const patience = ending.some((promise) => promise === undefined) ? 4000 : 0;
      await Promise.all([...ending, new Promise((resolve) => setTimeout(resolve, patience))]);
      for (let run = 0; run < 20; run++) {
        await runs(bench, session);
      }
    }
    await session.release();
    await withSession(bench, files.model, { threads: 4 }, (session) => runs(bench, session));
  },
};

/** Creates, runs and releases a session so many times. */
export async function cycles(bench, count, worker, threads) {
  const inputs = zeros(bench);
  for (let i = 0; i < count; i++) {
    await withSession(bench, bench.files.model, { worker, threads }, (session) => session.run(inputs));
  }
}

/** Fetches the fixtures. */
export async function fixtures(base) {
  const bytes = async (name) => new Uint8Array(await (await fetch(`${base}/files/${name}`)).arrayBuffer());
  const manifest = JSON.parse(new TextDecoder().decode(await bytes("manifest.json")));
  const { width, height } = manifest.image;
  return {
    manifest,
    model: await bytes("model.qvr"),
    large: await bytes("large.qvr"),
    larger: await bytes("larger.qvr"),
    largest: await bytes("largest.qvr"),
    inputs: await Promise.all(manifest.inputs.map(({ file }) => bytes(file))),
    outputs: await Promise.all(manifest.outputs.map(({ file }) => bytes(file))),
    images: {
      rgba: { data: await bytes("image.rgba"), width, height },
      png: await bytes("image.png"),
      expected: await Promise.all(manifest.image.expected.map(async ({ file, ...rest }) => ({ ...rest, bytes: await bytes(file) }))),
    },
  };
}
