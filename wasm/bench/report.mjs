// The table that every host prints: a row for each model and class of instructions.
import { classes, measure } from "./measure.mjs";

/** Measures models, `[name, bytes]`, and calls `print` with each row. */
export async function report(module, models, seconds, print) {
  const names = (await classes(module)).filter((name) => name !== "scalar");
  for (const [name, model] of models) {
    for (const kernels of names) {
      const { milliseconds, sum } = await measure(module, model, kernels, seconds);
      const [, m, n, k] = /product_(\d+)x(\d+)x(\d+)/.exec(name) ?? [];
      const speed = m === undefined ? "" : `${((m * n * k) / milliseconds / 1e6).toFixed(1)} GMAC/s`;
      print(`${name.padEnd(28)} ${kernels.padEnd(8)} ${milliseconds.toFixed(3).padStart(9)} ms  ${sum.toString(16).padStart(8, "0")}  ${speed}`);
    }
  }
}
