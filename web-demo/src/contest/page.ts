/** The page that `cargo xtask bench --web` opens: what it calls is global. */
import { Competitor } from "./competitor.js";
import type { Contestant, Timing } from "./contestant.js";

const competitors: (Competitor | undefined)[] = [];

const contest = {
  async open(index: number, contestant: Contestant): Promise<string> {
    const { competitor, what } = await Competitor.open(contestant);
    competitors[index] = competitor;
    return what;
  },
  async round(index: number, seconds: number): Promise<Timing> {
    const competitor = competitors[index];
    if (competitor === undefined) {
      throw new Error(`contestant ${index} is not open`);
    }
    return competitor.round(seconds);
  },
};

declare global {
  var contestOfPage: typeof contest;
}

globalThis.contestOfPage = contest;
