/** Who runs what in a comparison of speed, and what came of it: the words that the page, its worker and Node exchange. */

export interface Contestant {
  readonly engine: "quaver" | "onnxruntime";
  /** Where the model is: an address, or in Node a path. */
  readonly model: string;
  readonly threads: number;
  /** The build of Quaver's module; its own choice where left out. */
  readonly build?: string;
}

/** Milliseconds of the inferences of a round. */
export interface Timing {
  readonly median_ms: number;
  readonly min_ms: number;
  readonly runs: number;
}

/** A contestant with its model open. */
export interface Runner {
  /** What it runs on, in words. */
  readonly what: string;
  /** One inference, whose results are of no interest. */
  infer(): Promise<void>;
  release(): Promise<void>;
}
