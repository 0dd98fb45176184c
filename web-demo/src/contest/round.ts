import type { Runner, Timing } from "./contestant.js";

/** One inference that isn't timed, then timed ones for some seconds, and one at least. */
export async function round(runner: Runner, seconds: number): Promise<Timing> {
  // The first run after a pause finds caches cold.
  await runner.infer();
  const times: number[] = [];
  const end = performance.now() + 1000 * seconds;
  do {
    const start = performance.now();
    await runner.infer();
    times.push(performance.now() - start);
  } while (performance.now() < end);
  times.sort((a, b) => a - b);
  const [low, high] = [times[(times.length - 1) >> 1], times[times.length >> 1]] as [number, number];
  return { median_ms: (low + high) / 2, min_ms: times[0] as number, runs: times.length };
}
