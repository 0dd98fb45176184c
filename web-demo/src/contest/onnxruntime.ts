import type * as ort from "onnxruntime-web";

import type { Contestant, Runner } from "./contestant.js";
import { noise, oneSample, size } from "./noise.js";

/** Opens an ONNX file with a build of onnxruntime-web, as its documentation advises for speed on WebAssembly. */
export async function openOnnxRuntime(library: typeof ort, { model, threads }: Contestant): Promise<Runner> {
  library.env.wasm.numThreads = threads;
  library.env.logLevel = "error";
  const session = await library.InferenceSession.create(model, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
  const feeds = Object.fromEntries(
    session.inputMetadata.map((input) => {
      if (!input.isTensor || input.type !== "float32") {
        throw new Error(`input '${input.name}' is no tensor of float32; networks with such inputs are compared`);
      }
      const dims = oneSample(input.shape);
      return [input.name, new library.Tensor("float32", noise(size(dims)), dims)];
    }),
  );
  return {
    what: `onnxruntime-web ${library.env.versions.web ?? ""}, ${threads} thread${threads === 1 ? "" : "s"}`,
    infer: async () => void (await session.run(feeds)),
    release: () => session.release(),
  };
}
