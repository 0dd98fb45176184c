/** Networks in both libraries, in interleaved rounds: other work on the device hits those alike that take turns. */
import { Competitor } from "../contest/competitor.js";
import type { Contestant, Timing } from "../contest/contestant.js";

/** A contestant and its figures so far. */
export interface Lane {
  readonly label: string;
  readonly kind: string;
  readonly contestant: Contestant;
  readonly rounds: Timing[];
  /** What it runs on, once it is open; or why it can't run. */
  what?: string;
  failure?: string;
}

/** Median of the rounds' medians. */
export function time({ rounds }: Lane): number | undefined {
  const times = rounds.map(({ median_ms }) => median_ms).sort((a, b) => a - b);
  return times[times.length >> 1];
}

/** Lets the lanes take turns, and calls `progress` after each. Ends early where `signal` says so. */
export async function race(lanes: readonly Lane[], rounds: number, seconds: number, signal: AbortSignal, progress: (done: number) => void): Promise<void> {
  const competitors = new Map<Lane, Competitor>();
  try {
    for (const lane of lanes) {
      if (signal.aborted) {
        return;
      }
      try {
        const { competitor, what } = await Competitor.open(lane.contestant);
        competitors.set(lane, competitor);
        lane.what = what;
        // Engines compile code well only once it has run for a while.
        await competitor.round(seconds);
      } catch (error) {
        lane.failure = error instanceof Error ? error.message : String(error);
      }
    }
    for (let round = 0; round < rounds; round++) {
      for (const [lane, competitor] of competitors) {
        if (signal.aborted) {
          return;
        }
        lane.rounds.push(await competitor.round(seconds));
        progress((round * competitors.size + [...competitors.keys()].indexOf(lane) + 1) / (rounds * competitors.size));
      }
    }
  } finally {
    competitors.forEach((competitor) => competitor.end());
  }
}
