import type { Runner } from "../src/contest/contestant.js";

declare global {
  /** Milliseconds from the begin of the navigation to the first result. */
  var firstResult: Promise<number>;
}

/** Opens the model that the page's address names, and runs it once. */
export function measure(open: (model: string) => Promise<Runner>): void {
  const first = async (): Promise<number> => {
    const model = new URLSearchParams(location.search).get("model");
    if (model === null) {
      throw new Error("the address should end with ?model=…");
    }
    const runner = await open(new URL(model, location.href).href);
    await runner.infer();
    return performance.now();
  };
  globalThis.firstResult = first();
}
