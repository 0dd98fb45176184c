/** Runs every sample with one build of the module, and compares what comes out with what the native build recorded. */
import { type Backend, InputError, UnsupportedError } from "quaver";

import { data, type Classifier as Described, type Sample } from "../catalogue.js";
import { Classifier } from "../classifier.js";
import { digest } from "../digest.js";

/** A build, and a class of instructions within it; the page's own choice where nothing is said. */
export interface Way {
  readonly build?: string;
  readonly instructions?: string;
}

/** The ways that there are; engines have some of them. */
export const WAYS: readonly Way[] = [
  {},
  { build: "base", instructions: "simd128" },
  { build: "sat", instructions: "simd128" },
  { build: "sat", instructions: "sat" },
  { build: "relaxed", instructions: "sdot" },
  { build: "relaxed", instructions: "usdot" },
  { build: "threads", instructions: "usdot" },
];

/** The digest of one sample. */
export interface Checked {
  readonly sample: Sample;
  readonly here: string;
}

/** Checks all samples of a network in one way, and calls `checked` with each; gives what ran, or nothing where the engine lacks it. */
export async function check(described: Described, way: Way, checked: (result: Checked) => void): Promise<Backend | undefined> {
  let classifier: Classifier;
  try {
    classifier = await Classifier.open(described, undefined, undefined, way);
  } catch (error) {
    // The engine has no such module, or no such instructions in it.
    if (way.build !== undefined && (error instanceof UnsupportedError || error instanceof InputError)) {
      return undefined;
    }
    throw error;
  }
  try {
    for (const sample of described.samples) {
      const picture = await (await fetch(data(sample.file))).blob();
      const { bytes } = await classifier.classify(picture);
      checked({ sample, here: await digest(bytes) });
    }
    return classifier.backend;
  } finally {
    await classifier.release();
  }
}
