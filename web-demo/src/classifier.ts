import { type Backend, type ImageSource, InferenceSession, type Progress, type Results, Tensor } from "quaver";

import { data, type Classifier as Described } from "./catalogue.js";

export interface Guess {
  readonly label: string;
  readonly probability: number;
}

/** What came of a picture. */
export interface Answer {
  /** All classes, by their number. */
  readonly guesses: readonly Guess[];
  /** The output's bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Milliseconds from pixels to the input, and from there to the output: the median, where it ran repeatedly. */
  readonly prepared: number;
  readonly inferred: number;
}

/** Threads that a session may have; more than these gain little on networks of this size. */
export const THREADS = Math.min(4, navigator.hardwareConcurrency || 1);

/** A network that names what is in a picture. It runs in a worker. */
export class Classifier {
  readonly #session: InferenceSession;
  readonly #labels: readonly string[];

  private constructor(session: InferenceSession, labels: readonly string[]) {
    this.#session = session;
    this.#labels = labels;
  }

  /** Downloads and opens what the catalogue describes, or a model of the reader's own. */
  static async open(
    { model, labels }: Described,
    own?: Blob,
    onProgress?: (progress: Progress) => void,
    instructions: { build?: string; instructions?: string } = {},
  ): Promise<Classifier> {
    const options = { worker: true, threads: THREADS, onProgress, ...instructions };
    return new Classifier(await InferenceSession.create(own ?? data(model.file), options), labels);
  }

  get backend(): Backend {
    return this.#session.backend;
  }

  /** Classifies a picture; `repeats` more runs show what a run takes once the engine has compiled its code well. */
  async classify(image: ImageSource, repeats = 0): Promise<Answer> {
    const session = this.#session;
    const begin = performance.now();
    const input = await Tensor.fromImage(image, session.imageOptions);
    const prepared = performance.now() - begin;
    const times: number[] = [];
    let results: Results = {};
    for (let run = 0; run <= repeats; run++) {
      const start = performance.now();
      results = await session.run({ [session.inputNames[0] as string]: input }, { transfer: run === repeats });
      times.push(performance.now() - start);
    }
    const inferred = times.sort((a, b) => a - b)[times.length >> 1] as number;
    const output = results[session.outputNames[0] as string] as Tensor;
    if (!(output.data instanceof Float32Array)) {
      throw new Error("the model's first output holds no scores");
    }
    const probabilities = distribution(output.data);
    const guesses = Array.from(probabilities, (probability, index) => ({ label: this.#labels[index] ?? `class ${index}`, probability }));
    const { buffer, byteOffset, byteLength } = output.data;
    return { guesses, bytes: new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength), prepared, inferred };
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

/** The scores themselves where they are a distribution already, else their softmax. */
function distribution(scores: Float32Array): Float32Array {
  const sum = scores.reduce((sum, score) => sum + score, 0);
  if (Math.abs(sum - 1) < 0.05 && scores.every((score) => score >= 0 && score <= 1)) {
    return scores;
  }
  const highest = scores.reduce((highest, score) => Math.max(highest, score), -Infinity);
  const powers = scores.map((score) => Math.exp(score - highest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}
