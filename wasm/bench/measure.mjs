// Measures the module with the flat C interface: the same code in Node and in a page.

/** A model's file in an instance of the module, with inputs that are set. */
export class Guest {
  constructor(instance) {
    this.exports = instance.exports;
  }

  static async create(module) {
    return new Guest(await WebAssembly.instantiate(module, {}));
  }

  copy(bytes) {
    const address = this.exports.quaver_alloc(bytes.length);
    new Uint8Array(this.exports.memory.buffer).set(bytes, address);
    return [address, bytes.length];
  }

  result() {
    const { memory, quaver_result_ptr: at, quaver_result_len: len } = this.exports;
    return new Uint8Array(memory.buffer, at(), len()).slice();
  }

  text() {
    return new TextDecoder().decode(this.result());
  }

  check(returned) {
    if (returned === 0) {
      this.exports.quaver_last_error();
      throw new Error(this.text());
    }
    return returned;
  }

  classes() {
    this.check(this.exports.quaver_classes());
    return this.text().split(",");
  }

  open(model, name) {
    this.check(this.exports.quaver_force_class(...this.copy(new TextEncoder().encode(name))));
    const handle = this.check(this.exports.quaver_open(...this.copy(model)));
    this.check(this.exports.quaver_describe(handle));
    JSON.parse(this.text()).inputs.forEach(({ dtype, dims }, index) => {
      const extents = Uint32Array.from(dims, (extent) => (typeof extent === "number" ? extent : 1));
      const count = extents.reduce((product, extent) => product * extent, 1);
      const bytes = dtype === "u8" ? Uint8Array.from({ length: count }, (_, i) => (i * 37) % 128) : noise(count);
      const [data, dimensions] = [this.copy(bytes), this.copy(new Uint8Array(extents.buffer))];
      this.check(this.exports.quaver_set_input(handle, index, ...data, dimensions[0], extents.length));
    });
    return handle;
  }
}

/** Numbers like those of a picture that has been normalized, always the same ones. */
function noise(count) {
  let state = 1;
  const numbers = Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32) * 4 - 2;
  });
  return new Uint8Array(numbers.buffer);
}

/** Milliseconds of a run, the median of some seconds' runs, and a checksum of the first output. */
export async function measure(module, model, name, seconds) {
  const guest = await Guest.create(module);
  const handle = guest.open(model, name);
  let repeats = 1;
  const run = () => {
    for (let i = 0; i < repeats; i++) guest.check(guest.exports.quaver_run(handle));
  };
  // Engines compile a function well only once it has been called.
  const warm = performance.now() + 1000 * seconds;
  let last;
  do {
    const start = performance.now();
    run();
    last = performance.now() - start;
  } while (performance.now() < warm);
  // Clocks of browsers are coarse.
  repeats = Math.max(1, Math.ceil(5 / Math.max(last, 0.05)));
  const times = [];
  const end = performance.now() + 1000 * seconds;
  do {
    const start = performance.now();
    run();
    times.push((performance.now() - start) / repeats);
  } while (performance.now() < end);
  guest.check(guest.exports.quaver_output(handle, 0));
  const sum = guest.result().reduce((sum, byte) => (Math.imul(sum, 31) + byte) >>> 0, 0);
  return { milliseconds: times.sort((a, b) => a - b)[times.length >> 1], sum };
}

/** The classes of a module. */
export async function classes(module) {
  return (await Guest.create(module)).classes();
}
