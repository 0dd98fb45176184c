// A user's page: what it does with the package, the test says.
import * as quaver from "quaver";

import { breakdowns, cases, cycles, fixtures } from "./cases.js";

const { InferenceSession, Tensor } = quaver;

/** Runs a model on one input as a user's code would, so that the compiler checks the package's types. */
async function first(model: string, name: string, data: Float32Array, dims: number[]): Promise<Float32Array> {
  const session = await InferenceSession.create(model, {
    threads: 2,
    onProgress: ({ loaded, total }) => console.debug(loaded, total),
  });
  try {
    const input: quaver.Tensor<"float32"> = new Tensor("float32", data, dims);
    const results: quaver.InferenceSession.ReturnType = await session.run({ [name]: input });
    const output = results[session.outputNames[0] ?? ""];
    if (output === undefined || !(output.data instanceof Float32Array)) {
      throw new quaver.StateError("the model has no output of real numbers");
    }
    return output.data;
  } finally {
    await session.release();
  }
}

Object.assign(globalThis, { quaver, breakdowns, first, cases, cycles, fixtures });
