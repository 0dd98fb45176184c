/** Which relaxed dot product the host has: what decides among builds. Within a module `wasm/src/isa/probe.rs` asks the same. */
import { host } from "./host.js";

/** Signed by unsigned or signed by signed, exactly; or any other way, such as one that saturates. */
export type Dot = "usdot" | "sdot" | "sat";

const WEIGHTS = Array<number>(16).fill(0x80);
/** Pairs of a byte whose two readings differ most, and of one whose product saturates least. */
const ACTIVATIONS = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0xff, 0xff, 0xff, 0xff, 0x80, 0x80, 0xff, 0xff, 0xff, 0xff];

/**
 * A module whose memory has the weights, and the activations behind them; its function puts their dot products, from zeros in
 * memory on, behind these. What is in memory no engine knows beforehand.
 */
const MODULE = [
  ...[0, 97, 115, 109, 1, 0, 0, 0],
  // A function without parameters and results, one page of memory, and the names `m` and `f` for both.
  ...[1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1, 7, 9, 2, 1, 109, 2, 0, 1, 102, 0, 0],
  // (v128.store (i32.const 32) (i32x4.relaxed_dot_i8x16_i7x16_add_s (v128.load (i32.const 0)) …16 …48))
  ...[10, 31, 1, 29, 0, 65, 32, 65, 0, 253, 0, 4, 0, 65, 16, 253, 0, 4, 0, 65, 48, 253, 0, 4, 0, 253, 147, 2, 253, 11, 4, 0, 11],
  ...[11, 38, 1, 0, 65, 0, 11, 32, ...WEIGHTS, ...ACTIVATIONS],
];

let found: Dot | undefined | null = null;

/** The host's way; `undefined` where it has no relaxed dot product, or none that can be relied on. */
export function dot(): Dot | undefined {
  if (found === null) {
    found = host().relaxed ? probe() : undefined;
  }
  return found;
}

function probe(): Dot | undefined {
  let sums: Int32Array;
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from(MODULE)));
    (exports["f"] as () => void)();
    sums = new Int32Array((exports["m"] as WebAssembly.Memory).buffer, 32, 4);
  } catch {
    return undefined;
  }
  const exact = (reading: (byte: number) => number): boolean =>
    sums.every((sum, lane) => sum === ACTIVATIONS.slice(4 * lane, 4 * lane + 4).reduce((all, byte) => all - 128 * reading(byte), 0));
  if (exact((byte) => byte)) {
    return "usdot";
  }
  return exact((byte) => byte - 256) ? "sdot" : "sat";
}
