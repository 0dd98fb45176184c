import type { Contestant, Timing } from "./contestant.js";
import type { Question } from "./worker.js";

/** A contestant in a worker, as the page sees it. One question at a time. */
export class Competitor {
  readonly #worker: Worker;

  private constructor(worker: Worker) {
    this.#worker = worker;
  }

  /** Opens its model. */
  static async open(contestant: Contestant): Promise<{ competitor: Competitor; what: string }> {
    const competitor = new Competitor(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
    try {
      const model = new URL(contestant.model, document.baseURI).href;
      return { competitor, what: (await competitor.#ask({ open: { ...contestant, model } })) as string };
    } catch (error) {
      competitor.end();
      throw error;
    }
  }

  /** Lets it run for some seconds. */
  async round(seconds: number): Promise<Timing> {
    return (await this.#ask({ round: seconds })) as Timing;
  }

  /** Gives everything back, whatever it is doing. */
  end(): void {
    this.#worker.terminate();
  }

  #ask(question: Question): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#worker.onmessage = ({ data }: MessageEvent<{ result?: unknown; error?: string }>) =>
        data.error === undefined ? resolve(data.result) : reject(new Error(data.error));
      this.#worker.onerror = ({ message }) => reject(new Error(message || "the worker can't be loaded"));
      this.#worker.postMessage(question);
    });
  }
}
